"""The machine's limits, measured: fused multiply-adds per second, and bytes read from memory per second."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba import types

from ...compiler import jit, threads
from . import registers, vector

# Three groups of four registers: 12 sums that do not wait for each other, where pipes x latency is 8 to 10.
_GROUPS = 3
_LOOPS = 2_000_000
_BYTES = 2**27  # more than a last-level cache holds


@jit.kernel
def _multiply_add(out, at, n_loops):
    """3 n_loops fused multiply-adds in every lane of a group of `out`, the sums in registers throughout."""
    # From memory, so that the compiler cannot know the values; three different sums, so that it cannot merge them.
    a = registers.load_group(out, at)
    s, t, u = a, a + a, a * a
    for _ in range(n_loops):
        s = registers.fma(a, a, s)
        t = registers.fma(a, a, t)
        u = registers.fma(a, a, u)
    registers.store(out, at, s + t + u)


def _multiply_add_on_threads(out, group, n_threads, n_loops):
    for i in numba.prange(n_threads):
        _multiply_add(registers.pointer(out), types.intp(i) * group, n_loops)


@jit.kernel
def _read(data, first, last, out, at):
    """Add up the groups of data[first:last]."""
    added = registers.splat_group(data, 0.0)
    for i in range(first, last, registers.group_size(data)):
        added = added + registers.load_group(data, i)
    registers.store(out, at, added)


def _read_on_threads(data, out, group, n_threads):
    share = data.size // group // n_threads * group
    for i in numba.prange(n_threads):
        worker = types.intp(i)
        _read(registers.pointer(data), worker * share, (worker + 1) * share, registers.pointer(out), worker * group)


@functools.cache
def multiply_adds(dtype: np.dtype, n_threads: int) -> Callable[[], float]:
    """A call that keeps n_threads cores at fused multiply-adds for some milliseconds; returns how many operations."""
    real, n = numba.from_dtype(dtype), types.int64
    entry = jit.entry(types.void(types.Array(real, 1, "C"), n, n, n), parallel=True)(_multiply_add_on_threads)
    group = vector.GROUP_REGISTERS * vector.lanes(real)
    out = np.empty(n_threads * group, dtype)

    def call() -> float:
        out[:] = 1e-3
        threads.launch(entry, n_threads, out, group, n_threads, _LOOPS)
        return 2.0 * _GROUPS * _LOOPS * out.size

    return call


@functools.cache
def reads(n_threads: int) -> Callable[[], float]:
    """A call that reads memory on n_threads cores; returns how many bytes."""
    array, n = types.Array(types.float32, 1, "C"), types.int64
    entry = jit.entry(types.void(array, array, n, n), parallel=True)(_read_on_threads)
    group = vector.GROUP_REGISTERS * vector.lanes(np.dtype(np.float32))
    data, out = np.ones(_BYTES // 4, np.float32), np.empty(n_threads * group, np.float32)

    def call() -> float:
        threads.launch(entry, n_threads, data, out, group, n_threads)
        return float(data.nbytes)

    return call
