"""What a table read from a file is, what can be asked of it, and what is said when a file cannot be used.

A DataError names the file and the place in it: the line of a CSV file, counted from 1 with the header, or the row of an
array, counted from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import arrays
from .errors import DataError

_TOLD = 5  # bad rows


@dataclass(frozen=True, eq=False)
class Table:
    """Features and perhaps a target, as they lay in a file.

    names : of the features, in the order of the columns of x (N, n_features).
    target : (N,) integers, floats, bools or text; from an `.npz` also floats (N, n); None if the file has none.
    source : the file. lines : of a CSV file, the line of each row; else first : the number of the first row.
    """

    names: tuple[str, ...]
    x: np.ndarray
    target: np.ndarray | None
    target_name: str | None
    source: str
    lines: np.ndarray | None = None
    first: int = 0

    def where(self, row: int) -> str:
        """The place of a row, for a message: "data.csv, line 7"."""
        if self.lines is None:
            return f"{self.source}, row {row + self.first}"
        return f"{self.source}, line {self.lines[row]}"

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


class BadRows:
    """What becomes of rows that cannot be used: an error, or they are left out, counted, and the first ones told."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip, self.count, self.first = skip, 0, []

    def found(self, error: DataError, count: int = 1) -> None:
        """A bad row, or several of which the error tells the first."""
        if not self.skip:
            raise error
        self.count += count
        if len(self.first) < _TOLD:
            self.first.append(str(error))

    def report(self) -> str:
        """A line for each of the first ones, and how many there were; empty if there were none."""
        told = [f"left out: {message}" for message in self.first]
        return "\n".join([*told, f"{self.count:,} bad rows were left out"]) if self.count else ""


class Wish(NamedTuple):
    """What is wanted of a file."""

    path: Path
    target: str | None
    target_required: bool
    columns: Sequence[str] | None
    dtype: np.dtype
    bad: BadRows

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


def checked(table: Table, bad: BadRows, given: np.ndarray | None = None) -> Table:
    """The table without its rows whose features or target are NaN or infinite, if bad rows may be left out.

    DataError naming the first one else, with the value that was given, before it became one of the table's dtype.
    """
    with np.errstate(over="ignore"):
        fine = np.isfinite(table.x).all(axis=1)
    if table.target is not None and table.target.dtype.kind == "f":
        fine &= np.isfinite(table.target.reshape(len(fine), -1)).all(axis=1)
    if fine.all():
        return table
    bad.found(_row_error(table, int(np.argmin(fine)), table.x if given is None else given), int((~fine).sum()))
    target = None if table.target is None else table.target[fine]
    lines = None if table.lines is None else table.lines[fine]
    return replace(table, x=table.x[fine], target=target, lines=lines)


def _row_error(table: Table, row: int, given: np.ndarray) -> DataError:
    found = arrays.first_bad_row(table.x[row : row + 1])
    if found is not None:
        return cell_error(table.where(row), table.names[found[1]], given[row, found[1]].item(), table.x.dtype)
    value = arrays.first_bad_row(table.target[row : row + 1])[2]
    return DataError(
        f"{table.where(row)}, column {table.target_name!r}: the target must be finite; got {value:g}. "
        "Drop the row or fill it in"
    )


def joined(tables: Iterable[Table]) -> Table:
    """Several parts of one file as one table."""
    parts = list(tables)
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        x=np.concatenate([part.x for part in parts]),
        target=None if first.target is None else np.concatenate([part.target for part in parts]),
        lines=None if first.lines is None else np.concatenate([part.lines for part in parts]),
    )
