"""Tables in `.npy` and `.npz` files."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from . import arrays, files
from .errors import DataError
from .tables import Table, Wish, cell_error, check_target, listed, shape_of


def read_npy(wish: Wish) -> Table:
    """The table in a 2-D array of numbers, or in 1-D records with a field for each column."""
    try:
        with open(wish.path, "rb") as file:
            array = files.read_npy(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        raise DataError(f"{wish.path}: not a usable .npy file: {error}") from error
    names, columns = _named_columns(array, wish.path)
    features, target = wish.pick(names, unnamed=not array.dtype.names)
    for i in features:
        _check_kind(wish.path, f"column {names[i]!r}", columns[i], "buif")
    x = np.stack([columns[i] for i in features], axis=-1)
    picked = [names[i] for i in features]
    if target is None:
        return _table(wish, picked, x)
    return _table(wish, picked, x, columns[target], names[target])


def _named_columns(array: np.ndarray, path: Path) -> tuple[list[str], list[np.ndarray]]:
    if array.dtype.names and array.ndim == 1 and not any(array.dtype[name].shape for name in array.dtype.names):
        return list(array.dtype.names), [array[name] for name in array.dtype.names]
    if array.ndim == 2 and array.shape[1] and not array.dtype.names:
        return [str(i) for i in range(array.shape[1])], list(array.T)
    raise DataError(f"{path}: a 2-D array, or 1-D records of single values, is wanted; got {shape_of(array)}")


def read_npz(wish: Wish) -> Table:
    """The table in the arrays `x` or `X`, `y`, and `names` or `feature_names` of an `.npz` file."""
    target = wish.target or "y"
    members = _npz_members(wish.path, ("x", "X", target, "names", "feature_names"))
    key = "x" if "x" in members else "X"
    missing = [name for name in (key, target) if name not in members and (name == key or wish.target_required)]
    if missing:
        raise DataError(
            f"{wish.path}: missing the array {missing[0]!r}; wanted are 'x' or 'X' and {target!r}, "
            f"got {listed(list(members)) or 'neither'}"
        )
    x = members[key]
    if x.ndim != 2:
        raise DataError(f"{wish.path}: {key!r} must have shape (N, n_features); got {shape_of(x)}")
    _check_kind(wish.path, repr(key), x, "buif")
    given = members.get("names", members.get("feature_names"))
    names = [str(name) for name in (range(x.shape[1]) if given is None else _text(wish.path, given).ravel())]
    if len(names) != x.shape[1]:
        raise DataError(f"{wish.path}: {x.shape[1]} columns need as many names; got {len(names)}")
    order, _ = wish._replace(target=None, target_required=False).pick(names, unnamed=given is None)
    picked = [names[i] for i in order]
    if target not in members:
        return _table(wish, picked, x[:, order])
    return _table(wish, picked, x[:, order], members[target], target)


def _npz_members(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that are there. Others are not read: they may be of any kind."""
    members = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in wanted:
                    members[name] = _npz_member(archive, info)
    except (ValueError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: not a usable .npz file: {error}") from error
    return members


def _npz_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} must be stored or deflated, as NumPy writes it")
    try:
        with archive.open(info) as stream:
            return files.read_npy(stream, info.file_size)
    except ValueError as error:
        raise ValueError(f"{info.filename}: {error}") from error


def _table(
    wish: Wish, names: list[str], x: np.ndarray, target: np.ndarray | None = None, target_name: str | None = None
) -> Table:
    path = wish.path
    if len(x) == 0:
        raise DataError(f"{path}: at least one row is needed; got {shape_of(x)}")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(x, wish.dtype)
    found = arrays.first_bad_row(cast)
    if found is not None:
        row, column, _ = found
        raise cell_error(f"{path}, row {row}", names[column], x[row, column].item(), wish.dtype)
    if target is None:
        return Table(tuple(names), cast, None, None, str(path))
    target = _text(path, target)
    _check_kind(path, f"the target {target_name!r}", target, "buifU")
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim not in (1, 2) or len(target) != len(x):
        raise DataError(
            f"{path}: the target {target_name!r} must have one entry for each of {len(x)} rows; got {shape_of(target)}"
        )
    table = Table(tuple(names), cast, np.ascontiguousarray(target), target_name, str(path))
    check_target(table)
    return table


def _text(path: Path, array: np.ndarray) -> np.ndarray:
    try:
        return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: text must be UTF-8; got byte {error.object[error.start]:#x}") from error


def _check_kind(path: Path, what: str, array: np.ndarray, kinds: str) -> None:
    if array.dtype.kind not in kinds:
        wanted = "numbers or text" if "U" in kinds else "real numbers"
        raise DataError(f"{path}: {what} must hold {wanted}; got {array.dtype}")
