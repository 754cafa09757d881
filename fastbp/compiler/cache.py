"""Compiled code on disk: which file it is in, and whether that file can be trusted.

One file per function and signature, named by a SHA-256 over everything that decides the machine code: stale code has
another name. What is in a file is run, so it is read only if file and folder belong to this user, nobody else can write
to them, and the digest over every byte agrees. Files are replaced as a whole; there is no index and no lock.

FASTBP_CACHE_DIR names the folder ($XDG_CACHE_HOME/fastbp otherwise), FASTBP_CACHE=0 switches the cache off.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

MAGIC = b"fastbp compiled\n"
DIGEST_BYTES = hashlib.sha256().digest_size
SUFFIX = ".compiled"
TEMPORARY_SUFFIX = ".compiled-part"
MAX_FILES = 256
STALE_SECONDS = 3600

_PACKAGE = Path(__file__).parent.parent


class CacheWarning(UserWarning):
    """The compile cache could not be used. Results are right, but kernels are compiled again."""


class CacheError(Exception):
    """Why a file of the cache is not used; reaches users as the text of a CacheWarning."""


def folder() -> Path | None:
    """The cache folder, or None if the cache is switched off."""
    if os.environ.get("FASTBP_CACHE") == "0":
        return None
    chosen = os.environ.get("FASTBP_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastbp"


_failure = ""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Any failure of the cache inside is one warning in the life of the process, and no error."""
    global _failure
    try:
        yield
    except Exception as error:
        if not _failure:
            _failure = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"the compile cache was not used ({_failure}); kernels are compiled instead. "
                "Remove the file or folder, set FASTBP_CACHE_DIR to a folder that only you can write to, "
                "or set FASTBP_CACHE=0 to do without a cache",
                CacheWarning,
                stacklevel=2,
            )


def state() -> str:
    """The folder, or why there is no cache, in one line for the user."""
    root = None
    with guarded():
        root = folder()
    if _failure:
        return f"not used ({_failure})"
    return "off (FASTBP_CACHE=0)" if root is None else str(root)


# -- files ------------------------------------------------------------------------------------------------------------


def load(key: str) -> bytes | None:
    """The payload saved under `key`, None if there is none; CacheError if it cannot be trusted."""
    root = folder()
    if root is None:
        return None
    path = root / (key + SUFFIX)
    try:
        descriptor = _opened(root, path)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        _refuse_foreign(os.fstat(descriptor), path)
        content = file.read()
        with contextlib.suppress(OSError):
            os.utime(
                descriptor if os.utime in os.supports_fd else path
            )  # recently used: the sweep takes the others first
    digest, payload = content[len(MAGIC) :][:DIGEST_BYTES], content[len(MAGIC) + DIGEST_BYTES :]
    if not content.startswith(MAGIC) or digest != _digest(key, payload):
        raise CacheError(f"{path} is damaged")
    return payload


# What is opened relative to a folder is in the folder that was checked. Windows cannot.
_PINS_FOLDERS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY") and hasattr(os, "O_NOFOLLOW")


def _opened(root: Path, path: Path) -> int:
    """The descriptor of a file in the folder, neither of them another user's, and the file no link."""
    if not _PINS_FOLDERS:
        _refuse_foreign(root.stat(), root)
        if path.is_symlink():
            raise CacheError(f"{path} is a link")
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _refuse_foreign(os.fstat(directory), root)
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        os.close(directory)


def save(key: str, payload: bytes) -> None:
    """Write `payload` under `key`; readers see the old file or the whole new one."""
    root = folder()
    if root is None:
        return
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_foreign(root.stat(), root)
    descriptor, temporary = tempfile.mkstemp(dir=root, suffix=TEMPORARY_SUFFIX)
    try:
        with open(descriptor, "wb") as file:
            file.write(MAGIC + _digest(key, payload) + payload)
        os.replace(temporary, root / (key + SUFFIX))
    except BaseException:
        os.unlink(temporary)
        raise
    _sweep(root)


def _digest(key: str, payload: bytes) -> bytes:
    # With the key in it, a valid file under another file's name is refused.
    return hashlib.sha256(key.encode() + payload).digest()


def _refuse_foreign(status: os.stat_result, path: Path) -> None:
    """Refuse what another user could have written: its content would run with our rights.

    Windows has no modes that would tell; there the folder is safe where it is by default, in the user's own.
    """
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid != os.geteuid():
        raise CacheError(f"{path} belongs to user {status.st_uid}, not to you ({os.geteuid()})")
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})")


def _sweep(root: Path) -> None:
    """Keep the MAX_FILES used last; remove what interrupted writers left."""
    ages = {}
    for path in root.iterdir():
        with contextlib.suppress(FileNotFoundError):  # other processes rename and sweep too
            ages[path] = path.stat().st_mtime
    newest_first = sorted((path for path in ages if path.suffix == SUFFIX), key=ages.get, reverse=True)
    abandoned = [p for p in ages if p.suffix == TEMPORARY_SUFFIX and ages[p] < time.time() - STALE_SECONDS]
    for path in newest_first[MAX_FILES:] + abandoned:
        path.unlink(missing_ok=True)


# -- names ------------------------------------------------------------------------------------------------------------


def key(function: FunctionType, *facts: Any) -> str:
    """SHA-256 of all that decides the machine code of `function`; `facts`: signature, options, versions, CPU, flags."""
    digest = hashlib.sha256(_sources_digest())
    digest.update(Path(function.__code__.co_filename).read_bytes())
    for fact in (function.__module__, function.__qualname__, *facts, *_constants(function, set())):
        digest.update(repr(fact).encode() + b"\0")
    return digest.hexdigest()


def sources() -> list[Path]:
    """Every file of the package whose text can reach machine code."""
    rooms = ("compiler", "kernels", "model")
    return [_PACKAGE / "errors.py", *sorted(path for room in rooms for path in (_PACKAGE / room).rglob("*.py"))]


@functools.cache
def _sources_digest() -> bytes:
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


def _constants(function: FunctionType, seen: set[FunctionType]) -> Iterator[tuple[str, Any]]:
    """Values that the compiler bakes in: simple globals and closure cells of `function` and of all it reaches.

    The sources are hashed already; this is for what the text does not show, such as a global made from the environment.
    """
    if function in seen:
        return
    seen.add(function)
    names = set(_names(function.__code__))
    modules = [v for n in names if isinstance(v := function.__globals__.get(n), ModuleType) and _ours(v.__name__)]
    for namespace in (function.__globals__, *map(vars, sorted(modules, key=lambda module: module.__name__))):
        for name in sorted(names & namespace.keys()):
            yield from _constant(name, namespace[name], seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield from _constant(name, cell.cell_contents, seen, in_closure=True)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _constant(name: str, value: Any, seen: set[FunctionType], in_closure: bool = False) -> Iterator[tuple[str, Any]]:
    # The Python function inside a dispatcher, an entry, an intrinsic.
    for attribute in ("py_func", "function", "_defn"):
        value = getattr(value, attribute, value)
    if isinstance(value, FunctionType):
        yield name, value.__qualname__
        if _ours(value.__module__):
            yield from _constants(value, seen)
    elif isinstance(value, np.ndarray):
        yield name, (str(value.dtype), value.shape, value.tobytes())
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from _constant(f"{name}[{i}]", item, seen, in_closure)
    elif isinstance(value, dict):
        for k, item in value.items():
            yield from _constant(f"{name}[{k!r}]", item, seen, in_closure)
    elif isinstance(value, (set, frozenset)):
        yield name, sorted(map(repr, value))
    elif " at 0x" not in repr(value):
        yield name, repr(value)
    elif in_closure:
        # Two functions of one text that differ in such a value would share a file.
        raise CacheError(f"{name} = {value!r} in a closure has no name that the next process would know it by")


def _ours(module: str) -> bool:
    """Not a library's: the versions of NumPy and Numba are part of every key."""
    return module.partition(".")[0] not in {"numpy", "numba", "llvmlite", *sys.stdlib_module_names}
