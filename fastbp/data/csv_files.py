"""Tables in CSV files: checked cell by cell, with the line of what is wrong."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .tables import Places, ReadRequest, Table, as_float, cell_error, checked, joined, listed

_ROWS_AT_A_TIME = 16_384
_LONGEST_CELL = 2**26  # characters, instead of Python's 2**17: a long text in a column that nobody needs is no error


def read_csv(request: ReadRequest) -> Table:
    """The table in a CSV file: UTF-8, commas, a header. Targets are the text of their cells."""
    return joined(csv_blocks(request))


def csv_blocks(request: ReadRequest) -> Iterator[Table]:
    """The same in parts of some thousand rows, at least one."""
    csv.field_size_limit(_LONGEST_CELL)
    with open(request.path, encoding="utf-8-sig", newline="") as file:
        try:
            first = file.readline()
            _check_separator(first, request)
            reader = csv.reader(itertools.chain([first], file), skipinitialspace=True, strict=True)
            yield from _csv_blocks(reader, request)
        except csv.Error as error:
            raise DataError(f"{request.path}, line {reader.line_num}: not a row of CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise _encoding_error(request.path) from error


def _check_separator(first: str, request: ReadRequest) -> None:
    unquoted = re.sub('"[^"]*"', "", first)
    found = max(";\t|", key=unquoted.count)
    if unquoted.count(found) > unquoted.count(","):
        raise DataError(
            f"{request.path}: cells must be separated by commas; the first line has {found!r} instead. "
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


def _csv_blocks(reader: Any, request: ReadRequest) -> Iterator[Table]:
    names, n_cells = _header(reader, request)
    features, target = request.pick(names)
    n_rows = 0
    for chunk_lines, rows in _chunks(reader, request, len(names), n_cells):
        columns, lines = list(zip(*rows, strict=True)), np.array(chunk_lines)
        picked = [names[i] for i in features]
        x, fine = _numbers([columns[i] for i in features], picked, chunk_lines, request)
        cells = None
        if target is not None:
            cells = np.strings.strip(np.array(columns[target], np.str_))[fine]
            _refuse_data_as_names(names, target, cells, lines[fine], request)
        n_rows += len(rows)
        table = Table(
            names=tuple(picked),
            x=x if fine.all() else x[fine],
            target=cells,
            target_name=None if target is None else names[target],
            source=str(request.path),
            places=Places.in_file(request.path, "line", lines[fine]),
        )
        yield checked(table, request.bad)
    if not n_rows:
        raise DataError(f"{request.path}: at least one row below the header is needed; got none")


def _header(reader: Any, request: ReadRequest) -> tuple[list[str], int]:
    """The names of the columns, and how many cells a row has; columns at the end may have neither name nor values."""
    path = request.path
    names = [name.strip() for name in next(reader, [])]
    if not any(names):
        raise DataError(f"{path}: the first line must name the columns; got an empty one")
    n_cells = len(names)
    while not names[-1]:
        request.note(f"column {len(names)} has no name and no values; it is left out")
        names.pop()
    if not set(request.columns or [""]) <= set(names) and _are_values(names):
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


def _refuse_data_as_names(
    names: list[str], target: int, cells: np.ndarray, lines: np.ndarray, request: ReadRequest
) -> None:
    """A label that is the name of its column as well shows that the first line is data."""
    same = np.flatnonzero(cells == names[target])
    if len(same) and request.columns is None and as_float(names[target]) is None:
        raise _no_header(request.path, f"{names[target]!r} is a label in line {lines[same[0]]} too")


def _no_header(path: Path, came: str) -> DataError:
    return DataError(
        f"{path}: the first line must name the columns, but looks like data: {came}. Put a line of names above it"
    )


def _chunks(
    reader: Any, request: ReadRequest, n_named: int, n_cells: int
) -> Iterator[tuple[list[int], list[list[str]]]]:  # fmt: skip
    """(lines, rows) of thousands of rows at a time; blank lines are allowed at the end only."""
    path, lines, rows, blank = request.path, [], [], []
    for row in reader:
        if not row:
            blank.append(reader.line_num)
            continue
        here = Places.in_file(path, "line", [reader.line_num])
        if blank:
            wanted = f"{path}, line {blank[0]}: a row must have {n_cells} cells"
            request.bad.found(DataError(f"{wanted}; got a blank line. Remove it"), Places.in_file(path, "line", blank))
            blank = []
        if len(row) != n_cells:
            wanted = f"{path}, line {reader.line_num}: a row must have {n_cells} cells, as the header"
            request.bad.found(DataError(f"{wanted}; got {len(row)}"), here)
            continue
        if n_named < n_cells and any(row[n_named:]):
            column = next(i for i in range(n_named, n_cells) if row[i])
            wanted = f"{path}, line {reader.line_num}: column {column + 1} has no name and must be empty"
            request.bad.found(DataError(f"{wanted}; got {row[column]!r}. Name it in the first line"), here)
            continue
        lines.append(reader.line_num)
        rows.append(row)
        if len(rows) == _ROWS_AT_A_TIME:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


def _numbers(
    columns: list[tuple[str, ...]], names: list[str], lines: list[int], request: ReadRequest
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the features as an array (rows, n_features), and which rows are finite numbers throughout."""
    try:
        if any("_" in "".join(column) for column in columns):
            raise ValueError("1_0, which is a number in Python")
        with np.errstate(over="ignore"):
            x = np.array(columns, np.float64).astype(request.dtype, copy=False)
    except ValueError:
        x = np.array([[as_float(cell, np.nan) for cell in column] for column in columns])
        with np.errstate(over="ignore"):
            x = x.astype(request.dtype, copy=False)
    is_bad = ~np.isfinite(x.T)
    bad = np.argwhere(is_bad)
    if len(bad):
        row, column = bad[0]
        error = cell_error(f"{request.path}, line {lines[row]}", names[column], columns[column][row], request.dtype)
        request.bad.found(error, Places.in_file(request.path, "line", np.array(lines)[is_bad.any(axis=1)]))
    return np.ascontiguousarray(x.T), ~is_bad.any(axis=1)
