"""Tables in Parquet files, in blocks of rows, by pyarrow; checksums of pages are verified where there are some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import DataError, InputError
from .tables import Table, Wish, checked, joined, shape_of


def read_parquet(wish: Wish) -> Table:
    """The table in a Parquet file; the target is a column, by default the last."""
    return joined(parquet_blocks(wish, 2**16))


def parquet_blocks(wish: Wish, n_rows: int) -> Iterator[Table]:
    """The same in blocks of at most n_rows rows."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError('Parquet files need pyarrow: pip install "fastbp[parquet]"') from error
    try:
        with parquet.ParquetFile(wish.path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            features, target = wish.pick(names)
            picked = [names[i] for i in features] + ([] if target is None else [names[target]])
            first = 0
            for batch in file.iter_batches(n_rows, columns=picked):
                yield _table(
                    wish, batch, [names[i] for i in features], None if target is None else names[target], first
                )
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{wish.path}: not a usable Parquet file: {reason}") from error
    if not first:
        raise DataError(f"{wish.path}: at least one row is needed; got none")


def _table(wish: Wish, batch: Any, features: list[str], target: str | None, first: int) -> Table:
    x = np.empty((batch.num_rows, len(features)), wish.dtype)
    for i, name in enumerate(features):
        x[:, i] = _numbers(wish, batch.column(name), name)
    answers = None if target is None else _answers(wish, batch.column(target), target)
    return checked(Table(tuple(features), x, answers, target, str(wish.path), first=first), wish.bad)


def _numbers(wish: Wish, column: Any, name: str) -> np.ndarray:
    """A column as floats, NaN where it is empty."""
    array = column.to_numpy(zero_copy_only=False)
    if array.dtype.kind == "O" and column.null_count:
        array = np.array([np.nan if value is None else value for value in array.tolist()])
    if array.dtype.kind not in "buif":
        raise DataError(f"{wish.path}: column {name!r} must hold real numbers; got {column.type}")
    with np.errstate(over="ignore"):
        return array.astype(wish.dtype)


def _answers(wish: Wish, column: Any, name: str) -> np.ndarray:
    array = column.to_numpy(zero_copy_only=False)
    if array.dtype.kind == "O":
        values = array.tolist()
        if not all(value is None or isinstance(value, str) for value in values):
            array = np.array([np.nan if value is None else value for value in values])
        elif None in values:
            row = values.index(None)
            raise DataError(f"{wish.path}, row {row}, column {name!r}: every row needs a target; got an empty cell")
        else:
            array = np.array(values, np.str_)
    if array.dtype.kind not in "buifU" or array.ndim != 1:
        raise DataError(f"{wish.path}: the target {name!r} must hold numbers or text; got {shape_of(array)}")
    return array
