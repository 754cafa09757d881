"""The peers, each in its best form: arrays converted and functions compiled ahead, no copy in the timed call.

Each `prepare(net, given, n_threads)` returns a call without arguments that returns (loss, gradients): the gradients in
the order of the parameter vector, as the peer's own arrays. All compute the mean loss over the batch. Those that take
any network are in `fastbp.cli.peers`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp.cli import peers
from fastbp.cli.peers import disagreement, flat

from .cases import LECTURE_NET, NARROW_NET, TABULAR_NET, Case, Data, data

__all__ = ["FASTBP", "PEERS", "SPECIAL", "TUNED", "Peer", "disagreement", "flat", "peers_of", "prepare"]

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
    is_same_function: bool = True  # or is another one, to be timed beside it all the same

    @property
    def installed(self) -> bool:
        """Whether its module can be imported here."""
        return importlib.util.find_spec(self.module) is not None

    def tuned(self) -> Peer:
        """The same peer with glibc kept from returning memory."""
        return self._replace(name=f"{self.name}, tuned", environment=KEEP_MEMORY)


class _Given(NamedTuple):
    """A peer of `fastbp.cli.peers` on a case's data; a value, because it is sent to the peer's process."""

    prepare: peers.Prepare

    def __call__(self, net: fastbp.MLP, given: Data, n_threads: int) -> Call:
        return self.prepare(net, *given, n_threads)


# -- fastbp ----------------------------------------------------------------------------------------------------------


def _fastbp(net: fastbp.MLP, given: Data, n_threads: int, **options: Any) -> Call:
    params, x, y = given
    if y is None:
        return lambda: (1.0, [net.forward(params, x, n_threads=n_threads, **options)])

    def call() -> tuple[float, list[np.ndarray]]:
        loss, grad = net.value_and_grad(*given, n_threads=n_threads, **options)
        return loss, [grad.vector]

    return call


def _fastbp_workspace(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    return _fastbp(net, given, n_threads, workspace=fastbp.Workspace())


def _fastbp_serial(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    return _fastbp(net, given, 1)


def _fastbp_dense(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    return _fastbp(net, given._replace(x=given.x.toarray()), n_threads)


def _fastbp_relu(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    relu = fastbp.MLP(net.layer_sizes, activation="relu", loss=net.loss_function, bias=net.bias)
    return _fastbp(relu, given._replace(params=fastbp.Parameters(relu, given.params.vector)), n_threads)


def _fastbp_slot_a_thread(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """What the same bits on any number of threads cost: sums for each thread, merged in their order, need no more."""
    from fastbp.engine import plan

    plan._slot_blocks = lambda net, n_blocks, *rule: -(-n_blocks // n_threads)
    return _fastbp(net, given, n_threads, workspace=fastbp.Workspace())


# -- NumPy -----------------------------------------------------------------------------------------------------------


def _mean_loss(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).mean()


def _numpy(net: fastbp.MLP, given: Data, n_threads: int) -> Call:
    """The lecture's code as its slides write it, with dL/dz2 = y_pred - y in place of two divisions."""
    if given.y is None:
        w1, w2 = given.params.weights
        return lambda: (1.0, [1 / (1 + np.exp(-(1 / (1 + np.exp(-(given.x @ w1)))) @ w2))])
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


# -- the table -------------------------------------------------------------------------------------------------------

FASTBP = Peer("fastbp", "fastbp", _fastbp)
_NUMPY = Peer("NumPy", "numpy", _numpy, lecture_only=True)
_OTHERS = {
    peer.name: Peer("fastbp.reference" if peer.name == "NumPy" else peer.name, peer.module, _Given(peer.prepare))
    for peer in peers.PEERS
}
PEERS = (
    Peer("fastbp, workspace", "fastbp", _fastbp_workspace),
    _NUMPY,
    Peer("NumPy, in place", "numpy", _numpy_in_place, lecture_only=True),
    *_OTHERS.values(),
)
SPECIAL = (
    Peer("fastbp, 1 thread", "fastbp", _fastbp_serial),
    Peer("fastbp, a slot a thread", "fastbp", _fastbp_slot_a_thread),
    Peer("fastbp, dense", "fastbp", _fastbp_dense),
    Peer("fastbp, relu", "fastbp", _fastbp_relu, is_same_function=False),
)
TUNED = (_NUMPY.tuned(), _OTHERS["PyTorch"].tuned(), _OTHERS["JAX"].tuned())


def peers_of(case: Case) -> list[Peer]:
    """The peers that can compute a case, installed or not."""
    if case.beside is not None:
        return [peer for peer in (*PEERS, *SPECIAL) if peer.name in case.beside]
    peers = PEERS + (TUNED if case.n_rows >= TUNED_FROM else ())
    if case.net in (NARROW_NET, TABULAR_NET) and case.n_rows > 1_000 and not case.is_forward:
        peers += SPECIAL[:2]
    if case.is_forward:
        peers = tuple(peer for peer in peers if peer.name != "NumPy, in place")
    return [peer for peer in peers if case.net == LECTURE_NET or not peer.lecture_only]


def prepare(peer: Peer, case: Case, n_threads: int) -> Call:
    """The peer's call on the case's data."""
    return peer.prepare(case.net, data(case), n_threads)
