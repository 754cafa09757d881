"""Data: two spirals made from a seed, tables read from files, and what they need on their way to a network and back.

Rows are samples, columns are features.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import DataError, InputError, ModelError
from .array_files import npy_blocks, npz_blocks, read_npy, read_npz
from .csv_files import csv_blocks, read_csv, with_values, write_predictions
from .parquet_files import parquet_blocks, read_parquet
from .tables import BadRows, Table, Wish, checked, joined, listed, place

__all__ = [
    "BadRows",
    "Standardise",
    "Table",
    "encode_labels",
    "encode_with",
    "n_held_out",
    "read_blocks",
    "read_table",
    "spirals",
    "split",
    "write_predictions",
]


def spirals(
    n: int = 1_000_000,
    *,
    noise: float = 0.01,
    turns: float = 1.0,
    rng: Any = 0,
    dtype: Any = np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """x (n, 2) and labels y (n,) int64: two spirals, each the mirror image of the other in the origin.

    x = (1 - 2y) r (cos a, sin a) + noise e,   a = 2 pi turns r,   r = sqrt(u),   u ~ U(0, 1),   e ~ N(0, 1)

    The square root spreads the points evenly along the arms instead of crowding them in the middle. Classes alternate,
    so any stretch of rows is balanced. Numbers are drawn in float64 and then cast, so both dtypes give the same points.
    rng : an integer seed, None (fresh entropy) or a `numpy.random.Generator`.
    """
    if n < 1:
        raise InputError(f"n must be a positive number of points; got {n}")
    rng = np.random.default_rng(rng)
    y = np.arange(n) & 1
    radius = np.sqrt(rng.random(n))
    angle = (2 * np.pi * turns) * radius
    radius[1::2] *= -1
    x = rng.standard_normal((n, 2))
    x *= noise
    x[:, 0] += radius * np.cos(angle)
    x[:, 1] += radius * np.sin(angle)
    return x.astype(dtype, copy=False), y


# -- files -------------------------------------------------------------------------------------------

_READERS = {".csv": read_csv, ".npy": read_npy, ".npz": read_npz, ".parquet": read_parquet}
_BLOCKS = {
    ".csv": lambda wish, n: csv_blocks(wish), ".npy": npy_blocks, ".npz": npz_blocks, ".parquet": parquet_blocks,
}  # fmt: skip


def read_table(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    target_required: bool = True,
    columns: Sequence[str] | None = None,
    dtype: Any = np.float64,
    bad: BadRows | None = None,
) -> Table:
    """Features x in `dtype`, all finite, and the target of a data file, or of a folder of such files, by their names.

    .csv       UTF-8, commas, a header; the target is a column. Spaces around a cell do not count.
    .npy       a 2-D array of numbers, its columns named "0", "1", ...; or 1-D records, named by their fields.
    .npz       arrays `x` or `X` (N, n) and the target `y`; optionally `names` or `feature_names`, else "0", "1", ...
    .parquet   columns of numbers; the target may be text; the index of a pandas frame is left out. Needs pyarrow.

    The files of a folder must have the columns of the first one, in any order. Targets of CSV files are numbers if the
    whole column is, and else labels as they are written, as all text of other files; 01 is a label. Empty cells, NA,
    NaN, NULL and ? are missing values.

    target : its column (in an .npz the array); by default the last column (in an .npz `y`).
    target_required : if false, a missing target is no error, and without `target` and `columns` all are features.
    columns : names of the features wanted, in this order, as a saved model knows them; others are not even looked at.
        Columns that have no names are taken by position when there are as many as wanted.
    bad : what becomes of rows that cannot be used, by default an error.

    To predict, pass `columns` and target_required=False; without `target` the target column is not looked at either.
    """
    bad = bad or BadRows()
    wish = _wish(path, target, target_required, columns, dtype, bad)
    return whole(path, joined(_tables(wish, lambda wish: [_READERS[wish.path.suffix.lower()](wish)])), bad)


def read_blocks(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    target_required: bool = True,
    columns: Sequence[str] | None = None,
    dtype: Any = np.float64,
    bad: BadRows | None = None,
    n_rows: int = 16_384,
) -> Iterator[Table]:
    """The same in blocks of about n_rows rows, of which only one is in memory; targets of CSV files are their text."""
    wish, found = _wish(path, target, target_required, columns, dtype, bad or BadRows()), False
    for table in _tables(wish, lambda wish: _BLOCKS[wish.path.suffix.lower()](wish, n_rows)):
        if len(table.x):
            found = True
            yield table
    if not found:
        raise _no_rows(path)


def whole(path: str | os.PathLike[str], table: Table, bad: BadRows) -> Table:
    """The table of all rows: its target gets its type. DataError if there are no rows."""
    table = checked(with_values(table), bad)
    if not len(table.x):
        raise _no_rows(path)
    return replace(table, source=str(path))


def _no_rows(path: str | os.PathLike[str]) -> DataError:
    return DataError(f"{path}: at least one row that can be used is needed; got none")


def _wish(path: Any, target: Any, required: bool, columns: Any, dtype: Any, bad: BadRows) -> Wish:
    return Wish(files.expanded(path), None if target is None else str(target), required, columns, np.dtype(dtype), bad)


def _tables(wish: Wish, read: Callable[[Wish], Iterable[Table]]) -> Iterator[Table]:
    """What is read from the file, or from the files of a folder: they have the columns and the target of the first."""
    shape = None
    with _readable(wish.path):
        paths = _files(wish.path)
    for path in paths:
        with _readable(path):
            for table in read(wish._replace(path=path)):
                if wish.like is None:
                    wish = wish.after(table)
                    shape = _target_shape(table)
                if _target_shape(table) != shape:
                    raise DataError(
                        f"{path}: the target must be like that of {wish.like.source}, of shape {shape} in each row; "
                        f"got {_target_shape(table)}"
                    )
                yield table


def _target_shape(table: Table) -> tuple[int, ...] | None:
    return None if table.target is None else table.target.shape[1:]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _files(path: Path) -> list[Path]:
    """The file itself, or those of a folder that are data, in the order of their names."""
    if not path.is_dir():
        if path.suffix.lower() not in _READERS:
            raise DataError(f"{path}: a data file must end in {_ENDINGS}; got {path.suffix or 'no ending'}")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _READERS and file.is_file())
    if not found:
        raise DataError(f"{path}: a folder must hold data files, which end in {_ENDINGS}; got none")
    return found


_ENDINGS = ".csv, .npy, .npz or .parquet"


# -- labels --------------------------------------------------------------------------------------------


def encode_labels(target: np.ndarray, source: str | Table = "the target") -> tuple[np.ndarray, np.ndarray]:
    """(classes, codes): the sorted distinct labels (K,), and int64 codes (N,) with classes[codes] equal to the labels.

    Labels are text, integers or bools; whole floats count as integers. DataError, naming the row in `source`, for other
    values, and for fewer than two classes.
    """
    classes, codes = np.unique(_labels(target, source), return_inverse=True)
    if len(classes) < 2:
        wanted = "at least two classes are needed" + (
            f" in {source.target_name!r}" if isinstance(source, Table) else ""
        )
        raise DataError(
            f"{_name(source)}: {wanted}; every row is {classes[0].item()!r}. "
            "By default the last column is the target, in an .npz y; name another with --target"
        )
    return classes, codes.astype(np.int64, copy=False)


def encode_with(classes: np.ndarray, target: np.ndarray, source: str | Table = "the target") -> np.ndarray:
    """int64 codes (N,) of labels by known `classes`; DataError naming the row of a label that is not among them.

    Labels are compared as they are written, so 1 in one file is "1" in another.
    """
    values, inverse = np.unique(_labels(target, source), return_inverse=True)
    code_of = {str(label): code for code, label in enumerate(classes)}
    codes = np.array([code_of.get(str(value), -1) for value in values], np.int64)[inverse]
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        row = int(unknown[0])
        raise DataError(
            f"{place(source, row)}: the label {values[inverse[row]].item()!r} was never seen in training; "
            f"known are {listed(classes.tolist())}. Correct or drop the row, or train again with such rows"
        )
    return codes


def _labels(target: np.ndarray, source: str | Table) -> np.ndarray:
    if target.ndim != 1:
        raise DataError(f"{_name(source)}: one label a row is wanted; got shape {target.shape}")
    if target.dtype.kind != "f":
        return target
    broken = np.flatnonzero(~(np.abs(target) < 2**53) | (target != np.floor(target)))
    if len(broken):
        row = int(broken[0])
        raise DataError(
            f"{place(source, row)}: a label must be text or a whole number; got {target[row]:g}. "
            "To predict numbers choose a loss such as squared_error"
        )
    return target.astype(np.int64)


def _name(source: str | Table) -> str:
    return source.source if isinstance(source, Table) else source


# -- standardisation -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Standardise:
    """x -> (x - mean) / scale for each feature; mean and scale are float64 (n_features,)."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> Standardise:
        """Mean and standard deviation (divided by N) of each column of finite x (N, n).

        A column that is constant up to rounding gets scale 1: what differs from it later must not be blown up.
        """
        return cls.fit_blocks([x])

    @classmethod
    def fit_blocks(cls, blocks: Iterable[np.ndarray]) -> Standardise:
        """The same of rows that come in blocks, in one pass; how they are cut changes no bit.

        Rows are counted off in pieces of 4,096, each with its mean m and its sum of squares s about it. They are merged
        in turn: m = m_a + d n_b / n, s = s_a + s_b + d^2 n_a n_b / n, d = m_b - m_a. Chan, Golub and LeVeque 1983.
        """
        n, mean, squares = 0, np.zeros(()), np.zeros(())
        low, high = np.array(np.inf), np.array(-np.inf)
        for piece in _pieces(blocks):
            n_piece, m = len(piece), piece.mean(axis=0, dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                d, n = m - mean, n + n_piece
                squares = squares + np.square(piece - m).sum(axis=0) + d * d * ((n - n_piece) * n_piece / n)
                mean = mean + d * (n_piece / n)
            low, high = np.minimum(low, piece.min(axis=0)), np.maximum(high, piece.max(axis=0))
        with np.errstate(invalid="ignore"):
            scale = np.sqrt(squares / n)
        is_one_value = low == high
        scale[is_one_value | _is_constant(mean, squares / n, n)] = 1.0
        wild = np.flatnonzero(~np.isfinite(scale))
        if len(wild):
            raise DataError(
                f"features must have a finite standard deviation; column {wild[0]} has values up to "
                f"{max(abs(low[wild[0]]), abs(high[wild[0]])):g}. Rescale it"
            )
        return cls(np.where(is_one_value, low, mean), scale)

    def apply(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """Standardised x (N, n_features) in `dtype`, computed in float64."""
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ModelError(f"the standardisation is for {len(self.mean)} features; got x of shape {x.shape}")
        with np.errstate(over="ignore"):  # an infinity is found at the door, which names its row
            return ((x - self.mean) / self.scale).astype(dtype, copy=False)


_PIECE = 4096


def _is_constant(mean: np.ndarray, variance: np.ndarray, n: int) -> np.ndarray:
    """Where a variance is no larger than what rounding alone can leave of a constant: n eps variance + (n eps mean)^2.

    n : of the terms in the longest sum, here those of a piece and the pieces. The bound of the two-pass algorithm in
    Chan, Golub and LeVeque 1983, as scikit-learn's StandardScaler uses it with all rows for n (scikit-learn#17794).
    """
    terms = (min(n, _PIECE) + n // _PIECE) * np.finfo(np.float64).eps
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(variance) & (variance <= terms * variance + np.square(terms * mean))


def _pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of all blocks in float64, _PIECE at a time, and those that are left."""
    rest: list[np.ndarray] = []
    for block in blocks:
        rest.append(block)
        if sum(map(len, rest)) >= _PIECE:
            rows = rest[0] if len(rest) == 1 else np.concatenate(rest)
            whole = len(rows) // _PIECE * _PIECE
            for start in range(0, whole, _PIECE):
                yield rows[start : start + _PIECE].astype(np.float64)
            rest = [rows[whole:]] if whole < len(rows) else []
    if rest:
        yield np.concatenate(rest).astype(np.float64)


# -- splitting -----------------------------------------------------------------------------------------


def n_held_out(n: int, fraction: float) -> int:
    """How many of n rows that share is, to a row; at least one is held out and one is not."""
    return min(max(round(fraction * n), 1), n - 1)


def split(
    n: int, fraction: float, rng: Any = None, stratify: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(train, test): sorted indices that share out rows 0..n-1, `n_held_out(n, fraction)` of them to the test.

    stratify : codes (n,); each class then gives its share, rounded so that the whole is right (largest remainders), and
        keeps at least one row in train, even if the test is smaller for it.
    Both parts hold at least one row. InputError if that cannot be.
    """
    if n < 2 or not 0 < fraction < 1:
        raise InputError(f"a split needs at least 2 rows and a fraction between 0 and 1; got {n} rows, {fraction}")
    rng = np.random.default_rng(rng)
    codes = np.zeros(n, np.int64) if stratify is None else np.asarray(stratify)
    _, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if counts.max() == 1:
        raise InputError(f"a stratified split needs a class with at least 2 rows; got {n} classes of one row")
    by_class = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    in_test = np.zeros(n, bool)
    for rows, n_test in zip(by_class, _shares(counts, n_held_out(n, fraction)), strict=True):
        in_test[rng.choice(rows, n_test, replace=False)] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def _shares(counts: np.ndarray, n_test: int) -> np.ndarray:
    """n_test rows shared out in proportion to `counts`, one row less than each at most."""
    shares, remainders = np.divmod(counts * n_test, counts.sum())
    shares = np.minimum(shares, counts - 1)
    order = np.argsort(-remainders, kind="stable")
    while left := min(n_test, (counts - 1).sum()) - shares.sum():
        shares[order[shares[order] < counts[order] - 1][:left]] += 1
    return shares
