"""Operations, formulas and choices: the same in kernels, on symbols and on arrays."""

import numpy as np
import pytest
from numba import types

from fastbp.compiler import jit
from fastbp.kernels.math import elementwise, scalar
from fastbp.kernels.simd import formula as operations
from fastbp.kernels.simd import registers as simd

DTYPES = (np.float32, np.float64)
PAIRS = {name: f for name, f in vars(scalar).items() if isinstance(f, operations.Operation) and f.n_results == 2}

pytestmark = [
    pytest.mark.skipif(not jit.COMPILED, reason="compares compiled code with its twins"),
    pytest.mark.filterwarnings("ignore:.*cache.*"),
]


def compiled(kernel, dtype):
    """An entry on (first, second, z, y) over a kernel(first, second, z, y) of pointers."""
    inner, pointer = jit.kernel(kernel), simd.pointer

    def outer(first, second, z, y):
        inner(pointer(first), pointer(second), pointer(z), pointer(y))

    array = types.Array(types.float32 if dtype == np.float32 else types.float64, 1, "C")
    return jit.entry(types.void(array, array, array, array))(outer)


def numbers(dtype):
    """A register of pre-activations and one of targets in [0, 1]."""
    n = simd.lanes(dtype)
    return np.linspace(-4, 5, n).astype(dtype), np.linspace(0, 1, n).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_formula_does_in_a_kernel_what_it_does_on_arrays(name, dtype):
    """The value and the derivative, to rounding."""
    function, load, store = PAIRS[name], simd.load, simd.store
    of_targets = len(_arguments(function)) == 3

    def one(first, second, z, y):
        value, derivative = function(load(z, 0), 0.3)
        store(first, 0, value)
        store(second, 0, derivative)

    def two(first, second, z, y):
        value, derivative = function(load(z, 0), load(y, 0), 0.3)
        store(first, 0, value)
        store(second, 0, derivative)

    z, y = numbers(dtype)
    got = np.empty_like(z), np.empty_like(z)
    compiled(two if of_targets else one, dtype)(*got, z, y)
    wanted = function(z, y, 0.3) if of_targets else function(z, 0.3)
    for a, b in zip(got, wanted, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


def _arguments(function):
    code = function.twin.__code__
    return code.co_varnames[: code.co_argcount]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_choice_takes_the_function_of_its_code(dtype):
    """Every activation by its code, in kernels and on arrays; a code out of range takes the first."""
    activation, load, store = elementwise.activation, simd.load, simd.store

    def chosen(first, second, z, y):
        value, derivative = activation(np.int64(y[0]), load(z, 0), 0.3)
        store(first, 0, value)
        store(second, 0, derivative)

    run = compiled(chosen, dtype)
    z, code = numbers(dtype)
    seen = set()
    for number in (*range(10), 10, -1):
        code[0] = number
        got = np.empty_like(z), np.empty_like(z)
        run(*got, z, code)
        wanted = elementwise.activation(number if 0 <= number < 10 else 0, z, 0.3)
        np.testing.assert_allclose(got, wanted, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)
        seen.add(got[0].tobytes())
    assert len(seen) == 10


def test_symbols_mix_with_numbers_on_either_side():
    """Every operator of a formula, with a number to the left and to the right."""

    @operations.formula
    def mixed(v):
        return 1.0 - (2.0 * v + 3.0) / (v * v + 0.5) + (4.0 + v) / 2.0 - 1.0 / (v - 9.0) + -v * 2.0

    load, store = simd.load, simd.store

    def run(first, second, z, y):
        store(first, 0, mixed(load(z, 0)))

    z, y = numbers(np.float64)
    got = np.empty_like(z)
    compiled(run, np.float64)(got, got.copy(), z, y)
    np.testing.assert_allclose(got, mixed(z), rtol=1e-14)
