"""Files that are whole or not there, and array files that cannot lie about their size. No pickle is ever read."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import InputError

MAX_ARRAY_BYTES = 64 * 2**30
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with the home folder in place of a ~ at its start."""
    return Path(os.path.expanduser(path))


def check_output(path: str | os.PathLike[str], inputs: Mapping[str, Any] | None = None) -> None:
    """InputError if a file cannot be written there: its folder is missing, or it would overwrite an input.

    inputs : files, and folders of files, by the option or argument that names them; None for those that are not given.
    What counts is the file itself, by whatever path or link it is reached.
    """
    final = Path(os.path.realpath(expanded(path)))
    if not final.parent.is_dir():
        folder = final.parent if os.path.islink(path) else Path(path).parent
        raise InputError(f"{path} cannot be written: there is no folder {folder}; make it first")
    if final.is_dir():
        raise InputError(f"{path} cannot be written: there is a folder of that name; name a file")
    for name, given in (inputs or {}).items():
        if given is not None and _is_in(final, Path(os.path.realpath(expanded(given)))):
            raise InputError(
                f"{path} would be written over what {name} reads, {given}; name another file, outside of it"
            )


def check_output_folder(folder: str | os.PathLike[str], inputs: Mapping[str, Any]) -> None:
    """InputError if one of the inputs lies in a folder that will be emptied and written."""
    final = Path(os.path.realpath(expanded(folder)))
    for name, given in inputs.items():
        if given is not None and _is_in(Path(os.path.realpath(expanded(given))), final):
            raise InputError(f"{folder} would be emptied, and {name} is in it, {given}; name another folder")


def _is_in(path: Path, other: Path) -> bool:
    """Whether a path is the other one, or lies in it; both are free of links."""
    paths = [path, *path.parents]
    return other in paths or (other.exists() and any(p.exists() and p.samefile(other) for p in paths))


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes the place of `path` once all of it is on the disk.

    The temporary file lies in the same folder, so that the exchange is one rename. Whatever fails before that leaves
    the old file as it was and removes the temporary one. A symbolic link stays one: its target is replaced.
    InputError if there is no such folder.
    """
    check_output(path)
    final = Path(os.path.realpath(expanded(path)))
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
