"""Scratch memory that is kept between calls, with all that is prepared for a network and a size of batch."""

from __future__ import annotations

import functools
import operator
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _jit, _threads
from .errors import StateError
from .kernels import custom, fields, fused
from .kernels.tile import NARROW, WIDE
from .network import MLP
from .plan import Layout, Schedule, layout, schedule

_KEPT = 8  # prepared batches a workspace holds; a validation set and a ragged last batch beside the usual one
_ALIGNMENT = 64


class Workspace:
    """Scratch memory kept between calls, for the last few shapes of batch; serves one call at a time."""

    def __init__(self) -> None:
        self._batches: dict[Any, Batch] = {}
        self._in_use = threading.Lock()

    def taken(self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, stored: int = 0) -> Batch:
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
        with self.taken(net, n_rows, dtype, n_threads, stored) as batch:
            return batch


class Batch:
    """What a call needs beside the user's arrays, for one network, number of rows, dtype and number of threads."""

    def __init__(
        self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, stored: int, in_use: threading.Lock | None = None,
        drops: bool = False,
    ) -> None:  # fmt: skip
        self.layout: Layout = layout(net, n_rows, dtype, machine(), stored, drops)
        self.schedule: Schedule = schedule(self.layout, n_threads)
        self.entries = fused.entries(dtype)
        self.address = self.entries.work.address()
        self.fields = self.schedule.fields.copy()
        self.constants = np.array([1.0, 0.0, 0.0, net.loss_function.parameter, *(a.parameter for a in net.activations)])
        _link_custom(net, self.fields, dtype)
        if stored:
            self.fields[fields.SPARSE_ADDRESS] = self.entries.sparse_work.address()
        self.memory = _aligned(self.schedule.n_elements, dtype)
        self.totals = np.empty(self.schedule.n_totals)
        self.program = np.array(self.schedule.steps, np.int64).reshape(-1)
        self.loss_at = self.layout.n_slots * net.n_parameters
        self.status = np.zeros(self.schedule.n_workers, np.int64)
        self._wanted: tuple[Any, ...] = ()
        self._in_use = in_use

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._in_use.release()

    def arguments(
        self, call: Any, loss_code: int, mode: int, out: np.ndarray, d_x: np.ndarray, scale: float = 1.0,
        l1: float = 0.0, l2: float = 0.0,
    ) -> tuple[np.ndarray, ...]:  # fmt: skip
        """The arguments that all entries share; `call` has the user's arrays, d_x is empty where it is not wanted."""
        flags = (call.y.dtype == np.int64, call.sample_weight.size > 0, d_x.size > 0)
        wanted = (loss_code, mode, *flags, scale, l1, l2)
        if wanted != self._wanted:
            self._wanted = wanted
            self.fields[fields.LOSS] = loss_code
            self.fields[fields.MODE : fields.ROWS_AT] = mode, *flags
            self.constants[: fields.LOSS_PARAMETER] = scale, l1, l2
        if call.stored:
            addresses = call.x.indices.ctypes.data, call.x.starts.ctypes.data
            self.fields[fields.INDICES_ADDRESS : fields.HEADER] = *addresses, len(call.x.indices)
        return self.fields, self.constants, call.vector, *call.flat, self.memory, self.totals, d_x, out

    def share(
        self, entry: _jit.Entry, arguments: tuple[np.ndarray, ...], where: int, step: Sequence[int],
        n_workers: int | None = None,
    ) -> int:  # fmt: skip
        """A step on all workers, whose entry takes (*arguments, status, where, n_workers, *step); returns a status."""
        n, status = n_workers or self.schedule.n_workers, self.status
        status[:] = 0
        _threads.launch(entry, n, *arguments, status, where, n, *step)
        return functools.reduce(operator.or_, status.tolist())

    def run_phase(self, phase: int, arguments: tuple[np.ndarray, ...]) -> None:
        """One phase of a call alone, on as many threads as in the program."""
        is_shared = any(step[fields.IS_SHARED] for step in self.schedule.steps if step[fields.PHASE] == phase)
        n_workers = None if is_shared else 1
        self.share(self.entries.parallel, arguments, self.address, (phase, 0, 0, 1), n_workers)


def _link_custom(net: MLP, table: np.ndarray, dtype: np.dtype) -> None:
    """Where the user's own functions are, compiled if they were not yet."""
    for i, function in enumerate(net.activations):
        if function.is_custom:
            table[fields.record(i) + fields.ADDRESS] = custom.activation(function.value, function.derivative, dtype)
    if net.loss_function.is_custom:
        own = net.loss_function
        table[fields.LOSS_ADDRESS] = custom.loss(own.value, own.derivative, dtype)


class _Pools(threading.local):
    """One pool of scratch memory a thread, for calls without a workspace: the one hidden state."""

    def __init__(self) -> None:
        self.workspace = Workspace()


_pools = _Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(_pools, "workspace", Workspace()))


def pool() -> Workspace:
    return _pools.workspace


def _aligned(n: int, dtype: np.dtype) -> np.ndarray:
    room = np.empty(n * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n * dtype.itemsize].view(dtype)


class Machine(NamedTuple):
    """What a layout may know of the CPU."""

    vector_bytes: int
    wide: tuple[int, int]
    narrow: tuple[int, int]


@functools.cache
def machine() -> Machine:
    return Machine(_jit.cpu().vector_bytes, WIDE, NARROW)
