"""The elementary functions: how far they are from the truth, over the whole range, in both dtypes."""

import mpmath
import numpy as np
import pytest
from numba import types

from fastbp.compiler import jit
from fastbp.kernels.math import elementwise, power, scalar
from fastbp.kernels.simd import registers as simd
from fastbp.model import activations, losses

DTYPES = (np.float32, np.float64)


def runner(function, dtype):
    """Compiled: runner(out, values), for as many values as fill registers."""
    load, store, size_of, pointer = simd.load, simd.store, simd.register_size, simd.pointer

    def run(out, values):
        source, to = pointer(values), pointer(out)
        for i in range(0, len(values), size_of(source)):
            store(to, i, function(load(source, i)))

    array = types.Array(types.float32 if dtype == np.float32 else types.float64, 1, "C")
    return jit.entry(types.void(array, array))(run)


def apply(function, values):
    """The kernel over an array of values, whose number is a multiple of every register."""
    out = np.empty_like(values)
    runner(function, values.dtype)(out, values)
    return out


def grid(dtype, reach):
    """Numbers of every size up to `reach`, of both signs, and 0."""
    small = np.geomspace(1e-30, reach, 2047)
    return np.concatenate([-small[::-1], [0, 0], small]).astype(dtype)


def exact(function, values):
    """The function in 40 digits, rounded to float64."""
    with mpmath.workdps(40):
        return np.array([float(function(mpmath.mpf(float(v)))) for v in values])


# kernel, truth, reach of the arguments, relative error allowed in units of eps
FUNCTIONS = {
    "exp2": (power.exp2, lambda z: mpmath.mpf(2) ** z, 125, 2),
    "exp": (power.exp, mpmath.exp, 87, 1),
    "logistic": (scalar.logistic, lambda z: 1 / (1 + mpmath.exp(-z)), 80, 2),
    "normal_cdf": (scalar.normal_cdf, lambda z: mpmath.erfc(-z / mpmath.sqrt(2)) / 2, 9, 80),
}


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_relative_error(name, dtype):
    """Within the stated multiples of eps."""
    function, truth, reach, units = FUNCTIONS[name]
    values = grid(dtype, reach)
    wanted = exact(truth, values)
    got = apply(function, values).astype(np.float64)
    assert np.max(np.abs(got - wanted) / wanted) < units * np.finfo(dtype).eps


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_tanh_and_expm1_keep_their_digits_near_zero(dtype):
    """tanh(z) and e^z - 1 lose no relative accuracy as z goes to 0."""
    tanh = scalar.tanh
    first_of = jit.kernel(lambda v: tanh(v, 0.0)[0])
    values = grid(dtype, 10)
    values = values[values != 0]
    values = values[: len(values) // 64 * 64]
    wanted = exact(mpmath.tanh, values)
    assert np.max(np.abs(apply(first_of, values) / wanted - 1)) < 2 * np.finfo(dtype).eps
    below = -np.abs(values)
    wanted = exact(mpmath.expm1, below)
    assert np.max(np.abs(apply(scalar.exp_less_one, below) / wanted - 1)) < 2 * np.finfo(dtype).eps


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_log_from_1_on(dtype):
    """To 2 eps of log(v) or of 1, whichever is larger; exactly 0 at 1, and powers of two on either side."""
    powers = 2.0 ** np.arange(1, 11)
    values = np.concatenate([[1.0], powers, powers * (1 - 1e-6), np.geomspace(1, 2, 500), np.geomspace(1, 1e30, 503)])
    values = values.astype(dtype)
    wanted = exact(mpmath.log, values)
    got = apply(scalar.log, values)
    assert got[0] == 0
    assert np.max(np.abs(got - wanted) / np.maximum(wanted, 1)) < 2 * np.finfo(dtype).eps


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_exp2_of_every_magnitude(dtype):
    """Close to NumPy's 2^z from the smallest z to the largest; 0 and inf where NumPy has them."""
    exponents = np.arange(np.finfo(dtype).minexp, np.finfo(dtype).maxexp)
    values = [sign * np.ldexp(m, exponents) for sign in (-1, 1) for m in (1.0, 1.25, 1.5, 1.75, 1.999)]
    values = np.resize(np.concatenate(values).astype(dtype), 64 * len(exponents))
    with np.errstate(over="ignore", under="ignore"):
        wanted = np.exp2(values)
    smallest = np.finfo(dtype).smallest_subnormal
    np.testing.assert_allclose(apply(power.exp2, values), wanted, rtol=2 * np.finfo(dtype).eps, atol=smallest)


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_ends_of_the_range(dtype):
    """0 and inf beyond the range; exactly 1 and 1/2 at 0; NaN stays NaN."""
    values = np.resize(np.array([-np.inf, -1e30, 0.0, 1e30, np.inf, np.nan], dtype), 96)
    np.testing.assert_array_equal(apply(power.exp2, values)[:6], [0, 0, 1, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(apply(scalar.logistic, values)[:6], [0, 0, 0.5, 1, 1, np.nan])
    np.testing.assert_allclose(apply(scalar.normal_cdf, values)[1:4], [0, 0.5, 1], rtol=np.finfo(dtype).eps)


def test_codes_follow_the_tables():
    """A kernel's code of an activation or loss is its place in the table of names."""
    z, y = np.linspace(-3, 4, 8), np.linspace(0, 1, 8)
    for name in activations.NAMES:
        chosen = elementwise.activation(activations.named(name).code, z, 0.3)
        np.testing.assert_array_equal(chosen, getattr(scalar, name)(z, 0.3))
    for name in set(losses.NAMES) - {"cross_entropy"}:
        chosen = elementwise.loss(losses.named(name).code, z, y, 0.3)
        np.testing.assert_array_equal(chosen, getattr(scalar, name)(z, y, 0.3))
    np.testing.assert_array_equal(elementwise.loss(losses.PULLBACK, z, y, 0.3), scalar.pullback(z, y, 0.3))
    for own in map(losses.named, set(losses.NAMES)):
        if not own.couples_outputs:
            np.testing.assert_allclose(elementwise.link(own.link_code, z), own.response(z), rtol=1e-15)


@jit.kernel
def tanh(v):
    return scalar.tanh(v, 0.0)[0]


EVERY = {
    "exp": (power.exp, np.exp),
    "sigmoid": (scalar.logistic, lambda z: 1 / (1 + np.exp(-z))),
    "tanh": (tanh, np.tanh),
}


@pytest.mark.skipif(not jit.COMPILED, reason="makes entries of kernels")
@pytest.mark.parametrize("step", [509, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_every_float32_is_within_two_ulp(name, step):
    """Every 509th of the 2^32 bit patterns, or all: at most 2 units in the last place of the truth, NaN for NaN."""
    function, truth = EVERY[name]
    worst, size = 0.0, 2**20
    run, out, bits = runner(function, np.float32), np.empty(size, np.float32), np.arange(0, size * step, step)
    for start in range(0, 2**32, size * step):
        z = (bits + start).astype(np.uint32).view(np.float32)
        run(out, z)
        is_nan = np.isnan(z)
        assert np.isnan(out[is_nan]).all()
        z, got = z[~is_nan], out[~is_nan].astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            wanted = truth(z.astype(np.float64))
            rounded = wanted.astype(np.float32)
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(got[~finite], rounded[~finite])
        units = np.abs(got[finite] - wanted[finite]) / np.spacing(np.abs(rounded[finite]))
        worst = max(worst, units.max(initial=0.0))
    print(f"{name}: {worst:.3f} ulp")
    assert worst <= 2
