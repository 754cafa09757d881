"""What a table read from a file is, what can be asked of it, and what is said when a file cannot be used.

A DataError names the file and the place in it: the line of a CSV file, counted from 1 with the header, or the row of an
array or of a Parquet file, counted from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engine import inputs
from ..errors import DataError

_TOLD = 5  # bad rows
_MISSING = ("", "?", "na", "n/a", "nan", "null", "#n/a", "<na>")  # cells without a value, in capitals too


class Places(NamedTuple):
    """Where the rows of a table stand in their files.

    numbers : of each row, the line of a CSV file on which it ends, or the row of another file.
    files : of each file, in order, (the first of its rows in the table, its name, "line" or "row").
    """

    numbers: np.ndarray
    files: tuple[tuple[int, str, str], ...]

    @classmethod
    def in_file(cls, path: Any, unit: str, numbers: Any) -> Places:
        """Rows of one file."""
        return cls(np.asarray(numbers), ((0, str(path), unit),))

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """Rows of several tables, one after the other."""
        files, n = [], 0
        for part in parts:
            files += [(n + start, *rest) for start, *rest in part.files if not files or files[-1][1:] != tuple(rest)]
            n += len(part.numbers)
        return cls(np.concatenate([part.numbers for part in parts]), tuple(files))

    def kept(self, fine: np.ndarray) -> Places:
        """Those of the rows that are fine."""
        before = np.concatenate([[0], np.cumsum(fine)]).tolist()
        return Places(self.numbers[fine], tuple((before[start], *rest) for start, *rest in self.files))

    def of(self, row: int) -> str:
        """The place of a row, for a message: "data.csv, line 7"."""
        _, name, unit = next(file for file in reversed(self.files) if file[0] <= row)
        return f"{name}, {unit} {self.numbers[row]}"


@dataclass(frozen=True, eq=False)
class Table:
    """Features and perhaps a target, as they lay in a file.

    names : of the features, in the order of the columns of x (N, n_features).
    target : (N,) integers, floats, bools or text; from an `.npz` also floats (N, n); None if the file has none.
    source : the file, or the folder of files. places : of the rows in their files, if they came from files.
    """

    names: tuple[str, ...]
    x: np.ndarray
    target: np.ndarray | None
    target_name: str | None
    source: str
    places: Places | None = None

    def where(self, row: int) -> str:
        """The place of a row, for a message: "data.csv, line 7"."""
        return f"{self.source}, row {row}" if self.places is None else self.places.of(row)

    def target_numbers(self) -> np.ndarray:
        """The target as float64; DataError naming the first row whose target is text that is no number."""
        if self.target is None:
            raise DataError(f"{self.source} has no target")
        if self.target.dtype.kind != "U":
            return self.target.astype(np.float64)
        numbers = np.array([as_float(text, np.nan) for text in self.target.ravel()]).reshape(self.target.shape)
        found = inputs.first_bad_row(numbers)
        if found is None:
            return numbers
        row, value = found[0], np.atleast_2d(self.target.T).T[found[:2]]
        raise DataError(
            f"{self.where(row)}, column {self.target_name!r}: the target must be a number; got {str(value)!r}. "
            "For labels choose the loss binary_cross_entropy or cross_entropy"
        )


class BadRows:
    """What becomes of rows that cannot be used: an error, or they are left out, counted, and the first ones told.

    notes : lines about columns that were left out.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip, self.count, self.first, self.notes = skip, 0, [], []

    def found(self, error: DataError, places: Places) -> None:
        """Bad rows and their places; the error tells the first."""
        if not self.skip:
            raise error
        self.count += len(places.numbers)
        if len(self.first) < _TOLD:
            self.first.append(str(error))

    def report(self) -> str:
        """The notes, the first bad rows, and how many there were, each on a line; empty if there is nothing to say."""
        told = [f"left out: {message}" for message in self.first]
        return "\n".join([*self.notes, *told, *([f"{self.count:,} bad rows were left out"] if self.count else [])])


class Columns(NamedTuple):
    """The features of the first file of a folder, which the others must have, and its name."""

    names: tuple[str, ...]
    source: str


class ReadRequest(NamedTuple):
    """What is wanted of a file."""

    path: Path
    target: str | None
    target_required: bool
    columns: Sequence[str] | None
    dtype: np.dtype
    bad: BadRows
    like: Columns | None = None

    def after(self, table: Table) -> ReadRequest:
        """What is wanted of the other files of a folder once this table of the first one was read."""
        required = table.target_name is not None
        like = Columns(table.names, table.source)
        return self._replace(target=table.target_name, target_required=required, like=like)

    def note(self, what: str) -> None:
        """Keep a line about a column that is left out, once for all files of a folder."""
        if self.like is None and self.columns is None:
            self.bad.notes.append(f"{self.path}: {what}")

    def pick(self, names: Sequence[str], *, unnamed: bool = False) -> tuple[list[int], int | None]:
        """Positions of the features and of the target in a table with columns of these names."""
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"{self.path}: every column needs a name of its own; {listed(twice)} came more than once")
        target = self._target(names)
        if self.columns is None:
            features = self._alike([name for name in names if name != target])
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

    def _alike(self, features: list[str]) -> list[str]:
        """The features in the order of the folder's first file."""
        if self.like is None:
            return features
        missing = [name for name in self.like.names if name not in features]
        strange = [name for name in features if name not in self.like.names]
        if missing or strange:
            came = [f"{columns_of(names)} {how}" for names, how in ((missing, "missing"), (strange, "more")) if names]
            raise DataError(f"{self.path}: it must have the same columns as {self.like.source}; got {', '.join(came)}")
        return list(self.like.names)

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
    """The number that a cell holds, or `otherwise`; 1_0, which is one in Python, is none in a file."""
    try:
        return otherwise if "_" in cell else float(cell)
    except ValueError:
        return otherwise


def are_missing(text: np.ndarray) -> np.ndarray:
    """Which cells stand for no value: they are empty, NA, NaN, NULL, ?, ..."""
    return np.isin(np.strings.lower(np.strings.strip(text)), _MISSING)


def are_padded(text: np.ndarray) -> np.ndarray:
    """Which cells are digits after a zero, as 01: rather the names of something than numbers."""
    start = np.strings.lstrip(text, "+-").astype("U2")
    return np.strings.startswith(start, "0") & (np.strings.str_len(start) == 2) & np.strings.isdigit(start)


# -- messages ----------------------------------------------------------------------------------------

SAVE_AS = "Save it as numbers, or leave it out"


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
        "Correct or drop the row; a column of text must be encoded as numbers, left out, or named as the target "
        "(--target)"
    )


def checked(table: Table, bad: BadRows, given: np.ndarray | None = None) -> Table:
    """The table without its rows whose features or target are NaN, infinite or missing, if bad rows may be left out.

    DataError naming the first one else, with the value that was given, before it became one of the table's dtype.
    """
    with np.errstate(over="ignore"):
        fine = np.isfinite(table.x).all(axis=1)
    fine &= has_target(table)
    if fine.all():
        return table
    error = _row_error(table, int(np.argmin(fine)), table.x if given is None else given)
    bad.found(error, table.places.kept(~fine))
    target = None if table.target is None else table.target[fine]
    return replace(table, x=table.x[fine], target=target, places=table.places.kept(fine))


def has_target(table: Table) -> np.ndarray:
    """Which rows have all of their target, if the table has one."""
    if table.target is None or table.target.dtype.kind not in "fU":
        return np.ones(len(table.x), bool)
    fine = np.isfinite(table.target) if table.target.dtype.kind == "f" else ~are_missing(table.target)
    return fine.all(axis=tuple(range(1, fine.ndim)))


def _row_error(table: Table, row: int, given: np.ndarray) -> DataError:
    found = inputs.first_bad_row(table.x[row : row + 1])
    if found is not None:
        return cell_error(table.where(row), table.names[found[1]], given[row, found[1]].item(), table.x.dtype)
    if table.target.dtype.kind == "U":
        value = next(value for value in table.target[row : row + 1].ravel() if are_missing(value)).item()
        wanted = f"every row needs a target; got {repr(value) if value else 'an empty cell'}"
    else:
        wanted = f"the target must be finite; got {inputs.first_bad_row(table.target[row : row + 1])[2]:g}"
    return DataError(f"{table.where(row)}, column {table.target_name!r}: {wanted}. Drop the row or fill it in")


def joined(tables: Iterable[Table]) -> Table:
    """Several parts of a file, or of files with the same columns, as one table."""
    parts = list(tables)
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        x=np.concatenate([part.x for part in parts]),
        target=None if first.target is None else column_of([part.target for part in parts]),
        places=Places.joined([part.places for part in parts]),
    )


def column_of(targets: Sequence[np.ndarray]) -> np.ndarray:
    """The targets of several parts as one array. If one is text, whole floats become text as integers do: 1.0 is 1."""
    if any(target.dtype.kind == "U" for target in targets):
        targets = [target.astype(np.int64) if _are_whole(target) else target for target in targets]
    return np.concatenate(targets)


def _are_whole(numbers: np.ndarray) -> bool:
    return numbers.dtype.kind == "f" and bool((numbers == np.floor(numbers)).all() and (np.abs(numbers) < 2**53).all())


def with_values(table: Table) -> Table:
    """The table with targets that are numbers where all their cells in CSV files are; other text is text on purpose."""
    if (
        table.target is None
        or table.target.dtype.kind != "U"
        or all(unit != "line" for _, _, unit in table.places.files)
    ):
        return table
    return replace(table, target=_typed(table.target))


def _typed(text: np.ndarray) -> np.ndarray:
    """Cells as integers if all of them are, else as floats if all of them are, else as they are; 01 is no integer."""
    if np.any(np.strings.find(text, "_") >= 0):
        return text
    for dtype in (np.int64, np.float64):
        try:
            values = text.astype(dtype)
        except (ValueError, OverflowError):
            continue
        return text if dtype == np.int64 and are_padded(text).any() else values
    return text
