"""Tables in `.npy` and `.npz` files, whole or in blocks of rows."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import files
from ..errors import DataError
from .tables import SAVE_AS, Places, ReadRequest, Table, checked, listed, shape_of

_UNREADABLE = (ValueError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)


# -- npy ---------------------------------------------------------------------------------------------------


def read_npy(request: ReadRequest) -> Table:
    """The table in a 2-D array of numbers, or in 1-D records with a field for each column."""
    try:
        with open(request.path, "rb") as file:
            array = files.read_npy(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        raise DataError(f"{request.path}: not a usable .npy file: {error}") from error
    return _npy_table(request, array, 0)


def npy_blocks(request: ReadRequest, n_rows: int) -> Iterator[Table]:
    """The same in blocks of n_rows rows; the file must be in C order."""
    with open(request.path, "rb") as file, _named(f"{request.path}: not a usable .npy file"):
        blocks = _Blocks(file, os.fstat(file.fileno()).st_size)
    first = 0
    with open(request.path, "rb") as file:
        file.seek(blocks.start)
        for n in _sizes(blocks.n_rows, n_rows):
            with _named(f"{request.path}: not a usable .npy file"):
                array = blocks.read(file, n)
            yield _npy_table(request, array, first)
            first += n


def _npy_table(request: ReadRequest, array: np.ndarray, first: int) -> Table:
    names, columns = _named_columns(array, request.path)
    features, target = request.pick(names, unnamed=not array.dtype.names)
    for i in features:
        _check_kind(request.path, f"column {names[i]!r}", columns[i], "buif")
    x = np.stack([columns[i] for i in features], axis=-1)
    picked = [names[i] for i in features]
    if target is None:
        return _table(request, picked, x, first)
    return _table(request, picked, x, first, columns[target], names[target])


def _named_columns(array: np.ndarray, path: Path) -> tuple[list[str], list[np.ndarray]]:
    if array.dtype.names and array.ndim == 1 and not any(array.dtype[name].shape for name in array.dtype.names):
        return list(array.dtype.names), [array[name] for name in array.dtype.names]
    if array.ndim == 2 and array.shape[1] and not array.dtype.names:
        return [str(i) for i in range(array.shape[1])], list(array.T)
    raise DataError(f"{path}: a 2-D array, or 1-D records of single values, is wanted; got {shape_of(array)}")


# -- npz ---------------------------------------------------------------------------------------------------


def read_npz(request: ReadRequest) -> Table:
    """The table in the arrays `x` or `X`, `y`, and `names` or `feature_names` of an `.npz` file."""
    return next(npz_blocks(request, None))


def npz_blocks(request: ReadRequest, n_rows: int | None) -> Iterator[Table]:
    """The same in blocks of n_rows rows, or as one for None."""
    with _named(f"{request.path}: not a usable .npz file"), zipfile.ZipFile(request.path) as archive:
        target = request.target or "y"
        wanted = ("x", "X", target, "names", "feature_names")
        infos = {name: info for info in archive.infolist() if (name := info.filename.removesuffix(".npy")) in wanted}
        key = "x" if "x" in infos else "X"
        missing = [name for name in (key, target) if name not in infos and (name == key or request.target_required)]
        if missing:
            raise DataError(
                f"{request.path}: missing the array {missing[0]!r}; wanted are 'x' or 'X' and {target!r}, "
                f"got {listed(list(infos)) or 'neither'}"
            )
        names = [_member(archive, infos[name]) for name in ("names", "feature_names") if name in infos]
        wanted = [infos[name] for name in (key, target) if name in infos]
        first = 0
        for x, *rest in _member_blocks(archive, wanted, n_rows):
            yield _npz_table(request, key, x, first, names[0] if names else None, rest[0] if rest else None, target)
            first += len(x)


def _npz_table(
    request: ReadRequest, key: str, x: np.ndarray, first: int, given: np.ndarray | None, y: np.ndarray | None,
    target: str,
) -> Table:  # fmt: skip
    if x.ndim != 2:
        raise DataError(f"{request.path}: {key!r} must have shape (N, n_features); got {shape_of(x)}")
    _check_kind(request.path, repr(key), x, "buif")
    names = [str(name) for name in (range(x.shape[1]) if given is None else _text(request.path, given).ravel())]
    if len(names) != x.shape[1]:
        raise DataError(f"{request.path}: {x.shape[1]} columns need as many names; got {len(names)}")
    order, _ = request._replace(target=None, target_required=False).pick(names, unnamed=given is None)
    picked = [names[i] for i in order]
    return _table(request, picked, x[:, order], first, y, None if y is None else target)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with _stream(archive, info) as stream:
        return files.read_npy(stream, info.file_size)


def _member_blocks(
    archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], n_rows: int | None
) -> Iterator[list[np.ndarray]]:  # fmt: skip
    """Members side by side in blocks of n_rows rows, or as a whole for None."""
    if n_rows is None:
        yield [_member(archive, info) for info in infos]
        return
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_stream(archive, info)) for info in infos]
        blocks = [_Blocks(stream, info.file_size) for stream, info in zip(streams, infos, strict=True)]
        if len({block.n_rows for block in blocks}) > 1:
            sizes = ", ".join(f"{info.filename} has {b.n_rows}" for info, b in zip(infos, blocks, strict=True))
            raise ValueError(f"its arrays must have as many rows as each other; {sizes}")
        for n in _sizes(blocks[0].n_rows, n_rows):
            yield [block.read(stream, n) for block, stream in zip(blocks, streams, strict=True)]


@contextlib.contextmanager
def _stream(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """A member to read, whose name stands in front of what is wrong with it."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} must be stored or deflated, as NumPy writes it")
    with archive.open(info) as stream:
        try:
            yield stream
        except ValueError as error:
            raise ValueError(f"{info.filename}: {error}") from error


# -- parts -------------------------------------------------------------------------------------------------


class _Blocks:
    """An array in C order that is read block by block from a stream of `n_bytes` bytes; ValueError if it lies."""

    def __init__(self, stream: IO[bytes], n_bytes: int) -> None:
        self.shape, fortran_order, self.dtype = files.read_header(stream)
        self.start = stream.tell()
        if self.dtype.hasobject:
            raise ValueError(f"arrays of Python objects are never read, they would need pickle; got {self.dtype}")
        if fortran_order and len(self.shape) > 1:
            raise ValueError("to be read in pieces it must be in C order; save np.ascontiguousarray(array)")
        if not self.shape:
            raise ValueError("rows are wanted; got a single number")
        self.n_rows = self.shape[0]
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        declared, present = self.n_rows * self._row_bytes, n_bytes - self.start
        if declared != present:
            raise ValueError(f"the header says {declared} bytes of data, there are {present}")

    def read(self, stream: Any, n: int) -> np.ndarray:
        """The next n rows."""
        flat = files.read_exactly(stream, n * self._row_bytes)
        return flat.view(self.dtype).reshape(n, *self.shape[1:]) if flat.size else np.empty((n, *self.shape[1:]))


def _sizes(n: int, most: int) -> Iterator[int]:
    """The sizes of blocks that n rows are cut into; one for none."""
    yield from (min(most, n - start) for start in range(0, max(n, 1), most))


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{what}: {error}") from error


def _table(
    request: ReadRequest, names: list[str], x: np.ndarray, first: int, target: np.ndarray | None = None,
    target_name: str | None = None,
) -> Table:  # fmt: skip
    path = request.path
    if len(x) == 0:
        raise DataError(f"{path}: at least one row is needed; got {shape_of(x)}")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(x, request.dtype)
    if target is not None:
        target = _text(path, target, first)
        _check_kind(path, f"the target {target_name!r}", target, "buifU")
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        if target.ndim not in (1, 2) or len(target) != len(x):
            raise DataError(
                f"{path}: the target {target_name!r} must have one entry for each of {len(x)} rows; "
                f"got {shape_of(target)}"
            )
        target = np.ascontiguousarray(target)
    places = Places.in_file(path, "row", np.arange(first, first + len(x)))
    return checked(Table(tuple(names), cast, target, target_name, str(path), places), request.bad, x)


def _text(path: Path, array: np.ndarray, first: int = 0) -> np.ndarray:
    try:
        return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        row = first + next(i for i, text in enumerate(array) if error.object in text)
        came = f"got byte {error.object[error.start]:#x}. Save it as UTF-8"
        raise DataError(f"{path}, row {row}: text must be UTF-8; {came}") from error


def _check_kind(path: Path, what: str, array: np.ndarray, kinds: str) -> None:
    if array.dtype.kind not in kinds:
        wanted = "numbers or text" if "U" in kinds else "real numbers"
        raise DataError(f"{path}: {what} must hold {wanted}; got {array.dtype}. {SAVE_AS}")
