"""Small functions of each kind that `fastbp.compiler.jit` makes, for its tests and for the processes they start."""

import numba
import numpy as np
from numba import types

from fastbp.compiler.jit import entry, intrinsic, kernel, prange

FACTOR = 3.0


def vector(dtype, readonly=False):
    return types.Array(dtype, 1, "C", readonly=readonly)


def _triple_twin(x):
    return x * FACTOR


@intrinsic(twin=_triple_twin)
def triple(typing, x):
    def emit(context, builder, signature, arguments):
        return builder.fmul(arguments[0], context.get_constant(x, FACTOR))

    return x(x), emit


@kernel
def fill(y, x, start, stop):
    for i in range(start, stop):
        y[i] = triple(x[i]) + np.sqrt(x[i])


def serial(y, x):
    fill(y, x, 0, y.size)


def parallel(y, x, n_workers):
    for i in prange(n_workers):
        worker = np.intp(i)
        fill(y, x, worker * y.size // n_workers, (worker + 1) * y.size // n_workers)


def expected(x):
    return x * FACTOR + np.sqrt(x)


serial_f32 = entry(types.void(vector(types.float32), vector(types.float32, readonly=True)))(serial)
serial_f64 = entry(types.void(vector(types.float64), vector(types.float64, readonly=True)))(serial)
parallel_f64 = entry(
    types.void(vector(types.float64), vector(types.float64, readonly=True), types.intp), parallel=True
)(parallel)


@entry(types.void(vector(types.float64), types.intp), parallel=True)
def team_size(sizes, n_workers):
    for i in prange(n_workers):
        sizes[i] = numba.get_num_threads()
