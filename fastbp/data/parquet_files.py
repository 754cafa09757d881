"""Tables in Parquet files, in blocks of rows, by pyarrow; checksums of pages are verified where there are some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import DataError, InputError
from .tables import SAVE_AS, Places, ReadRequest, Table, checked, joined


def read_parquet(request: ReadRequest) -> Table:
    """The table in a Parquet file; the target is a column, by default the last."""
    return joined(parquet_blocks(request, 2**16))


def parquet_blocks(request: ReadRequest, n_rows: int) -> Iterator[Table]:
    """The same in blocks of at most n_rows rows."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError('Parquet files need pyarrow: pip install "fastbp[parquet]"') from error
    try:
        with parquet.ParquetFile(request.path, page_checksum_verification=True) as file:
            names = _columns(request, file.schema_arrow)
            features, target = request.pick(names)
            picked = [names[i] for i in features] + ([] if target is None else [names[target]])
            first = 0
            for batch in file.iter_batches(n_rows, columns=picked):
                yield _table(
                    request, batch, [names[i] for i in features], None if target is None else names[target], first
                )
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{request.path}: not a usable Parquet file: {reason}") from error
    if not first:
        raise DataError(f"{request.path}: at least one row is needed; got none")


def _columns(request: ReadRequest, schema: Any) -> list[str]:
    """The names of the columns without the index that pandas wrote along, unless it is asked for."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    asked = (request.target, *(request.columns or ()))
    is_index = [name in index or bool(re.fullmatch(r"__index_level_\d+__", name)) for name in schema.names]
    left_out = [name for name, is_one in zip(schema.names, is_index, strict=True) if is_one and name not in asked]
    for name in left_out:
        request.note(f"column {name!r} is the index of a pandas frame; it is left out")
    return [name for name in schema.names if name not in left_out]


def _table(request: ReadRequest, batch: Any, features: list[str], target: str | None, first: int) -> Table:
    x = np.empty((batch.num_rows, len(features)), request.dtype)
    for i, name in enumerate(features):
        x[:, i] = _numbers(request, batch.column(name), name)
    answers = None if target is None else _answers(request, batch.column(target), target)
    places = Places.in_file(request.path, "row", np.arange(first, first + batch.num_rows))
    return checked(Table(tuple(features), x, answers, target, str(request.path), places), request.bad)


def _numbers(request: ReadRequest, column: Any, name: str) -> np.ndarray:
    """A column as floats, NaN where it is empty."""
    array = _values(column)
    if array.dtype.kind not in "buif":
        raise DataError(f"{request.path}: column {name!r} must hold real numbers; got {column.type}. {SAVE_AS}")
    with np.errstate(over="ignore"):
        return array.astype(request.dtype)


def _answers(request: ReadRequest, column: Any, name: str) -> np.ndarray:
    """The target, "" or NaN where it is empty."""
    array = _values(column)
    if array.dtype.kind == "O" and all(value is None or isinstance(value, str) for value in array):
        array = np.array(["" if value is None else value for value in array], np.str_)
    if array.dtype.kind not in "buifU":
        raise DataError(f"{request.path}: the target {name!r} must hold numbers or text; got {column.type}. {SAVE_AS}")
    return array


def _values(column: Any) -> np.ndarray:
    """A column as an array: floats with NaN for numbers and booleans with gaps, objects for what is neither."""
    array = column.to_numpy(zero_copy_only=False)
    if array.dtype.kind == "O" and all(value is None or isinstance(value, bool) for value in array):
        return np.array([np.nan if value is None else value for value in array], np.float64)
    return array
