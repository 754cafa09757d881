"""Activations of hidden layers, as values: `activations.relu()`, `activations.leaky_relu(0.01)`.

    name         a(z)                                        a'(z)
    identity     z                                           1
    sigmoid      1 / (1 + exp(-z))                           a (1 - a)
    tanh         tanh(z)                                     1 - a^2
    relu         max(z, 0)                                   1 if z > 0 else 0
    leaky_relu   z if z > 0 else slope z                     1 if z > 0 else slope
    elu          z if z > 0 else alpha (exp(z) - 1)          1 if z > 0 else alpha exp(z)
    softplus     log(1 + exp(z))                             sigmoid(z)
    silu         z sigmoid(z)                                s (1 + z (1 - s)),  s = sigmoid(z)
    gelu         z Phi(z), Phi the normal distribution       Phi(z) + z phi(z)
    gelu_tanh    z (1 + tanh(u)) / 2,                        (1 + t)/2 + z (1 - t^2)/2 du/dz,  t = tanh(u)
                 u = sqrt(2/pi) (z + 0.044715 z^3)

A function of your own: Activation(name, value, derivative), such as

    softsign = fastbp.Activation("softsign", lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)

A name alone means the default parameters. The formulas themselves are computed in `reference` and in `kernels`.
Sources: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.3; Clevert et al. 2015 (elu);
Hendrycks, Gimpel 2016 (gelu, silu).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import InputError
from .functions import Named

# A kernel sees the position of the name in this table.
NAMES = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "silu", "gelu", "gelu_tanh")
CUSTOM = len(NAMES)
_PARAMETER_DEFAULTS = {"leaky_relu": 0.01, "elu": 1.0}


@dataclass(frozen=True)
class Activation(Named):
    """An activation: a name of the table with its parameter (slope or alpha), or a function of your own.

    value, derivative : functions of one number, a(z) and a'(z): arithmetic, `math`, NumPy's functions of one number,
    and branches. They are compiled on first use; the engine is not. InputError if they are not elementwise or the
    derivative is not that of the value; check=False leaves that test out.
    """

    names, with_parameter, custom_code, n_arguments = NAMES, _PARAMETER_DEFAULTS, CUSTOM, 1


def identity() -> Activation:
    """a(z) = z."""
    return Activation("identity")


def sigmoid() -> Activation:
    """a(z) = 1 / (1 + exp(-z))."""
    return Activation("sigmoid")


def tanh() -> Activation:
    """a(z) = tanh(z)."""
    return Activation("tanh")


def relu() -> Activation:
    """a(z) = max(z, 0), with a'(0) = 0."""
    return Activation("relu")


def leaky_relu(slope: float = 0.01) -> Activation:
    """a(z) = z if z > 0 else slope z, with a'(0) = slope."""
    return Activation("leaky_relu", parameter=_finite("slope of leaky_relu", slope))


def elu(alpha: float = 1.0) -> Activation:
    """a(z) = z if z > 0 else alpha (exp(z) - 1)."""
    return Activation("elu", parameter=_finite("alpha of elu", alpha))


def softplus() -> Activation:
    """a(z) = log(1 + exp(z))."""
    return Activation("softplus")


def silu() -> Activation:
    """a(z) = z sigmoid(z), also known as swish."""
    return Activation("silu")


def gelu() -> Activation:
    """a(z) = z Phi(z) with the exact normal distribution function (by erf)."""
    return Activation("gelu")


def gelu_tanh() -> Activation:
    """a(z) = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2, the approximation by tanh."""
    return Activation("gelu_tanh")


def named(activation: str | Activation) -> Activation:
    """The activation of that name with default parameters; a value passes through."""
    if isinstance(activation, Activation):
        if not activation.is_custom and activation.name not in NAMES:
            raise InputError(f"unknown activation {activation.name!r}; known are {', '.join(NAMES)}")
        return activation
    if isinstance(activation, str) and activation in NAMES:
        return Activation(activation, parameter=_PARAMETER_DEFAULTS.get(activation, 0.0))
    raise InputError(
        f"activation must be one of {', '.join(NAMES)} or a value from fastbp.activations; got {activation!r}"
    )


def _finite(what: str, value: float) -> float:
    value = float(value)
    if not math.isfinite(value):
        raise InputError(f"{what} must be a finite number; got {value}")
    return value
