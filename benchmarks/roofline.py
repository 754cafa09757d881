"""The machine's limit: fused multiply-adds per second, measured in the same run as what it bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from fastbp import _jit
from fastbp.kernels import simd, vector

# Three strips of four registers: 12 sums that do not wait for each other, where pipes x latency is 8 to 10.
_STRIPS = 3
_LOOPS = 2_000_000


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


def _on_threads(out, strip, n_threads, n_loops):
    for i in numba.prange(n_threads):
        _multiply_add(simd.pointer(out), types.intp(i) * strip, n_loops)


def prepare(dtype: str, n_threads: int) -> Callable[[], tuple[float, list[Any]]]:
    """A call that returns the number of floating-point operations it did, and where they went."""
    real, n = numba.from_dtype(np.dtype(dtype)), types.int64
    entry = _jit.entry(types.void(types.Array(real, 1, "C"), n, n, n), parallel=True)(_on_threads)
    strip = vector.STRIP_REGISTERS * vector.lanes(real)
    out = np.empty(n_threads * strip, dtype)

    def call() -> tuple[float, list[Any]]:
        out[:] = 1e-3
        _jit.launch(entry, n_threads, out, strip, n_threads, _LOOPS)
        return 2.0 * _STRIPS * _LOOPS * out.size, [out]

    return call
