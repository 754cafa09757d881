"""Kernels called by themselves, for tests: compiled for whatever they are given, on memory that is full of NaN.

A test writes a small function around a kernel, which takes arrays, numbers and tuples of the kernel's own kinds:

    @compiled
    def multiply(memory, product):
        gemm.multiply(pointer(memory), product)

With NUMBA_DISABLE_JIT=1 it stays the Python function that it is.
"""

import functools

import numba
import numpy as np
from numba import types

from fastbp.compiler.jit import entry
from fastbp.engine.plan import layout, schedule
from fastbp.engine.workspace import machine
from fastbp.kernels import structures as k

DTYPES = (np.float32, np.float64)
GUARD = 256  # numbers after what a kernel may use, more than any microtile or group would write too far


def compiled(function):
    """The function, compiled once for each combination of kinds of its arguments; results go to arrays."""
    entries = {}

    @functools.wraps(function)
    def call(*arguments):
        kinds = tuple(map(numba.typeof, arguments))
        if kinds not in entries:
            entries[kinds] = entry(types.void(*kinds))(function)
        entries[kinds](*arguments)

    return call


def poisoned(n, dtype):
    """n numbers that are NaN: whoever takes one for data shows it, and what is computed from one has other bits."""
    signaling = {np.float32: (np.uint32, 0x7FA00000), np.float64: (np.uint64, 0x7FF4000000000000)}
    kind, bits = signaling[np.dtype(dtype).type]
    return np.full(n, bits, kind).view(dtype)


def matrix_in(memory, rows):
    """The matrix that `Rows` describe in memory, to be read and written."""
    places = rows.offset + rows.stride * np.arange(rows.n_rows)[:, None] + np.arange(rows.n)
    return memory[places] if rows.n_rows else np.empty((0, rows.n), memory.dtype)


def put(memory, rows, matrix):
    """Write a matrix where `Rows` say."""
    for m, row in enumerate(matrix):
        memory[rows.offset + m * rows.stride :][: row.size] = row


def unchanged(before, after, *allowed):
    """Whether nothing has changed but at the allowed places: arrays of indices."""
    others = np.ones(before.size, bool)
    for places in allowed:
        others[np.asarray(places, np.int64).ravel()] = False
    bits = [a[others].view(np.uint8) for a in (before, after)]
    return np.array_equal(*bits)


def assert_sums(got, wanted, n_terms, sizes):
    """Sums of n_terms terms, each rounded when it is made and when it is added; `sizes`, of the terms' sizes."""
    assert np.isfinite(got).all()
    assert np.any(sizes)
    bound = (n_terms + 2) * np.finfo(got.dtype).eps * np.asarray(sizes, np.float64) + np.finfo(got.dtype).tiny
    worst = (np.abs(got - np.asarray(wanted, np.float64)) / bound).max()
    assert worst <= 1, f"an error is {worst:.3g} times its bound"


class Call:
    """The memory of a call for a network and a batch, as the engine would make it, but full of NaN.

    x (N, n_inputs) in C order, or (values, columns, starts) of sparse inputs. y (N, n_outputs), or int64 labels (N,).
    """

    def __init__(self, net, params, x, y, sample_weight=None, *, loss=None, mode=k.GRADIENT, n_workers=1, d_x=False):
        dtype, is_sparse, n_rows = params.vector.dtype, isinstance(x, tuple), len(y)
        self.batch = layout(net, n_rows, dtype, machine(), x[0].size if is_sparse else 0)
        program = schedule(self.batch, n_workers)
        self.headers, self.layers = program.header.copy(), program.layers.copy()
        self.plan = plan = self.headers[0]
        self.memory = poisoned(program.n_memory + GUARD, dtype)
        self.accumulators = poisoned(program.n_accumulated + GUARD, np.float64)
        self.out = poisoned(max(net.n_parameters, n_rows * net.n_outputs) + GUARD, dtype)
        self.d_x = poisoned(n_rows * net.n_inputs + GUARD, dtype)
        self.vector, self.y = params.vector, np.ascontiguousarray(y)
        self.x = x[0] if is_sparse else np.ascontiguousarray(x)
        self.sample_weight = np.empty(0, dtype) if sample_weight is None else sample_weight
        if is_sparse:
            self.columns, self.starts = x[1:]
            plan.indices_address, plan.starts_address = self.columns.ctypes.data, self.starts.ctypes.data
            plan.n_stored = self.x.size
        plan.address, plan.layers_address = self.headers.ctypes.data, self.layers.ctypes.data
        plan.vector_address, plan.x_address = self.vector.ctypes.data, self.x.ctypes.data
        plan.y_address = plan.labels_address = self.y.ctypes.data
        plan.sample_weight_address, plan.out_address = self.sample_weight.ctypes.data, self.out.ctypes.data
        plan.memory_address, plan.d_x_address = self.memory.ctypes.data, self.d_x.ctypes.data
        plan.accumulators_address = self.accumulators.ctypes.data
        plan.n_source, plan.has_labels, plan.wants_input_gradient = n_rows, self.y.dtype == np.int64, d_x
        plan.mode, plan.scale, plan.has_sample_weight = mode, 1.0, sample_weight is not None
        # Uncompiled, the memory beyond these sizes would not be there.
        plan.n_memory, plan.n_accumulated = self.memory.size, self.accumulators.size
        self.address = plan.address
