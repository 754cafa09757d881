"""Is a gradient right? Three independent answers, per layer: complex step, random projection, central differences.

    complex step        dL/dp_j = Im L(p + i h e_j) / h                                     h = 1e-30, exact to rounding
    projection          v . dL/dp = Im L(p + i h v) / h                                     v of random signs
    central difference  dL/dp_j = (8 [L(p+h) - L(p-h)] - [L(p+2h) - L(p-2h)]) / 12 h        h = 1e-4 max(1, |p_j|)

All three are taken on `fastbp.reference` in double precision. Sources: Squire and Trapp 1998 (complex step); Maclaurin,
Duvenaud, Johnson, Autograd's test_util (projection); Abramowitz and Stegun 25.3.6 (the 4th-order difference).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import reference
from ..model.network import MLP
from ..model.parameters import Parameters

_STEP = 1e-30
_DIFFERENCE_STEP = 1e-4
_DIFFERENCE_TOLERANCE = 1e-6
_N_PROJECTIONS = 4
# Up to this many parameters every one is stepped; above it a sample in each layer, and the projections cover the rest.
_ALL_COORDINATES = 2000
_SAMPLED_COORDINATES = 64
_NEAR_KINK = 1e-6
# Rounding that sums of N terms leave: f64 reached 1e-15 and f32 1e-6 over the test cases.
_TOLERANCES = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}

_FORMULA = "error = ||g - g_ref|| / ||g_ref||, over the parameters checked; central differences may err by {:.0e}"
_LEFT_OUT = "{} of {} parameters were left out of the central differences: their steps cross a kink"
_KINKS = (
    "{} pre-activations or residuals lie within 1e-6 of a kink, where the derivative is a convention and rounding "
    "may choose the other side"
)


class GradientRow(NamedTuple):
    """One layer's weights or biases: relative errors of the gradient against each reference.

    n : how many parameters there are; n_checked : how many of them were stepped one by one; n_smooth : how many of
    those crossed no kink, so that a central difference means something; without any, `central_difference` is nan.
    """

    name: str
    n: int
    n_checked: int
    n_smooth: int
    complex_step: float
    projection: float
    central_difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the gradient agrees; an unknown central difference does not speak against it."""
        near = self.complex_step <= self.tolerance and self.projection <= self.tolerance
        return near and not self.central_difference > max(self.tolerance, _DIFFERENCE_TOLERANCE)


@dataclass(frozen=True)
class GradientReport:
    """What `check_grad` found; `print` it for a table, ask `.ok` for the verdict."""

    title: str
    rows: tuple[GradientRow, ...]
    n_near_kink: int

    @property
    def ok(self) -> bool:
        """Whether every layer's gradient agrees."""
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        wrong = ", ".join(row.name for row in self.rows if not row.ok)
        notes = [_FORMULA.format(max(_DIFFERENCE_TOLERANCE, self.rows[0].tolerance))]
        n_checked, n_smooth = (sum(getattr(row, name) for row in self.rows) for name in ("n_checked", "n_smooth"))
        if n_smooth < n_checked:
            notes.append(_LEFT_OUT.format(n_checked - n_smooth, n_checked))
        if self.n_near_kink:
            notes.append(_KINKS.format(self.n_near_kink))
        verdict = f"wrong: the gradient of {wrong}" if wrong else "ok: the gradient agrees"
        return "\n".join([self.title, *_table(self.rows), *notes, verdict])


def check_grad(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    l1: float = 0.0,
    l2: float = 0.0,
    value_and_grad: Callable[..., tuple[float, Parameters]] | None = None,
    rng: Any = 0,
) -> GradientReport:
    """Compare the gradient of the mean objective at `params` with complex step, projections and central differences.

    x, y, sample_weight, l1, l2 : as in `MLP.value_and_grad`. About 7 forward passes a parameter: give it few rows.
    value_and_grad : what to check, called as f(net, params, x, y, sample_weight=, l1=, l2=); default: the method.
    rng : seed or Generator for the signs, and for the sample of a network above 2,000 parameters.

    The tolerance follows `params.dtype`: 1e-11 in float64, 1e-5 in float32. x, y and sample_weight are rounded to it
    first, so that both sides see the same numbers. Close to a minimum a gradient is a small difference of large terms
    and its relative error grows: check before training, not after it.

    >>> net = fastbp.MLP((2, 3, 1))
    >>> report = fastbp.check_grad(net, net.init(rng=0, dtype=np.float64), [[1.0, 2.0], [0.5, -1.0]], [0, 1])
    >>> print(str(report).splitlines()[-1])  # the report says it layer by layer
    ok: the gradient agrees
    """
    rng = np.random.default_rng(rng)
    x = x.astype(params.dtype) if hasattr(x, "toarray") else np.asarray(x, params.dtype)
    y, sample_weight = _rounded(y, params.dtype), _rounded(sample_weight, params.dtype)
    options = {"sample_weight": sample_weight, "l1": l1, "l2": l2}
    _, grad = (value_and_grad or MLP.value_and_grad)(net, params, x, y, **options)
    x = x.toarray() if hasattr(x, "toarray") else x
    objective = _Objective(net, params.vector.astype(np.float64), x, y, options)

    tolerance = _TOLERANCES[params.dtype]
    rows = tuple(
        _check_group(objective, grad.vector.astype(np.float64), name, members, tolerance, rng)
        for name, members in _groups(net)
    )
    n_near = sum(int((np.abs(distance) < _NEAR_KINK).sum()) for distance in objective.kink_distances())
    return GradientReport(f"Gradient of {net}, {params.dtype}, {len(x)} rows", rows, n_near)


class _Objective(NamedTuple):
    """L on the reference, in double precision, around one parameter vector."""

    net: MLP
    vector: np.ndarray
    x: np.ndarray
    y: np.ndarray
    options: dict[str, Any]

    def at(self, vector: np.ndarray) -> Any:
        """L of a real or complex parameter vector."""
        return reference.loss(self.net, Parameters(self.net, vector), self.x, self.y, **self.options)

    def complex_step(self, direction: np.ndarray) -> float:
        """The derivative of L in a direction."""
        return self.at(self.vector + 1j * _STEP * direction).imag / _STEP

    def central_difference(self, j: int) -> float:
        """dL/dp_j to 4th order, or nan if a kink lies between the outer two points."""
        h = _DIFFERENCE_STEP * max(1.0, abs(self.vector[j]))
        outer_left, left, right, outer_right = (self._moved(j, steps * h) for steps in (-2, -1, 1, 2))
        if self._sides(outer_left) != self._sides(outer_right):
            return math.nan
        return (8 * (self.at(right) - self.at(left)) - (self.at(outer_right) - self.at(outer_left))) / (12 * h)

    def kink_distances(self, vector: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Everything whose change of sign is a kink of L: pre-activations, residuals, and weights under l1."""
        params = Parameters(self.net, self.vector if vector is None else vector)
        pre_activations = reference.pre_activations(self.net, params, self.x)
        for z, activation in zip(pre_activations, self.net.activations, strict=False):
            yield from (z - kink for kink in activation.record.kinks)
        loss, z = self.net.loss_function, pre_activations[-1]
        yield from (z - self.y.reshape(z.shape) - kink for kink in loss.record.kinks(loss.parameter))
        if self.options["l1"]:
            yield from params.weights

    def _sides(self, vector: np.ndarray) -> list[bytes]:
        return [(distance > 0).tobytes() for distance in self.kink_distances(vector)]

    def _moved(self, j: int, step: float) -> np.ndarray:
        moved = self.vector.copy()
        moved[j] += step
        return moved


def _check_group(
    objective: _Objective, grad: np.ndarray, name: str, members: np.ndarray, tolerance: float, rng: np.random.Generator
) -> GradientRow:
    chosen = members
    if grad.size > _ALL_COORDINATES and members.size > _SAMPLED_COORDINATES:
        chosen = np.sort(rng.choice(members, _SAMPLED_COORDINATES, replace=False))
    # A layer that hardly matters is measured by a thousandth of the whole gradient: its own rounding is no error.
    floor = np.linalg.norm(grad) / 1000 / math.sqrt(grad.size)

    stepped = np.array([objective.complex_step(_direction(grad.size, [j])) for j in chosen])
    complex_step = _relative(grad[chosen] - stepped, stepped, floor)

    differences = np.array([objective.central_difference(j) for j in chosen])
    smooth = ~np.isnan(differences)
    central = _relative((grad[chosen] - differences)[smooth], stepped[smooth], floor) if smooth.any() else math.nan

    directions = [_direction(grad.size, members, rng.choice([-1.0, 1.0], members.size)) for _ in range(_N_PROJECTIONS)]
    ahead = np.array([v @ grad - objective.complex_step(v) for v in directions]) / math.sqrt(_N_PROJECTIONS)
    projection = _relative(ahead, grad[members], floor)
    return GradientRow(name, members.size, chosen.size, int(smooth.sum()), complex_step, projection, central, tolerance)


def _groups(net: MLP) -> Iterator[tuple[str, np.ndarray]]:
    """W1, b1, W2, ...: names and places in the vector."""
    for number, layer in enumerate(net.layers, start=1):
        for letter, where in (("W", layer.weights), ("b", layer.biases)):
            if where.stop > where.start:
                yield f"{letter}{number}", np.arange(where.start, where.stop)


def _rounded(values: Any, dtype: np.dtype) -> np.ndarray | None:
    """Targets and weights as a call in `dtype` sees them; labels stay whole."""
    if values is None:
        return None
    array = np.asarray(values)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _direction(size: int, places: Any, signs: Any = 1.0) -> np.ndarray:
    direction = np.zeros(size)
    direction[places] = signs
    return direction


def _relative(difference: np.ndarray, reference_values: np.ndarray, floor: float) -> float:
    """||difference|| / ||reference||, where the norm of n values counts at least sqrt(n) floor."""
    size = max(np.linalg.norm(reference_values), floor * math.sqrt(reference_values.size))
    error = np.linalg.norm(difference)
    if size == 0:
        return 0.0 if error == 0 else math.inf
    return float(error / size)


def _table(rows: tuple[GradientRow, ...]) -> list[str]:
    head = ("", "n", "checked", "complex step", "projection", "central diff.", "tolerance", "")
    lines = [head]
    for row in rows:
        central = "-" if math.isnan(row.central_difference) else f"{row.central_difference:.1e}"
        errors = (f"{row.complex_step:.1e}", f"{row.projection:.1e}", central, f"{row.tolerance:.0e}")
        lines.append((row.name, f"{row.n:,}", f"{row.n_checked:,}", *errors, "ok" if row.ok else "WRONG"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]).rstrip()
        for first, *rest in lines
    ]
