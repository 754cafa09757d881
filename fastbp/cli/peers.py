"""Other libraries on the same network and data, each in its best form and in a process of its own.

Each `prepare(net, params, x, y, n_threads)` returns a call without arguments that returns (loss, gradients): the mean
loss, and the gradients in the order of the parameter vector as the library's own arrays. With y None it returns
(1, [outputs]). Arrays are converted and functions compiled ahead, nothing is copied in the call.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import reference
from ..errors import FastbpError, InputError
from ..model.network import MLP
from ..model.parameters import Parameters

Call = Callable[[], tuple[Any, list[Any]]]
Prepare = Callable[[MLP, Parameters, Any, np.ndarray | None, int], Call]


# -- NumPy -----------------------------------------------------------------------------------------------------------


def _numpy(net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray | None, n_threads: int) -> Call:
    if y is None:
        return lambda: (1.0, [reference.forward(net, params, x)])

    def call() -> tuple[float, list[np.ndarray]]:
        loss, grad = reference.value_and_grad(net, params, x, y)
        return loss, [grad.vector]

    return call


# -- PyTorch ---------------------------------------------------------------------------------------------------------


def _torch_functions(net: MLP) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The mean loss, of x, y and the layers; and the outputs, of x and the layers."""
    import torch
    from torch.nn import functional

    names = {"identity": lambda z: z, "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh")}
    activations = [names.get(a.name) or getattr(functional, a.name) for a in net.activations]
    losses = {
        "binary_cross_entropy": lambda z, y: functional.binary_cross_entropy_with_logits(z, y.reshape(z.shape)),
        "cross_entropy": functional.cross_entropy,
        "squared_error": lambda z, y: torch.square(z - y.reshape(z.shape)).sum() / (2 * len(z)),
    }
    last = losses[_known_loss(net, losses)]
    links = {"identity": lambda z: z, "sigmoid": torch.sigmoid, "softmax": lambda z: torch.softmax(z, 1)}

    def logits(x: Any, *layers: Any) -> Any:
        step = 2 if net.bias else 1
        for at in range(0, len(layers), step):
            x = functional.linear(x, layers[at].T, *layers[at + 1 : at + step])
            if at // step < len(activations):
                x = activations[at // step](x)
        return x

    link = links[net.loss_function.link]
    return lambda x, y, *layers: last(logits(x, *layers), y), lambda x, *layers: link(logits(x, *layers))


def _torch(
    net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray | None, n_threads: int, compiled: bool = False
) -> Call:
    import torch

    torch.set_num_threads(n_threads)
    compile_it = torch.compile if compiled else lambda function: function
    loss, outputs = map(compile_it, _torch_functions(net))
    x, layers = torch.from_numpy(x), [torch.from_numpy(a) for a in _layers(params)]
    if y is None:
        return torch.no_grad()(lambda: (1.0, [outputs(x, *layers)]))
    y, layers = torch.from_numpy(y), [layer.requires_grad_() for layer in layers]

    def call() -> tuple[Any, list[Any]]:
        value = loss(x, y, *layers)
        return value.detach(), list(torch.autograd.grad(value, layers))

    return call


def _torch_compiled(net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray | None, n_threads: int) -> Call:
    return _torch(net, params, x, y, n_threads, compiled=True)


# -- JAX -------------------------------------------------------------------------------------------------------------


def _jax(net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray | None, n_threads: int) -> Call:
    """XLA takes its threads from the CPUs that the process may use."""
    import jax

    jax.config.update("jax_enable_x64", x.dtype == np.float64)
    loss, outputs = _jax_functions(net)
    layers, x, y = jax.device_put((_layers(params), x, y))
    if y is None:
        forward = jax.jit(outputs)
        return lambda: (1.0, [jax.block_until_ready(forward(layers, x))])
    gradient = jax.jit(jax.value_and_grad(loss))

    def call() -> tuple[Any, list[Any]]:
        return jax.block_until_ready(gradient(layers, x, y))

    return call


def _jax_functions(net: MLP) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The mean loss, of the layers, x and y; and the outputs, of the layers and x."""
    import jax
    from jax import numpy as jnp

    names = {
        "identity": lambda z: z,
        "gelu": lambda z: jax.nn.gelu(z, approximate=False),
        "gelu_tanh": lambda z: jax.nn.gelu(z, approximate=True),
    }
    activations = [names.get(a.name) or getattr(jax.nn, a.name) for a in net.activations]

    def of_logits(z: Any, y: Any) -> Any:
        return jnp.mean(jnp.maximum(z, 0) - y.reshape(z.shape) * z + jnp.log1p(jnp.exp(-jnp.abs(z))))

    losses = {
        "binary_cross_entropy": of_logits,
        "cross_entropy": lambda z, y: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1)),
        "squared_error": lambda z, y: jnp.square(z - y.reshape(z.shape)).sum() / (2 * len(z)),
    }
    last = losses[_known_loss(net, losses)]
    link = {"identity": lambda z: z, "sigmoid": jax.nn.sigmoid, "softmax": jax.nn.softmax}[net.loss_function.link]

    def logits(layers: list[Any], x: Any) -> Any:
        step = 2 if net.bias else 1
        for at in range(0, len(layers), step):
            x = sum(layers[at + 1 : at + step], start=x @ layers[at])
            if at // step < len(activations):
                x = activations[at // step](x)
        return x

    return lambda layers, x, y: last(logits(layers, x), y), lambda layers, x: link(logits(layers, x))


# -- scikit-learn ----------------------------------------------------------------------------------------------------


def _sklearn(net: MLP, params: Parameters, x: Any, y: np.ndarray | None, n_threads: int) -> Call:
    """The function its solvers call, past the checks of `fit`. Its layers always have biases: here they may be 0.

    x may be sparse.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    names = {"sigmoid": "logistic", "relu": "relu", "tanh": "tanh", "identity": "identity"}
    activations = {activation.name for activation in net.activations}
    if len(activations) != 1 or not activations <= names.keys():
        raise InputError(f"scikit-learn has one activation, of {', '.join(names)}")
    n_rows, is_forward = x.shape[0], y is None
    y = np.zeros((n_rows, net.n_outputs if net.loss_function.link == "identity" else 1)) if is_forward else y
    options = {"hidden_layer_sizes": net.layer_sizes[1:-1], "activation": names[activations.pop()], "alpha": 0.0}
    if _known_loss(net, ("binary_cross_entropy", "cross_entropy", "squared_error")) == "squared_error":
        model = MLPRegressor(**options)
        if net.n_outputs > 1:
            raise InputError("scikit-learn takes the mean over outputs")
        targets = y.reshape(n_rows, -1)
        model.partial_fit(x[:1], y[:1].ravel())
    else:
        classes = np.arange(max(2, net.n_outputs))
        model = MLPClassifier(**options)
        model.partial_fit(x[:1], y[:1].astype(np.int64).ravel(), classes=classes)
        targets = y.reshape(n_rows, 1) == (classes[1:] if net.n_outputs == 1 else classes)
    biases = params.biases or [np.zeros(layer.n_out, x.dtype) for layer in net.layers]
    model.coefs_, model.intercepts_ = list(params.weights), list(biases)
    if is_forward:
        return lambda: (1.0, [model._forward_pass_fast(x, check_input=False)])
    n_layers = len(net.layers)
    scratch = [x] + [None] * n_layers, [None] * n_layers, [None] * n_layers, [None] * n_layers

    def call() -> tuple[Any, list[np.ndarray]]:
        loss, weights, biases = model._backprop(x, targets, None, *scratch)
        if not net.bias:
            return loss, weights
        return loss, [array for layer in zip(weights, biases, strict=True) for array in layer]

    return call


def _known_loss(net: MLP, known: Any) -> str:
    name = net.loss_function.name
    if name not in known or (name == "binary_cross_entropy" and net.n_outputs > 1):
        raise InputError(f"not written here for the loss {name} with {net.n_outputs} outputs")
    return name


def _layers(params: Parameters) -> list[np.ndarray]:
    """W_1, b_1, W_2, ... or W_1, W_2, ... without biases."""
    if not params.biases:
        return list(params.weights)
    return [array for layer in zip(params.weights, params.biases, strict=True) for array in layer]


class Peer(NamedTuple):
    """A library, and how it computes loss and gradients."""

    name: str
    module: str
    prepare: Prepare

    @property
    def installed(self) -> bool:
        """Whether its module can be imported here."""
        return importlib.util.find_spec(self.module) is not None


PEERS = (
    Peer("NumPy", "numpy", _numpy),
    Peer("scikit-learn", "sklearn", _sklearn),
    Peer("PyTorch", "torch", _torch),
    Peer("torch.compile", "torch", _torch_compiled),
    Peer("JAX", "jax", _jax),
)


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


# -- a process of its own --------------------------------------------------------------------------------------------

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PeerProcess:
    """A peer that computes when told to, with n_threads threads; a context, at whose end the process is gone."""

    def __init__(self, peer: Peer, net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        work = (theirs, peer.name, net.to_dict(), params.vector, x, y, n_threads)
        self._process = context.Process(target=_serve, args=work, daemon=True)
        before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, str(n_threads)))
        try:
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        theirs.close()
        try:
            self.result = self._answer()
        except BaseException:
            self._process.kill()
            raise

    def seconds(self) -> float:
        """The time of one call."""
        self._pipe.send(True)
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise FastbpError("its process ended without an answer") from None
        if kind == "error":
            raise FastbpError(value)
        return value

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Any, name: str, net: dict, vector: np.ndarray, x: np.ndarray, y: np.ndarray, n_threads: int) -> None:
    """Answer with the result of one call, then with the time of another whenever asked."""
    if hasattr(os, "sched_setaffinity"):  # what JAX counts its threads by
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])
    try:
        network = MLP.from_dict(net)
        (peer,) = (peer for peer in PEERS if peer.name == name)
        call = peer.prepare(network, Parameters(network, vector), x, y, n_threads)
        call()
        pipe.send(("result", flat(call())))
        while pipe.recv():
            start = time.perf_counter()
            call()
            pipe.send(("seconds", time.perf_counter() - start))
    except EOFError:
        pass
    except Exception as error:  # whatever a library raises is shown beside its name
        pipe.send(("error", f"{type(error).__name__}: {error}"))
