"""One record per loss: everything that is known of it, in one place.

To add one: its record here; its formula for kernels, of the same name, in `kernels.math.scalar`; its maker in `losses`;
its exact formula in the table of `tests/kernels/test_elementary.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .elementary import Array, log_softmax, magnitude, positive_part, sigma
from .functions import analytic, apply
from .link_records import EXP, IDENTITY, SIGMOID, SOFTMAX, LinkRecord
from .records import Derivative, Parameter, by_name

# -- targets -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Targets:
    """Which targets y a loss takes.

    low, high : between which each lies; wanted, remedy : in an error's words.
    are_distributions : whether each row is one: none negative, and their sum is 1.
    are_counts : whether they count something, and are therefore learned in their own unit.
    draw : (rng, n_rows, n_outputs) -> random targets.
    """

    low: float = -math.inf
    high: float = math.inf
    wanted: str = ""
    remedy: str = ""
    are_distributions: bool = False
    are_counts: bool = False
    draw: Callable[[np.random.Generator, int, int], Array]


ANY_NUMBERS = Targets(draw=lambda rng, n, k: rng.standard_normal((n, k)))
SHARES = Targets(
    low=0.0,
    high=1.0,
    wanted="must lie between 0 and 1",
    remedy="Rescale it",
    draw=lambda rng, n, k: rng.integers(2, size=(n, k)).astype(float),
)
COUNTS = Targets(
    low=0.0,
    wanted="must not be negative",
    remedy="Counts start at 0",
    are_counts=True,
    draw=lambda rng, n, k: rng.poisson(1.5, (n, k)).astype(float),
)
CLASSES = Targets(low=0.0, high=1.0, are_distributions=True, draw=lambda rng, n, k: rng.integers(k, size=n))

# -- losses ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class LossRecord:
    """What is known of a loss. Where it is used needs no name: formats, messages and checks read these fields.

    formula : l(y, z) and dl/dz for readers, where the parameter stands by its name.
    evaluate : (y, z, parameter) -> l of each output, and a function that gives dl/dz: written in one breath, in NumPy,
        analytic.
    link : from z to the response y_hat. targets : what y may be.
    text : l and dl/dy_hat as `formulas` reads them, in y and y_hat, with {p} for the parameter.
    text_in_z : dl/dz, both derivatives multiplied out; by default dl/dy_hat, for the identity as link.
    in_response : (y, y_hat, z) -> dl/dy_hat by the textbook; where y_hat is 0 or 1 and the target agrees, what is left
        of it. None for the identity as link, where it is dl/dz.
    definitions : of the functions in text that are not common knowledge.
    kinks : parameter -> those residuals z - y where dl/dz or its slope may jump.
    is_squares : whether l = (z - y)^2 / 2, which solvers of least squares want.
    """

    name: str
    formula: tuple[str, str]
    evaluate: Callable[[Array, Array, float], tuple[Array, Derivative]]
    text: tuple[str, str]
    text_in_z: str = ""
    definitions: tuple[str, ...] = ()
    link: LinkRecord = IDENTITY
    targets: Targets = ANY_NUMBERS
    in_response: Callable[[Array, Array, Array], Array] | None = None
    parameter: Parameter | None = None
    kinks: Callable[[float], tuple[float, ...]] = lambda p: ()
    is_squares: bool = False


def of_user(name: str, value: Callable[..., object], derivative: Callable[..., object]) -> LossRecord:
    """The record of a user's own loss of any numbers, whose response is z."""
    return LossRecord(
        name=name,
        formula=(f"{name}(y, z)", f"{name}'(y, z)"),
        evaluate=lambda y, z, p: (analytic(value, derivative, z, y), lambda: apply(derivative, y, z.real)),
        text=(f"{name}(y, y_hat)", f"{name}'(y, y_hat)"),
    )


def _quotient(y: Array, p: Array) -> Array:
    """y / p, 0 where y is."""
    with np.errstate(divide="ignore"):
        return np.divide(y, p, out=np.zeros_like(p), where=y != 0)


# -- records: value and derivative of each output, p being delta or q, and what else is known --------------------------


def _binary_cross_entropy(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    # In this order, as softplus(z) - y z would cancel for a sure and right prediction.
    return positive_part(z) - y * z + np.log1p(np.exp(-magnitude(z))), lambda: sigma(z) - y


BINARY_CROSS_ENTROPY = LossRecord(
    name="binary_cross_entropy",
    formula=("max(z, 0) - y z + log(1 + exp(-|z|))", "sigmoid(z) - y"),
    evaluate=_binary_cross_entropy,
    text=("-(y * log(y_hat) + (1 - y) * log(1 - y_hat))", "-(y / y_hat - (1 - y) / (1 - y_hat))"),
    text_in_z="y_hat - y",
    link=SIGMOID,
    targets=SHARES,
    in_response=lambda y, y_hat, z: -(_quotient(y, y_hat) - _quotient(1 - y, sigma(-z))),
)


def _cross_entropy(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    log_p = log_softmax(z)
    return -y * log_p, lambda: np.exp(log_p) * y.sum(axis=-1, keepdims=True) - y


CROSS_ENTROPY = LossRecord(
    name="cross_entropy",
    formula=("logsumexp(z) - z_y  (over the row)", "softmax(z) - onehot(y)"),
    evaluate=_cross_entropy,
    text=("-y * log(y_hat)", "-y / y_hat"),
    text_in_z="y_hat - y",
    link=SOFTMAX,
    targets=CLASSES,
    in_response=lambda y, y_hat, z: -_quotient(y, y_hat),
)


def _squared_error(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    return r * r / 2, lambda: r


SQUARED_ERROR = LossRecord(
    name="squared_error",
    formula=("(z - y)^2 / 2", "z - y"),
    evaluate=_squared_error,
    text=("(y_hat - y)^2 / 2", "y_hat - y"),
    is_squares=True,
)


def _absolute_error(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    sign = np.sign(r.real)
    return r * sign, lambda: sign


ABSOLUTE_ERROR = LossRecord(
    name="absolute_error",
    formula=("|z - y|", "sign(z - y)"),
    evaluate=_absolute_error,
    text=("|y_hat - y|", "sign(y_hat - y)"),
    kinks=lambda p: (0.0,),
)


def _huber(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    size, inside = magnitude(r), np.abs(r.real) <= p
    return np.where(inside, r * r / 2, p * (size - p / 2)), lambda: np.where(inside, r, p * np.sign(r.real))


HUBER = LossRecord(
    name="huber",
    formula=("r^2/2 if |r| <= delta\nelse delta (|r| - delta/2)", "clip(r, -delta, delta),  r = z - y"),
    evaluate=_huber,
    text=("huber(y_hat - y, {p})", "clip(y_hat - y, -{p}, {p})"),
    definitions=(
        "huber(r, d) = [|r| <= d] * r^2 / 2 + [|r| > d] * d * (|r| - d / 2)",
        "clip(r, a, b) = min(max(r, a), b)",
    ),
    parameter=Parameter("delta", 1.0, "must be a positive number", lambda delta: 0 < delta < math.inf),
    kinks=lambda delta: (-delta, delta),
)


def _quantile(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    r = z - y
    slope = np.select([r.real > 0, r.real < 0], [1 - p, -p], 0).astype(r.dtype)
    return r * slope, lambda: slope


QUANTILE = LossRecord(
    name="quantile",
    formula=("q (y - z) if y > z else (1-q)(z - y)", "-q if y > z, 1-q if y < z, 0 if equal"),
    evaluate=_quantile,
    text=(
        "(1 - {p}) * max(y_hat - y, 0) + {p} * max(y - y_hat, 0)",
        "(1 - {p}) * [y_hat > y] - {p} * [y > y_hat]",
    ),
    parameter=Parameter("q", 0.5, "must lie between 0 and 1", lambda q: 0 < q < 1),
    kinks=lambda q: (0.0,),
)


def _poisson(y: Array, z: Array, p: float) -> tuple[Array, Derivative]:
    mean = np.exp(z)
    return mean - y * z, lambda: mean - y


POISSON = LossRecord(
    name="poisson",
    formula=("exp(z) - y z", "exp(z) - y"),
    evaluate=_poisson,
    text=("y_hat - y * log(y_hat)", "1 - y / y_hat"),
    text_in_z="y_hat - y",
    link=EXP,
    targets=COUNTS,
    in_response=lambda y, y_hat, z: 1 - _quotient(y, y_hat),
)

# A kernel knows a loss by its place here.
LOSSES = MappingProxyType(
    by_name(BINARY_CROSS_ENTROPY, CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, QUANTILE, POISSON)
)
