"""Every calculation in plain NumPy, straight from the formulas: the twin that kernels are held against.

    a_0 = x     z_l = a_{l-1} W_l + b_l     a_l = activation(z_l)     y_pred = link(z_L)         rows are samples
    L = sum_i s_i sum_k l(y_ik, z_ik) + l1 sum|W| + l2/2 sum W^2     s_i = w_i / sum(w) for "mean", w_i for "sum"

    d_L = s dl/dz     d_{l-1} = (d_l W_l^T) a'(z_{l-1})     dL/dW_l = a_{l-1}^T d_l     dL/db_l = sum_i d_l

Activations, losses and links are calculated by their records (`activation_records`, `loss_records`, `link_records`);
an activation and a loss return their value, and a function that gives the derivative in z. The functions of a network
take `net, params, x`, then what the methods of `MLP` take.

Computed in `params.dtype`. A complex parameter vector is computed in complex128, for complex-step differentiation:
dL/dp_j = Im L(p + i h e_j) / h, without cancellation (Squire and Trapp 1998). So every formula is analytic, and
branches are taken on the real part.

>>> import numpy as np, fastbp
>>> net = fastbp.MLP((2, 3, 1))
>>> params, x, y = net.init(rng=0, dtype=np.float64), [[1.0, 2.0]], [1]
>>> _, gradient = net.value_and_grad(params, x, y)
>>> _, wanted = fastbp.reference.value_and_grad(net, params, x, y)
>>> np.allclose(gradient.vector, wanted.vector, rtol=1e-12)
True
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .errors import InputError
from .model.elementary import Array
from .model.network import MLP
from .model.parameters import Parameters
from .model.records import Derivative

__all__ = ["forward", "input_grad", "logits", "loss", "predict", "value_and_grad"]


def logits(net: MLP, params: Parameters, x: Any) -> Array:
    """z_L, the outputs before the link, shape (N, n_outputs)."""
    return forward_pass(net, params, x)[-1].z


def pre_activations(net: MLP, params: Parameters, x: Any) -> list[Array]:
    """z_1 ... z_L, each (N, n_out of its layer)."""
    return [layer.z for layer in forward_pass(net, params, x)]


def forward(net: MLP, params: Parameters, x: Any) -> Array:
    """y_pred = link(z_L), probabilities or means, shape (N, n_outputs)."""
    return net.loss_function.response(logits(net, params, x))


def predict(net: MLP, params: Parameters, x: Any) -> Array:
    """Labels, int64: the class with the largest logit (N,), or z > 0, (N,) for one output. Else the means."""
    z, labels = logits(net, params, x), net.loss_function.record.link.labels
    return net.loss_function.response(z) if labels is None else labels(z.real, 0.0)


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
            a_out, slope = net.activations[k].evaluate(z)
            layers.append(Layer(a, z, slope))
            a = a_out
    return layers


def targets(net: MLP, y: Any, shape: tuple[int, ...]) -> Array:
    """y in the shape of the outputs: labels as rows with a 1."""
    y = np.asarray(y)
    if net.loss_function.couples_outputs and y.ndim == 1:
        y = _one_hot(y, shape[1])
    if y.shape != shape and not (shape[1] == 1 and y.shape == shape[:1]):
        raise InputError(f"y must have shape {shape}, like the outputs of the network {net}; got {y.shape}")
    return y.reshape(shape)


def sample_losses(net: MLP, y: Any, z: Array) -> tuple[Array, Derivative]:
    """sum_k l(y_ik, z_ik), shape (N,), and the derivative in z, shape (N, n_outputs)."""
    each, derivative = net.loss_function.evaluate(targets(net, y, z.shape).astype(z.real.dtype), z)
    return each.sum(axis=1), derivative


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
