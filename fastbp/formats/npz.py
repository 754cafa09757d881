"""Saved models: network, parameters and what goes with them in one file, whole or not at all. No pickle.

The file is an npz archive, stored, not compressed: `manifest.json`, `vector.npy` and `meta/0.npy`, `meta/1.npy`, ...
for the arrays in `meta`. It ends in the archive comment "fastbp sha256 " + 64 hex digits: the SHA-256 of every byte
before the digits. So NumPy and any zip program can open it, and no byte of it can change without being noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, files
from ..errors import FastbpError, InputError, ModelError
from ..model.network import MLP
from ..model.parameters import Parameters

FORMAT_VERSION = 1
_MARK = b"fastbp sha256 "
_N_DIGITS = 64
_ARRAY = "__array__"  # {"__array__": "meta/0"} in the manifest stands for that array
_UNREADABLE = (
    *(FastbpError, ValueError, LookupError, TypeError, AttributeError),  # a manifest or arrays that do not fit
    *(zipfile.BadZipFile, EOFError, RuntimeError),  # an archive that is none, ends early, or is encrypted
)
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: equal models make equal files


def save(path: str | os.PathLike[str], net: MLP, params: Parameters, meta: Mapping[str, Any] | None = None) -> None:
    """Write network, parameters and `meta` to `path`. Whatever goes wrong, the old file stays as it was.

    meta : a dict with text as keys; values are None, bools, numbers, text, lists, tuples (which come back as lists),
        dicts, and NumPy arrays of bools, numbers or text. InputError for others, and for a folder that is not
        there. OSError if the disk refuses.

    >>> net = fastbp.MLP((2, 3, 1))
    >>> fastbp.save("model.npz", net, net.init(0), {"note": "as drawn"})
    """
    if params.net != net:
        raise InputError(f"params must be those of {net}; got parameters of {params.net}")
    arrays: dict[str, np.ndarray] = {}
    manifest = {
        "format": "fastbp model",
        "version": FORMAT_VERSION,
        "written_by": f"fastbp {__version__}",
        "network": net.to_dict(),
        "dtype": str(params.dtype),
        "meta": to_json(dict(meta or {}), "meta", arrays, prefix="meta/"),
    }
    archive = _archive(manifest, {"vector": params.vector, **arrays})
    with files.replacing(path) as file:
        file.write(archive[:-_N_DIGITS])
        file.write(_digest(archive))


def load(path: str | os.PathLike[str]) -> tuple[MLP, Parameters, dict[str, Any]]:
    """(net, params, meta) as they were saved. ModelError, naming the file, for any file that `save` did not write.

    >>> net = fastbp.MLP((2, 3, 1))
    >>> fastbp.save("model.npz", net, net.init(0), {"note": "as drawn"})
    >>> net, params, meta = fastbp.load("model.npz")
    >>> meta["note"]
    'as drawn'
    """
    path = files.expanded(path)
    try:
        archive = memoryview(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    _check_digest(path, archive)
    try:
        manifest, arrays = _members(archive)
        if manifest["version"] != FORMAT_VERSION:
            raise ModelError(
                f"{path}: this fastbp reads version {FORMAT_VERSION} of its model format; got version "
                f"{manifest['version']!r}. Read it with the fastbp that wrote it"
            )
        net = MLP.from_dict(manifest["network"])
        params = Parameters.from_vector(net, arrays["vector"])
        if str(params.dtype) != manifest["dtype"]:
            raise ValueError(f"the manifest says {manifest['dtype']!r}, the vector is {params.dtype}")
        return net, params, from_json(manifest["meta"], arrays)
    except ModelError:
        raise
    except _UNREADABLE as error:
        raise ModelError(
            f"{path}: its digest is right, but it holds no model that this fastbp can read: {error}"
        ) from error


# -- the archive ---------------------------------------------------------------------------------------


def _archive(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> memoryview:
    """The bytes of the file, with zeros for the digits of the digest."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("manifest.json", _DATE), json.dumps(manifest, indent=1))
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
                files.write_npy(member, array)
        archive.comment = _MARK + b"0" * _N_DIGITS
    return memory.getbuffer()


def _digest(archive: memoryview) -> bytes:
    return hashlib.sha256(archive[:-_N_DIGITS]).hexdigest().encode()


def _check_digest(path: Path, archive: memoryview) -> None:
    marked = archive[:-_N_DIGITS][-len(_MARK) :] == _MARK
    if marked and archive[-_N_DIGITS:] == _digest(archive):
        return
    if marked or bytes(archive[:4]) == b"PK\x03\x04":
        raise ModelError(
            f"{path}: every byte of a saved model must be as it was written; got {len(archive)} bytes that are not. "
            "It is damaged, cut short or not from fastbp; save or copy it again"
        )
    raise ModelError(f"{path}: a model written by fastbp.save is wanted; got {len(archive)} bytes of something else")


def _members(archive: memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays. Members are stored as they are, so none can be larger than the file."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        manifest = json.loads(file.read(_stored(file, "manifest.json")))
        for info in file.infolist():
            if info.filename.endswith(".npy"):
                with file.open(_stored(file, info.filename)) as member:
                    arrays[info.filename.removesuffix(".npy")] = files.read_npy(member, info.file_size)
    return manifest, arrays


def _stored(file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    info = file.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name} must be stored as it is; got {info.compress_size} bytes for {info.file_size}")
    return info


# -- meta ----------------------------------------------------------------------------------------------


def to_json(value: Any, where: str, arrays: dict[str, np.ndarray], *, prefix: str) -> Any:
    """`value` with its arrays moved to `arrays` and, in their place, their names there: prefix + "0", "1", ...

    `where` is for the message of the InputError for what is neither JSON nor a plain array.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "buifU":
        name = f"{prefix}{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, list | tuple):
        return [to_json(item, f"{where}[{i}]", arrays, prefix=prefix) for i, item in enumerate(value)]
    if isinstance(value, dict) and _ARRAY not in value and all(isinstance(key, str) for key in value):
        return {key: to_json(item, f"{where}[{key!r}]", arrays, prefix=prefix) for key, item in value.items()}
    came = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
    raise InputError(
        f"{where} must be None, a bool, number or text, a list, a dict with text as keys, or an array of bools, "
        f"numbers or text; got {came}"
    )


def from_json(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """What `to_json` was given, with the arrays back in their places; KeyError if one is missing."""
    if isinstance(value, list):
        return [from_json(item, arrays) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {key: from_json(item, arrays) for key, item in value.items()}
    return value
