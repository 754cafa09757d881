"""Microtiles: each operation against NumPy, on rows that lie apart among numbers that are NaN."""

import numpy as np
import pytest

from fastbp.compiler.jit import kernel
from fastbp.kernels.simd.microtile import (
    NARROW,
    WIDE,
    n_rows,
    narrow,
    tile_fma,
    tile_fma_rows,
    tile_load,
    tile_mask,
    tile_multiply,
    tile_rectify,
    tile_row,
    tile_store,
    tile_transpose,
    wide,
)
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import lanes
from tests.kernel_calls import DTYPES, GUARD, assert_sums, compiled, poisoned, unchanged


@kernel
def store_all(shape, memory, out, places):
    """What each operation gives, one after another, its rows `stride` apart."""
    a_at, b_at, stride = places[0], places[1], places[2]
    a, b = tile_load(shape, memory, a_at, stride), tile_load(shape, memory, b_at, stride)
    size = n_rows(shape) * stride
    tile_store(out, 0, stride, a)
    tile_store(out, size, stride, tile_row(shape, memory, b_at))
    tile_store(out, 2 * size, stride, tile_multiply(a, b))
    tile_store(out, 3 * size, stride, tile_rectify(a))
    tile_store(out, 4 * size, stride, tile_mask(a, b))
    tile_store(out, 5 * size, stride, tile_fma(a, memory, b_at, stride, memory, a_at + stride))


@compiled
def all_of_wide(memory, out, places):
    store_all(wide(pointer(memory)), pointer(memory), pointer(out), places)


@compiled
def all_of_narrow(memory, out, places):
    store_all(narrow(pointer(memory)), pointer(memory), pointer(out), places)


@compiled
def sum_of_transposed_rows(memory, z, places):
    a_at, b_at, stride = places[0], places[1], places[2]
    tile = tile_transpose(tile_load(narrow(pointer(memory)), pointer(memory), a_at, stride))
    tile_fma_rows(pointer(z), 1, tile, pointer(memory), b_at)


FORMULAS = {
    "load and store": lambda a, b: a,
    "row": lambda a, b: np.tile(b[0], (len(a), 1)),
    "multiply": lambda a, b: a * b,
    "rectify": lambda a, b: np.maximum(a, 0),
    "mask": lambda a, b: np.where(b > 0, a, 0),
    "fma": lambda a, b: a + b[:, :1] * a[1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("run", "shape"), [(all_of_wide, WIDE), (all_of_narrow, NARROW)], ids=["wide", "narrow"])
@pytest.mark.parametrize("operation", FORMULAS)
def test_an_operation_is_numpy_s(operation, run, shape, dtype):
    """To rounding, every element; between the rows that are stored, and after them, nothing is written."""
    rows, columns, rng = shape[0], shape[1] * lanes(dtype), np.random.default_rng(0)
    stride = columns + 5
    size, number = rows * stride, list(FORMULAS).index(operation)
    memory, out = poisoned(2 * size + 3 + GUARD, dtype), poisoned(len(FORMULAS) * size + GUARD, dtype)
    matrices = [memory[at : at + size].reshape(rows, stride)[:, :columns] for at in (3, 3 + size)]
    for matrix in matrices:
        matrix[...] = rng.standard_normal((rows, columns))
    before = memory.copy()
    run(memory, out, np.array([3, 3 + size, stride]))
    got = out[number * size : (number + 1) * size].reshape(rows, stride)
    a, b = (matrix.astype(np.float64) for matrix in matrices)
    assert_sums(got[:, :columns], FORMULAS[operation](a, b), 1, np.abs(a) + np.abs(b[:, :1] * a[1]) + np.abs(a * b))
    assert np.isnan(got[:, columns:]).all()
    assert np.isnan(out[len(FORMULAS) * size :]).all()
    assert unchanged(before, memory)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_transposed_microtile_are_added_up(dtype):
    """z[n] += sum_m A[n, m] b[m], m ascending, for a narrow microtile A; one number before and those after stay."""
    rows, columns, rng = NARROW[0], lanes(dtype), np.random.default_rng(0)
    a, b = rng.standard_normal((rows, columns)).astype(dtype), rng.standard_normal(columns).astype(dtype)
    old = rng.standard_normal(rows + GUARD).astype(dtype)
    memory, z = np.concatenate([a.ravel(), b, poisoned(GUARD, dtype)]), old.copy()
    sum_of_transposed_rows(memory, z, np.array([0, a.size, columns]))
    part, exact = slice(1, rows + 1), a.astype(np.float64)
    assert_sums(z[part], old[part] + exact @ b, columns, np.abs(old[part]) + np.abs(exact) @ np.abs(b))
    assert unchanged(old, z, np.arange(1, rows + 1))
