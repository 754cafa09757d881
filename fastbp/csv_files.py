"""CSV files: a table in, predictions out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .errors import DataError
from .tables import Table, Wish, as_float, cell_error, checked, joined, listed

_ROWS_AT_A_TIME = 16_384


def read_csv(wish: Wish) -> Table:
    """The table in a CSV file: UTF-8, commas, a header."""
    return checked(with_values(joined(csv_blocks(wish))), wish.bad)


def csv_blocks(wish: Wish) -> Iterator[Table]:
    """The same in parts of some thousand rows, at least one; targets are the text of their cells."""
    with open(wish.path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            yield from _csv_blocks(reader, wish)
        except csv.Error as error:
            raise DataError(f"{wish.path}, line {reader.line_num}: not a row of CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{wish.path}: a CSV file must be UTF-8 text; got byte {error.object[error.start]:#x}"
            ) from error


def _csv_blocks(reader: Any, wish: Wish) -> Iterator[Table]:
    names = _header(reader, wish)
    features, target = wish.pick(names)
    n_rows = 0
    for chunk_lines, rows in _chunks(reader, wish, len(names)):
        columns, lines = list(zip(*rows, strict=True)), np.array(chunk_lines)
        picked = [names[i] for i in features]
        x, fine = _numbers([columns[i] for i in features], picked, chunk_lines, wish)
        cells = None
        if target is not None:
            cells, filled = _target_cells(columns[target], names[target], chunk_lines, wish)
            fine &= filled
        if not fine.all():
            x, lines, cells = x[fine], lines[fine], None if cells is None else cells[fine]
        n_rows += len(x)
        yield Table(
            names=tuple(picked),
            x=x,
            target=cells,
            target_name=None if target is None else names[target],
            source=str(wish.path),
            lines=lines,
        )
    if not n_rows:
        raise DataError(f"{wish.path}: at least one row below the header is needed; got none")


def _header(reader: Any, wish: Wish) -> list[str]:
    path = wish.path
    names = [name.strip() for name in next(reader, [])]
    if not any(names):
        raise DataError(f"{path}: the first line must name the columns; got an empty one")
    if wish.columns is None and _are_values(names):
        raise DataError(
            f"{path}: the first line must name the columns; got numbers only: {listed(names)}. Put a header above them"
        )
    for separator in (";", "\t"):
        if len(names) == 1 and separator in names[0]:
            raise DataError(f"{path}: cells must be separated by commas; the header has {separator!r} instead")
    if "" in names:
        raise DataError(
            f"{path}: every column needs a name; column {names.index('') + 1} has none. "
            "(pandas writes its index so; use to_csv(index=False))"
        )
    return names


def _are_values(names: list[str]) -> bool:
    """Whether a header looks like a row of data. Numbered columns, 0, 1, ... or 1, 2, ..., are names."""
    numbered = any(names == [str(start + i) for i in range(len(names))] for start in (0, 1))
    return not numbered and all(as_float(name) is not None for name in names)


def _chunks(reader: Any, wish: Wish, n_cells: int) -> Iterator[tuple[list[int], list[list[str]]]]:
    """(lines, rows) of thousands of rows at a time; blank lines are allowed at the end only."""
    path, lines, rows, blank = wish.path, [], [], None
    for row in reader:
        if not row:
            blank = blank or reader.line_num
            continue
        if blank:
            wanted = f"{path}, line {blank}: a row must have {n_cells} cells"
            wish.bad.found(DataError(f"{wanted}; got a blank line. Remove it"))
            blank = None
        if len(row) != n_cells:
            wanted = f"{path}, line {reader.line_num}: a row must have {n_cells} cells, as the header"
            wish.bad.found(DataError(f"{wanted}; got {len(row)}"))
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
        place = f"{wish.path}, line {lines[row]}"
        wish.bad.found(cell_error(place, names[column], columns[column][row], wish.dtype), int(is_bad.any(1).sum()))
    return np.ascontiguousarray(x.T), ~is_bad.any(axis=1)


def _target_cells(cells: tuple[str, ...], name: str, lines: list[int], wish: Wish) -> tuple[np.ndarray, np.ndarray]:
    """The text of the cells, and which of them are filled in."""
    text = np.strings.strip(np.array(cells, np.str_))
    empty = np.flatnonzero(text == "")
    if len(empty):
        place = f"{wish.path}, line {lines[empty[0]]}, column {name!r}"
        wanted = f"{place}: every row needs a target; got an empty cell. Drop the row or fill it in"
        wish.bad.found(DataError(wanted), len(empty))
    return text, text != ""


def with_values(table: Table) -> Table:
    """The table with targets that are numbers where all their cells are."""
    if table.target is None or table.target.dtype.kind != "U":
        return table
    return replace(table, target=typed(table.target))


def typed(text: np.ndarray) -> np.ndarray:
    """Cells as integers if all of them are, else as floats if all of them are, else as they are."""
    for dtype in (np.int64, np.float64):
        try:
            return text.astype(dtype)
        except (ValueError, OverflowError):
            continue
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
        self.path, self.classes, self.n_rows = Path(path), classes, 0
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

    def add(self, prediction: np.ndarray, probability: np.ndarray | None = None) -> None:
        """Write some more rows."""
        prediction = np.asarray(prediction)
        if prediction.ndim == 1:
            columns = {"prediction": prediction}
        else:
            columns = {f"prediction_{k}": column for k, column in enumerate(prediction.T)}
        if probability is not None and self.classes is not None:
            p = probability.reshape(len(prediction), -1)
            p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
            columns |= {f"probability_{label}": column for label, column in zip(self.classes, p.T, strict=True)}
        if not self.n_rows:
            self._writer.writerow(columns)
        for start in range(0, len(prediction), _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            self._writer.writerows(zip(*(column[rows].astype(np.str_) for column in columns.values()), strict=True))
        self.n_rows += len(prediction)
