"""Data larger than memory: rows that are read when they are needed, in pieces, in any order.

`fastbp.train` takes a `Dataset` in place of x and y. Anything with these two members is one:

    n_rows                 how many rows there are
    read(start, stop)      (x, y) or (x, y, sample_weight): the rows start to stop - 1, as arrays

and, if it likes, `shuffle = False`, for rows that are to be used in their order, and `where(row)`, the place of a row
for a message. `read` is called from one thread at a time, though not always the same, with small ranges everywhere.

    Npy(x, y)              two .npy files, read as they are, row by row
    Joined([a, b, ...])    several data sets, one after the other
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .. import files
from ..errors import DataError, InputError


@runtime_checkable
class Dataset(Protocol):
    """Rows by number."""

    n_rows: int

    def read(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """(x, y) or (x, y, sample_weight) of the rows start to stop - 1."""


class NpyRows:
    """The rows of one .npy file, (N, ...) in C order, read from the file: nothing of it stays in memory.

    DataError, naming the file, for what is no such file, is shorter than its header says, or changes while it is read.

    >>> np.save("x.npy", np.arange(6.0).reshape(3, 2))
    >>> fastbp.data.NpyRows("x.npy").read(1, 3)
    array([[2., 3.],
           [4., 5.]])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = files.expanded(path)
        try:
            with open(self.path, "rb") as stream:
                shape, fortran_order, self.dtype = files.read_header(stream)
                self._start = stream.tell()
                self._state = _state_of(stream.fileno())
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise DataError(f"{path}: not a usable .npy file: {error}") from error
        self.shape, self.n_rows = shape, shape[0] if shape else 0
        self._row_bytes = math.prod(shape[1:]) * self.dtype.itemsize
        if not shape or (fortran_order and len(shape) > 1) or self.dtype.kind not in "buif":
            raise DataError(
                f"{path}: rows of numbers in C order are wanted; got shape {shape}, {self.dtype}"
                f"{', in Fortran order' if fortran_order else ''}. Save it again with np.save(path, "
                "np.ascontiguousarray(array))"
            )
        declared = self._start + self.n_rows * self._row_bytes
        if declared != self._state[0]:
            raise DataError(f"{path}: its header says {declared} bytes; the file has {self._state[0]}")

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows start to stop - 1."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: np.ndarray) -> None:
        """The rows from `start` on, as many as `out` has: an array in C order of this file's dtype."""
        memory, n_bytes = out.reshape(-1).view(np.uint8), out.nbytes
        done, at = 0, self._start + start * self._row_bytes
        while done < n_bytes:
            n = _read_into(self._descriptor, memoryview(memory)[done:], at + done)
            if n <= 0:
                break
            done += n
        if done < n_bytes or _state_of(self._descriptor) != self._state:
            raise DataError(
                f"{self.path}: the file has changed while it was read, at row {start}; let nothing write to it"
            )

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def _read_into(descriptor: int, memory: memoryview, at: int) -> int:
    """Fill memory from place `at` of a file on, or the first bytes of it; returns how many."""
    if hasattr(os, "preadv"):  # moves no place, which a forked process would share
        return os.preadv(descriptor, [memory], at)
    os.lseek(descriptor, at, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        return file.readinto(memory)


def _state_of(descriptor: int) -> tuple[int, int]:
    state = os.fstat(descriptor)
    return state.st_size, state.st_mtime_ns


class Npy:
    """Inputs and targets in two .npy files, and perhaps sample weights in a third.

    target : without y, the column of x that is the target; the last one by default.

    >>> np.save("x.npy", np.random.default_rng(0).random((100, 3), np.float32))
    >>> np.save("y.npy", np.arange(100) % 2)
    >>> rows = fastbp.data.Npy("x.npy", "y.npy")
    >>> net = fastbp.MLP((3, 8, 1))
    >>> result = fastbp.train(net, net.init(0), rows, epochs=2)
    """

    def __init__(
        self, x: str | os.PathLike[str], y: str | os.PathLike[str] | None = None,
        sample_weight: str | os.PathLike[str] | None = None, *, target: int | None = None,
    ) -> None:  # fmt: skip
        self.x = NpyRows(x)
        self.rest = [NpyRows(path) for path in (y, sample_weight) if path is not None]
        self.n_rows = self.x.n_rows
        for other in self.rest:
            if other.n_rows != self.n_rows:
                raise DataError(f"{other.path}: one row for each of {self.n_rows} in {x} is wanted; got {other.n_rows}")
        self.target = None if y is not None else -1 if target is None else target

    def read(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """(x, y) or (x, y, sample_weight) of the rows start to stop - 1."""
        x = self.x.read(start, stop)
        rest = [other.read(start, stop) for other in self.rest]
        if self.target is not None:
            rest = [x[:, self.target], *rest]
            x = np.delete(x, self.target, axis=1)
        return x, *rest

    def read_into(self, start: int, out: Sequence[np.ndarray]) -> bool:
        """Fill the arrays with the rows from `start` on, if they are such as the files hold."""
        parts = (self.x, *self.rest)
        if self.target is not None or len(parts) != len(out):
            return False
        for part, array in zip(parts, out, strict=True):
            shape = (len(array), *part.shape[1:])
            if array.dtype != part.dtype or array.size != math.prod(shape) or not array.flags.c_contiguous:
                return False
        for part, array in zip(parts, out, strict=True):
            part.read_into(start, array)
        return True

    def where(self, row: int) -> str:
        """The place of a row, for a message."""
        return f"{self.x.path}, row {row}"


class Joined:
    """Several data sets as one, their rows one after the other.

    >>> np.save("x.npy", np.zeros((100, 3)))
    >>> np.save("y.npy", np.arange(100) % 2)
    >>> day = fastbp.data.Npy("x.npy", "y.npy")
    >>> fastbp.data.Joined([day, day]).n_rows
    200
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        if not parts:
            raise InputError("Joined needs at least one data set; got none")
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([part.n_rows for part in parts])])
        self.n_rows = int(self.starts[-1])

    def read(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """The rows start to stop - 1, which may lie in several parts."""
        pieces = []
        while start < stop:
            i, first = self._place(start)
            n = min(stop - start, self.parts[i].n_rows - first)
            pieces.append(self.parts[i].read(first, first + n))
            start += n
        return pieces[0] if len(pieces) == 1 else tuple(map(np.concatenate, zip(*pieces, strict=True)))

    def where(self, row: int) -> str:
        """The place of a row, for a message."""
        i, first = self._place(row)
        return place_of(self.parts[i], first)

    def _place(self, row: int) -> tuple[int, int]:
        i = int(np.searchsorted(self.starts, row, side="right")) - 1
        return i, row - int(self.starts[i])


def place_of(dataset: Dataset, row: int) -> str:
    """The place of a row, for a message."""
    return dataset.where(row) if hasattr(dataset, "where") else f"row {row} of {type(dataset).__name__}"


# -- rows by number --------------------------------------------------------------------------------------

NEAR = 16  # rows between two wanted ones that are read along rather than left out


def read_rows(dataset: Dataset, rows: np.ndarray, out: Sequence[np.ndarray], convert: Any) -> np.ndarray:
    """Read the given rows into the arrays `out`, as they lie in the file; returns where each of them is there.

    Rows that lie near each other are read at once, by `read_into` where the data set has it: it fills arrays with rows
    as they are, and says whether it could. convert(start, parts) makes what `read` gives fit the arrays.
    """
    sorted_rows, places = np.unique(rows, return_inverse=True)  # an order of one's own may have a row twice
    cuts = [0, *(np.flatnonzero(np.diff(sorted_rows) > NEAR) + 1).tolist(), len(sorted_rows)]
    read_into = getattr(dataset, "read_into", None)
    for first, last in itertools.pairwise(cuts):
        start, stop = int(sorted_rows[first]), int(sorted_rows[last - 1]) + 1
        buffers = [array[first:last] for array in out]
        if stop - start == last - first and read_into is not None and read_into(start, buffers):
            continue
        parts = convert(start, dataset.read(start, stop))
        for array, part in zip(buffers, parts, strict=True):
            array[...] = part if stop - start == last - first else part[sorted_rows[first:last] - start]
    return places
