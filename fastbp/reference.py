"""Every calculation in plain NumPy, straight from the formulas: the twin that kernels are held against.

    a_0 = x     z_l = a_{l-1} W_l + b_l     a_l = activation(z_l)     y_pred = link(z_L)         rows are samples
    L = sum_i s_i sum_k l(y_ik, z_ik) + l1 sum|W| + l2/2 sum W^2     s_i = w_i / sum(w) for "mean", w_i for "sum"

    d_L = s dl/dz     d_{l-1} = (d_l W_l^T) a'(z_{l-1})     dL/dW_l = a_{l-1}^T d_l     dL/db_l = sum_i d_l

Each activation and each loss is written in one breath with its derivative: it returns its value and a function that
gives the derivative in z. The functions of a network take `net, params, x`, then what the methods of `MLP` take.

Computed in `params.dtype`. A complex parameter vector is computed in complex128, for complex-step differentiation:
dL/dp_j = Im L(p + i h e_j) / h, without cancellation (Squire and Trapp 1998). So every formula is analytic, and
branches are taken on the real part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import functions
from .activations import Activation
from .errors import InputError
from .network import MLP
from .parameters import Parameters

Array = np.ndarray
Derivative = Callable[[], Array]

# -- functions of one value ---------------------------------------------------------------------------


def magnitude(z: Array) -> Array:
    """|z| on the real line, and its analytic continuation: `np.abs` would return the modulus."""
    return np.where(z.real < 0, -z, z)


def positive_part(z: Array) -> Array:
    """max(z, 0)."""
    return np.where(z.real > 0, z, 0)


def sigma(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow at either end."""
    e = np.exp(-magnitude(z))
    return np.where(z.real < 0, e, 1) / (1 + e)


def log_softmax(z: Array) -> Array:
    """z - log sum_k exp(z_k) over the last axis."""
    z = z - z.real.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def normal_cdf(z: Array) -> Array:
    """Phi(z) = erfc(-z / sqrt 2) / 2, to 1e-15 of its value in both tails; see `_scaled_erfc`."""
    tail = np.exp(-z * z / 2) * _scaled_erfc(magnitude(z) / math.sqrt(2)) / 2
    return np.where(z.real < 0, tail, 1 - tail)


def normal_pdf(z: Array) -> Array:
    """phi(z) = exp(-z^2 / 2) / sqrt(2 pi)."""
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _weideman(n: int) -> tuple[float, list[float]]:
    """The length L and the n coefficients, highest power first, of the rational series in `_scaled_erfc`."""
    length = math.sqrt(n / math.sqrt(2))
    theta = np.arange(1 - 2 * n, 2 * n) * (math.pi / (2 * n))
    t = length * np.tan(theta / 2)
    samples = np.exp(-t * t) * (length**2 + t * t)
    coefficients = np.cos(np.outer(np.arange(n, 0, -1), theta)) @ samples / (4 * n)
    return length, coefficients.tolist()


# 40 terms leave 4e-16 of the value and 9e-16 of the derivative on x >= 0; 32 leave 4e-13.
_LENGTH, _COEFFICIENTS = _weideman(40)


def _scaled_erfc(x: Array) -> Array:
    """exp(x^2) erfc(x) for x >= 0, a rational function, hence analytic; J. A. C. Weideman 1994, table 1, at w(ix)."""
    mapped = (_LENGTH - x) / (_LENGTH + x)
    series = np.zeros_like(mapped)
    for coefficient in _COEFFICIENTS:
        series = series * mapped + coefficient
    return 2 * series / (_LENGTH + x) ** 2 + 1 / (math.sqrt(math.pi) * (_LENGTH + x))


# -- activations: a(z) and a'(z); p is the slope or alpha ---------------------------------------------


def _identity(z: Array, p: float) -> tuple[Array, Derivative]:
    return z, lambda: np.ones_like(z)


def _sigmoid(z: Array, p: float) -> tuple[Array, Derivative]:
    a = sigma(z)
    return a, lambda: a * (1 - a)


def _tanh(z: Array, p: float) -> tuple[Array, Derivative]:
    a = np.tanh(z)
    return a, lambda: 1 - a * a


def _relu(z: Array, p: float) -> tuple[Array, Derivative]:
    return positive_part(z), lambda: (z.real > 0).astype(z.dtype)


def _leaky_relu(z: Array, p: float) -> tuple[Array, Derivative]:
    return np.where(z.real > 0, z, p * z), lambda: np.where(z.real > 0, 1, p).astype(z.dtype)


def _elu(z: Array, p: float) -> tuple[Array, Derivative]:
    negative = z - positive_part(z)
    a = np.where(z.real > 0, z, p * np.expm1(negative))
    return a, lambda: np.where(z.real > 0, 1, p * np.exp(negative))


def _softplus(z: Array, p: float) -> tuple[Array, Derivative]:
    return positive_part(z) + np.log1p(np.exp(-magnitude(z))), lambda: sigma(z)


def _silu(z: Array, p: float) -> tuple[Array, Derivative]:
    s = sigma(z)
    return z * s, lambda: s * (1 + z * (1 - s))


def _gelu(z: Array, p: float) -> tuple[Array, Derivative]:
    cdf = normal_cdf(z)
    return z * cdf, lambda: cdf + z * normal_pdf(z)


def _gelu_tanh(z: Array, p: float) -> tuple[Array, Derivative]:
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (z + 0.044715 * z * z * z))
    return z * (1 + t) / 2, lambda: (1 + t) / 2 + z * (1 - t * t) / 2 * c * (1 + 3 * 0.044715 * z * z)


ACTIVATIONS: dict[str, Callable[[Array, float], tuple[Array, Derivative]]] = {
    "identity": _identity, "sigmoid": _sigmoid, "tanh": _tanh, "relu": _relu, "leaky_relu": _leaky_relu,
    "elu": _elu, "softplus": _softplus, "silu": _silu, "gelu": _gelu, "gelu_tanh": _gelu_tanh,
}  # fmt: skip

# -- losses: l(y, z) of each output and dl/dz; p is delta or q ----------------------------------------


def _binary_cross_entropy(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    # In this order, as softplus(z) - y z would cancel for a sure and right prediction.
    return positive_part(z) - y * z + np.log1p(np.exp(-magnitude(z))), lambda: sigma(z) - y


def _cross_entropy(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    log_p = log_softmax(z)
    return -y * log_p, lambda: np.exp(log_p) * y.sum(axis=-1, keepdims=True) - y


def _squared_error(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    return r * r / 2, lambda: r


def _absolute_error(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    sign = np.sign(r.real)
    return r * sign, lambda: sign


def _huber(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    size, inside = magnitude(r), np.abs(r.real) <= p
    return np.where(inside, r * r / 2, p * (size - p / 2)), lambda: np.where(inside, r, p * np.sign(r.real))


def _quantile(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    slope = np.select([r.real > 0, r.real < 0], [1 - p, -p], 0).astype(r.dtype)
    return r * slope, lambda: slope


def _poisson(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    mean = np.exp(z)
    return mean - y * z, lambda: mean - y


LOSSES: dict[str, Callable[[Array, Array, float], tuple[Array, Derivative]]] = {
    "binary_cross_entropy": _binary_cross_entropy, "cross_entropy": _cross_entropy, "squared_error": _squared_error,
    "absolute_error": _absolute_error, "huber": _huber, "quantile": _quantile, "poisson": _poisson,
}  # fmt: skip

LINKS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z, "sigmoid": sigma, "softmax": lambda z: np.exp(log_softmax(z)), "exp": np.exp,
}  # fmt: skip

# -- networks -----------------------------------------------------------------------------------------


def logits(net: MLP, params: Parameters, x: Any) -> Array:
    """z_L, the outputs before the link, shape (N, n_outputs)."""
    return forward_pass(net, params, x)[-1].z


def pre_activations(net: MLP, params: Parameters, x: Any) -> list[Array]:
    """z_1 ... z_L, each (N, n_out of its layer)."""
    return [layer.z for layer in forward_pass(net, params, x)]


def forward(net: MLP, params: Parameters, x: Any) -> Array:
    """y_pred = link(z_L), probabilities or means, shape (N, n_outputs)."""
    return LINKS[net.loss_function.link](logits(net, params, x))


def predict(net: MLP, params: Parameters, x: Any) -> Array:
    """Labels, int64: the class with the largest logit (N,), or z > 0, (N,) for one output. Else the means."""
    z = logits(net, params, x)
    if net.loss_function.link == "softmax":
        return z.real.argmax(axis=1).astype(np.int64)
    if net.loss_function.link == "sigmoid":
        labels = (z.real > 0).astype(np.int64)
        return labels[:, 0] if net.n_outputs == 1 else labels
    return LINKS[net.loss_function.link](z)


def loss(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
) -> Any:
    """The objective L, a float; with reduction="none" the terms w_i sum_k l(y_ik, z_ik), shape (N,)."""
    if reduction == "none" and (l1 or l2):
        raise InputError(
            f"reduction='none' gives one loss a sample, to which the penalties l1={l1}, l2={l2} do not belong; "
            "leave them out, or use reduction='mean' or 'sum'"
        )
    z = logits(net, params, x)
    each, _ = sample_losses(net, y, z)
    terms = each * sample_scale(sample_weight, reduction, z)
    return terms if reduction == "none" else (terms.sum() + _penalty(params, l1, l2)).item()


def value_and_grad(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
) -> tuple[float, Parameters]:
    """The objective L and its gradient in all parameters, laid out like them."""
    if reduction == "none":
        raise InputError("a gradient needs one objective: reduction must be 'mean' or 'sum'; got 'none'")
    layers = forward_pass(net, params, x)
    z = layers[-1].z
    each, derivative = sample_losses(net, y, z)
    scale = sample_scale(sample_weight, reduction, z)
    value = (each * scale).sum() + _penalty(params, l1, l2)

    grad = Parameters(net, np.empty_like(params.vector))
    delta = derivative() * scale[:, None]
    for k in reversed(range(len(layers))):
        w = params.weights[k]
        grad.weights[k][...] = layers[k].a_in.T @ delta + l1 * np.sign(w.real) + l2 * w
        if net.bias:
            grad.biases[k][...] = delta.sum(axis=0)
        if k > 0:
            delta = (delta @ w.T) * layers[k - 1].slope()
    return value.item(), grad


def input_grad(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean"
) -> Array:
    """dL/dx = d_1 W_1^T, shape (N, n_inputs)."""
    layers = forward_pass(net, params, x)
    _, derivative = sample_losses(net, y, layers[-1].z)
    delta = derivative() * sample_scale(sample_weight, reduction, layers[-1].z)[:, None]
    for k in reversed(range(1, len(layers))):
        delta = (delta @ params.weights[k].T) * layers[k - 1].slope()
    return delta @ params.weights[0].T


class Layer(NamedTuple):
    """What the backward pass needs: the input a_{l-1}, z_l, and a'(z_l) of a hidden layer."""

    a_in: Array
    z: Array
    slope: Derivative | None


def forward_pass(net: MLP, params: Parameters, x: Any) -> list[Layer]:
    """All layers, forward."""
    a = np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=params.dtype)
    if a.ndim != 2 or a.shape[1] != net.n_inputs:
        raise InputError(f"x must have shape (N, {net.n_inputs}) for the network {net}; got {a.shape}")
    layers = []
    for k, w in enumerate(params.weights):
        z = a @ w + params.biases[k] if net.bias else a @ w
        if k == len(net.activations):
            layers.append(Layer(a, z, None))
        else:
            activation = net.activations[k]
            a_out, slope = _activate(activation, z)
            layers.append(Layer(a, z, slope))
            a = a_out
    return layers


def targets(net: MLP, y: Any, shape: tuple[int, ...]) -> Array:
    """y in the shape of the outputs: labels as rows with a 1."""
    y = np.asarray(y)
    if net.loss_function.name == "cross_entropy" and y.ndim == 1:
        y = _one_hot(y, shape[1])
    if y.shape != shape and not (shape[1] == 1 and y.shape == shape[:1]):
        raise InputError(f"y must have shape {shape}, like the outputs of the network {net}; got {y.shape}")
    return y.reshape(shape)


def sample_losses(net: MLP, y: Any, z: Array) -> tuple[Array, Derivative]:
    """sum_k l(y_ik, z_ik), shape (N,), and the derivative in z, shape (N, n_outputs)."""
    y, loss = targets(net, y, z.shape).astype(z.real.dtype), net.loss_function
    if loss.is_custom:
        each = functions.analytic(loss.value, loss.derivative, z, y)
        return each.sum(axis=1), lambda: functions.apply(loss.derivative, y, z.real)
    each, derivative = LOSSES[loss.name](y, z, loss.parameter)
    return each.sum(axis=1), derivative


def _activate(activation: Activation, z: Array) -> tuple[Array, Derivative]:
    """a(z), and what gives a'(z)."""
    if activation.is_custom:
        value, derivative = activation.value, activation.derivative
        return functions.analytic(value, derivative, z), lambda: functions.apply(derivative, z.real)
    return ACTIVATIONS[activation.name](z, activation.parameter)


def _one_hot(labels: Array, n_classes: int) -> Array:
    one_hot = labels[:, None] == np.arange(n_classes)
    if not one_hot.any(axis=1).all():
        raise InputError(f"labels must be whole numbers from 0 to {n_classes - 1}; got {np.unique(labels)}")
    return one_hot


def sample_scale(sample_weight: Any, reduction: str, z: Array) -> Array:
    """The factor of each sample's loss in the objective, shape (N,): w_i, divided by their sum for a mean."""
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    n_rows = z.shape[0]
    w = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight)
    if w.shape != (n_rows,) or not (w >= 0).all() or w.sum() == 0:
        raise InputError(f"sample_weight must be {n_rows} numbers, none negative and not all zero; got {w}")
    return (w / w.sum() if reduction == "mean" else w).astype(z.real.dtype)


def _penalty(params: Parameters, l1: float, l2: float) -> Any:
    """l1 sum|W| + l2/2 sum W^2."""
    return sum((l1 * (w * np.sign(w.real)).sum() + l2 / 2 * (w * w).sum() for w in params.weights), start=0.0)
