"""Models as safetensors: tensors by name with their sizes declared up front, no pickle, no code.

    8 bytes       n, the length of the header, little-endian
    n bytes       JSON: {"name": {"dtype": "F32", "shape": [3, 4], "data_offsets": [begin, end]}, ...}
    the rest      the tensors, end to end, little-endian, in C order

Layer l is layers.l.weight (n_in, n_out) and layers.l.bias (n_out,), counted from 0. Arrays of `meta` are meta.0,
meta.1, ...; text among them is held as its Unicode code points, U32. `__metadata__` says the rest, as text: "fastbp"
the network, "meta" what goes with it, "text" the names of tensors of text (all JSON), "dtype" and "written_by".
Unlike the files of `fastbp.save` these carry no digest: a damaged weight is a weight.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from .. import __version__, files
from ..errors import FastbpError, InputError, ModelError
from ..model.network import MLP
from ..model.parameters import Parameters
from . import npz

MAX_HEADER_BYTES = 100_000_000
_CODES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"},
    **{"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"},
}
_DTYPES = {code: np.dtype(name) for code, name in _CODES.items()}
_MAX_AXES = 64  # NumPy's limit
_LAST_CHARACTER = 0x10FFFF
_UNREADABLE = (FastbpError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class _Tensor(NamedTuple):
    """What the header says of a tensor: data[begin:end] holds it."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def parts(net: MLP, params: Parameters, meta: Mapping[str, Any]) -> list[bytes | np.ndarray]:
    """The file, piece by piece: length and header, then the tensors. InputError for a `meta` it cannot hold."""
    arrays: dict[str, np.ndarray] = {}
    values = npz.to_json(dict(meta), "meta", arrays, prefix="meta.")
    text = [name for name, array in arrays.items() if array.dtype.kind == "U"]
    metadata = {
        "fastbp": json.dumps(net.to_dict()),
        "dtype": str(params.dtype),
        "meta": json.dumps(values),
        "text": json.dumps(text),
        "written_by": f"fastbp {__version__}",
    }
    tensors = {f"layers.{i}.weight": weights for i, weights in enumerate(params.weights)}
    tensors |= {f"layers.{i}.bias": biases for i, biases in enumerate(params.biases)}
    tensors |= {name: _encoded(name, array) for name, array in arrays.items()}
    # The widest numbers first, so that every tensor is aligned.
    in_order = sorted(tensors.items(), key=lambda item: -item[1].itemsize)
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, array in in_order:
        code = next(code for code, dtype in _DTYPES.items() if dtype == array.dtype)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    if len(content) > MAX_HEADER_BYTES:
        raise InputError(
            f"the header of a safetensors file holds at most {MAX_HEADER_BYTES:,} bytes; meta makes it "
            f"{len(content):,}. Put long lists of meta into arrays, or export to .npz"
        )
    return [len(content).to_bytes(8, "little"), content, *(np.ascontiguousarray(array) for _, array in in_order)]


def load_safetensors(path: str | os.PathLike[str]) -> tuple[MLP, Parameters, dict[str, Any]]:
    """(net, params, meta) of a .safetensors file that `fastbp.export` wrote. ModelError, naming it, for any other.

    No tensor is allocated before the header is known to tell the truth about all sizes, and none twice.
    """
    path = files.expanded(path)
    try:
        with open(path, "rb") as file:
            return _read_model(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except _UNREADABLE as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{path}: a .safetensors file written by fastbp.export is wanted; {reason}. Export or copy it again"
        ) from error


# -- reading -------------------------------------------------------------------------------------------


def _read_model(file: IO[bytes], n_bytes: int) -> tuple[MLP, Parameters, dict[str, Any]]:
    header, data = _read_header(file, n_bytes)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ must be a dict of text")
    missing = [key for key in ("fastbp", "dtype", "meta", "text") if key not in metadata]
    if missing:
        raise ValueError(f"its __metadata__ lacks {', '.join(missing)}")
    tensors = {name: _tensor(name, entry) for name, entry in header.items()}
    _check_offsets(tensors, n_bytes - data)
    net = MLP.from_dict(json.loads(metadata["fastbp"]))
    dtype = _check_layers(net, metadata["dtype"], tensors)
    text = json.loads(metadata["text"])

    params = Parameters(net, np.empty(net.n_parameters, dtype))
    for kind, views in (("weight", params.weights), ("bias", params.biases)):
        for i, view in enumerate(views):
            _fill(file, data + tensors[f"layers.{i}.{kind}"].begin, view)
    arrays = {}
    for name, tensor in tensors.items():
        if name.startswith("meta."):
            array = np.empty(tensor.shape, tensor.dtype)
            _fill(file, data + tensor.begin, array)
            arrays[name] = _decoded(name, array, is_text=name in text)
    meta = npz.from_json(json.loads(metadata["meta"]), arrays)
    if not isinstance(meta, dict):
        raise ValueError("its meta must be a dict")
    return net, params, meta


def _read_header(file: IO[bytes], n_bytes: int) -> tuple[dict[str, Any], int]:
    """The header, and where the data begin."""
    length = int.from_bytes(file.read(8), "little")
    if n_bytes < 8 or length > n_bytes - 8:
        raise ValueError(f"it has {n_bytes} bytes, too few for a header of {length}")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes; at most {MAX_HEADER_BYTES} are read")
    content = file.read(length)
    end = content.rfind(b"}")
    if content[:1] != b"{" or content.count(b" ", end) != length - end - 1:  # before any copy is made
        raise ValueError("its header must be a dict in JSON")
    header = json.loads(content.decode(), object_pairs_hook=_without_twins)
    return header, 8 + length


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("its header says something twice")
    return values


def _tensor(name: str, entry: Any) -> _Tensor:
    """An entry of the header, which must agree with itself."""
    name = _short(name)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name} must have dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise ValueError(f"tensor {name} must be one of {', '.join(_DTYPES)}; its dtype is {_short(code)}")
    if not _are_sizes(shape) or len(shape) > _MAX_AXES:
        raise ValueError(f"tensor {name} must have a shape of whole numbers; it has {_short(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name} must have two offsets; it has {_short(offsets)}")
    n_bytes = math.prod(shape) * _DTYPES[code].itemsize
    if offsets[1] - offsets[0] != n_bytes:
        raise ValueError(f"tensor {name} takes {n_bytes} bytes; its offsets are {offsets}")
    return _Tensor(_DTYPES[code], tuple(shape), *offsets)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_offsets(tensors: Mapping[str, _Tensor], n_data: int) -> None:
    """The tensors must follow each other without gap or overlap, and fill the file."""
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            raise ValueError(f"tensor {_short(name)} must begin at byte {at} of the data; its offset is {tensor.begin}")
        at = tensor.end
    if at != n_data:
        raise ValueError(f"its tensors take {at} bytes of data; there are {n_data}")


def _check_layers(net: MLP, dtype_name: str, tensors: Mapping[str, _Tensor]) -> np.dtype:
    """The dtype of all layers; ValueError if they are not those of the network."""
    if dtype_name not in ("float32", "float64"):
        raise ValueError(f"its dtype must be float32 or float64; it is {_short(dtype_name)}")
    dtype, wanted = np.dtype(dtype_name), {}
    for i, layer in enumerate(net.layers):
        wanted[f"layers.{i}.weight"] = (layer.n_in, layer.n_out)
        if net.bias:
            wanted[f"layers.{i}.bias"] = (layer.n_out,)
    for name, shape in wanted.items():
        if name not in tensors:
            raise ValueError(f"tensor {name} of {net} is missing")
        tensor = tensors[name]
        if (tensor.shape, tensor.dtype) != (shape, dtype):
            raise ValueError(f"tensor {name} must be {dtype} {shape}; it is {tensor.dtype} {tensor.shape}")
    foreign = [name for name in tensors if name not in wanted and not name.startswith("meta.")]
    if foreign:
        raise ValueError(f"tensor {_short(foreign[0])} belongs neither to {net} nor to meta")
    return dtype


def _fill(file: IO[bytes], begin: int, array: np.ndarray) -> None:
    """Read the C-contiguous `array` from the file."""
    file.seek(begin)
    if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
        raise ValueError("it was cut short while it was read")


# -- arrays of meta ------------------------------------------------------------------------------------


def _encoded(name: str, array: np.ndarray) -> np.ndarray:
    """A plain little-endian array; text as code points with one more axis, as long as the longest text."""
    if array.dtype.kind == "U":
        width = max(1, array.itemsize // 4)
        return np.frombuffer(array.astype(f"<U{width}").tobytes(), "<u4").reshape(*array.shape, width)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype not in _DTYPES.values():
        raise InputError(f"{name}: a safetensors file holds no array of {array.dtype}; make it float64")
    return array


def _decoded(name: str, array: np.ndarray, *, is_text: bool) -> np.ndarray:
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise ValueError(f"tensor {_short(name)} must hold bools; it holds other bytes")
    if not is_text:
        return array
    if array.dtype != np.uint32 or array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"tensor {_short(name)} must hold text as U32; it is {array.dtype} {array.shape}")
    if array.size and array.max() > _LAST_CHARACTER:
        raise ValueError(f"tensor {_short(name)} holds numbers that are no characters")
    return array.view(f"<U{array.shape[-1]}").reshape(array.shape[:-1])


def _short(value: Any) -> str:
    """`value` for a message, however long it is."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
