"""Tables larger than memory on their way to a training: read in pieces, standardized, and kept in a folder on the disk.

Numbers of rows, targets and splits stay in memory, some 30 bytes a row; features do not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import DataError
from . import tables
from .datasets import NpyRows
from .reading import read_blocks, whole
from .scaling import Standardize
from .tables import BadRows, Places, Table, with_values
from .task import Task, default_loss

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


class SpilledTable:
    """A file, or a folder of files, whose features are read into a file of `folder`: a table that needs no memory.

    table : it has the target and the names, but no features. To be used as a context: at its end the file of raw
    features goes, the encoded parts stay. Its members are those of `encoding.TableInMemory`.
    """

    def __init__(self, path: str, target: str | None, folder: Path, bad: BadRows) -> None:
        self.folder, self._raw = folder, folder / "raw.npy"
        try:
            with self._writing():
                self.table, self._numbers = _spill(path, target, self._raw, bad)
                self._rows = NpyRows(self._raw)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> SpilledTable:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._rows = None  # which closes the file: Windows removes none that is open
        with contextlib.suppress(OSError):
            self._raw.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # those of the data are DataErrors
            raise DataError(
                f"{self.folder}: a folder that can be written to is needed, for the data set; {error.strerror or error}"
            ) from error

    def scales(self, rows: np.ndarray) -> Standardize:
        """The scales of the features in those rows of the table, in one pass over the file."""
        chosen = self._chosen(rows)
        return Standardize.fit_blocks(x[chosen[start : start + len(x)]] for start, x in _blocks(self._rows))

    def encode(
        self, task: Task, parts: Sequence[np.ndarray | None], dtype: Any
    ) -> list[FileRows | None]:  # fmt: skip
        """Those rows of the table as data sets on the disk, in the order of the file; None for a part that is None."""
        y = task.encode_target(self.table)
        y = y if y.dtype == np.int64 else y.astype(dtype)
        named = zip(("train.npy", "held-out.npy"), parts, strict=False)  # the second part may be missing
        return [rows if rows is None else self._part(task, y, rows, name, dtype) for name, rows in named]

    def _part(self, task: Task, y: np.ndarray, rows: np.ndarray, name: str, dtype: Any) -> FileRows:
        path, chosen, table = self.folder / name, self._chosen(rows), self.table
        with self._writing(), _NpyWriter(path, dtype) as writer:
            for start, block in _blocks(self._rows):
                wanted = np.flatnonzero(chosen[start : start + len(block)])
                places = np.searchsorted(self._numbers, start + wanted)
                writer.add(task.scaled(block[wanted], dtype, table, places))
        return FileRows(NpyRows(path), y[rows], lambda row: table.where(rows[row]))

    def _chosen(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of the file are those rows of the table."""
        chosen = np.zeros(self._rows.n_rows, bool)
        chosen[self._numbers[rows]] = True
        return chosen


def open_table(
    path: str, folder: str | Path, *, target: str | None = None, loss: str | None = None, dtype: Any = np.float32,
    bad: BadRows | None = None,
) -> tuple[Task, FileRows]:  # fmt: skip
    """A data file of any kind, or a folder of them, as a data set larger than memory, and what its columns mean.

    Features are standardized in one pass and written to `folder`, which must be kept while the data set is used, in
    `dtype`; targets are class codes, or standardized numbers, as `loss` wants them, by default that of `fastbp train`.

    >>> numbers = np.random.default_rng(0).random((100, 3))
    >>> np.savetxt("large.csv", numbers, delimiter=",", header="rooms,area,price", comments="")
    >>> task, rows = fastbp.open_table("large.csv", ".", target="price")
    >>> net = fastbp.MLP((2, 8, 1), loss="squared_error")
    >>> result = fastbp.train(net, net.init(rng=0), rows, epochs=10)
    """
    folder = files.expanded(folder)
    for name in ("raw.npy", "train.npy") if folder.is_dir() else ():
        files.check_output(folder / name, {"path": path})
    with SpilledTable(path, target, folder, bad or BadRows()) as spilled:
        table = spilled.table
        rows = np.arange(len(table.x))
        task = Task.fit(table, loss or default_loss(table), inputs=spilled.scales(rows))
        return task, spilled.encode(task, [rows], np.dtype(dtype))[0]


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
        self._write_header()  # which has space for any number of rows
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
