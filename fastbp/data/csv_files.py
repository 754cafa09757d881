"""CSV files: a table in, predictions out."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import DataError
from .tables import Places, Table, Wish, are_padded, as_float, cell_error, checked, joined, listed

_ROWS_AT_A_TIME = 16_384
_LONGEST_CELL = 2**26  # characters, instead of Python's 2**17: a long text in a column that nobody needs is no error


def read_csv(wish: Wish) -> Table:
    """The table in a CSV file: UTF-8, commas, a header. Targets are the text of their cells."""
    return joined(csv_blocks(wish))


def csv_blocks(wish: Wish) -> Iterator[Table]:
    """The same in parts of some thousand rows, at least one."""
    csv.field_size_limit(_LONGEST_CELL)
    with open(wish.path, encoding="utf-8-sig", newline="") as file:
        try:
            first = file.readline()
            _check_separator(first, wish)
            reader = csv.reader(itertools.chain([first], file), skipinitialspace=True, strict=True)
            yield from _csv_blocks(reader, wish)
        except csv.Error as error:
            raise DataError(f"{wish.path}, line {reader.line_num}: not a row of CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise _encoding_error(wish.path) from error


def _check_separator(first: str, wish: Wish) -> None:
    unquoted = re.sub('"[^"]*"', "", first)
    found = max(";\t|", key=unquoted.count)
    if unquoted.count(found) > unquoted.count(","):
        raise DataError(
            f"{wish.path}: cells must be separated by commas; the first line has {found!r} instead. "
            "Save it with commas between cells and points in numbers"
        )


def _encoding_error(path: Path) -> DataError:
    """The error that names the first line which is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                wanted = f"{path}, line {number}: a CSV file must be UTF-8 text"
                return DataError(f"{wanted}; got byte {line[error.start]:#x}. Save it as UTF-8")
    return DataError(f"{path}: the file has changed while it was read")


def _csv_blocks(reader: Any, wish: Wish) -> Iterator[Table]:
    names, n_cells = _header(reader, wish)
    features, target = wish.pick(names)
    n_rows = 0
    for chunk_lines, rows in _chunks(reader, wish, len(names), n_cells):
        columns, lines = list(zip(*rows, strict=True)), np.array(chunk_lines)
        picked = [names[i] for i in features]
        x, fine = _numbers([columns[i] for i in features], picked, chunk_lines, wish)
        cells = None
        if target is not None:
            cells = np.strings.strip(np.array(columns[target], np.str_))[fine]
            _refuse_data_as_names(names, target, cells, lines[fine], wish)
        n_rows += len(rows)
        table = Table(
            names=tuple(picked),
            x=x if fine.all() else x[fine],
            target=cells,
            target_name=None if target is None else names[target],
            source=str(wish.path),
            places=Places.in_file(wish.path, "line", lines[fine]),
        )
        yield checked(table, wish.bad)
    if not n_rows:
        raise DataError(f"{wish.path}: at least one row below the header is needed; got none")


def _header(reader: Any, wish: Wish) -> tuple[list[str], int]:
    """The names of the columns, and how many cells a row has; columns at the end may have neither name nor values."""
    path = wish.path
    names = [name.strip() for name in next(reader, [])]
    if not any(names):
        raise DataError(f"{path}: the first line must name the columns; got an empty one")
    n_cells = len(names)
    while not names[-1]:
        wish.note(f"column {len(names)} has no name and no values; it is left out")
        names.pop()
    if not set(wish.columns or [""]) <= set(names) and _are_values(names):
        raise _no_header(path, listed(names))
    if "" in names:
        hint = " (pandas writes its index so; use to_csv(index=False))" if names[0] == "" else ""
        raise DataError(f"{path}: every column needs a name; column {names.index('') + 1} has none.{hint}")
    return names, n_cells


def _are_values(names: list[str]) -> bool:
    """Whether a header looks like a row of data, because of the numbers in it.

    Numbered columns, 0, 1, ... or 1, 2, ..., are names, and so are whole numbers that grow, as years do, beside words.
    """
    numbers = [number for number in map(as_float, names) if number is not None]
    if len(numbers) == len(names):
        return not any(names == [str(start + i) for i in range(len(names))] for start in (0, 1))
    return any(number % 1 for number in numbers) or any(a >= b for a, b in itertools.pairwise(numbers))


def _refuse_data_as_names(names: list[str], target: int, cells: np.ndarray, lines: np.ndarray, wish: Wish) -> None:
    """A label that is the name of its column as well shows that the first line is data."""
    same = np.flatnonzero(cells == names[target])
    if len(same) and wish.columns is None and as_float(names[target]) is None:
        raise _no_header(wish.path, f"{names[target]!r} is a label in line {lines[same[0]]} too")


def _no_header(path: Path, came: str) -> DataError:
    return DataError(
        f"{path}: the first line must name the columns, but looks like data: {came}. Put a line of names above it"
    )


def _chunks(
    reader: Any, wish: Wish, n_named: int, n_cells: int
) -> Iterator[tuple[list[int], list[list[str]]]]:  # fmt: skip
    """(lines, rows) of thousands of rows at a time; blank lines are allowed at the end only."""
    path, lines, rows, blank = wish.path, [], [], []
    for row in reader:
        if not row:
            blank.append(reader.line_num)
            continue
        here = Places.in_file(path, "line", [reader.line_num])
        if blank:
            wanted = f"{path}, line {blank[0]}: a row must have {n_cells} cells"
            wish.bad.found(DataError(f"{wanted}; got a blank line. Remove it"), Places.in_file(path, "line", blank))
            blank = []
        if len(row) != n_cells:
            wanted = f"{path}, line {reader.line_num}: a row must have {n_cells} cells, as the header"
            wish.bad.found(DataError(f"{wanted}; got {len(row)}"), here)
            continue
        if n_named < n_cells and any(row[n_named:]):
            column = next(i for i in range(n_named, n_cells) if row[i])
            wanted = f"{path}, line {reader.line_num}: column {column + 1} has no name and must be empty"
            wish.bad.found(DataError(f"{wanted}; got {row[column]!r}. Name it in the first line"), here)
            continue
        lines.append(reader.line_num)
        rows.append(row)
        if len(rows) == _ROWS_AT_A_TIME:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


def _numbers(
    columns: list[tuple[str, ...]], names: list[str], lines: list[int], wish: Wish
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the features as an array (rows, n_features), and which rows are finite numbers throughout."""
    try:
        if any("_" in "".join(column) for column in columns):
            raise ValueError("1_0, which is a number in Python")
        with np.errstate(over="ignore"):
            x = np.array(columns, np.float64).astype(wish.dtype, copy=False)
    except ValueError:
        x = np.array([[as_float(cell, np.nan) for cell in column] for column in columns])
        with np.errstate(over="ignore"):
            x = x.astype(wish.dtype, copy=False)
    is_bad = ~np.isfinite(x.T)
    bad = np.argwhere(is_bad)
    if len(bad):
        row, column = bad[0]
        error = cell_error(f"{wish.path}, line {lines[row]}", names[column], columns[column][row], wish.dtype)
        wish.bad.found(error, Places.in_file(wish.path, "line", np.array(lines)[is_bad.any(axis=1)]))
    return np.ascontiguousarray(x.T), ~is_bad.any(axis=1)


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


def write_predictions(
    path: str | os.PathLike[str],
    prediction: np.ndarray,
    *,
    probability: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> None:
    """A CSV file with a row for each prediction, whole or not there at all.

    prediction : (N,) labels or numbers -> column `prediction`; (N, k) -> `prediction_0`, `prediction_1`, ...
    probability : (N, n_classes), or (N,) or (N, 1) for the second of two classes -> a column `probability_<class>` for
        each of `classes`. Floats are written with the digits that give the same value back.
    """
    with Predictions(path, classes) as file:
        file.add(prediction, probability)


class Predictions:
    """What `write_predictions` writes, growing block by block, as a context; whole in the end, or not there at all."""

    def __init__(self, path: str | os.PathLike[str], classes: np.ndarray | None = None) -> None:
        self.path, self.classes, self.n_rows = files.expanded(path), classes, 0
        if self.path.suffix.lower() != ".csv":
            raise DataError(
                f"{self.path}: predictions are written to a file that ends in .csv; "
                f"got {self.path.suffix or 'no ending'}"
            )

    def __enter__(self) -> Predictions:
        self._replacing = files.replacing(self.path)
        self._file = io.TextIOWrapper(self._replacing.__enter__(), encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._file, lineterminator="\n")
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        self._file.detach()
        return self._replacing.__exit__(*exception)

    def add(
        self, prediction: np.ndarray, probability: np.ndarray | None = None, answered: np.ndarray | None = None
    ) -> None:  # fmt: skip
        """Write some more rows.

        answered : bools, one for each row to write, as many of them True as there are predictions; the other rows get
        empty cells.
        """
        prediction = np.asarray(prediction)
        if prediction.ndim == 1:
            columns = {"prediction": prediction}
        else:
            columns = {f"prediction_{k}": column for k, column in enumerate(prediction.T)}
        if probability is not None and self.classes is not None:
            p = probability if probability.ndim == 2 else probability[:, None]
            p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
            columns |= {f"probability_{label}": column for label, column in zip(self.classes, p.T, strict=True)}
        if not self.n_rows:
            self._writer.writerow(columns)
        answered = np.ones(len(prediction), bool) if answered is None else answered
        first = np.cumsum(answered) - answered  # of the prediction of each row
        for start in range(0, len(answered), _ROWS_AT_A_TIME):
            here = answered[start : start + _ROWS_AT_A_TIME]
            rows = slice(first[start], first[start] + here.sum())
            cells = [_spread(column[rows].astype(np.str_), here) for column in columns.values()]
            self._writer.writerows(zip(*cells, strict=True))
        self.n_rows += len(answered)


def _spread(text: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """The text in the rows that are answered, and none in the others."""
    cells = np.full(len(answered), "", text.dtype)
    cells[answered] = text
    return cells
