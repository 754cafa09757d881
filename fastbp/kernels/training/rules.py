"""Update rules of the optimizers, a register at a time: (p, g, s, t, u, constants) -> (p, s, t, u).

p parameters, g their gradient, s, t, u what the optimizer remembers of each (the unused ones are given back); what
depends on the step alone, such as 1 / (1 - beta^step), is in the constants, which `fastbp.optim` computes in float64.
Formulas and sources in `fastbp.optim`.
"""

import numpy as np
from llvmlite import ir

from ..simd.formula import choice, formula, operation
from ..simd.registers import fma, maximum, minimum, square_root, where_positive
from ..simd.vector import constant, is_float32, llvm_integers


def _zero_below(binades):
    """v, with 0 for what is below 2^binades times the smallest number with a whole mantissa.

    An average decays to such numbers and stays there for good, once gradients are 0 as those of a dead relu; and CPUs
    calculate with them many times slower.
    """

    def twin(v):
        return np.where(np.abs(v) < np.ldexp(np.finfo(v.dtype).tiny, binades), v.dtype.type(0), v)

    @operation(twin=twin)
    def flushed(builder, vector, v):
        # On the exponent's bits; those of a NaN are the largest.
        mantissa, exponent = (23, 0x7F800000) if is_float32(vector) else (52, 0x7FF0000000000000)
        integers = llvm_integers(vector)
        bits = builder.and_(builder.bitcast(v, integers), ir.Constant(integers, [exponent] * vector.n))
        least = ir.Constant(integers, [(binades + 1) << mantissa] * vector.n)
        return builder.select(builder.icmp_unsigned("<", bits, least), constant(vector, 0.0), v)

    return flushed


of_gradients = _zero_below(26)  # so that the products with a learning rate are no such numbers either
of_squares = _zero_below(0)


@formula(n_results=4)
def sgd(p, g, s, t, u, rate, b, c, d, e, f, h):
    """p - rate g."""
    return p - rate * g, s, t, u


@formula(n_results=4)
def momentum(p, g, s, t, u, rate, mu, c, d, e, f, h):
    """s = mu s + g, p - rate s."""
    s = of_gradients(fma(mu, s, g))
    return p - rate * s, s, t, u


@formula(n_results=4)
def nesterov(p, g, s, t, u, rate, mu, c, d, e, f, h):
    """s = mu s + g, p - rate (g + mu s)."""
    s = of_gradients(fma(mu, s, g))
    return p - rate * fma(mu, s, g), s, t, u


@formula(n_results=4)
def adam(p, g, s, t, u, rate, ahead, beta1, new1, beta2, new2, eps):
    """s and t are averages of g and g^2; p - (rate s + ahead g) / (sqrt(t) + eps)."""
    s, t = of_gradients(fma(beta1, s, new1 * g)), of_squares(fma(beta2, t, new2 * g * g))
    return p - fma(rate, s, ahead * g) / (square_root(t) + eps), s, t, u


@formula(n_results=4)
def amsgrad(p, g, s, t, u, rate, ahead, beta1, new1, beta2, new2, eps):
    """adam with u, the largest t so far, in place of t."""
    s, t = of_gradients(fma(beta1, s, new1 * g)), of_squares(fma(beta2, t, new2 * g * g))
    u = maximum(u, t)
    return p - fma(rate, s, ahead * g) / (square_root(u) + eps), s, t, u


@formula(n_results=4)
def rmsprop(p, g, s, t, u, rate, mu, rho, new, eps, f, h):
    """s is an average of g^2, t = mu t + g / (sqrt(s) + eps); p - rate t."""
    s = of_squares(fma(rho, s, new * g * g))
    t = of_gradients(fma(mu, t, g / (square_root(s) + eps)))
    return p - rate * t, s, t, u


@formula(n_results=4)
def adagrad(p, g, s, t, u, rate, eps, c, d, e, f, h):
    """s is the sum of g^2; p - rate g / (sqrt(s) + eps)."""
    s = fma(g, g, s)
    return p - rate * g / (square_root(s) + eps), s, t, u


@formula(n_results=4)
def rprop(p, g, s, t, u, eta_plus, eta_minus, step_min, step_max, e, f, h):
    """s is the last gradient, 0 after a change of sign, t the length of the step; p - sign(g) t."""
    same = s * g
    t = where_positive(same, t * eta_plus, where_positive(-same, t * eta_minus, t))
    t = minimum(maximum(t, step_min), step_max)
    g = where_positive(-same, 0.0, g)
    return p - sign(g) * t, g, t, u


@formula(n_results=4)
def lion(p, g, s, t, u, rate, beta1, new1, beta2, new2, f, h):
    """p - rate sign(beta1 s + new1 g), then s = beta2 s + new2 g."""
    return p - rate * sign(fma(beta1, s, new1 * g)), fma(beta2, s, new2 * g), t, u


@formula
def sign(v):
    """-1, 0 or 1."""
    return where_positive(v, 1.0, where_positive(-v, -1.0, v))


NAMES = ("sgd", "momentum", "nesterov", "adam", "amsgrad", "rmsprop", "adagrad", "rprop", "lion")
rule = choice([sgd, momentum, nesterov, adam, amsgrad, rmsprop, adagrad, rprop, lion])
