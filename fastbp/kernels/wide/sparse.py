"""Sparse inputs: what the first layer does with rows of compressed columns (CSR), in the order of their numbers.

    forward           z[m, :]  = b + sum_k x[m, k] W[k, :]      k over the columns stored in row m
    weight gradient   dW[k, :] += x[m, k] dZ[m, :]              m ascending for every k

Both add a multiple of one row to another. Every element is one chain with k, or m, ascending, as in `gemm`: zeros add
nothing, so the bits are those of the same inputs made dense, with features in the lanes.

Rows of W lie far apart, so columns are taken slice by slice: some rows of W, or of its gradient, stay in a core's
cache while many rows of x pass. Where each slice starts in a row of x is noted beside its block.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from ...compiler.jit import intrinsic, kernel
from ..math.integers import smaller
from ..simd.across import all_finite
from ..simd.addresses import int32s_at, int64s_at
from ..simd.registers import fma, group_size, load, load_group, load_group_part, load_part, register_size, store
from ..structures import layer_of
from .layers import slopes_of, values_of

TOGETHER = 2  # slices of W that are taken together: what is only read leaves more space than what is written, too


class Stored(NamedTuple):
    """Numbers of a row: those stored from `first` to last - 1, and the columns of all."""

    columns: Any
    first: Any
    last: Any


@intrinsic(twin=lambda a, at: a[at:].view(np.int32))
def int32s_in(typing, a, at):
    """The memory from `at` on, as int32."""
    whole = types.CPointer(types.int32)

    def emit(context, builder, sig, arguments):
        return builder.bitcast(builder.gep(*arguments[:1], arguments[1:]), context.get_value_type(whole))

    return whole(a, types.intp), emit


@kernel
def columns_of(plan):
    """The columns of all stored numbers."""
    return int32s_at(plan.indices_address, plan.n_stored)


@kernel
def starts_of(plan):
    """Where each row's numbers start, and the end of the last one's."""
    return int64s_at(plan.starts_address, plan.n_rows + 1)


@kernel
def bounds_of(plan, memory, block, m):
    """How many numbers of row m of the block lie in front of each slice, and before the end of the last."""
    return int32s_in(memory, block.region_offset + plan.bounds_offset + m * (plan.n_slices + 1))


@kernel
def scan_row(plan, x, bounds, columns, start, stop):
    """Note where each slice starts in a row; False unless its columns ascend and its numbers are finite."""
    next_slice, sound, size = 0, True, register_size(x)
    for i in range(start, stop - 1):
        sound &= columns[i] <= columns[i + 1]
    if start < stop and not (sound and columns[start] >= 0 and columns[stop - 1] < plan.n_inputs):
        return False
    for i in range(start, stop):
        while columns[i] >= next_slice * plan.slice_columns:
            bounds[next_slice] = i - start
            next_slice += 1
    for later in range(next_slice, plan.n_slices + 1):
        bounds[later] = stop - start
    while start + size <= stop:
        sound &= all_finite(load(x, start))
        start += size
    return sound & all_finite(load_part(x, start, stop - start))


@kernel
def scan_block(call, block):
    """z_1 = b in the block, and the bounds of all its rows; False for a row that is not sound."""
    plan, memory, layer, row = call.plan, call.memory, layer_of(call.plan, 0), block.row
    columns, starts, z = columns_of(plan), starts_of(plan), values_of(layer, block)
    for m in range(block.n_rows):
        bounds = bounds_of(plan, memory, block, m)
        if not scan_row(plan, call.x, bounds, columns, starts[row + m], starts[row + m + 1]):
            return False
        for j in range(0, layer.padded_out, register_size(memory)):
            store(memory, z.offset + m * z.stride + j, load(memory, layer.packed_biases_offset + j))
    return True


@kernel
def add_sparse_products(call, block, first_slice):
    """Add the part of a slice and the next ones to z_1 of the block, two groups of columns at a time."""
    plan, memory, layer = call.plan, call.memory, layer_of(call.plan, 0)
    columns, starts, z = columns_of(plan), starts_of(plan), values_of(layer, block)
    n_out, w_at = layer.n_out, layer.weights_offset
    for m in range(block.n_rows):
        bounds, start = bounds_of(plan, memory, block, m), starts[block.row + m]
        z_at, end = z.offset + m * z.stride, smaller(first_slice + TOGETHER, plan.n_slices)
        stored = Stored(columns, start + bounds[first_slice], start + bounds[end])
        for j in range(0, n_out, 2 * group_size(memory)):
            add_columns(call, stored, z_at + j, w_at + j, n_out, n_out - j)


@kernel
def add_columns(call, stored, z_at, w_at, stride, n):
    """n columns of that, if two groups have so many. What lies after z is written back as it was."""
    x, memory, vector, columns, group = call.x, call.memory, call.vector, stored.columns, group_size(call.memory)
    y = load_group(memory, z_at)
    if n > group:
        z = load_group(memory, z_at + group)
        for i in range(stored.first, stored.last):
            at = w_at + columns[i] * stride
            y = fma(x[i], load_group(vector, at), y)
            z = fma(x[i], load_group_part(vector, at + group, n - group), z)
        store(memory, z_at + group, z)
    else:
        for i in range(stored.first, stored.last):
            y = fma(x[i], load_group_part(vector, w_at + columns[i] * stride, n), y)
    store(memory, z_at, y)


@kernel
def add_sparse_rows(call, block, k, n_k):
    """Add a block's part to the first layer's sums dW[k : k + n_k]."""
    plan, memory, layer = call.plan, call.memory, layer_of(call.plan, 0)
    columns, starts, d = columns_of(plan), starts_of(plan), slopes_of(layer, block)
    stride, before, end = layer.sums_padded, k // plan.slice_columns, (k + n_k - 1) // plan.slice_columns + 1
    for m in range(block.n_rows):
        bounds, start = bounds_of(plan, memory, block, m), starts[block.row + m]
        first, last = start + bounds[before], start + bounds[end]
        while first < last and columns[first] < k:
            first += 1
        while first < last and columns[last - 1] >= k + n_k:
            last -= 1
        stored = Stored(columns, first, last)
        for j in range(0, stride, 2 * group_size(memory)):
            sums_at, d_at = layer.weight_sums_offset + j, d.offset + m * d.stride + j
            add_outer(call, stored, sums_at, d_at, stride, stride - j)


@kernel
def add_outer(call, stored, sums_at, d_at, stride, n):
    """n columns of a row's part, if two groups have so many."""
    x, memory, columns = call.x, call.memory, stored.columns
    size, group = register_size(memory), group_size(memory)
    y = load_group(memory, d_at)
    if n > group:
        z = load_group(memory, d_at + group)
        for i in range(stored.first, stored.last):
            at = sums_at + columns[i] * stride
            store(memory, at, fma(x[i], y, load_group(memory, at)))
            store(memory, at + group, fma(x[i], z, load_group(memory, at + group)))
    elif n == group:
        for i in range(stored.first, stored.last):
            at = sums_at + columns[i] * stride
            store(memory, at, fma(x[i], y, load_group(memory, at)))
    else:
        for i in range(stored.first, stored.last):
            at = sums_at + columns[i] * stride
            for r in range(0, n, size):
                store(memory, at + r, fma(x[i], load(memory, d_at + r), load(memory, at + r)))
