"""Class labels as numbers: the codes of a target's labels, and labels unseen in training refused."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from .tables import Table, listed, place


def encode_labels(target: np.ndarray, source: str | Table = "the target") -> tuple[np.ndarray, np.ndarray]:
    """(classes, codes): the sorted distinct labels (K,), and int64 codes (N,) with classes[codes] equal to the labels.

    Labels are text, integers or bools; whole floats count as integers. DataError, naming the row in `source`, for other
    values, and for fewer than two classes.

    >>> fastbp.data.encode_labels(np.array(["no", "yes", "no"]))
    (array(['no', 'yes'], dtype='<U3'), array([0, 1, 0]))
    """
    classes, codes = np.unique(_labels(target, source), return_inverse=True)
    if len(classes) < 2:
        wanted = "at least two classes are needed" + (
            f" in {source.target_name!r}" if isinstance(source, Table) else ""
        )
        raise DataError(
            f"{_name(source)}: {wanted}; every row is {classes[0].item()!r}. "
            "By default the last column is the target, in an .npz y; name another with --target"
        )
    return classes, codes.astype(np.int64, copy=False)


def encode_with(classes: np.ndarray, target: np.ndarray, source: str | Table = "the target") -> np.ndarray:
    """int64 codes (N,) of labels by known `classes`; DataError naming the row of a label that is not among them.

    Labels are compared as they are written, so 1 in one file is "1" in another.

    >>> fastbp.data.encode_with(np.array(["no", "yes"]), np.array(["yes", "yes"]))
    array([1, 1])
    """
    values, inverse = np.unique(_labels(target, source), return_inverse=True)
    code_of = {str(label): code for code, label in enumerate(classes)}
    codes = np.array([code_of.get(str(value), -1) for value in values], np.int64)[inverse]
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        row = int(unknown[0])
        raise DataError(
            f"{place(source, row)}: the label {values[inverse[row]].item()!r} was never seen in training; "
            f"known are {listed(classes.tolist())}. Correct or drop the row, or train again with such rows"
        )
    return codes


def _labels(target: np.ndarray, source: str | Table) -> np.ndarray:
    if target.ndim != 1:
        raise DataError(f"{_name(source)}: one label a row is wanted; got shape {target.shape}")
    if target.dtype.kind != "f":
        return target
    broken = np.flatnonzero(~(np.abs(target) < 2**53) | (target != np.floor(target)))
    if len(broken):
        row = int(broken[0])
        raise DataError(
            f"{place(source, row)}: a label must be text or a whole number; got {target[row]:g}. "
            "To predict numbers choose a loss such as squared_error"
        )
    return target.astype(np.int64)


def _name(source: str | Table) -> str:
    return source.source if isinstance(source, Table) else source
