"""One table of cases for the suites, the measurements and the report."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastbp


class Case(NamedTuple):
    """One network over one batch: loss and gradients, or the outputs alone.

    beside : the only peers to measure, if not all. instructions : the CPU whose instructions to use, if not this one's.
    """

    net: fastbp.MLP
    n_rows: int
    dtype: str
    is_forward: bool = False
    density: float = 1.0  # of the inputs; below 1 they are sparse
    seed: int = 0
    beside: tuple[str, ...] | None = None
    instructions: str = ""

    @property
    def id(self) -> str:
        """The case's name in results and targets: "2-100-1 float32 x 1,000"."""
        return f"{self.network} {self.dtype} x {self.n_rows:,}"

    @property
    def network(self) -> str:
        """The layer sizes, and what is not as usual: "2-100-1", "64-64-64-64 tanh, outputs"."""
        usual = _USUAL.get(self.net.layer_sizes, "relu")
        names = dict.fromkeys(activation.name for activation in self.net.activations)
        others = "".join(f" {name}" for name in names if name != usual)
        return "-".join(map(str, self.net.layer_sizes)) + others + ", ".join(["", *self._unusual()])

    def _unusual(self) -> list[str]:
        unusual = ["outputs"] if self.is_forward else []
        unusual += [f"{self.density:.0%} of the inputs stored"] if self.density < 1 else []
        return unusual + ([f"{self.instructions} instructions"] if self.instructions else [])


_USUAL = {(2, 100, 1): "sigmoid", (4, 32, 16, 4): "tanh"}


class Data(NamedTuple):
    """params, x (N, n_inputs), y: (N,) of 0 and 1, (N,) int64 labels, (N, n_outputs) numbers, or None for outputs."""

    params: fastbp.Parameters
    x: Any
    y: np.ndarray | None


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
NETWORKS = (
    (DIGITS_NET, 8_192),
    (DIGITS_NET, 512),
    (NARROW_NET, 262_144),
    (TABULAR_NET, 65_536),
    (WIDE_NET, 4_096),
    (TINY_NET, 10_000),
)


def _general(dtype: str, is_forward: bool = False) -> tuple[Case, ...]:
    # At 1024-1024-1024-10 rounding decides on which side of relu's kink one number in a million falls, and with some
    # seeds that is worth 1e-4 of the gradient; not with this one.
    return tuple(Case(net, n, dtype, is_forward, seed=int(net == WIDE_NET)) for net, n in NETWORKS)


def _square(width: int, dtype: str, activation: str = "relu", **options: Any) -> Case:
    net = fastbp.MLP((width,) * 4, activation=activation, loss="squared_error")
    return Case(net, min(262_144, max(4_096, 2**28 // width**2)), dtype, **options)


WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
LIBRARIES = ("PyTorch", "torch.compile", "JAX")
GENERAL = _general("float32")
SMALL = (*(Case(NARROW_NET, n, "float32") for n in (1, 16, 64)), Case(LECTURE_NET, 64, "float32"))
SQUARES = tuple(_square(width, dtype, beside=LIBRARIES) for dtype in ("float32", "float64") for width in WIDTHS)
ACTIVATIONS = tuple(
    _square(width, "float32", name, beside=("fastbp, relu",))
    for width in (64, 256)
    for name in ("tanh", "gelu", "silu")
)
OUTPUTS = (
    Case(LECTURE_NET, 1_000_000, "float32", True),
    *(case for case in _general("float32", True) if case.n_rows != 512),
)
AVX2 = tuple(_square(width, "float32", instructions="haswell", beside=()) for width in WIDTHS if 64 <= width <= 1024)
SPARSE = (Case(fastbp.MLP((10_000, 100, 1), activation="relu"), 4_096, "float32", density=0.01,
               beside=("fastbp, dense", "scikit-learn")),)  # fmt: skip
GROUPS = {
    "lecture": LECTURE,
    "general": GENERAL,
    "small": SMALL,
    "squares": SQUARES,
    "activations": ACTIVATIONS,
    "float64": _general("float64"),
    "outputs": OUTPUTS,
    "avx2": AVX2,
    "sparse": SPARSE,
}
CASES = tuple(case for group in GROUPS.values() for case in group)


def data(case: Case) -> Data:
    """Normal inputs from a seed; as targets which quadrants' diagonal a point is in, random labels or normal numbers.

    Speed depends on none of these values; the small first weights keep every peer's loss away from saturation.
    """
    net, rng = case.net, np.random.default_rng(case.seed)
    params = net.init(rng, dtype=case.dtype)
    if case.density < 1:
        from scipy import sparse

        x = sparse.random_array((case.n_rows, net.n_inputs), density=case.density, format="csr", rng=rng)
        return Data(params, x.astype(case.dtype), rng.integers(2, size=case.n_rows).astype(case.dtype))
    x = rng.standard_normal((case.n_rows, net.n_inputs), dtype=case.dtype)
    if case.is_forward:
        return Data(params, x, None)
    if net.loss_function.name == "squared_error":
        return Data(params, x, rng.standard_normal((case.n_rows, net.n_outputs), dtype=case.dtype))
    if net.n_outputs == 1:
        return Data(params, x, (x[:, 0] * x[:, 1] > 0).astype(case.dtype))
    return Data(params, x, rng.integers(net.n_outputs, size=case.n_rows))
