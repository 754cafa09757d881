"""One table of networks, and one way to make data for them, for every test of a calculation.

Data keep their distance from kinks: every pre-activation of relu, leaky_relu and elu is at least 1e-3 away from 0, and
so is every residual from the kinks of the loss, so that float32, float64 and complex step take the same branch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastbp import reference
from fastbp.model import activations, losses
from fastbp.model.network import MLP
from fastbp.model.parameters import Parameters

MARGIN = 1e-3


@dataclass(frozen=True)
class Case:
    """A network, how many rows it is given, and for cross_entropy whether y is labels or rows of probabilities."""

    net: MLP
    n_rows: int
    label_rows: bool = False

    @property
    def id(self) -> str:
        """What pytest prints: "3-17-1 tanh, huber(1), no bias x 65"."""
        return f"{self.net} x {self.n_rows}{' label rows' if self.label_rows else ''}"


class Data(NamedTuple):
    """x (N, n_inputs), y as the loss wants it, sample_weight (N,) with a zero in it, params with non-zero biases."""

    x: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray
    params: Parameters


ACTIVATIONS = (
    *activations.NAMES,
    *(activations.leaky_relu(0.2), activations.leaky_relu(-0.5), activations.elu(0.7)),
)
LOSSES = (
    *losses.NAMES,
    *(losses.huber(0.3), losses.quantile(0.9)),
)

# Layer sizes without the outputs: two to five layers, with the odd widths around a vector's 8, 16 and 32 lanes. The
# lengths of the three tables share no factor, so that taking them in turn meets every combination sooner or later.
_BODIES = (
    *((2, 100), (1, 16), (3, 17), (8, 33), (100, 3)),
    *((5, 15, 31), (31, 3, 1), (2, 16, 17), (17, 1, 3), (1, 33, 2), (7, 100, 1)),
    *((3, 31, 15, 17), (16, 3, 3, 16), (3, 7, 16, 1)),
    *((2, 9, 15, 3, 17), (15, 8, 1, 16, 3), (33, 5, 3, 7, 2)),
)
_ROWS = (64, 7, 63, 1, 65, 2, 1003)
_OUTPUTS = (1, 3, 1, 2, 1, 16, 1, 17, 1, 1, 2)


def _case(body: tuple[int, ...], activation: Any, loss: Any, bias: bool, n_rows: int, n_outputs: int) -> Case:
    is_classes = losses.named(loss).couples_outputs
    n_outputs = max(n_outputs, 2) if is_classes else n_outputs
    net = MLP((*body, n_outputs), activation=activation, loss=loss, bias=bias)
    return Case(net, n_rows, label_rows=is_classes and n_rows in (7, 63, 64))


def _every_pair() -> list[Case]:
    """Every activation x loss x bias, with sizes, rows and outputs taken in turn."""
    pairs = itertools.product(ACTIVATIONS, LOSSES, (True, False))
    turns = zip(itertools.cycle(_BODIES), itertools.cycle(_ROWS), itertools.cycle(_OUTPUTS), strict=False)
    return [
        _case(body, activation, loss, bias, n_rows, n_outputs)
        for (activation, loss, bias), (body, n_rows, n_outputs) in zip(pairs, turns, strict=False)
    ]


def _without_hidden_layer() -> list[Case]:
    """One layer: linear, logistic, softmax and Poisson regression."""
    turns = zip(itertools.product(LOSSES, (True, False)), itertools.cycle((1, 3, 17)), strict=False)
    return [_case((n_inputs,), "sigmoid", loss, bias, 65, 1 + 2 * (n_inputs == 3)) for (loss, bias), n_inputs in turns]


def _lecture() -> list[Case]:
    """The lecture's 2-100-1 without bias, and its neighbours: few inputs, one hidden layer, one output."""
    sizes = ((2, 100), (1, 16), (3, 17), (8, 33))
    kinds = itertools.product(sizes, ("sigmoid", "tanh", "relu", "silu"), LOSSES[:1] + LOSSES[2:7], (False, True))
    rows = itertools.cycle((1, 7, 63, 64, 65, 200, 1003))
    return [
        _case(body, activation, loss, bias, n_rows, 1)
        for (body, activation, loss, bias), n_rows in zip(kinds, rows, strict=False)
    ]


def _several_outputs() -> list[Case]:
    """The lecture's neighbours with several outputs: every loss, two activations a loss."""
    turns = zip(
        itertools.product(LOSSES[:7], ("sigmoid", "gelu"), (False, True)),
        itertools.cycle(((2, 100), (1, 16), (3, 17))), itertools.cycle((63, 64, 65, 1, 200)),
        itertools.cycle((3, 2, 4, 8)),
        strict=False,
    )  # fmt: skip
    return [_case(body, activation, loss, bias, n, outputs) for (loss, activation, bias), body, n, outputs in turns]


MIXED = (
    Case(MLP((3, 16, 15, 17, 2), activation=("relu", "tanh", "gelu"), loss="cross_entropy"), 65),
    Case(MLP((4, 32, 16, 4), activation=("tanh", activations.elu(0.5)), loss="cross_entropy", bias=False), 64, True),
    Case(MLP((3, 17, 18), activation="silu", loss="cross_entropy"), 65),
    Case(MLP((3, 17, 18), activation="relu", loss="cross_entropy", bias=False), 63, True),
    Case(MLP((2, 5, 4, 3, 2, 1), activation=("sigmoid", "silu", "relu", "softplus"), loss="poisson"), 63),
)
LECTURE = tuple(dict.fromkeys(_lecture()))
CASES = tuple(dict.fromkeys([*_every_pair(), *_without_hidden_layer(), *LECTURE, *_several_outputs(), *MIXED]))

# Still every activation, loss and depth, for properties that are slow to test.
SMALL = tuple(case for case in CASES[::4] if case.net.n_parameters <= 500 and case.n_rows <= 65)


def make_data(case: Case, dtype: Any = np.float64, seed: int = 0) -> Data:
    """Rows, targets, weights and parameters for one case, the same for float32 and float64 up to the cast."""
    rng = np.random.default_rng([seed, *case.net.layer_sizes, case.n_rows])
    sample_weight = rng.uniform(0.5, 2.0, case.n_rows)
    sample_weight[1::5] = 0.0
    params, x, y = _draw_alive(case, rng, sample_weight)
    kept = y if y.dtype == np.int64 else y.astype(dtype)
    return Data(x.astype(dtype), kept, sample_weight.astype(dtype), params.astype(dtype))


def _draw_alive(case: Case, rng: np.random.Generator, sample_weight: np.ndarray) -> tuple[Parameters, Any, Any]:
    """Parameters, x and y without a row near a kink, and with a gradient in every layer.

    New parameters are drawn, too: a single relu that is off leaves nothing to the layers around it.
    """
    for _ in range(100):
        params = case.net.init(rng, dtype=np.float64)
        for biases in params.biases:
            biases[...] = rng.normal(0.0, 0.5, biases.shape)
        x, y = _draw(case, rng)
        for _ in range(20):
            near = _near_kink(case.net, params, x, y)
            if not near.any():
                break
            x_new, y_new = _draw(case, rng)
            x[near], y[near] = x_new[near], y_new[near]
        _, grad = reference.value_and_grad(case.net, params, x, y, sample_weight=sample_weight)
        if not near.any() and all(d_w.any() for d_w in grad.weights):
            return params, x, y
    raise RuntimeError(f"no data found for {case.id}")


def _draw(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n_rows, n_outputs = case.n_rows, case.net.n_outputs
    x = rng.standard_normal((n_rows, case.net.n_inputs))
    loss = case.net.loss_function
    if loss.couples_outputs:
        if case.label_rows:
            return x, rng.dirichlet(np.ones(n_outputs), n_rows)
        return x, rng.integers(0, n_outputs, n_rows)
    shape = (n_rows,) if n_outputs == 1 and n_rows % 2 else (n_rows, n_outputs)
    if loss.is_classification:
        # Labels in one half of the rows, probabilities in the other.
        y = rng.uniform(size=shape)
        y[::2] = y[::2] > 0.5
        return x, y
    return x, loss.record.targets.draw(rng, n_rows, n_outputs).reshape(shape)


def _near_kink(net: MLP, params: Parameters, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether a row comes closer to a kink than MARGIN."""
    zs = reference.pre_activations(net, params, x)
    near = np.zeros(len(x), bool)
    for z, activation in zip(zs, net.activations, strict=False):
        for kink in activation.record.kinks:
            near |= (np.abs(z - kink) < MARGIN).any(axis=1)
    loss = net.loss_function
    for kink in loss.record.kinks(loss.parameter):
        near |= (np.abs(zs[-1] - y.reshape(zs[-1].shape) - kink) < MARGIN).any(axis=1)
    return near
