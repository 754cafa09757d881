"""One table of cases for the suites, the measurements and the report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import fastbp


class Case(NamedTuple):
    """Loss and gradients of one network over one batch."""

    net: fastbp.MLP
    n_rows: int
    dtype: str

    @property
    def id(self) -> str:
        """The case's name in results and targets: "2-100-1 float32 x 1,000"."""
        return f"{self.network} {self.dtype} x {self.n_rows:,}"

    @property
    def network(self) -> str:
        """The layer sizes: "2-100-1"."""
        return "-".join(map(str, self.net.layer_sizes))


class Data(NamedTuple):
    """params, x (N, n_inputs), and y: (N,) of 0 and 1 for one output, (N,) int64 labels for several."""

    params: fastbp.Parameters
    x: np.ndarray
    y: np.ndarray


LECTURE_NET = fastbp.MLP((2, 100, 1), bias=False)
DIGITS_NET = fastbp.MLP((784, 256, 128, 10), activation="relu", loss="cross_entropy")
NARROW_NET = fastbp.MLP((32, 64, 64, 64, 64, 3), activation="relu", loss="cross_entropy")

LECTURE = tuple(
    Case(LECTURE_NET, n_rows, dtype)
    for dtype in ("float32", "float64")
    for n_rows in (1, 1_000, 10_000, 100_000, 1_000_000)
)
TINY_NET = fastbp.MLP((4, 32, 16, 4), activation="tanh", loss="cross_entropy")
TABULAR_NET = fastbp.MLP((32, 128, 128, 1), activation="relu")
WIDE_NET = fastbp.MLP((1024, 1024, 1024, 10), activation="relu", loss="cross_entropy")
GENERAL = (
    Case(DIGITS_NET, 8_192, "float32"),
    Case(DIGITS_NET, 512, "float32"),
    Case(NARROW_NET, 262_144, "float32"),
    Case(TABULAR_NET, 65_536, "float32"),
    Case(WIDE_NET, 4_096, "float32"),
    Case(TINY_NET, 10_000, "float32"),
)
CASES = LECTURE + GENERAL


def data(case: Case) -> Data:
    """Normal inputs from a seed; which quadrants' diagonal a point is in for one output, random labels for several.

    Speed depends on none of these values; the small first weights keep every peer's loss away from saturation.
    """
    rng = np.random.default_rng(0)
    params = case.net.init(rng, dtype=case.dtype)
    x = rng.standard_normal((case.n_rows, case.net.n_inputs), dtype=case.dtype)
    if case.net.n_outputs == 1:
        return Data(params, x, (x[:, 0] * x[:, 1] > 0).astype(case.dtype))
    return Data(params, x, rng.integers(case.net.n_outputs, size=case.n_rows))
