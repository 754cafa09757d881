"""Two spirals made from a seed: the lecture's data, of any size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


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
    so any run of rows is balanced. Numbers are drawn in float64 and then cast, so both dtypes give the same points.
    rng : an integer seed, None (fresh entropy) or a `numpy.random.Generator`.

    >>> x, y = fastbp.data.spirals(1000)
    >>> x.shape, y[:4]
    ((1000, 2), array([0, 1, 0, 1]))
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
