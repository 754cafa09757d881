"""The rows to train on and those to hold out: an exact share, and of every class alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


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

    >>> train, test = fastbp.data.split(10, 0.2, rng=0)
    >>> len(train), len(test)
    (8, 2)
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
