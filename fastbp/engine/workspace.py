"""Scratch memory that is kept between calls, with all that is prepared for a network and a size of batch."""

from __future__ import annotations

import functools
import operator
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compiler import jit, threads
from ..errors import StateError
from ..kernels import structures as k
from ..kernels.math import custom
from ..kernels.program import executor
from ..kernels.simd.microtile import NARROW, WIDE
from ..model.network import MLP
from .plan import Launch, Layout, Phase, Schedule, launches, layout, schedule

_KEPT = 8  # prepared batches a workspace holds; a validation set and a ragged last batch beside the usual one
_ALIGNMENT = 64


class Workspace:
    """Scratch memory kept between calls, for the last few shapes of batch; serves one call at a time.

    Methods of `fastbp.MLP` take one as `workspace=`; without it each thread has a Workspace of its own. A second call
    at the same time is a StateError.

    >>> workspace, net = fastbp.Workspace(), fastbp.MLP((2, 3, 1))
    >>> net.forward(fastbp.Parameters.zeros(net), [[1.0, 2.0]], workspace=workspace)
    array([[0.5]], dtype=float32)
    """

    def __init__(self) -> None:
        self._batches: dict[Any, Batch] = {}
        self._in_use = threading.Lock()

    def acquire(self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, stored: int = 0) -> Batch:
        """A prepared batch, to be used as a context; StateError if another call is using this workspace."""
        if not self._in_use.acquire(blocking=False):
            raise StateError("this Workspace is in use by another call; give each thread a Workspace of its own")
        try:
            key = (net, n_rows, dtype, n_threads, stored)
            batch = self._batches.get(key)
            if batch is None:
                if len(self._batches) == _KEPT:
                    self._batches.pop(next(iter(self._batches)))
                batch = self._batches[key] = Batch(net, n_rows, dtype, n_threads, stored, self._in_use)
            return batch
        except BaseException:
            self._in_use.release()
            raise

    def batch(self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, stored: int = 0) -> Batch:
        """The prepared batch itself, to look at."""
        with self.acquire(net, n_rows, dtype, n_threads, stored) as batch:
            return batch


class Batch:
    """What a call needs beside the user's arrays, for one network, number of rows, dtype and number of threads."""

    def __init__(
        self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, stored: int, in_use: threading.Lock | None = None,
        drops: bool = False,
    ) -> None:  # fmt: skip
        self.layout: Layout = layout(net, n_rows, dtype, machine(), stored, drops)
        self.schedule: Schedule = schedule(self.layout, n_threads)
        self.entries = executor.entries(dtype)
        self._headers, self.layers = self.schedule.header.copy(), self.schedule.layers.copy()
        self.header = self._headers[0]
        self.memory = _aligned(self.schedule.n_memory, dtype)
        self.accumulators = np.empty(self.schedule.n_accumulated)
        self.loss_at = self.layout.n_accumulators * net.n_parameters
        self.statuses = np.zeros(self.schedule.n_workers, np.int64)
        self.address = self.header.address = self._headers.ctypes.data
        self.header.layers_address = self.layers.ctypes.data
        self.header.memory_address = self.memory.ctypes.data
        self.header.accumulators_address = self.accumulators.ctypes.data
        _link_custom(net, self.header, self.layers, dtype)
        if stored:
            self.header.sparse_address = self.entries.sparse_part.address()
        self.set_program(self.schedule.phases)
        self._bound_for: tuple[Any, ...] = ()
        self._in_use = in_use

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._in_use.release()

    def set_program(self, phases: tuple[Phase, ...]) -> None:
        """Let the batch's program have these phases."""
        self.phases = phases
        self.launches = launches(phases, self.schedule.n_workers, self.schedule.is_short)
        first = self.launches[0]
        self.launches_after_start = self.launches if first.is_shared else self.launches[1:]
        self._program = np.array([(self._code(phase.kind), *phase) for phase in phases], k.PHASE)
        self.header.phases_address, self.header.n_phases = self._program.ctypes.data, len(phases)
        self.header.n_started = 0 if first.is_shared else first.last

    def _code(self, kind: int) -> int:
        if kind in (k.SELECT, k.PREPARE, k.EVALUATE, k.UPDATE_PARAMETERS):
            return self.entries.training_part.address()
        return self.entries.sparse_part.address() if kind == k.INPUTS else self.entries.gradient_part.address()

    def start(self, vector: np.ndarray, call: Any, want: Want, out: np.ndarray, d_x: np.ndarray) -> int:
        """Take parameters and a call's arrays, and run the first launch of what is wanted of them; returns a status.

        Where there are more launches, they are `launches_after_start`. d_x is empty where it is not wanted.
        """
        self._describe(call, want, d_x)
        return self.entries.start(self.address, vector, *call.flat, d_x, out)

    def bind(self, vector: np.ndarray, call: Any, want: Want, out: np.ndarray, d_x: np.ndarray) -> None:
        """Let `run` compute what is wanted, as often as it is called. Whoever calls it keeps the arrays alive."""
        self._describe(call, want, d_x)
        names = ("vector", "x", "y", "labels", "sample_weight", "d_x", "out")
        for name, array in zip(names, (vector, *call.flat, d_x, out), strict=True):
            self._headers[f"{name}_address"] = array.ctypes.data

    def _describe(self, call: Any, want: Want, d_x: np.ndarray) -> None:
        """What kernels need to know of a call, beside where its arrays are."""
        labels, weights = call.y.dtype == np.int64, call.sample_weight.size > 0
        bound_for = (want, labels, weights, d_x.size > 0, len(call.x))
        if bound_for != self._bound_for:
            self._bound_for, header = (), self.header  # for nothing, should a signal come in between
            header.mode, header.loss, header.scale, header.l1, header.l2 = want
            header.has_labels, header.has_sample_weight = labels, weights
            header.wants_input_gradient, header.n_source = d_x.size > 0, len(call.x)
            self._bound_for = bound_for
        if call.stored:
            indices, starts = call.x.indices, call.x.starts
            self.header.indices_address, self.header.starts_address = indices.ctypes.data, starts.ctypes.data
            self.header.n_stored = len(indices)

    def run(
        self, vector: np.ndarray, is_stopped: Callable[[], bool] | None = None,
        launches: tuple[Launch, ...] | None = None,
    ) -> int:  # fmt: skip
        """Run the program, or some of its launches, up to the first that found something wrong; returns a status.

        is_stopped : asked before every launch but the first; once it says so, the status is STOPPED. After the last
        launch, in which a step of training takes effect, it is not asked: a stopped program has had none.
        """
        n_workers, statuses = self.schedule.n_workers, self.statuses
        for number, (first, last, is_shared) in enumerate(self.launches if launches is None else launches):
            if number and is_stopped is not None and is_stopped():
                return k.STOPPED
            if not is_shared:
                status = self.entries.serial(vector, self.address, first, last)
            elif self.phases[first].kind == k.UNITS and self.header.mode != k.GRADIENT:
                continue  # weight gradients, which nobody asked for
            else:
                statuses[:] = 0
                threads.launch(self.entries.parallel, n_workers, vector, self.address, first, n_workers, statuses)
                status = functools.reduce(operator.or_, statuses.tolist())
            if status:
                return status
        return 0

    def objective(self, want: Want) -> float:
        """The loss and the penalties that the last run left."""
        loss = float(self.accumulators[self.loss_at]) * want.scale
        return loss + float(self.header.penalty) if want.l1 or want.l2 else loss

    def run_phase(self, kind: int, vector: np.ndarray) -> None:
        """All phases of one kind alone, on as many threads as in the program."""
        has_workers = self.schedule.n_workers > 1
        chosen = (number for number, phase in enumerate(self.phases) if phase.kind == kind)
        self.run(
            vector,
            launches=tuple(Launch(n, n + 1, has_workers and self.phases[n].is_shared) for n in chosen),
        )


class Want(NamedTuple):
    """What a call computes."""

    mode: int
    loss: int  # its code
    scale: float = 1.0
    l1: float = 0.0
    l2: float = 0.0


def _link_custom(net: MLP, header: np.record, layers: np.recarray, dtype: np.dtype) -> None:
    """Where the user's own functions are, compiled if they were not yet."""
    for layer, function in zip(layers, net.activations, strict=False):
        if function.is_custom:
            layer.activation_address = custom.activation_address(function.value, function.derivative, dtype)
    if net.loss_function.is_custom:
        own = net.loss_function
        header.loss_address = custom.loss_address(own.value, own.derivative, dtype)


class _Pools(threading.local):
    """One pool of scratch memory a thread, for calls without a workspace: the one hidden state."""

    def __init__(self) -> None:
        self.workspace = Workspace()


_pools = _Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(_pools, "workspace", Workspace()))


def pool() -> Workspace:
    """The workspace of this thread, for calls without one."""
    return _pools.workspace


def _aligned(n: int, dtype: np.dtype) -> np.ndarray:
    buffer = np.empty(n * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + n * dtype.itemsize].view(dtype)


class Machine(NamedTuple):
    """What a layout may know of the CPU."""

    vector_bytes: int
    wide: tuple[int, int]
    narrow: tuple[int, int]


@functools.cache
def machine() -> Machine:
    return Machine(jit.cpu().vector_bytes, WIDE, NARROW)
