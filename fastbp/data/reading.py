"""A data file, or a folder of them, as a table, whole or in blocks, by one reader for each kind of file.

Rows are samples, columns are features.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import DataError
from .array_files import npy_blocks, npz_blocks, read_npy, read_npz
from .csv_files import csv_blocks, read_csv
from .parquet_files import parquet_blocks, read_parquet
from .tables import BadRows, ReadRequest, Table, checked, joined, with_values

_READERS = {".csv": read_csv, ".npy": read_npy, ".npz": read_npz, ".parquet": read_parquet}
_BLOCKS = {
    ".csv": lambda request, n: csv_blocks(request), ".npy": npy_blocks, ".npz": npz_blocks, ".parquet": parquet_blocks,
}  # fmt: skip


def read_table(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    target_required: bool = True,
    columns: Sequence[str] | None = None,
    dtype: Any = np.float64,
    bad: BadRows | None = None,
) -> Table:
    """Features x in `dtype`, all finite, and the target of a data file, or of a folder of such files, by their names.

    .csv       UTF-8, commas, a header; the target is a column. Spaces around a cell do not count.
    .npy       a 2-D array of numbers, its columns named "0", "1", ...; or 1-D records, named by their fields.
    .npz       arrays `x` or `X` (N, n) and the target `y`; optionally `names` or `feature_names`, else "0", "1", ...
    .parquet   columns of numbers; the target may be text; the index of a pandas frame is left out. Needs pyarrow.

    The files of a folder must have the columns of the first one, in any order. Targets of CSV files are numbers if the
    whole column is, and else labels as they are written, as all text of other files; 01 is a label. Empty cells, NA,
    NaN, NULL and ? are missing values.

    target : its column (in an .npz the array); by default the last column (in an .npz `y`).
    target_required : if false, a missing target is no error, and without `target` and `columns` all are features.
    columns : names of the features wanted, in this order, as a saved model knows them; others are not even looked at.
        Columns that have no names are taken by position when there are as many as wanted.
    bad : what becomes of rows that cannot be used, by default an error.

    To predict, pass `columns` and target_required=False; without `target` the target column is not looked at either.

    >>> with open("heights.csv", "w") as file:
    ...     _ = file.write("age,height,sex\\n3,95,f\\n4,104,m\\n")
    >>> table = fastbp.data.read_table("heights.csv", target="height", columns=["age"])
    >>> table.names, table.x, table.target
    (('age',), array([[3.],
           [4.]]), array([ 95, 104]))
    """
    bad = bad or BadRows()
    request = _request(path, target, target_required, columns, dtype, bad)
    return whole(path, joined(_tables(request, lambda request: [_READERS[request.path.suffix.lower()](request)])), bad)


def read_blocks(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    target_required: bool = True,
    columns: Sequence[str] | None = None,
    dtype: Any = np.float64,
    bad: BadRows | None = None,
    n_rows: int = 16_384,
) -> Iterator[Table]:
    """The same in blocks of about n_rows rows, of which only one is in memory; targets of CSV files are their text.

    >>> np.save("numbers.npy", np.arange(30.0).reshape(10, 3))
    >>> [block.x.shape for block in fastbp.data.read_blocks("numbers.npy", n_rows=4)]
    [(4, 2), (4, 2), (2, 2)]
    """
    request, found = _request(path, target, target_required, columns, dtype, bad or BadRows()), False
    for table in _tables(request, lambda request: _BLOCKS[request.path.suffix.lower()](request, n_rows)):
        if len(table.x):
            found = True
            yield table
    if not found:
        raise _no_rows(path)


def whole(path: str | os.PathLike[str], table: Table, bad: BadRows) -> Table:
    """The table of all rows: its target gets its type. DataError if there are no rows."""
    table = checked(with_values(table), bad)
    if not len(table.x):
        raise _no_rows(path)
    return replace(table, source=str(path))


def _no_rows(path: str | os.PathLike[str]) -> DataError:
    return DataError(f"{path}: at least one row that can be used is needed; got none")


def _request(path: Any, target: Any, required: bool, columns: Any, dtype: Any, bad: BadRows) -> ReadRequest:
    return ReadRequest(
        files.expanded(path), None if target is None else str(target), required, columns, np.dtype(dtype), bad
    )


def _tables(request: ReadRequest, read: Callable[[ReadRequest], Iterable[Table]]) -> Iterator[Table]:
    """What is read from the file, or from the files of a folder: they have the columns and the target of the first."""
    shape = None
    with _readable(request.path):
        paths = _files(request.path)
    for path in paths:
        with _readable(path):
            for table in read(request._replace(path=path)):
                if request.like is None:
                    request = request.after(table)
                    shape = _target_shape(table)
                if _target_shape(table) != shape:
                    raise DataError(
                        f"{path}: the target must be like that of {request.like.source}, of shape {shape} in each row; "
                        f"got {_target_shape(table)}"
                    )
                yield table


def _target_shape(table: Table) -> tuple[int, ...] | None:
    return None if table.target is None else table.target.shape[1:]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _files(path: Path) -> list[Path]:
    """The file itself, or those of a folder that are data, in the order of their names."""
    if not path.is_dir():
        if path.suffix.lower() not in _READERS:
            raise DataError(f"{path}: a data file must end in {_ENDINGS}; got {path.suffix or 'no ending'}")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _READERS and file.is_file())
    if not found:
        raise DataError(f"{path}: a folder must hold data files, which end in {_ENDINGS}; got none")
    return found


_ENDINGS = ".csv, .npy, .npz or .parquet"
