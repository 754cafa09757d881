"""Validation of sparse inputs: rows of compressed columns (CSR), as in `scipy.sparse`, which is not needed for it.

Row i has the numbers values[starts[i] : starts[i + 1]] in the columns indices[starts[i] : starts[i + 1]], and zeros
elsewhere. Columns ascend; where one is named twice, its numbers add up. Kernels look at both while they load them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from . import inputs


class CSR:
    """Canonical sparse inputs: values in the dtype of the parameters, indices int32, starts int64."""

    __slots__ = ("indices", "shape", "starts", "values")

    def __init__(self, values: np.ndarray, indices: np.ndarray, starts: np.ndarray, n_columns: int) -> None:
        self.values, self.indices, self.starts = values, indices, starts
        self.shape = (len(starts) - 1, n_columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> CSR:
        """Some of the rows, by a slice or an array of their numbers."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        first, counts = self.starts[:-1][rows], np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])
        return CSR(self.values[places], self.indices[places], starts, self.shape[1])

    @property
    def stored_per_row(self) -> int:
        """About how many numbers a row has, at least 1: a power of two, so that batches alike share their plan."""
        return 1 << (int(self.starts[-1]) // len(self)).bit_length()

    def toarray(self) -> np.ndarray:
        """The same as a dense array."""
        dense = np.zeros(self.shape, self.values.dtype)
        np.add.at(dense, (self._rows(), self.indices[: self.starts[-1]]), self.values[: self.starts[-1]])
        return dense

    def _rows(self) -> np.ndarray:
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def first_error(self) -> InputError | None:
        """What is wrong with the values or the columns, by row and column; None if nothing is."""
        n = self.starts[-1]
        columns, values = self.indices[:n], self.values[:n]
        outside = np.flatnonzero((columns < 0) | (columns >= self.shape[1]))
        if outside.size:
            at = outside[0]
            return InputError(
                f"the columns of x must lie from 0 to {self.shape[1] - 1}; got {columns[at]} in row {self._row(at)}. "
                "x is not a valid CSR array"
            )
        descends = columns[1:] < columns[:-1]
        descends[self.starts[(self.starts > 0) & (self.starts < n)] - 1] = False  # from one row to the next
        if descends.any():
            at = int(np.argmax(descends))
            return InputError(
                f"the columns of a row of x must ascend, as x.has_sorted_indices says they do; got {columns[at + 1]} "
                f"after {columns[at]} in row {self._row(at)}. Set x.has_sorted_indices = False, then x.sort_indices()"
            )
        found = inputs.first_bad_row(values)
        if found is None:
            return None
        row, column = self._row(found[0]), columns[found[0]]
        return InputError(
            f"x must be finite; got {found[2]:g} at row {row}, column {column}. Drop such rows or fill in the values"
        )

    def error(self) -> InputError:
        """The same where kernels have found something."""
        return self.first_error() or InputError("x must be finite; got numbers that have changed since. Copy x before")

    def _row(self, at: int) -> int:
        """The row of the number that is stored at that place."""
        return int(np.searchsorted(self.starts, at, side="right")) - 1


def as_inputs(x: Any, n_inputs: int, dtype: np.dtype) -> np.ndarray | CSR:
    """x as `inputs.as_inputs` returns it, or sparse as CSR.

    Takes sparse arrays and matrices of every format of scipy.sparse; copies what is not CSR with ascending columns,
    values in `dtype` and int32 indices. Raises InputError for other shapes and kinds.
    """
    if isinstance(x, CSR) and x.values.dtype == dtype and x.shape[1] == n_inputs:
        return x
    if not (hasattr(x, "nnz") and hasattr(x, "tocsr")):
        return inputs.as_inputs(x, n_inputs, dtype)
    if x.ndim != 2 or x.shape[1] != n_inputs or x.shape[0] == 0:
        raise inputs.input_shape_error(x, n_inputs)
    if x.format != "csr":
        x = x.tocsr()
    _check_starts(x)
    if not x.has_sorted_indices:
        x = x.sorted_indices()
    starts = np.ascontiguousarray(x.indptr, np.int64)
    indices = np.require(x.indices if x.indices.itemsize <= 4 else np.clip(x.indices, -1, n_inputs), np.int32, "CA")
    values = inputs.as_numbers("x.data", x.data, dtype)
    return CSR(values, indices, starts, n_inputs)


def _check_starts(x: Any) -> None:
    """Before anything follows them: InputError where the rows of a CSR array start outside of what is stored."""
    starts, stored = x.indptr, min(len(x.data), len(x.indices))
    if len(starts) != x.shape[0] + 1 or starts[0] or starts[-1] > stored or (starts[1:] < starts[:-1]).any():
        bounds = f"from {starts[0]} to {starts[-1]}" if len(starts) else "numbers"
        raise InputError(
            f"x.indptr must hold {x.shape[0] + 1} numbers that ascend from 0 to the {stored} numbers stored; "
            f"got {len(starts)} {bounds}. x is not a valid CSR array"
        )
