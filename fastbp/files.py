"""Files that are whole or not there, and array files that cannot lie about their size. No pickle is ever read."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

MAX_ARRAY_BYTES = 64 * 2**30
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes the place of `path` once all of it is on the disk.

    The temporary file lies in the same folder, so that the exchange is one rename. Whatever fails before that leaves
    the old file as it was and removes the temporary one. A symbolic link stays one: its target is replaced.
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(final.parent)


def read_npy(stream: IO[bytes], n_bytes: int) -> np.ndarray:
    """The array of a `.npy` stream of `n_bytes` bytes. ValueError if it holds objects, or more or less than it says.

    Nothing is allocated before the size in the header is known to be the size of the stream.
    """
    shape, fortran_order, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"arrays of Python objects are never read, they would need pickle; got {dtype}")
    declared, present = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
    if declared != present:
        raise ValueError(f"the header says {declared} bytes of data, there are {present}")
    if declared > MAX_ARRAY_BYTES:
        raise ValueError(f"at most {MAX_ARRAY_BYTES} bytes are read; the header says {declared}")
    if declared == 0:
        return np.empty(shape, dtype)
    flat = read_exactly(stream, declared).view(dtype)
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


def write_npy(stream: Any, array: np.ndarray) -> None:
    """`array` in the npy format; ValueError if it holds objects."""
    np.lib.format.write_array(stream, array, allow_pickle=False)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran order, dtype) of a `.npy` stream, which then stands at its data. ValueError."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"version 1.0 or 2.0 of the npy format is read; got {version[0]}.{version[1]}")
    try:
        return _HEADER_READERS[version](stream)
    except Exception as error:  # a damaged header raises whatever NumPy's parser meets: TokenError, RecursionError, ...
        raise ValueError(f"its header cannot be read: {error}") from error


def read_exactly(stream: Any, n_bytes: int) -> np.ndarray:
    """The next n_bytes bytes; ValueError if there are fewer."""
    memory = np.empty(n_bytes, np.uint8)
    filled = 0
    while filled < n_bytes:
        n = stream.readinto(memoryview(memory)[filled:])
        if not n:
            raise ValueError(f"{n_bytes} bytes of data expected, the file ends after {filled}")
        filled += n
    return memory


def _sync_folder(folder: Path) -> None:
    # The rename itself is in the folder. Some systems cannot open a folder; the file is whole there, too.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
