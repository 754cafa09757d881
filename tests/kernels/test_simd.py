"""Each intrinsic against its NumPy twin, on vectors of every kind of number."""

import numpy as np
import pytest
from numba import types

from fastbp.compiler import jit
from fastbp.kernels.math import power
from fastbp.kernels.simd import across, vector
from fastbp.kernels.simd import microtile as tile
from fastbp.kernels.simd import registers as simd

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="compares compiled code with its twins")

DTYPES = (np.float32, np.float64)


def arrays_for(dtype):
    """Three arrays of two strips each: ordinary numbers, wide ones, and special ones."""
    n = 2 * vector.GROUP_REGISTERS * vector.lanes(dtype)
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 126.3, -126.7])
    return (
        rng.standard_normal(n).astype(dtype),
        (rng.standard_normal(n) * 50).astype(dtype),
        np.resize(special, n).astype(dtype),
    )


def kernels(s):
    """Functions of (a, b, c, out) over the names in `s`, a namespace of intrinsics or of twins."""

    fma, load, load_group, store = s["fma"], s["load"], s["load_group"], s["store"]
    minimum, maximum, absolute, rounded = s["minimum"], s["maximum"], s["absolute"], s["rounded"]
    where_positive, exp2 = s["where_positive"], s["exp2"]
    scale, like = s["scale"], s["like"]
    load_even, load_odd, splat, splat_group = s["load_even"], s["load_odd"], s["splat"], s["splat_group"]
    first, add_products, total, highest = s["first"], s["add_register_products"], s["total"], s["highest"]
    register_totals = s["register_totals"]

    def do_fma(a, b, c, out):
        store(out, 0, fma(load_group(a, 3), load_group(b, 0), load_group(c, 1)))

    def do_fma_with_numbers(a, b, c, out):
        store(out, 0, fma(load_group(a, 0), 1.1, -2.7))

    def do_arithmetic(a, b, c, out):
        x, y = load_group(a, 1), load_group(b, 2)
        store(out, 0, (x + 2.5) * y - x / (y * y + 1.0) + (-x))

    def do_min_max(a, b, c, out):
        store(out, 0, minimum(load_group(c, 0), load_group(a, 0)) + maximum(load_group(c, 0), 0.25))

    def do_absolute(a, b, c, out):
        store(out, 0, absolute(load_group(c, 0)) + rounded(load_group(b, 0)))

    def do_where_positive(a, b, c, out):
        store(out, 0, where_positive(load_group(c, 0), load_group(a, 0), -3.0))

    def do_exp2(a, b, c, out):
        store(out, 0, exp2(load_group(b, 0)))

    def do_scale(a, b, c, out):
        store(out, 0, scale(load_group(a, 0), load_group(b, 0)))

    def do_register(a, b, c, out):
        store(out, 0, scale(exp2(load(a, 5)) + splat(a, 1.25), load(b, 5)))

    def do_every_second(a, b, c, out):
        store(out, 0, load_even(a, 0) - load_odd(a, 0) * splat_group(a, 0.5) + like(load_even(a, 0), 3.0))

    def do_first(a, b, c, out):
        store(out, 0, first(load_group(c, 0), 7))

    def do_add_products(a, b, c, out):
        store(out, 0, add_products(load(a, 0), load_group(b, 0), load_group(a, 1)))

    def do_across(a, b, c, out):
        out[0] = total(load(a, 0))
        out[1] = highest(load(b, 0))
        out[2] = total(load_group(a, 0))

    def do_register_totals(a, b, c, out):
        store(out, 0, register_totals(load_group(a, 1)))

    return {name: f for name, f in locals().items() if name.startswith("do_")}


def namespace():
    return {name: getattr(m, name) for name in jit.TWINS for m in (simd, across, power) if hasattr(m, name)}


COMPILED_KERNELS, TWIN_KERNELS = kernels(namespace()), kernels(dict(jit.TWINS))


def compiled(function, dtype):
    """The function as an entry on arrays."""
    inner, pointer = jit.kernel(function), simd.pointer

    def outer(a, b, c, out):
        inner(pointer(a), pointer(b), pointer(c), pointer(out))

    array = types.Array(types.float32 if dtype == np.float32 else types.float64, 1, "C")
    return jit.entry(types.void(array, array, array, array))(outer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPILED_KERNELS)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:.*cache.*")
def test_an_intrinsic_does_what_its_twin_does(name, dtype):
    """In every bit where each lane is rounded once, to rounding where float64's twin rounds a fma twice."""
    a, b, c = arrays_for(dtype)
    got, wanted = np.zeros_like(a), np.zeros_like(a)
    compiled(COMPILED_KERNELS[name], dtype)(a, b, c, got)
    TWIN_KERNELS[name](a, b, c, wanted)
    assert np.nan_to_num(wanted).any()
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_checks_see_every_lane(dtype):
    """One NaN, infinity or number out of range in any lane is found."""
    all_finite, all_within = across.all_finite, across.all_within
    load = simd.load

    def check(a, b, c, out):
        out[0] = 1.0 if all_finite(load(a, 0)) else 0.0
        out[1] = 1.0 if all_within(load(a, 0), 0.0, 1.0) else 0.0

    run = compiled(check, dtype)
    n, out = vector.lanes(dtype), np.zeros(2, dtype)
    fine = np.linspace(0, 1, n, dtype=dtype)
    run(fine, fine, fine, out)
    assert out.tolist() == [1, 1]
    for lane in range(n):
        for bad, finite in ((np.nan, 0), (np.inf, 0), (-np.inf, 0), (1.5, 1), (-1e-30, 1)):
            values = fine.copy()
            values[lane] = bad
            run(values, values, values, out)
            assert out.tolist() == [finite, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape_of", ["wide", "narrow"])
def test_tile_products_are_one_chain_of_fma(dtype, shape_of):
    """A tile adds a[m, k] b[k, n] over k, from a bias row, times factors; the same as its twin, and as a product."""
    shape, n_k = jit.TWINS[shape_of](np.empty(0, dtype)), 5
    rows, columns = shape.rows, shape.columns
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, n_k)).astype(dtype), rng.standard_normal((n_k, columns)).astype(dtype)
    bias, out = rng.standard_normal(columns).astype(dtype), rng.standard_normal((rows, columns)).astype(dtype)
    factors = out.copy()
    tile_row, tile_fma, tile_store, tile_load = tile.tile_row, tile.tile_fma, tile.tile_store, tile.tile_load
    tile_multiply, make = tile.tile_multiply, getattr(tile, shape_of)

    def product(a, b, bias, out):
        t = tile_row(make(a), bias, 0)
        for k in range(5):
            t = tile_fma(t, a, k, 5, b, k * columns)
        tile_store(out, 0, columns, tile_multiply(t, tile_load(make(a), out, 0, columns)))

    compiled(product, dtype)(a.ravel(), b.ravel(), bias, out.ravel())
    twins = jit.TWINS
    t = twins["tile_row"](shape, bias, 0)
    for k in range(n_k):
        t = twins["tile_fma"](t, a.ravel(), k, n_k, b.ravel(), k * columns)
    t = twins["tile_multiply"](t, twins["tile_load"](shape, factors.ravel(), 0, columns))
    np.testing.assert_allclose(out, t, rtol=4 * np.finfo(dtype).eps, atol=1e-6 if dtype == np.float32 else 1e-15)
    np.testing.assert_allclose(out, (a @ b + bias) * factors, rtol=1e-5, atol=1e-6)
    assert (rows, columns) == tuple(compiled_sizes(make, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tile_transposed_and_its_rows_added_up(dtype):
    """z[n] += sum_m tile[m, n] a[m], where the tile is a narrow one transposed: one chain, like its twin."""
    shape = jit.TWINS["narrow"](np.empty(0, dtype))
    rows, columns = shape.rows, shape.columns
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, columns)).astype(dtype), rng.standard_normal(columns).astype(dtype)
    make, load, transpose, fma_rows = tile.narrow, tile.tile_load, tile.tile_transpose, tile.tile_fma_rows

    def run(a, b, c, out):
        fma_rows(out, 1, transpose(load(make(a), a, 0, columns)), b, 0)

    start = rng.standard_normal(rows + 2).astype(dtype)
    out, by_twins = start.copy(), start.copy()
    compiled(run, dtype)(a.ravel(), b, b, out)
    twins = jit.TWINS
    twins["tile_fma_rows"](by_twins, 1, twins["tile_transpose"](twins["tile_load"](shape, a.ravel(), 0, columns)), b, 0)
    tolerance = 4 * columns**0.5 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, by_twins, atol=tolerance)
    np.testing.assert_allclose(out[1:-1], start[1:-1] + a.astype(np.float64) @ b, atol=4 * tolerance)
    np.testing.assert_array_equal(out[[0, -1]], start[[0, -1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape_of", ["wide", "narrow"])
def test_tiles_rectified_and_masked(dtype, shape_of):
    """0 where the element, or the one of the mask, is not above 0; NaN stays, or takes the value."""
    shape = jit.TWINS[shape_of](np.empty(0, dtype))
    n = shape.rows * shape.columns
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 2.0], dtype)
    a, b = np.resize(special, n), np.resize(np.roll(special, 3), n)
    make, load, store, rectify, mask = (
        getattr(tile, name) for name in (shape_of, "tile_load", "tile_store", "tile_rectify", "tile_mask")
    )

    def run(a, b, c, out):
        t = load(make(a), a, 0, shape_columns)
        store(c, 0, shape_columns, rectify(t))
        store(out, 0, shape_columns, mask(t, load(make(a), b, 0, shape_columns)))

    shape_columns = shape.columns
    rectified, masked = np.zeros(n, dtype), np.zeros(n, dtype)
    compiled(run, dtype)(a, b, rectified, masked)
    np.testing.assert_array_equal(rectified, np.where(a <= 0, 0, a))
    np.testing.assert_array_equal(masked, np.where(b <= 0, 0, a))
    np.testing.assert_array_equal(jit.TWINS["tile_rectify"](a), rectified)
    np.testing.assert_array_equal(jit.TWINS["tile_mask"](a, b), masked)


def compiled_sizes(make, dtype):
    """Rows and columns of a shape of tiles, as kernels see them."""
    n_rows, n_columns, out = tile.n_rows, tile.n_columns, np.zeros(2, dtype)

    def sizes(a, b, c, out):
        out[0], out[1] = n_rows(make(a)), n_columns(make(a))

    compiled(sizes, dtype)(out, out, out, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_moves_every_element(dtype):
    """A square block among other numbers, to another place; its twin does the same."""
    n = vector.lanes(dtype)
    step, to_step = n + 3, n + 1
    source = np.arange(2 + n * step, dtype=dtype)
    block = source[2 : 2 + n * step].reshape(n, step)[:, :n]
    transpose, outs = across.transpose, [np.zeros(1 + n * to_step, dtype) for _ in range(2)]

    def run(a, b, c, out):
        transpose(a, 2, step, out, 1, to_step)

    compiled(run, dtype)(source, source, source, outs[0])
    jit.TWINS["transpose"](source, 2, step, outs[1], 1, to_step)
    for out in outs:
        np.testing.assert_array_equal(out[1:].reshape(n, to_step)[:, :n], block.T)
        assert not out[1:].reshape(n, to_step)[:, n:].any()
        assert out[0] == 0
