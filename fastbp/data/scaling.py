"""The scales of columns: mean and standard deviation, of rows in memory or block by block, to the same bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, ModelError


@dataclass(frozen=True, eq=False)
class Standardize:
    """x -> (x - mean) / scale for each feature; mean and scale are float64 (n_features,).

    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> scales = fastbp.data.Standardize.fit(x)
    >>> scales.apply(x, np.float32)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> Standardize:
        """Mean and standard deviation (divided by N) of each column of finite x (N, n).

        A column that is constant up to rounding gets scale 1: what differs from it later must not be blown up.
        """
        return cls.fit_blocks([x])

    @classmethod
    def fit_blocks(cls, blocks: Iterable[np.ndarray]) -> Standardize:
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
        """Standardized x (N, n_features) in `dtype`, computed in float64."""
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ModelError(f"the standardization is for {len(self.mean)} features; got x of shape {x.shape}")
        with np.errstate(over="ignore"):  # an infinity is found by the validation, which names its row
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
