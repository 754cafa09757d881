"""Validation: array-likes come in, one canonical form goes to the kernels. Nothing else copies user data.

Canonical is a `numpy.ndarray` in C order, aligned, flagged writable, native byte order, in the dtype of the parameters
(labels: int64). Such an array passes untouched; everything else is converted once, or refused by name.
Values are not read here unless a copy is made: kernels look at them while they load them, and on a bad one the caller
asks `not_finite_error`, `bad_label_error` or `target_value_error` for the message that names the row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from ..model.losses import Loss
    from ..model.network import MLP

# What an array of such a kind holds, and what its owner can do about it; {name} is the argument.
_REFUSED_KINDS = {
    "O": ("Python objects", "If all of them are numbers, pass np.asarray({name}, dtype=np.float64)"),
    "U": ("text", "Encode it as numbers first: values, codes = np.unique({name}, return_inverse=True)"),
    "M": ("dates", "Make them numbers first: ({name} - start) / np.timedelta64(1, 's')"),
    "m": ("time differences", "Make them numbers first: {name} / np.timedelta64(1, 's')"),
    "c": ("complex numbers", "Pass the real and the imaginary part as columns of their own"),
    "V": ("records", "For named columns use numpy.lib.recfunctions.structured_to_unstructured({name})"),
}
_REFUSED_KINDS["S"] = _REFUSED_KINDS["T"] = _REFUSED_KINDS["U"]
_ROWS_AT_A_TIME = 65_536


# -- inputs ------------------------------------------------------------------------------------------


def as_inputs(x: Any, n_inputs: int, dtype: np.dtype) -> np.ndarray:
    """x as a canonical (N, n_inputs) array with N >= 1.

    Accepts lists, arrays of any layout, byte order and real dtype, frames, memmaps, CPU tensors. Raises InputError for
    other shapes and kinds, and for a finite value that overflows in the cast to `dtype`. NaN and infinity in x are
    found by the kernels; see `not_finite_error`.
    """
    canonical = type(x) is np.ndarray and x.dtype == dtype and x.flags.carray
    if not canonical:
        x = _real_array("x", x)
    if x.ndim != 2 or x.shape[1] != n_inputs or x.shape[0] == 0:
        raise input_shape_error(x, n_inputs)
    return x if canonical else _cast("x", x, dtype)


def as_numbers(name: str, values: Any, dtype: np.dtype) -> np.ndarray:
    """Values of any shape as a canonical array in `dtype`."""
    return _cast(name, _real_array(name, values), dtype)


def first_bad_row(x: np.ndarray) -> tuple[int, int, float] | None:
    """(row, column, value) of the first NaN or infinity in x, (N,) or (N, n); None if all values are finite."""
    for start in range(0, len(x), _ROWS_AT_A_TIME):
        rows = x[start : start + _ROWS_AT_A_TIME]
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduce(rows, axis=None)
        if np.isfinite(total):  # and so is each of them; the other way round, finite numbers may overflow
            continue
        found = _first_where(~np.isfinite(rows))
        if found is not None:
            return start + found[0], found[1], float(rows.reshape(len(rows), -1)[found])
    return None


def not_finite_error(what: str, x: np.ndarray) -> InputError:
    """The error for a NaN or infinity in the array x, naming its row and column; `what` is the argument's name."""
    found = first_bad_row(x)
    if found is None:
        return InputError(f"{what} must be finite")
    row, column, value = found
    return InputError(
        f"{what} must be finite; got {value:g} at row {row}, column {column}. Drop such rows or fill in the values"
    )


# -- targets -----------------------------------------------------------------------------------------


def as_targets(y: Any, net: MLP, n_rows: int, dtype: np.dtype) -> np.ndarray:
    """y as the loss of `net` wants it: canonical int64 labels (N,), or targets (N, n_outputs) in `dtype`.

    cross_entropy takes integer or bool labels (N,), or rows (N, n_outputs) of probabilities that sum to 1 within 1e-6.
    The other losses take (N, n_outputs), and (N,) for one output. Raises InputError for other kinds and shapes.
    Labels out of range and targets outside the loss's domain are found by the kernels; see `target_value_error`.
    """
    if net.loss_function.couples_outputs:
        return _class_targets(y, net, n_rows, dtype)
    n_outputs = net.n_outputs
    canonical = type(y) is np.ndarray and y.dtype == dtype and y.flags.carray
    if not canonical:
        y = _real_array("y", y)
    if y.shape != (n_rows, n_outputs) and not (n_outputs == 1 and y.shape == (n_rows,)):
        raise _target_shape_error(y, net, n_rows)
    return (y if canonical else _cast("y", y, dtype)).reshape(n_rows, n_outputs)


def bad_label_error(y: np.ndarray, n_classes: int) -> InputError | None:
    """The error that names the first label outside 0..n_classes-1; None if there is none."""
    found = _first_where((y < 0) | (y >= n_classes))
    if found is None:
        return None
    return InputError(
        f"y must hold labels 0 to {n_classes - 1}, one for each of the {n_classes} outputs; "
        f"got {y[found[0]]} at row {found[0]}. Renumber them with np.unique(y, return_inverse=True), "
        "or give the network as many outputs as there are classes"
    )


def target_value_error(y: np.ndarray, net: MLP) -> InputError | None:
    """The error that names the first row of canonical y that the loss of `net` cannot take; None if all are fine."""
    loss, targets = net.loss_function, net.loss_function.record.targets
    if y.dtype.kind != "f":
        return bad_label_error(y, net.n_outputs)
    if first_bad_row(y) is not None:
        return not_finite_error("y", y)
    if targets.are_distributions:
        return _probability_error(loss, y)
    found = _first_where((y < targets.low) | (y > targets.high))
    if found is None:
        return None
    value = y.reshape(len(y), -1)[found]
    return InputError(
        f"y of {loss} {targets.wanted}; got {value:g} at row {found[0]}, column {found[1]}. {targets.remedy}"
    )


# -- weights, out, options -----------------------------------------------------------------------------


def as_sample_weight(w: Any, n_rows: int, dtype: np.dtype) -> np.ndarray:
    """w as a canonical (N,) array of finite weights >= 0 with a positive sum; InputError otherwise."""
    canonical = type(w) is np.ndarray and w.dtype == dtype and w.flags.carray
    if not canonical:
        w = _real_array("sample_weight", w)
    if w.shape != (n_rows,):
        raise InputError(
            f"sample_weight must have shape ({n_rows},), one weight for each row of x; got {_came(w)}. "
            "Use sample_weight=None for equal weights"
        )
    if not canonical:
        w = _cast("sample_weight", w, dtype)
    with np.errstate(over="ignore"):
        total = float(np.add.reduce(w, dtype=np.float64))
    if not (np.minimum.reduce(w) >= 0 and 0 < total < math.inf):
        raise _weight_error(w, total)
    return w


def as_out(out: Any, shape: tuple[int, ...], dtype: np.dtype, inputs: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """`out` itself, once it is known to be a canonical array of that shape and dtype that overlaps no input."""
    if type(out) is not np.ndarray or out.shape != shape or out.dtype != dtype or not out.flags.carray:
        raise InputError(
            f"out must be a writable C-contiguous numpy.ndarray, shape {shape}, {dtype}; got {_out_came(out)}. "
            f"Make one with np.empty({shape}, np.{dtype})"
        )
    for array in inputs:
        if array.size and np.may_share_memory(out, array):
            raise InputError("out must not share memory with an input, which would be overwritten; pass another array")
    return out


def check_reduction(reduction: str, allowed: tuple[str, ...] = ("mean", "sum", "none")) -> str:
    """`reduction`, if it is one of those allowed."""
    if reduction not in allowed:
        raise InputError(f"reduction must be one of {', '.join(map(repr, allowed))}; got {reduction!r}")
    return reduction


def check_penalty(name: str, value: float) -> float:
    """`value` as a float, if it is a finite number >= 0; `name` is l1 or l2."""
    if not (is_finite_number(value) and value >= 0):
        raise InputError(f"{name} must be a finite number >= 0; got {value!r}")
    return float(value)


def count(name: str, value: Any, smallest: int = 1) -> int:
    """`value` as an int, if it is a whole number of at least `smallest`; `name` is that of the argument."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool | np.timedelta64) or value < smallest:
        raise InputError(f"{name} must be a whole number of at least {smallest}; got {value!r}")
    return int(value)


def number(
    name: str, value: Any, low: float = -math.inf, *, above: float = -math.inf, below: float = math.inf
) -> float:
    """`value` as a float, if it is a finite number, at least `low`, above `above` and below `below`."""
    if not (is_finite_number(value) and value >= low and above < value < below):
        bounds = {"of at least": low, "above": above, "below": below}
        wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        raise InputError(f"{name} must be a finite number {wanted}".rstrip() + f"; got {value!r}")
    return float(value)


def is_finite_number(value: Any) -> bool:
    """Whether it is one real number, finite as a float; text, booleans and durations are none."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool | np.complexfloating | np.timedelta64):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # of an int
        return False


def is_series(value: Any) -> bool:
    """Whether it holds values one after the other, as a list or a generator; text and 0-d arrays do not."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) > 0


# -- conversion ----------------------------------------------------------------------------------------


def _real_array(name: str, values: Any) -> np.ndarray:
    """`values` as an ndarray of bools, integers or floats, of any layout."""
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array, and a mask cannot be honored; got {_came(values)}. "
            f"Drop the masked rows or use {name}.filled(value)"
        )
    if hasattr(values, "nnz") and hasattr(values, "toarray"):
        raise InputError(
            f"{name} must be dense; got a sparse {type(values).__name__}, shape {values.shape}. Use {name}.toarray()"
        )
    array = as_ndarray(name, values)
    if array.dtype.kind not in "buif":
        raise _kind_error(name, values, array)
    return array


def as_ndarray(name: str, values: Any) -> np.ndarray:
    """`values` as an ndarray of any kind; InputError, by the argument's name, for what is ragged or no array."""
    if _never_ends(values):
        raise InputError(
            f"{name} must end: this {type(values).__name__} has {len(values)} rows, and gives a row {len(values)} too. "
            "For rows read one by one give it the members of a fastbp.data.Dataset, n_rows and read(start, stop)"
        )
    # NumPy asks __array__ and the buffer protocol; an array library may offer only DLPack.
    by_dlpack = hasattr(values, "__dlpack__") and not hasattr(values, "__array__")
    try:
        return np.from_dlpack(values) if by_dlpack else np.asarray(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        if "inhomogeneous" in str(error):
            raise InputError(
                f"{name} is ragged: all rows must have the same length; got a {type(values).__name__} with "
                f"{_lengths(values)}"
            ) from None
        raise InputError(
            f"{name} must be array-like; NumPy cannot read this {type(values).__name__}: {error}"
        ) from error


def _never_ends(values: Any) -> bool:
    """Whether values are rows by number that NumPy would read without an end: IndexError is the end it waits for."""
    if hasattr(values, "__iter__") or not (hasattr(values, "__getitem__") and hasattr(values, "__len__")):
        return False
    if any(hasattr(values, name) for name in ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")):
        return False
    try:
        values[len(values)]
    except Exception:
        return False
    return True


def _cast(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in canonical form; a copy unless it is there already."""
    try:
        with np.errstate(over="raise"):
            cast = np.require(array, dtype, "CA")
    except FloatingPointError:
        raise _overflow_error(name, array, dtype) from None
    return unlocked(cast)


def unlocked(array: np.ndarray) -> np.ndarray:
    """The array itself, or the same memory as a writable `numpy.ndarray` where it is read-only, such as a memmap.

    Compiled signatures tell writable from read-only arrays, and only one of the two is compiled. No kernel writes to
    an input.
    """
    return array if type(array) is np.ndarray and array.flags.writeable else np.asarray(_Unlocked(array))


class _Unlocked:
    """Memory offered as writable, without a copy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _class_targets(y: Any, net: MLP, n_rows: int, dtype: np.dtype) -> np.ndarray:
    if type(y) is np.ndarray and y.dtype == np.int64 and y.shape == (n_rows,) and y.flags.carray:
        return y
    y = _real_array("y", y)
    if y.shape == (n_rows, net.n_outputs):
        return _class_probabilities(net.loss_function, y, dtype)
    if y.shape != (n_rows,):
        raise _target_shape_error(y, net, n_rows)
    if y.dtype.kind == "f":
        raise InputError(
            f"{net.loss_function} wants integer labels (N,) or probabilities (N, {net.n_outputs}); got {_came(y)}. "
            "If these are labels, pass y.astype(np.int64)"
        )
    return _cast("y", y, np.dtype(np.int64))


def _class_probabilities(loss: Loss, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    # Checked before the cast, in which many small probabilities lose the 1e-6.
    error = not_finite_error("y", y) if first_bad_row(y) is not None else _probability_error(loss, y)
    if error is not None:
        raise error
    return _cast("y", y, dtype)


# -- messages ------------------------------------------------------------------------------------------


def _came(array: np.ndarray) -> str:
    return f"shape {array.shape}, {array.dtype}"


def _first_where(bad: np.ndarray) -> tuple[int, int] | None:
    """(row, column) of the first True in a mask (N,) or (N, n)."""
    if not bad.any():
        return None
    n_columns = math.prod(bad.shape[1:])
    return divmod(int(np.argmax(bad)), n_columns)


def _lengths(values: Any) -> str:
    try:
        lengths = [len(row) if hasattr(row, "__len__") else 1 for row in values]
    except TypeError:
        return "rows of different lengths"
    other = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
    if other is None:
        return "entries of different shapes"
    return f"{lengths[0]} in row 0 and {lengths[other]} in row {other}"


def _kind_error(name: str, values: Any, array: np.ndarray) -> InputError:
    holds, remedy = _REFUSED_KINDS.get(array.dtype.kind, _REFUSED_KINDS["O"])
    if array.dtype.kind == "O" and array.ndim == 0:
        return InputError(f"{name} must be an array of numbers; got {type(values).__name__}")
    if array.dtype.kind == "V" and array.dtype.names is None:
        holds, remedy = f"{array.dtype} values", "Pass {name}.astype(np.float32)"
    return InputError(f"{name} must hold real numbers; got {holds}, {_came(array)}. {remedy.format(name=name)}")


def _overflow_error(name: str, array: np.ndarray, dtype: np.dtype) -> InputError:
    row, column = _first_where(np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max)) or (0, 0)
    value = array.reshape(len(array), -1)[row, column]
    return InputError(
        f"{name} must fit {dtype}, the dtype of the parameters; got {value:g} at row {row}, column {column}. "
        "Rescale it, or use float64 parameters"
    )


def input_shape_error(x: np.ndarray, n_inputs: int) -> InputError:
    wanted = f"x must have shape (N, {n_inputs}), one row a sample, one column a feature; got {_came(x)}"
    if x.ndim < 2:
        return InputError(f"{wanted}. Write x.reshape(1, -1) for one sample, x.reshape(-1, 1) for one feature")
    if x.ndim == 2 and x.shape[1] == n_inputs:
        return InputError(f"{wanted}. At least one row is needed")
    if x.ndim > 2 and math.prod(x.shape[1:]) == n_inputs:
        return InputError(f"{wanted}. Write x.reshape(len(x), -1) for one row a sample")
    if x.ndim == 2 and x.shape[0] == n_inputs:
        return InputError(f"{wanted}. If features lie in rows, pass x.T")
    return InputError(f"{wanted}. The network's first layer size must be the number of features")


def _target_shape_error(y: np.ndarray, net: MLP, n_rows: int) -> InputError:
    loss, n_outputs = net.loss_function, net.n_outputs
    may_be_flat = n_outputs == 1 or loss.couples_outputs
    if loss.is_classification and not may_be_flat and y.ndim == 1 and y.dtype.kind in "bui":
        return InputError(
            f"{loss} with {n_outputs} outputs wants y of shape (N, {n_outputs}), one column an output; "
            f"got integer labels, {_came(y)}. For one label a sample, did you mean loss='cross_entropy'?"
        )
    if y.ndim and len(y) != n_rows:
        remedy = f"x has {n_rows} rows, y has {len(y)}"
    elif may_be_flat and y.size == n_rows:
        remedy = "Pass y.ravel()"
    else:
        remedy = "Columns of y and outputs of the network must agree"
    flat = f"({n_rows},) or " if may_be_flat else ""
    return InputError(f"y must have shape {flat}({n_rows}, {n_outputs}); got {_came(y)}. {remedy}")


def _probability_error(loss: Loss, y: np.ndarray) -> InputError | None:
    """The error for the first row of y (N, n_classes) that is no distribution."""
    sums = y.sum(axis=1, dtype=np.float64)
    found = _first_where((np.abs(sums - 1) > 1e-6) | (y.min(axis=1) < 0))
    if found is None:
        return None
    row = found[0]
    return InputError(
        f"y of {loss} must be integer labels (N,) or rows of probabilities, none negative, that sum to 1 within "
        f"1e-6; got row {row} with smallest value {y[row].min():g} and sum {sums[row]:.9g}. Normalize the rows"
    )


def _weight_error(w: np.ndarray, total: float) -> InputError:
    found = _first_where(~(w >= 0) | np.isinf(w))
    if found is not None:
        return InputError(
            f"sample_weight must be finite and >= 0; got {w[found[0]]:g} at row {found[0]}. Use 0 to leave out a row"
        )
    return InputError(f"sample_weight must have a positive, finite sum; got {total:g} over {len(w)} rows")


def _out_came(out: Any) -> str:
    if type(out) is not np.ndarray:
        return type(out).__name__
    traits = [("" if out.flags.c_contiguous else "not C-contiguous"), ("" if out.flags.writeable else "read-only")]
    traits.append("" if out.flags.aligned else "not aligned")
    return ", ".join([_came(out), *filter(None, traits)])
