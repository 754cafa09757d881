"""Tables larger than memory on their way to a training: read in pieces, standardised, and kept in a folder on the disk.

Numbers of rows, targets and splits stay in memory, some 30 bytes a row; features do not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import files
from ..engine import inputs as arrays
from ..errors import DataError
from . import tables
from .csv_files import with_values
from .datasets import NpyRows
from .reading import Standardise, read_blocks, whole
from .tables import BadRows, Places, Table
from .task import Task, default_loss, make_task

ROWS_AT_A_TIME = 8192


class FileRows:
    """Features in a .npy file, targets in memory: a data set for `fastbp.train`."""

    def __init__(self, x: NpyRows, y: np.ndarray, where: Callable[[int], str]) -> None:
        self.x, self.y, self.n_rows, self.where = x, y, x.n_rows, where

    def __len__(self) -> int:
        return self.n_rows

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the rows start to stop - 1."""
        return self.x.read(start, stop), self.y[start:stop]

    def read_into(self, start: int, out: Sequence[np.ndarray]) -> bool:
        """Fill x and y with the rows from `start` on, if they are of the same dtypes."""
        x, y = out
        if x.dtype != self.x.dtype or y.dtype != self.y.dtype or not x.flags.c_contiguous:
            return False
        self.x.read_into(start, x)
        y[...] = self.y[start : start + len(y)].reshape(y.shape)
        return True

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """x and y, block after block."""
        for start in range(0, self.n_rows, ROWS_AT_A_TIME):
            yield self.read(start, min(start + ROWS_AT_A_TIME, self.n_rows))


class Streamed(NamedTuple):
    """A table that was read in pieces: its task, and its two parts, the second None if nothing is held out."""

    task: Task
    train: FileRows
    held_out: FileRows | None


def stream(
    path: str, target: str | None, folder: Path, dtype: Any, bad: BadRows, choose_loss: Callable[[Table], str],
    split: Callable[[Table, str], tuple[np.ndarray, np.ndarray | None]],
) -> Streamed:  # fmt: skip
    """Read a file, or a folder of files, into .npy files in `folder`.

    choose_loss(table), split(table, loss) -> rows of the two parts; their table has the target, but no features.
    """
    raw = folder / "raw.npy"
    try:
        return _stream(path, target, folder, raw, dtype, bad, choose_loss, split)
    except OSError as error:  # those of the data are DataErrors
        raise DataError(
            f"{folder}: a folder that can be written to is needed, for the data set; {error.strerror or error}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            raw.unlink()


def _stream(
    path: str, target: str | None, folder: Path, raw: Path, dtype: Any, bad: BadRows,
    choose_loss: Callable[[Table], str], split: Callable[[Table, str], tuple[np.ndarray, np.ndarray | None]],
) -> Streamed:  # fmt: skip
    table, numbers = _spill(path, target, raw, bad)
    loss = choose_loss(table)
    parts = split(table, loss)
    rows = NpyRows(raw)
    chosen = np.zeros(rows.n_rows, bool)
    chosen[numbers[parts[0]]] = True
    inputs = Standardise.fit_blocks(x[chosen[start : start + len(x)]] for start, x in _blocks(rows))
    task = make_task(table, loss, parts[0], inputs)
    y = task.encode_target(table)
    y = y if y.dtype == np.int64 else y.astype(dtype)
    made = []
    for name, part in zip(("train.npy", "held-out.npy"), parts, strict=True):
        if part is not None:
            _write_part(task, table, rows, numbers[part], folder / name, dtype, numbers)
            made.append(FileRows(NpyRows(folder / name), y[part], lambda row, part=part: table.where(part[row])))
    return Streamed(task, made[0], made[1] if len(made) == 2 else None)


def open_table(
    path: str, folder: str | Path, *, target: str | None = None, loss: str | None = None, dtype: Any = np.float32,
    bad: BadRows | None = None,
) -> tuple[Task, FileRows]:  # fmt: skip
    """A data file of any kind, or a folder of them, as a data set larger than memory, and what its columns mean.

    Features are standardised in one pass and written to `folder`, which must be kept while the data set is used, in
    `dtype`; targets are class codes, or standardised numbers, as `loss` wants them, by default that of `fastbp train`.

    >>> numbers = np.random.default_rng(0).random((100, 3))
    >>> np.savetxt("large.csv", numbers, delimiter=",", header="rooms,area,price", comments="")
    >>> task, rows = fastbp.open_table("large.csv", ".", target="price")
    >>> net = fastbp.MLP((2, 8, 1), loss="squared_error")
    >>> result = fastbp.train(net, net.init(rng=0), rows, epochs=10)
    """
    folder = files.expanded(folder)
    for name in ("raw.npy", "train.npy") if folder.is_dir() else ():
        files.check_output(folder / name, {"path": path})
    made = stream(
        path, target, folder, np.dtype(dtype), bad or BadRows(), lambda table: loss or default_loss(table),
        lambda table, _: (np.arange(len(table.x)), None),
    )  # fmt: skip
    return made.task, made.train


def _spill(path: str, target: str | None, raw: Path, bad: BadRows) -> tuple[Table, np.ndarray]:
    """All features to a file; the table without them, and which rows of the file it has."""
    targets, places, first = [], [], None
    with _NpyWriter(raw, np.float64) as writer:
        for table in read_blocks(path, target=target, bad=bad, n_rows=ROWS_AT_A_TIME):
            first = first or table
            writer.add(table.x)
            targets.append(table.target)
            places.append(table.places)
    without = np.broadcast_to(0.0, (writer.n_rows, len(first.names)))  # it takes no memory
    column = tables.column_of(targets)
    table = with_values(Table(first.names, without, column, first.target_name, str(path), Places.joined(places)))
    return whole(path, table, bad), np.flatnonzero(tables.has_target(table))


def _write_part(
    task: Task, table: Table, rows: NpyRows, part: np.ndarray, path: Path, dtype: Any, numbers: np.ndarray
) -> None:  # fmt: skip
    """The standardised features of some rows of the file; the table's rows are those with these numbers."""
    chosen = np.zeros(rows.n_rows, bool)
    chosen[part] = True
    with _NpyWriter(path, dtype) as writer:
        for start, block in _blocks(rows):
            wanted = np.flatnonzero(chosen[start : start + len(block)])
            x = task.inputs.apply(block[wanted], dtype)
            found = arrays.first_bad_row(x)
            if found is not None:
                row, value = wanted[found[0]], block[wanted[found[0]], found[1]].item()
                place = table.where(int(np.searchsorted(numbers, start + row)))
                raise tables.cell_error(place, table.names[found[1]], value, np.dtype(dtype))
            writer.add(x)


def _blocks(rows: NpyRows) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, rows.n_rows, ROWS_AT_A_TIME):
        yield start, rows.read(start, min(start + ROWS_AT_A_TIME, rows.n_rows))


class _NpyWriter:
    """A .npy file of rows that grows."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path, self.dtype, self.n_rows, self._shape = path, np.dtype(dtype), 0, ()

    def __enter__(self) -> _NpyWriter:
        self._file = open(self.path, "wb")
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.seek(0)
        self._write_header()  # which has room for any number of rows
        self._file.close()

    def add(self, x: np.ndarray) -> None:
        """Some more rows."""
        if not self._file.tell():
            self._shape = x.shape[1:]
            self._write_header()
        self._file.write(np.ascontiguousarray(x, self.dtype))
        self.n_rows += len(x)

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.n_rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
