"""Validation of inputs: what comes in, in which form, and what every refusal says."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fastbp.engine import inputs
from fastbp.errors import InputError
from fastbp.model.network import MLP
from tests.says import assert_says

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
WANTED = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class ByArrayProtocol:
    """A tensor of another library that knows __array__."""

    def __array__(self, dtype=None, copy=None):
        return WANTED.astype(dtype or F32)


class ByDlpack:
    """A tensor of another library that knows DLPack only."""

    def __dlpack__(self, **options):
        return WANTED.copy().__dlpack__(**options)

    def __dlpack_device__(self):
        return WANTED.__dlpack_device__()


class NeedsGradient:
    """A tensor that refuses to become an array."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


def misaligned(array):
    """The same values, one byte off their alignment."""
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned or array.itemsize == 1
    return view


def read_only(array):
    """The same values in memory that must not be written."""
    array = array.copy()
    array.flags.writeable = False
    return array


def memmap(tmp_path, mode):
    """The same values in a file."""
    WANTED.astype(F32).tofile(tmp_path / "x.bin")
    return np.memmap(tmp_path / "x.bin", F32, mode, shape=WANTED.shape)


ACCEPTED = {
    "canonical float32": lambda _: WANTED.astype(F32),
    "canonical float64": lambda _: WANTED.copy(),
    "list of lists": lambda _: WANTED.tolist(),
    "tuple of tuples": lambda _: tuple(map(tuple, WANTED.tolist())),
    "list of arrays": lambda _: list(WANTED),
    "list of bools": lambda _: WANTED.astype(bool).tolist(),
    "longdouble": lambda _: WANTED.astype(np.longdouble),
    "broadcast": lambda _: np.broadcast_to(WANTED[None], (2, 3, 2))[1],
    "read-only": lambda _: read_only(WANTED.astype(F32)),
    "np.matrix": lambda _: WANTED.astype(F32).view(np.matrix),
    "memmap": lambda tmp_path: memmap(tmp_path, "r+"),
    "read-only memmap": lambda tmp_path: memmap(tmp_path, "r"),
    "DataFrame": lambda _: pd.DataFrame(WANTED, columns=["a", "b"]),
    "DataFrame of two types": lambda _: pd.DataFrame({"a": [1, 0, 1], "b": [0.0, 1.0, 1.0]}),
    "__array__": lambda _: ByArrayProtocol(),
    "__dlpack__": lambda _: ByDlpack(),
    "memoryview": lambda _: memoryview(WANTED.astype(F32)),
}


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("kind", ACCEPTED)
def test_array_likes_become_one_canonical_form(kind, dtype, tmp_path):
    """Whatever comes in, the kernels get a plain ndarray: C order, aligned, writable, native, in the given dtype."""
    x = inputs.as_inputs(ACCEPTED[kind](tmp_path), 2, dtype)
    assert type(x) is np.ndarray
    assert x.flags.carray
    assert x.dtype == dtype
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, WANTED)


# What an array may be made of, and how it may lie in memory.
NUMBERS = st.one_of(
    npst.boolean_dtypes(), npst.integer_dtypes(endianness="?"), npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
)  # fmt: skip
STEPS = st.sampled_from((1, 2, 3, -1, -2))
MEMORY = {
    "C order": np.ascontiguousarray,
    "F order": np.asfortranarray,
    "read-only": lambda a: read_only(a),
    "misaligned": lambda a: misaligned(a),
}


@given(NUMBERS, st.integers(1, 9), st.integers(1, 5), STEPS, STEPS, st.sampled_from(list(MEMORY)), st.data())
def test_arrays_of_any_dtype_and_layout_become_one_canonical_form(
    given_dtype, n_rows, n_inputs, row_step, column_step, memory, data
):
    """Integers, floats and booleans of any size and byte order, in memory of any order, with any strides."""
    shape = (n_rows * abs(row_step), n_inputs * abs(column_step))
    values = data.draw(npst.arrays(given_dtype, shape, elements={"allow_nan": False, "allow_infinity": False}
                                   if given_dtype.kind == "f" else None))  # fmt: skip
    array = MEMORY[memory](values)[::row_step, ::column_step]
    before = array.copy()
    x = inputs.as_inputs(array, n_inputs, F64)
    assert (type(x), x.dtype, x.flags.carray) == (np.ndarray, F64, True)
    np.testing.assert_array_equal(x, before.astype(F64))
    np.testing.assert_array_equal(array, before)


@given(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4), st.integers(1, 4))
def test_shapes_other_than_rows_of_inputs_are_refused(shape, n_inputs):
    """With the shape that came and the one that is wanted; a row for each sample is accepted, of whatever number."""
    if len(shape) == 2 and shape[0] > 0 and shape[1] == n_inputs:
        assert inputs.as_inputs(np.ones(shape), n_inputs, F64).shape == shape
        return
    with pytest.raises(InputError) as caught:
        inputs.as_inputs(np.ones(shape), n_inputs, F64)
    assert_says(caught, f"x must have shape (N, {n_inputs})", f"got shape {shape}, float64")


@pytest.mark.parametrize("kind", ["canonical float32", "read-only", "memmap", "read-only memmap", "np.matrix"])
def test_canonical_memory_is_not_copied(kind, tmp_path):
    """Canonical memory is shared with its owner, whether it is read-only, in a file, or of a subclass."""
    given = ACCEPTED[kind](tmp_path)
    assert np.shares_memory(inputs.as_inputs(given, 2, F32), given)


def test_canonical_array_passes_as_itself():
    """The fast path returns the very object, for targets a view of it."""
    x, y, labels, w = WANTED.astype(F32), WANTED.astype(F32), np.array([0, 1, 0]), np.ones(3, F32)
    assert inputs.as_inputs(x, 2, F32) is x
    assert np.shares_memory(inputs.as_targets(y, MLP((2, 2)), 3, F32), y)
    assert inputs.as_targets(labels, MLP((2, 2), loss="cross_entropy"), 3, F32) is labels
    assert inputs.as_sample_weight(w, 3, F32) is w


def test_inputs_are_never_written():
    """A conversion leaves the given array as it was."""
    given = np.asfortranarray(WANTED)
    inputs.as_inputs(given, 2, F32)[...] = 7
    np.testing.assert_array_equal(given, WANTED)


def test_memory_behind_a_read_only_array_stays_alive():
    """The canonical view of a read-only array keeps its memory."""
    x = inputs.as_inputs(read_only(np.full((1000, 2), 3.0)), 2, F64)
    assert (x == 3).all()
    assert x.base is not None


REFUSED = {
    "1-D": (
        np.ones(2, F32),
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (2,), float32. "
        "Write x.reshape(1, -1) for one sample, x.reshape(-1, 1) for one feature",
    ),
    "scalar": (
        3.0,
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (), float64. "
        "Write x.reshape(1, -1) for one sample, x.reshape(-1, 1) for one feature",
    ),
    "no rows": (
        np.ones((0, 2), F32),
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (0, 2), float32. "
        "At least one row is needed",
    ),
    "wrong width": (
        np.ones((5, 3), F32),
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (5, 3), float32. "
        "The network's first layer size must be the number of features",
    ),
    "transposed": (
        np.ones((2, 5), F32),
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (2, 5), float32. "
        "If features lie in rows, pass x.T",
    ),
    "images": (
        np.ones((5, 1, 2), F32),
        "x must have shape (N, 2), one row a sample, one column a feature; got shape (5, 1, 2), float32. "
        "Write x.reshape(len(x), -1) for one row a sample",
    ),
    "None": (None, "x must be an array of numbers; got NoneType"),
    "generator": ((row for row in WANTED), "x must be an array of numbers; got generator"),
    "objects": (
        [[1, None]],
        "x must hold real numbers; got Python objects, shape (1, 2), object. "
        "If all of them are numbers, pass np.asarray(x, dtype=np.float64)",
    ),
    "text": (
        [["a", "b"]],
        "x must hold real numbers; got text, shape (1, 2), <U1. "
        "Encode it as numbers first: values, codes = np.unique(x, return_inverse=True)",
    ),
    "bytes": (
        np.array([[b"a", b"b"]]),
        "x must hold real numbers; got text, shape (1, 2), |S1. "
        "Encode it as numbers first: values, codes = np.unique(x, return_inverse=True)",
    ),
    "dates": (
        np.zeros((1, 2), "M8[s]"),
        "x must hold real numbers; got dates, shape (1, 2), datetime64[s]. "
        "Make them numbers first: (x - start) / np.timedelta64(1, 's')",
    ),
    "time differences": (
        np.zeros((1, 2), "m8[s]"),
        "x must hold real numbers; got time differences, shape (1, 2), timedelta64[s]. "
        "Make them numbers first: x / np.timedelta64(1, 's')",
    ),
    "complex": (
        np.ones((1, 2), complex),
        "x must hold real numbers; got complex numbers, shape (1, 2), complex128. "
        "Pass the real and the imaginary part as columns of their own",
    ),
    "records": (
        np.zeros(3, [("a", "f4"), ("b", "f4")]),
        "x must hold real numbers; got records, shape (3,), [('a', '<f4'), ('b', '<f4')]. "
        "For named columns use numpy.lib.recfunctions.structured_to_unstructured(x)",
    ),
    "raw memory": (
        np.zeros((1, 2), "V2"),
        "x must hold real numbers; got |V2 values, shape (1, 2), |V2. Pass x.astype(np.float32)",
    ),
    "masked": (
        np.ma.masked_invalid([[1.0, np.nan]]),
        "x is a masked array, and a mask cannot be honored; got shape (1, 2), float64. "
        "Drop the masked rows or use x.filled(value)",
    ),
    "sparse": (
        scipy.sparse.csr_matrix(WANTED),
        "x must be dense; got a sparse csr_matrix, shape (3, 2). Use x.toarray()",
    ),
    "ragged": (
        [[1, 2], [3, 4], [5]],
        "x is ragged: all rows must have the same length; got a list with 2 in row 0 and 1 in row 2",
    ),
    "ragged inside": (
        [[[1], 2], [3, 4]],
        "x is ragged: all rows must have the same length; got a list with entries of different shapes",
    ),
    "tensor with a tape": (
        NeedsGradient(),
        "x must be array-like; NumPy cannot read this NeedsGradient: Can't call numpy() on Tensor that requires grad. "
        "Use tensor.detach().numpy() instead.",
    ),
    "overflow": (
        np.array([[1, np.inf], [2, -1e39], [1e40, 1]]),
        "x must fit float32, the dtype of the parameters; got -1e+39 at row 1, column 1. "
        "Rescale it, or use float64 parameters",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusal_says_what_was_wanted_what_came_and_what_to_do(kind):
    """What cannot be honored is refused, with this text."""
    given, message = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        inputs.as_inputs(given, 2, F32)
    assert str(caught.value) == message


def test_one_dimension_is_refused_even_for_one_feature():
    """(N,) could be one sample or one feature, so a network with one input refuses it as well."""
    with pytest.raises(InputError, match=re.escape("Write x.reshape(1, -1) for one sample, x.reshape(-1, 1)")):
        inputs.as_inputs(np.ones(5, F32), 1, F32)


def test_values_that_are_not_finite_pass_the_cast():
    """NaN and infinity are no overflow: they come through, for the kernels to find."""
    x = inputs.as_inputs([[np.nan, np.inf], [-np.inf, 3.4e38]], 2, F32)
    np.testing.assert_array_equal(x, np.array([[np.nan, np.inf], [-np.inf, 3.4e38]], F32))


# -- after the fact ------------------------------------------------------------------------------------

ROWS = inputs._ROWS_AT_A_TIME
BAD_PLACES = [(0, 0), (0, 2), (ROWS - 1, 1), (ROWS, 0), (ROWS + 4, 2)]


@pytest.mark.parametrize("place", BAD_PLACES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_bad_row_is_the_first(place, value):
    """The first bad value is found wherever it is, across the pieces in which the array is read."""
    x = np.zeros((ROWS + 5, 3), F32)
    x[-1, -1] = np.nan
    x[place] = value
    row, column, found = inputs.first_bad_row(x)
    assert (row, column) == place
    np.testing.assert_equal(found, value if place != (ROWS + 4, 2) else float(x[-1, -1]))


def test_first_bad_row_of_finite_values_is_none():
    """Finite values, the largest included, are not bad."""
    assert inputs.first_bad_row(np.full((3, 2), np.finfo(F32).max, F32)) is None


def test_not_finite_error_names_the_place():
    """The message names the argument, the value, its row and column."""
    error = inputs.not_finite_error("x", np.array([[0, 1], [2, -np.inf]]))
    assert isinstance(error, InputError)
    assert str(error) == "x must be finite; got -inf at row 1, column 1. Drop such rows or fill in the values"


# -- weights, out, options -----------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[1, 0, 2], np.array([1, 0, 2], ">f8"), pd.Series([1, 0, 2]), (True, False, 2)])
def test_sample_weight_becomes_canonical(given):
    """Weights become canonical (N,) in the parameters' dtype; some may be zero."""
    w = inputs.as_sample_weight(given, 3, F32)
    assert w.flags.carray
    assert w.dtype == F32
    np.testing.assert_array_equal(w, [1, 0, 2])


REFUSED_WEIGHTS = {
    "shape": (
        [1, 2],
        "sample_weight must have shape (3,), one weight for each row of x; got shape (2,), int64. "
        "Use sample_weight=None for equal weights",
    ),
    "column": (
        np.ones((3, 1)),
        "sample_weight must have shape (3,), one weight for each row of x; got shape (3, 1), float64. "
        "Use sample_weight=None for equal weights",
    ),
    "negative": ([1, 1, -2], "sample_weight must be finite and >= 0; got -2 at row 2. Use 0 to leave out a row"),
    "NaN": ([1, np.nan, -2], "sample_weight must be finite and >= 0; got nan at row 1. Use 0 to leave out a row"),
    "infinite": ([np.inf, 1, 1], "sample_weight must be finite and >= 0; got inf at row 0. Use 0 to leave out a row"),
    "zero": ([0, 0, 0], "sample_weight must have a positive, finite sum; got 0 over 3 rows"),
    "overflow": ([1e308, 1e308, 1], "sample_weight must have a positive, finite sum; got inf over 3 rows"),
    "text": (
        ["a", "b", "c"],
        "sample_weight must hold real numbers; got text, shape (3,), <U1. "
        "Encode it as numbers first: values, codes = np.unique(sample_weight, return_inverse=True)",
    ),
}


@pytest.mark.parametrize("case", REFUSED_WEIGHTS)
def test_refused_weights_name_the_row(case):
    """Weights without meaning are refused, with this text."""
    given, message = REFUSED_WEIGHTS[case]
    with pytest.raises(InputError) as caught:
        inputs.as_sample_weight(given, 3, F64)
    assert str(caught.value) == message


def test_out_is_used_itself():
    """A fitting `out` comes back as the very object."""
    out = np.empty((3, 2), F32)
    assert inputs.as_out(out, (3, 2), F32, (np.ones((3, 2), F32),)) is out


OUT_WANTED = "out must be a writable C-contiguous numpy.ndarray, shape (3, 2), float32; got "
OUT_REMEDY = ". Make one with np.empty((3, 2), np.float32)"
REFUSED_OUT = {
    "list": ([[0, 0]] * 3, "list"),
    "matrix": (np.zeros((3, 2), F32).view(np.matrix), "matrix"),
    "shape": (np.zeros((2, 3), F32), "shape (2, 3), float32"),
    "dtype": (np.zeros((3, 2)), "shape (3, 2), float64"),
    "F order": (np.zeros((3, 2), F32, order="F"), "shape (3, 2), float32, not C-contiguous"),
    "read-only": (read_only(np.zeros((3, 2), F32)), "shape (3, 2), float32, read-only"),
    "misaligned": (misaligned(np.zeros((3, 2), F32)), "shape (3, 2), float32, not aligned"),
}


@pytest.mark.parametrize("case", REFUSED_OUT)
def test_refused_out_says_why(case):
    """An `out` that cannot be written as it is is refused, never replaced by a copy."""
    given, came = REFUSED_OUT[case]
    with pytest.raises(InputError) as caught:
        inputs.as_out(given, (3, 2), F32)
    assert str(caught.value) == OUT_WANTED + came + OUT_REMEDY


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_out_that_overlaps_an_input_is_refused(offset):
    """Results must not overwrite what they are computed from, in whole or in part."""
    memory = np.zeros(12, F32)
    out, x = memory[:6].reshape(3, 2), memory[offset : offset + 6].reshape(3, 2)
    with pytest.raises(InputError) as caught:
        inputs.as_out(out, (3, 2), F32, (np.zeros(3, F32), x))
    assert str(caught.value) == (
        "out must not share memory with an input, which would be overwritten; pass another array"
    )
    assert inputs.as_out(out, (3, 2), F32, (memory[6:],)) is out


def test_reduction_is_one_of_a_table():
    """A reduction is one of those allowed."""
    assert inputs.check_reduction("none") == "none"
    with pytest.raises(InputError, match=r"^reduction must be one of 'mean', 'sum'; got 'none'$"):
        inputs.check_reduction("none", ("mean", "sum"))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "much", None])
def test_penalty_is_a_finite_number_from_zero_on(value):
    """A penalty is a finite number >= 0; others are refused by name."""
    assert inputs.check_penalty("l2", np.float32(0.5)) == 0.5
    with pytest.raises(InputError) as caught:
        inputs.check_penalty("l2", value)
    assert str(caught.value) == f"l2 must be a finite number >= 0; got {value!r}"
