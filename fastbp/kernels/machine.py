"""The machine's limits, measured: fused multiply-adds per second, and bytes read from memory per second."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba import types

from .. import _jit, _threads
from . import simd, vector

# Three strips of four registers: 12 sums that do not wait for each other, where pipes x latency is 8 to 10.
_STRIPS = 3
_LOOPS = 2_000_000
_BYTES = 2**27  # more than a last-level cache holds


@_jit.kernel
def _multiply_add(out, at, n_loops):
    """3 n_loops fused multiply-adds in every lane of a strip of `out`, the sums in registers throughout."""
    # From memory, so that the compiler cannot know the values; three different sums, so that it cannot merge them.
    a = simd.load_strip(out, at)
    s, t, u = a, a + a, a * a
    for _ in range(n_loops):
        s = simd.fma(a, a, s)
        t = simd.fma(a, a, t)
        u = simd.fma(a, a, u)
    simd.store(out, at, s + t + u)


def _multiply_add_on_threads(out, strip, n_threads, n_loops):
    for i in numba.prange(n_threads):
        _multiply_add(simd.pointer(out), types.intp(i) * strip, n_loops)


@_jit.kernel
def _read(data, first, last, out, at):
    """Add up the strips of data[first:last]."""
    added = simd.splat_strip(data, 0.0)
    for i in range(first, last, simd.strip_size(data)):
        added = added + simd.load_strip(data, i)
    simd.store(out, at, added)


def _read_on_threads(data, out, strip, n_threads):
    share = data.size // strip // n_threads * strip
    for i in numba.prange(n_threads):
        worker = types.intp(i)
        _read(simd.pointer(data), worker * share, (worker + 1) * share, simd.pointer(out), worker * strip)


@functools.cache
def multiply_adds(dtype: np.dtype, n_threads: int) -> Callable[[], float]:
    """A call that keeps n_threads cores at fused multiply-adds for some milliseconds; returns how many operations."""
    real, n = numba.from_dtype(dtype), types.int64
    entry = _jit.entry(types.void(types.Array(real, 1, "C"), n, n, n), parallel=True)(_multiply_add_on_threads)
    strip = vector.STRIP_REGISTERS * vector.lanes(real)
    out = np.empty(n_threads * strip, dtype)

    def call() -> float:
        out[:] = 1e-3
        _threads.launch(entry, n_threads, out, strip, n_threads, _LOOPS)
        return 2.0 * _STRIPS * _LOOPS * out.size

    return call


@functools.cache
def reads(n_threads: int) -> Callable[[], float]:
    """A call that reads memory on n_threads cores; returns how many bytes."""
    array, n = types.Array(types.float32, 1, "C"), types.int64
    entry = _jit.entry(types.void(array, array, n, n), parallel=True)(_read_on_threads)
    strip = vector.STRIP_REGISTERS * vector.lanes(np.dtype(np.float32))
    data, out = np.ones(_BYTES // 4, np.float32), np.empty(n_threads * strip, np.float32)

    def call() -> float:
        _threads.launch(entry, n_threads, data, out, strip, n_threads)
        return float(data.nbytes)

    return call
