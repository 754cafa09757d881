"""CSV files: a table in, predictions out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .errors import DataError
from .tables import Table, Wish, as_float, cell_error, check_target, listed

_ROWS_AT_A_TIME = 16_384


def read_csv(wish: Wish) -> Table:
    """The table in a CSV file: UTF-8, commas, a header."""
    with open(wish.path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            return _csv_table(reader, wish)
        except csv.Error as error:
            raise DataError(f"{wish.path}, line {reader.line_num}: not a row of CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{wish.path}: a CSV file must be UTF-8 text; got byte {error.object[error.start]:#x}"
            ) from error


def _csv_table(reader: Any, wish: Wish) -> Table:
    names = _header(reader, wish)
    features, target = wish.pick(names)
    x, cells, lines = [], [], []
    for chunk_lines, rows in _chunks(reader, wish.path, len(names)):
        columns = list(zip(*rows, strict=True))
        x.append(_numbers([columns[i] for i in features], [names[i] for i in features], chunk_lines, wish))
        if target is not None:
            cells.append(_target_cells(columns[target], names[target], chunk_lines, wish.path))
        lines.append(np.array(chunk_lines))
    if not x:
        raise DataError(f"{wish.path}: at least one row below the header is needed; got none")
    table = Table(
        names=tuple(names[i] for i in features),
        x=np.concatenate(x),
        target=None if target is None else _typed(np.concatenate(cells)),
        target_name=None if target is None else names[target],
        source=str(wish.path),
        lines=np.concatenate(lines),
    )
    check_target(table)
    return table


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


def _chunks(reader: Any, path: Path, n_cells: int) -> Iterator[tuple[list[int], list[list[str]]]]:
    """(lines, rows) of thousands of rows at a time; blank lines are allowed at the end only."""
    lines, rows, blank = [], [], None
    for row in reader:
        if not row:
            blank = blank or reader.line_num
            continue
        if blank:
            raise DataError(f"{path}, line {blank}: a row must have {n_cells} cells; got a blank line. Remove it")
        if len(row) != n_cells:
            raise DataError(
                f"{path}, line {reader.line_num}: a row must have {n_cells} cells, as the header; got {len(row)}"
            )
        lines.append(reader.line_num)
        rows.append(row)
        if len(rows) == _ROWS_AT_A_TIME:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


def _numbers(columns: list[tuple[str, ...]], names: list[str], lines: list[int], wish: Wish) -> np.ndarray:
    """Cells of the features as an array (rows, n_features) of finite numbers."""
    try:
        with np.errstate(over="ignore"):
            x = np.array(columns, np.float64).astype(wish.dtype, copy=False)
    except ValueError:
        x = np.array([[as_float(cell, np.nan) for cell in column] for column in columns])
    bad = np.argwhere(~np.isfinite(x.T))
    if len(bad):
        row, column = bad[0]
        raise cell_error(f"{wish.path}, line {lines[row]}", names[column], columns[column][row], wish.dtype)
    return np.ascontiguousarray(x.T)


def _target_cells(cells: tuple[str, ...], name: str, lines: list[int], path: Path) -> np.ndarray:
    text = np.strings.strip(np.array(cells, np.str_))
    empty = np.flatnonzero(text == "")
    if len(empty):
        raise DataError(
            f"{path}, line {lines[empty[0]]}, column {name!r}: every row needs a target; got an empty cell. "
            "Drop the row or fill it in"
        )
    return text


def _typed(text: np.ndarray) -> np.ndarray:
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
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise DataError(
            f"{path}: predictions are written to a file that ends in .csv; got {path.suffix or 'no ending'}"
        )
    prediction = np.asarray(prediction)
    if prediction.ndim == 1:
        columns = {"prediction": prediction}
    else:
        columns = {f"prediction_{k}": column for k, column in enumerate(prediction.T)}
    if probability is not None and classes is not None:
        p = probability.reshape(len(prediction), -1)
        p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
        columns |= {f"probability_{label}": column for label, column in zip(classes, p.T, strict=True)}
    with files.replacing(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for start in range(0, len(prediction), _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            writer.writerows(zip(*(column[rows].astype(np.str_) for column in columns.values()), strict=True))
        file.detach()
