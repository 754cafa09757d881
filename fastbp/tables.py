"""What a table read from a file is, what can be asked of it, and what is said when a file cannot be used.

A DataError names the file and the place in it: the line of a CSV file, counted from 1 with the header, or the row of an
array, counted from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import arrays
from .errors import DataError


@dataclass(frozen=True, eq=False)
class Table:
    """Features and perhaps a target, as they lay in a file.

    names : of the features, in the order of the columns of x (N, n_features).
    target : (N,) integers, floats, bools or text; from an `.npz` also floats (N, n); None if the file has none.
    source : the file. lines : of a CSV file, the line of each row.
    """

    names: tuple[str, ...]
    x: np.ndarray
    target: np.ndarray | None
    target_name: str | None
    source: str
    lines: np.ndarray | None = None

    def where(self, row: int) -> str:
        """The place of a row, for a message: "data.csv, line 7"."""
        return f"{self.source}, row {row}" if self.lines is None else f"{self.source}, line {self.lines[row]}"

    def target_numbers(self) -> np.ndarray:
        """The target as float64; DataError naming the first row whose target is text."""
        if self.target is None:
            raise DataError(f"{self.source} has no target")
        if self.target.dtype.kind != "U":
            return self.target.astype(np.float64)
        row, value = next((row, text) for row, text in enumerate(self.target) if as_float(text) is None)
        raise DataError(
            f"{self.where(row)}, column {self.target_name!r}: the target must be a number; got {str(value)!r}. "
            "For labels choose the loss binary_cross_entropy or cross_entropy"
        )


class Wish(NamedTuple):
    """What is wanted of a file."""

    path: Path
    target: str | None
    target_required: bool
    columns: Sequence[str] | None
    dtype: np.dtype

    def pick(self, names: Sequence[str], *, unnamed: bool = False) -> tuple[list[int], int | None]:
        """Positions of the features and of the target in a table with columns of these names."""
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"{self.path}: every column needs a name of its own; {listed(twice)} came more than once")
        target = self._target(names)
        if self.columns is None:
            features = [name for name in names if name != target]
        elif unnamed and target is None and len(names) == len(self.columns):
            features = list(names)
        else:
            features = list(self.columns)
        missing = [name for name in features if name not in names]
        if missing:
            raise DataError(f"{self.path}: missing {columns_of(missing)}; the file has {columns_of(names)}")
        if not features:
            raise DataError(f"{self.path}: at least one feature beside the target is needed; got {columns_of(names)}")
        return [names.index(name) for name in features], None if target is None else names.index(target)

    def _target(self, names: Sequence[str]) -> str | None:
        if self.target is None:
            return names[-1] if self.target_required else None
        if self.target in names:
            return self.target
        if self.target_required:
            raise DataError(f"{self.path}: missing the target {self.target!r}; the file has {columns_of(names)}")
        return None


def place(source: str | Table, row: int) -> str:
    """A row of a table, or of something known by name only, for a message."""
    return source.where(row) if isinstance(source, Table) else f"{source}, row {row}"


def as_float(cell: str, otherwise: float | None = None) -> float | None:
    """The number that a cell holds, or `otherwise`."""
    try:
        return float(cell)
    except ValueError:
        return otherwise


# -- messages ----------------------------------------------------------------------------------------


def listed(names: Sequence[Any], at_most: int = 8) -> str:
    """'a', 'b' and 3 more."""
    shown = ", ".join(repr(name) for name in names[:at_most])
    return shown + (f" and {len(names) - at_most} more" if len(names) > at_most else "")


def columns_of(names: Sequence[str]) -> str:
    """columns 'a', 'b' and 3 more."""
    return f"{'column' if len(names) == 1 else 'columns'} {listed(names)}"


def shape_of(array: np.ndarray) -> str:
    """shape (3, 2), float64."""
    return f"shape {array.shape}, {array.dtype}"


def cell_error(place: str, column: str, cell: Any, dtype: np.dtype) -> DataError:
    """The error for a feature that is no finite number."""
    came = "an empty cell" if cell == "" else repr(cell)
    return DataError(
        f"{place}, column {column!r}: a feature must be a finite number in {dtype}; got {came}. "
        "Correct or drop the row; a column of text must be encoded as numbers or left out"
    )


def check_target(table: Table) -> None:
    """DataError naming the first row whose target is NaN or infinite."""
    if table.target is None or table.target.dtype.kind != "f":
        return
    found = arrays.first_bad_row(table.target)
    if found is not None:
        raise DataError(
            f"{table.where(found[0])}, column {table.target_name!r}: the target must be finite; got {found[2]:g}. "
            "Drop the row or fill it in"
        )
