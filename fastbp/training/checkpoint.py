"""Checkpoints of a training run: a folder that holds the last few, each whole or not there, each checked when read.

A checkpoint is a file of `fastbp.save`, named by its step: network and parameters, and in its meta what the training
needs to go on as if it had never stopped. Any program that reads models reads checkpoints, too. Whoever trains holds
the folder's lock, which the system takes back from a process that dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import files
from ..engine.csr import CSR
from ..engine.inputs import count, number
from ..errors import CheckpointError, FastbpError, InputError
from ..formats import npz
from ..model.network import MLP
from ..model.parameters import Parameters
from .prefetch import CheckedDataset

try:
    import fcntl
except ImportError:  # Windows has msvcrt instead
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

SMALLEST_INTERVAL = 10.0  # seconds
SHARE = 30  # a checkpoint is due after so many times the duration of the last write: 1 / 30 of the time at most
N_BLOCKS = 64  # of the data, that the fingerprint looks at
BLOCK_ROWS = 16
_NAME = re.compile(r"checkpoint-(\d{12})\.npz")
_TEMPORARY = re.compile(r"\.checkpoint-\d{12}\.npz\.[0-9a-f]+\.tmp")


class CheckpointWarning(UserWarning):
    """A checkpoint that was damaged and passed over, or could not be written while the training went on."""


class Found(NamedTuple):
    """A checkpoint as it was read."""

    path: Path
    net: MLP
    params: Parameters
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints in a folder.

    keep : how many of the last are kept. every : seconds between two; by default 30 times as long as the last one took
    to be written, and at least 10.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep: int = 3, every: float | None = None) -> None:
        if not (isinstance(folder, str | os.PathLike) and str(folder)):
            raise InputError(f"checkpoint must be a folder, such as 'checkpoints'; got {folder!r}")
        self.folder, self.keep = files.expanded(folder), count("keep", keep)
        self.every = None if every is None else number("every", every, 0)
        self._lock: int | None = None
        self._written_at, self._duration = time.monotonic(), 0.0

    # -- the lock ----------------------------------------------------------------------------------------

    def __enter__(self) -> Checkpoints:
        """Take the folder, which is made if need be; CheckpointError if another training has it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._refused(self.folder, error) from error
        try:
            self._take_lock()
        except BaseException:
            self._release()
            raise
        for entry in self.folder.iterdir():
            if _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    entry.unlink()
        self._written_at = time.monotonic()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._release()

    def _take_lock(self) -> None:
        try:
            _lock(self._lock)
        except OSError as error:
            os.lseek(self._lock, 0, os.SEEK_SET)
            owner = os.read(self._lock, 100).decode(errors="replace").strip()
            raise CheckpointError(
                f"{self.folder}: only one training at a time can keep its checkpoints in a folder; process "
                f"{owner or '?'} is using it. Wait for it, or choose another folder"
            ) from error
        os.ftruncate(self._lock, 0)
        os.lseek(self._lock, 0, os.SEEK_SET)
        os.write(self._lock, str(os.getpid()).encode())

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- writing -----------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed since the last one."""
        interval = max(SMALLEST_INTERVAL, SHARE * self._duration) if self.every is None else self.every
        return time.monotonic() - self._written_at >= interval

    def write(self, step: int, net: MLP, params: Parameters, meta: dict[str, Any]) -> Path:
        """Write the checkpoint of a step and remove the ones that are too old. CheckpointError if the disk refuses."""
        path, start = self.folder / f"checkpoint-{step:012}.npz", time.monotonic()
        try:
            npz.save(path, net, params, meta)
        except (OSError, InputError) as error:  # InputError where the folder was taken away
            self._written_at = time.monotonic()
            raise self._refused(path, error) from error
        self._written_at = time.monotonic()
        self._duration = self._written_at - start
        for old in self.paths()[self.keep :]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def _refused(self, path: Path, error: OSError | InputError) -> CheckpointError:
        last = next(iter(self.paths()), None)
        kept = f"; the last good checkpoint is {last.name}" if last else ""
        reason = getattr(error, "strerror", None) or error
        return CheckpointError(f"{path}: the checkpoint cannot be written: {reason}{kept}")

    # -- reading -----------------------------------------------------------------------------------------

    def paths(self) -> list[Path]:
        """The checkpoints' files, the last one first."""
        try:
            names = [entry.name for entry in self.folder.iterdir()]
        except OSError:
            return []
        return [self.folder / name for name in sorted(filter(_NAME.fullmatch, names), reverse=True)]

    def latest(self) -> Found | None:
        """The last checkpoint that is whole, None where there are none at all; a warning for each that is damaged.

        CheckpointError if all are damaged.
        """
        reasons = []
        for path in self.paths():
            try:
                found = Found(path, *npz.load(path))
                if "training" not in found.meta:
                    raise CheckpointError(f"{path}: a model, but no checkpoint of a training")
            except FastbpError as error:
                reasons.append(str(error))
                continue
            for reason in reasons:
                warnings.warn(f"{reason}. {path.name} is used instead", CheckpointWarning, stacklevel=3)
            return found
        if reasons:
            raise CheckpointError(
                f"{self.folder}: none of {len(reasons)} checkpoints can be read: {reasons[0]}. Start anew in another "
                "folder"
            )
        return None


_LOCKED_BYTE = 2**30  # far beyond the number of the process, which others are to read


def _lock(descriptor: int) -> None:
    """Lock a file until this process closes it or ends; OSError if another one has. Systems without locks take none."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def fingerprint(*data: Any, order: np.ndarray | None = None) -> dict[str, Any]:
    """What tells data apart, by name: shape, dtype, and the SHA-256 of 64 blocks of rows at fixed places.

    data : x, y and sample_weight, or the `CheckedDataset` of a data set; both give the same.
    """
    if isinstance(data[0], CheckedDataset):
        source = data[0]
        blocks = [source.convert(start, source.dataset.read(start, stop)) for start, stop in _blocks(source.n_rows)]
        parts = [(source.n_rows, [block[i] for block in blocks]) for i in range(len(blocks[0]))]
    else:
        parts = [_parts_of(array) for array in data if array is not None]
    names = ("x", "y", "sample_weight")
    result = {name: _digest(*part) for name, part in zip(names, parts, strict=False)}
    return result if order is None else {**result, "order": _digest(*_parts_of(order))}


def _blocks(n: int) -> list[tuple[int, int]]:
    starts = np.unique(np.linspace(0, max(0, n - BLOCK_ROWS), N_BLOCKS).astype(np.int64))
    return [(start, min(start + BLOCK_ROWS, n)) for start in starts.tolist()]


def _parts_of(array: Any) -> tuple[int, list[np.ndarray]]:
    if isinstance(array, CSR):
        return len(array), [array[slice(start, stop)].toarray() for start, stop in _blocks(len(array))]
    return len(array), [array[start:stop] for start, stop in _blocks(len(array))]


def _digest(n: int, blocks: list[np.ndarray]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(np.ascontiguousarray(block).tobytes())
    return {"shape": [n, *blocks[0].shape[1:]], "dtype": str(blocks[0].dtype), "sha256": digest.hexdigest()}


def check_same(path: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """CheckpointError that names the first setting or array in which a checkpoint differs from the run to go on."""
    for name in dict.fromkeys([*wanted, *found]):
        if wanted.get(name) == found.get(name):
            continue
        if name == "data":
            parts = dict.fromkeys([*wanted[name], *found[name]])
            changed = next(part for part in parts if wanted[name].get(part) != found[name].get(part))
            now, then = wanted[name].get(changed), found[name].get(changed)
            shapes = [f"shape {tuple(of['shape'])}, {of['dtype']}" if of else "none" for of in (now, then)]
            how = f"shape and dtype {shapes[0]}, then {shapes[1]}" if shapes[0] != shapes[1] else "its values differ"
            raise CheckpointError(
                f"{path}: a training can only go on with the data it started with; {changed} is another one: {how}"
            )
        raise CheckpointError(
            f"{path}: a training can only go on as it began; {name} is {wanted.get(name)!r}, then it was "
            f"{found.get(name)!r}. Use the same {name}, or another folder"
        )
