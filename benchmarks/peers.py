"""The peers, each in its best form: arrays converted and functions compiled ahead, no copy in the timed call.

Each `prepare(net, given, n_threads)` returns a call without arguments that returns (loss, gradients): the gradients in
the order of the parameter vector, as the peer's own arrays. All compute the mean loss over the batch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import reference

from .cases import LECTURE_NET, Case, Data, data

Call = Callable[[], tuple[Any, list[Any]]]

# glibc hands freed memory back to the system, and first touching fresh pages can take half of a peer's time. "tuned"
# keeps the memory: one heap that is never trimmed, and no mappings of their own for large blocks.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

# How far loss and gradient of a peer may be from fastbp's, relative and norm-wise. PyTorch and JAX sum over a million
# float32 rows to 2e-4 (fastbp and the float64 reference are within 1e-7 there): then the first FEWER_ROWS rows, for
# which rounding is no excuse, decide whether they compute the same function, and the report names them.
TOLERANCE = 1e-4
ROUNDING = 1e-3
FEWER_ROWS = 10_000

TUNED_FROM = 10_000  # rows; below, no allocation is large enough for the tuning to matter


class Peer(NamedTuple):
    """A way to compute a case. `environment` is set before the peer's process starts."""

    name: str
    module: str
    prepare: Callable[[fastbp.MLP, Data, int], Call]
    environment: Mapping[str, str] | None = None
    lecture_only: bool = False

    @property
    def installed(self) -> bool:
        """Whether its module can be imported here."""
        return importlib.util.find_spec(self.module) is not None

    def tuned(self) -> Peer:
        """The same peer with glibc kept from returning memory."""
        return self._replace(name=f"{self.name}, tuned", environment=KEEP_MEMORY)


# -- fastbp ----------------------------------------------------------------------------------------------------------


def _fastbp(net: fastbp.MLP, given: Data, n_threads: int, **options: Any) -> Call:
    def call() -> tuple[float, list[np.ndarray]]:
        loss, grad = net.value_and_grad(*given, n_threads=n_threads, **options)
        return loss, [grad.vector]

    return call


def _fastbp_workspace(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    return _fastbp(net, given, n_threads, workspace=fastbp.Workspace())


def _reference(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    def call() -> tuple[float, list[np.ndarray]]:
        loss, grad = reference.value_and_grad(net, *given)
        return loss, [grad.vector]

    return call


# -- NumPy -----------------------------------------------------------------------------------------------------------


def _mean_loss(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).mean()


def _numpy(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """The lecture's code as its slides write it, with dL/dz2 = y_pred - y in place of two divisions."""
    x, y, (w1, w2) = given.x, given.y[:, None], given.params.weights

    def call() -> tuple[np.ndarray, list[np.ndarray]]:
        h = 1 / (1 + np.exp(-(x @ w1)))
        z = h @ w2
        delta = (1 / (1 + np.exp(-z)) - y) / len(x)
        grad_w2 = h.T @ delta
        grad_h = delta @ w2.T
        return _mean_loss(z, y), [x.T @ (grad_h * h * (1 - h)), grad_w2]

    return call


def _numpy_in_place(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """The best NumPy we know: two large buffers, allocated once, and w2 pulled out of the sum over samples."""
    x, y, (w1, w2) = given.x, given.y[:, None], given.params.weights
    h, slope = np.empty((2, len(x), w1.shape[1]), x.dtype)
    minus_w1 = -w1

    def call() -> tuple[np.ndarray, list[np.ndarray]]:
        np.matmul(x, minus_w1, out=h)
        np.exp(h, out=h)
        np.add(h, 1, out=h)
        np.reciprocal(h, out=h)
        z = h @ w2
        delta = (1 / (1 + np.exp(-z)) - y) / len(x)
        np.subtract(1, h, out=slope)
        np.multiply(slope, h, out=slope)
        return _mean_loss(z, y), [((x * delta).T @ slope) * w2.T, h.T @ delta]

    return call


# -- PyTorch ---------------------------------------------------------------------------------------------------------


def _torch_loss(net: fastbp.MLP) -> Callable[..., Any]:
    from torch.nn import functional

    activations = [getattr(functional, activation.name) for activation in net.activations]

    def loss(x: Any, y: Any, *layers: Any) -> Any:
        step = 2 if net.bias else 1
        for at in range(0, len(layers), step):
            x = functional.linear(x, layers[at].T, *layers[at + 1 : at + step])
            if at // step < len(activations):
                x = activations[at // step](x)
        if net.n_outputs == 1:
            return functional.binary_cross_entropy_with_logits(x[:, 0], y)
        return functional.cross_entropy(x, y)

    return loss


def _torch(net: fastbp.MLP, given: Data, n_threads: int, compiled: bool = False) -> Call:
    import torch

    torch.set_num_threads(n_threads)
    x, y = torch.from_numpy(given.x), torch.from_numpy(given.y)
    layers = [torch.from_numpy(a).requires_grad_() for a in _layers(given.params)]
    loss = torch.compile(_torch_loss(net)) if compiled else _torch_loss(net)

    def call() -> tuple[Any, list[Any]]:
        value = loss(x, y, *layers)
        return value.detach(), list(torch.autograd.grad(value, layers))

    return call


def _torch_compiled(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    return _torch(net, given, n_threads, compiled=True)


# -- JAX -------------------------------------------------------------------------------------------------------------


def _jax(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """XLA takes its threads from the CPUs that the process may use."""
    import jax

    jax.config.update("jax_enable_x64", given.x.dtype == np.float64)
    gradient = jax.jit(jax.value_and_grad(_jax_loss(net)))
    layers, x, y = jax.device_put((_layers(given.params), given.x, given.y))

    def call() -> tuple[Any, list[Any]]:
        return jax.block_until_ready(gradient(layers, x, y))

    return call


def _jax_loss(net: fastbp.MLP) -> Callable[..., Any]:
    import jax
    from jax import numpy as jnp

    activations = [getattr(jax.nn, activation.name) for activation in net.activations]

    def loss(layers: list[Any], x: Any, y: Any) -> Any:
        step = 2 if net.bias else 1
        for at in range(0, len(layers), step):
            x = sum(layers[at + 1 : at + step], start=x @ layers[at])
            if at // step < len(activations):
                x = activations[at // step](x)
        if net.n_outputs == 1:
            z = x[:, 0]
            return jnp.mean(jnp.maximum(z, 0) - y * z + jnp.log1p(jnp.exp(-jnp.abs(z))))
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    return loss


# -- scikit-learn ----------------------------------------------------------------------------------------------------


def _sklearn(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """The function its solvers call, past the checks of `fit`. Its layers always have biases: here they are 0."""
    from sklearn.neural_network import MLPClassifier

    names = {"sigmoid": "logistic"}
    (name,) = {activation.name for activation in net.activations}
    classes = np.arange(max(2, net.n_outputs))
    model = MLPClassifier(net.layer_sizes[1:-1], activation=names.get(name, name), alpha=0.0)
    model.partial_fit(given.x[:1], given.y[:1].astype(np.int64), classes=classes)
    biases = given.params.biases or [np.zeros(layer.n_out, given.x.dtype) for layer in net.layers]
    model.coefs_, model.intercepts_ = list(given.params.weights), list(biases)
    targets = given.y[:, None] == (classes[1:] if net.n_outputs == 1 else classes)
    n_layers = len(net.layers)
    scratch = [given.x] + [None] * n_layers, [None] * n_layers, [None] * n_layers, [None] * n_layers

    def call() -> tuple[Any, list[np.ndarray]]:
        loss, weights, biases = model._backprop(given.x, targets, None, *scratch)
        if not net.bias:
            return loss, weights
        return loss, [array for layer in zip(weights, biases, strict=True) for array in layer]

    return call


def _layers(params: fastbp.Parameters) -> list[np.ndarray]:
    """W_1, b_1, W_2, ... or W_1, W_2, ... without biases."""
    if not params.biases:
        return list(params.weights)
    return [array for layer in zip(params.weights, params.biases, strict=True) for array in layer]


# -- the table -------------------------------------------------------------------------------------------------------

FASTBP = Peer("fastbp", "fastbp", _fastbp)
_NUMPY = Peer("NumPy", "numpy", _numpy, lecture_only=True)
_TORCH = Peer("PyTorch", "torch", _torch)
_JAX = Peer("JAX", "jax", _jax)
PEERS = (
    Peer("fastbp, workspace", "fastbp", _fastbp_workspace),
    _NUMPY,
    Peer("NumPy, in place", "numpy", _numpy_in_place, lecture_only=True),
    Peer("fastbp.reference", "numpy", _reference),
    Peer("scikit-learn", "sklearn", _sklearn),
    _TORCH,
    Peer("torch.compile", "torch", _torch_compiled),
    _JAX,
)
TUNED = (_NUMPY.tuned(), _TORCH.tuned(), _JAX.tuned())


def peers_of(case: Case) -> list[Peer]:
    """The peers that can compute a case, installed or not."""
    peers = PEERS + (TUNED if case.n_rows >= TUNED_FROM else ())
    return [peer for peer in peers if case.net == LECTURE_NET or not peer.lecture_only]


def prepare(peer: Peer, case: Case, n_threads: int) -> Call:
    """The peer's call on the case's data."""
    return peer.prepare(case.net, data(case), n_threads)


def disagreement(result: tuple[float, np.ndarray], wanted: tuple[float, np.ndarray]) -> float:
    """The larger of the relative errors of loss and gradient, the gradient's norm-wise; both as `flat` gives them."""
    (loss, gradient), (wanted_loss, wanted_gradient) = result, wanted
    if gradient.shape != wanted_gradient.shape:
        raise ValueError(f"the gradients have shapes {gradient.shape} and {wanted_gradient.shape}")
    of_gradient = np.linalg.norm(gradient - wanted_gradient) / np.linalg.norm(wanted_gradient)
    # Unlike Python's max, NumPy's keeps a NaN.
    return float(np.maximum(abs(loss - wanted_loss) / abs(wanted_loss), of_gradient))


def flat(result: tuple[Any, list[Any]]) -> tuple[float, np.ndarray]:
    """Loss and gradient of any peer as a float and one float64 vector."""
    loss, gradients = result
    return float(loss), np.concatenate([np.asarray(g, dtype=np.float64).ravel() for g in gradients])
