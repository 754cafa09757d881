"""Sparse inputs: what the first layer does with rows of compressed columns (CSR), in the order of their numbers.

    forward           z[m, :]  = b + sum_k x[m, k] W[k, :]      k over the columns stored in row m
    weight gradient   dW[k, :] += x[m, k] dZ[m, :]              m ascending for every k

Both add a multiple of one row to another. Every element is one chain with k, or m, ascending, as in `gemm`: zeros add
nothing, so the bits are those of the same inputs made dense, with features in the lanes.

Rows of W lie far apart, so columns are taken slice by slice: SLICE rows of W, or of its gradient, stay in a core's
cache while many rows of x pass. Where each slice starts in a row of x is noted beside its block.
"""

import numpy as np
from numba import types

from .._jit import intrinsic, kernel
from .across import all_finite
from .addresses import int32s_at, int64s_at
from .fields import (
    BIASES_AT,
    BLOCK_ROWS,
    BOUNDS_AT,
    INDICES_ADDRESS,
    N_IN,
    N_OUT,
    N_ROWS,
    N_SLICES,
    N_STORED,
    PADDED,
    SLICE,
    SLOPES_AT,
    STARTS_ADDRESS,
    STEP,
    SUMS_PADDED,
    VALUES_AT,
    WEIGHT_SUMS_AT,
    WEIGHTS,
    record,
)
from .gemm import smaller
from .simd import fma, load, load_part, load_strip, load_strip_part, register_size, store, strip_size

FIRST = record(0)
TOGETHER = 2  # slices of W that are taken together: what is only read leaves more room than what is written, too


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
    return int32s_at(plan[INDICES_ADDRESS], plan[N_STORED])


@kernel
def starts_of(plan):
    """Where each row's numbers start, and behind the last."""
    return int64s_at(plan[STARTS_ADDRESS], plan[N_ROWS] + 1)


@kernel
def bounds_of(plan, memory, base, m):
    """How many numbers of row m of the block lie in front of each slice, and behind the last."""
    return int32s_in(memory, base + plan[BOUNDS_AT] + m * (plan[N_SLICES] + 1))


@kernel
def begin_row(plan, x, bounds, columns, start, stop):
    """Note where each slice starts in a row; False unless its columns ascend and its numbers are finite."""
    next_slice, sound, size = 0, True, register_size(x)
    for i in range(start, stop - 1):
        sound &= columns[i] <= columns[i + 1]
    if start < stop and not (sound and columns[start] >= 0 and columns[stop - 1] < plan[FIRST + N_IN]):
        return False
    for i in range(start, stop):
        while columns[i] >= next_slice * plan[SLICE]:
            bounds[next_slice] = i - start
            next_slice += 1
    for later in range(next_slice, plan[N_SLICES] + 1):
        bounds[later] = stop - start
    while start + size <= stop:
        sound &= all_finite(load(x, start))
        start += size
    return sound & all_finite(load_part(x, start, stop - start))


@kernel
def begin_block(plan, x, memory, base, packed, row, n_rows):
    """z_1 = b in the block, and the bounds of all its rows; False for a row that is not sound."""
    columns, starts = columns_of(plan), starts_of(plan)
    for m in range(n_rows):
        bounds = bounds_of(plan, memory, base, m)
        if not begin_row(plan, x, bounds, columns, starts[row + m], starts[row + m + 1]):
            return False
        z_at = base + plan[FIRST + VALUES_AT] + m * plan[FIRST + STEP]
        for j in range(0, plan[FIRST + PADDED], register_size(memory)):
            store(memory, z_at + j, load(memory, packed + plan[FIRST + BIASES_AT] + j))
    return True


@kernel
def add_products(plan, vector, x, memory, base, row, n_rows, slice_of):
    """Add the part of a slice and the next ones to z_1 of the block, two strips at a time."""
    columns, starts = columns_of(plan), starts_of(plan)
    n_out, w_at = plan[FIRST + N_OUT], plan[FIRST + WEIGHTS]
    for m in range(n_rows):
        bounds, start = bounds_of(plan, memory, base, m), starts[row + m]
        z_at = base + plan[FIRST + VALUES_AT] + m * plan[FIRST + STEP]
        first, last = start + bounds[slice_of], start + bounds[smaller(slice_of + TOGETHER, plan[N_SLICES])]
        for j in range(0, n_out, 2 * strip_size(memory)):
            add_columns(memory, z_at + j, x, columns, first, last, vector, w_at + j, n_out, n_out - j)


@kernel
def add_columns(memory, z_at, x, columns, first, last, vector, w_at, step, n):
    """n columns of that, if two strips have so many. What lies behind z is written back as it was."""
    strip = strip_size(memory)
    y = load_strip(memory, z_at)
    if n > strip:
        z = load_strip(memory, z_at + strip)
        for i in range(first, last):
            at = w_at + columns[i] * step
            y = fma(x[i], load_strip(vector, at), y)
            z = fma(x[i], load_strip_part(vector, at + strip, n - strip), z)
        store(memory, z_at + strip, z)
    else:
        for i in range(first, last):
            y = fma(x[i], load_strip_part(vector, w_at + columns[i] * step, n), y)
    store(memory, z_at, y)


@kernel
def add_rows(plan, x, memory, base, block, k, n_k):
    """Add a block's part to the first layer's sums dW[k : k + n_k]."""
    row = block * plan[BLOCK_ROWS]
    n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - row)
    columns, starts, strip = columns_of(plan), starts_of(plan), strip_size(memory)
    step, before, behind = plan[FIRST + SUMS_PADDED], k // plan[SLICE], (k + n_k - 1) // plan[SLICE] + 1
    for m in range(n_rows):
        bounds, start = bounds_of(plan, memory, base, m), starts[row + m]
        first, last = start + bounds[before], start + bounds[behind]
        while first < last and columns[first] < k:
            first += 1
        while first < last and columns[last - 1] >= k + n_k:
            last -= 1
        d_at, sums_at = base + plan[FIRST + SLOPES_AT] + m * plan[FIRST + STEP], plan[FIRST + WEIGHT_SUMS_AT]
        for j in range(0, step, 2 * strip):
            add_outer(memory, sums_at + j, x, columns, first, last, d_at + j, step, step - j)


@kernel
def add_outer(memory, sums_at, x, columns, first, last, d_at, step, n):
    """n columns of a row's part, if two strips have so many."""
    size, strip = register_size(memory), strip_size(memory)
    y = load_strip(memory, d_at)
    if n > strip:
        z = load_strip(memory, d_at + strip)
        for i in range(first, last):
            at = sums_at + columns[i] * step
            store(memory, at, fma(x[i], y, load_strip(memory, at)))
            store(memory, at + strip, fma(x[i], z, load_strip(memory, at + strip)))
    elif n == strip:
        for i in range(first, last):
            at = sums_at + columns[i] * step
            store(memory, at, fma(x[i], y, load_strip(memory, at)))
    else:
        for i in range(first, last):
            at = sums_at + columns[i] * step
            for r in range(0, n, size):
                store(memory, at + r, fma(x[i], load(memory, d_at + r), load(memory, at + r)))
