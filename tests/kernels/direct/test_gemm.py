"""Matrix products by microtiles, and the packing for them, against NumPy: every size around a microtile's edges."""

import numpy as np
import pytest

from fastbp.engine.offsets import Microtiles
from fastbp.kernels.simd.microtile import NARROW, WIDE
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import lanes
from fastbp.kernels.structures import Rows
from fastbp.kernels.wide import gemm
from fastbp.kernels.wide.gemm import MASK, RECTIFY, SCALE, STORE, Panels, Part, Product
from tests.kernel_calls import DTYPES, GUARD, assert_sums, compiled, matrix_in, poisoned, put, unchanged

# Without the compiler NumPy says what is done to the rows after the last one.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@compiled
def block_product(memory, product):
    gemm.block_product(pointer(memory), product)


@compiled
def add_weight_gradient(memory, sums, left, right, part):
    gemm.add_weight_gradient(pointer(memory), sums, left, right, part)


@compiled
def add_bias_gradient(memory, sums_at, d):
    gemm.add_bias_gradient(pointer(memory), sums_at, d)


@compiled
def pack(memory, panels, w, w_at, n, size, is_transposed):
    for j in range(0, panels.padded, size):
        gemm.pack_columns(pointer(memory), panels, pointer(w), w_at, n, j, is_transposed != 0)


EPILOGUES = {
    STORE: lambda p, values, c: p,
    SCALE: lambda p, values, c: p * c,
    RECTIFY: lambda p, values, c: np.maximum(p, 0),
    MASK: lambda p, values, c: np.where(values > 0, p, 0),
}


def tiles_of(dtype):
    return Microtiles(lanes(dtype), WIDE, NARROW)


def edges(dtype):
    """Columns at and around the edges of registers, microtiles and pairs of them."""
    size, wide = lanes(dtype), WIDE[1] * lanes(dtype)
    return sorted({1, size - 1, size, size + 1, wide - 1, wide, wide + 1, wide + size, wide + size + 1, 2 * wide})


CASES = [
    (dtype, m, k, n)
    for dtype in DTYPES
    for i, n in enumerate(edges(dtype))
    for m, k in [
        ((1, 5), (WIDE[0] - 1, 4), (WIDE[0], 1), (WIDE[0] + 1, 9), (NARROW[0], 3), (NARROW[0] + 1, 6), (33, 2))[i % 7],
        (23, 21),
    ]
]


def panels_of(dtype, offset, n_k, n):
    return Panels(offset, n_k, *tiles_of(dtype).columns(n))


def in_panels(b, panels, dtype):
    """A matrix in packed panels for a dtype, padded with zeros: each panel's rows one after another."""
    padded = np.zeros((len(b), panels.padded), b.dtype)
    padded[:, : b.shape[1]] = b
    wide, size = WIDE[1] * lanes(dtype), NARROW[1] * lanes(dtype)
    starts = [*range(0, panels.wide, wide), *range(panels.wide, panels.padded, size)]
    return np.concatenate([part.ravel() for part in np.split(padded, starts[1:], axis=1)])


def from_panels(numbers, panels, dtype):
    """The matrix that is packed in them, with its padding."""
    places = in_panels(np.arange(panels.n_k * panels.padded).reshape(panels.n_k, -1), panels, dtype)
    return numbers[np.argsort(places)].reshape(panels.n_k, -1)


@pytest.mark.parametrize(("dtype", "m", "k", "n"), CASES)
@pytest.mark.parametrize("epilogue", EPILOGUES, ids=["store", "scale", "rectify", "mask"])
def test_a_product_is_numpy_s(dtype, m, k, n, epilogue):
    """C = epilogue(start + A B) within the error of its sums; of C whole microtiles are written, and nothing else."""
    rng, tiles = np.random.default_rng(m * 100 + n), tiles_of(dtype)
    a, b, start = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), n))
    values, c = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal((m, n)).astype(dtype)
    rows, padded = tiles.rows(m), tiles.columns(n)[0]
    stride, a_rows = padded + 3, Rows(7, k + 2, m, k)
    panels = panels_of(dtype, a_rows.offset + rows * a_rows.stride, k, n)
    start_at = panels.offset + k * panels.padded
    values_rows = Rows(start_at + padded + 5, stride, m, n)
    c_rows = values_rows._replace(offset=values_rows.offset + rows * stride + GUARD)
    memory = poisoned(c_rows.offset + rows * stride + GUARD, dtype)
    put(memory, a_rows, a)
    memory[panels.offset : start_at] = in_panels(b, panels, dtype)
    memory[start_at : start_at + padded] = 0
    memory[start_at : start_at + n] = start
    put(memory, values_rows, values)
    put(memory, c_rows, c)
    before = memory.copy()
    block_product(memory, Product(c_rows, a_rows, panels, start_at, epilogue, values_rows.offset))
    a, b, start = (v.astype(np.float64) for v in (a, b, start))
    wanted, sizes = EPILOGUES[epilogue](start + a @ b, values, c), np.abs(start) + np.abs(a) @ np.abs(b)
    scale = np.abs(c) if epilogue == SCALE else 1
    got = matrix_in(memory, c_rows)
    assert_sums(got, wanted, k, sizes * scale)
    whole_microtiles = c_rows.offset + stride * np.arange(rows)[:, None] + np.arange(padded)
    assert unchanged(before, memory, whole_microtiles)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_wherever_it_stands(dtype):
    """Each of 23 rows computed alone, in the first row of a microtile, is that of the product of all."""
    rng, (m, k, n) = np.random.default_rng(0), (23, 37, WIDE[1] * lanes(dtype) + 1)
    memory, panels = poisoned(50_000, dtype), panels_of(dtype, 5000, k, n)
    a, c, start_at = Rows(0, k, m, k), Rows(40_000, panels.padded, m, n), 30_000
    put(memory, a, rng.standard_normal((m, k)))
    memory[panels.offset : panels.offset + k * panels.padded] = in_panels(rng.standard_normal((k, n)), panels, dtype)
    memory[start_at : start_at + panels.padded] = rng.standard_normal(panels.padded)
    block_product(memory, Product(c, a, panels, start_at, STORE, 0))
    together = matrix_in(memory, c)
    for i in range(m):
        block_product(memory, Product(c._replace(n_rows=1), Rows(i * k, k, 1, k), panels, start_at, STORE, 0))
        np.testing.assert_array_equal(matrix_in(memory, c._replace(n_rows=1))[0], together[i])
    assert np.isfinite(together).all()


@pytest.mark.parametrize(("dtype", "k", "n"), [(d, k, n) for d in DTYPES for n in edges(d) for k in (1, 3, 16, 21)])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_packing_moves_every_column_to_its_panel(dtype, k, n, is_transposed):
    """Panels of W, given row after row or column after column; zeros after the last column, no more written."""
    w = np.random.default_rng(0).standard_normal((k, n)).astype(dtype)
    source = np.concatenate([poisoned(3, dtype), (w.T if is_transposed else w).ravel(), poisoned(GUARD, dtype)])
    panels = panels_of(dtype, 11, k, n)
    memory, stop = poisoned(11 + k * panels.padded + GUARD, dtype), 11 + k * panels.padded
    before = memory.copy()
    pack(memory, panels, source, 3, n, lanes(dtype), int(is_transposed))
    np.testing.assert_array_equal(memory[11:stop], in_panels(w, panels, dtype))
    assert unchanged(before, memory, np.arange(11, stop))


@pytest.mark.parametrize(("dtype", "n_m", "n_k", "n"), CASES)
def test_a_weight_gradient_is_added_to_its_part_of_the_sums(dtype, n_m, n_k, n):
    """S += left^T right for all rows, and for some rows and panels; other sums stay; rows after the last are NaN."""
    rng, tiles = np.random.default_rng(n), tiles_of(dtype)
    left, right = (rng.standard_normal((n_k, columns)).astype(dtype) for columns in (n_m, n))
    height, (padded, wide) = tiles.rows(n_m), tiles.columns(n)
    sums = Panels(0, height, padded, wide)
    old = rng.standard_normal((height, padded)).astype(dtype)
    left_rows = Rows(height * padded, height + lanes(dtype), n_k, n_m)
    right_rows = Rows(left_rows.offset + (n_k + 1) * left_rows.stride, padded + 1, n_k, n)
    memory = poisoned(right_rows.offset + (n_k + 1) * right_rows.stride + GUARD, dtype)
    memory[: height * padded] = in_panels(old, sums, dtype)
    put(memory, left_rows, left)
    put(memory, right_rows, right)
    exact = left.astype(np.float64).T @ right
    sizes = np.abs(old[:n_m, :n]) + np.abs(left.T).astype(np.float64) @ np.abs(right)
    first = wide if 0 < wide < padded else 0
    row = tiles.rows(1) if n_m > tiles.rows(1) else 0
    for part in (Part(0, n_m, 0, padded), Part(row, n_m - row, first, padded)):
        changed, before = memory.copy(), memory.copy()
        add_weight_gradient(changed, sums, left_rows, right_rows, part)
        got = from_panels(changed[: height * padded], sums, dtype)
        taken = slice(part.row, n_m), slice(part.first, n)
        assert_sums(got[taken], (old[:n_m, :n] + exact)[taken], n_k, sizes[taken])
        kept = np.ones((height, padded), bool)
        kept[part.row :, part.first :] = False
        np.testing.assert_array_equal(got[kept], old[kept])
        assert unchanged(before, changed, np.arange(height * padded))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 8, 19])
def test_a_bias_gradient_is_the_sum_over_the_rows(dtype, n_rows):
    """s[n] += sum_k D[k, n], whatever the number of rows leaves for the four chains."""
    rng, size = np.random.default_rng(0), lanes(dtype)
    memory, d, sums_at = poisoned(100 * size, dtype), Rows(4 * size, 2 * size + 1, n_rows, 2 * size), 1
    numbers, old = rng.standard_normal((n_rows, d.n)).astype(dtype), rng.standard_normal(d.n).astype(dtype)
    put(memory, d, numbers)
    memory[sums_at : sums_at + d.n] = old
    before = memory.copy()
    add_bias_gradient(memory, sums_at, d)
    wanted, sizes = (f(old) + f(numbers.astype(np.float64)).sum(axis=0) for f in (np.asarray, np.abs))
    assert_sums(memory[sums_at : sums_at + d.n], wanted, n_rows, sizes)
    assert unchanged(before, memory, np.arange(sums_at, sums_at + d.n))
