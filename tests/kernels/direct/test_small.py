"""One block through a network with one hidden layer, samples in the lanes: each part against NumPy's five lines."""

from typing import NamedTuple

import numpy as np
import pytest

from fastbp.kernels.simd.registers import group_size, pointer
from fastbp.kernels.simd.vector import GROUP_REGISTERS, lanes
from fastbp.kernels.small import network
from fastbp.kernels.structures import Block, Rows, call_of, plan_at
from fastbp.kernels.wide import sums
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, Call, assert_sums, compiled, matrix_in, unchanged

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@compiled
def block_of_samples(vector, plan_address, n_rows, status, outputs):
    """Everything for one block; the outputs z are copied before the losses are written over them."""
    call = call_of(plan_at(plan_address, 0), pointer(vector))
    plan, memory, region = call.plan, call.memory, call.plan.regions_offset
    block = Block(region, region, 0, n_rows)
    network.pack_units(call, region)
    status[0] = network.forward_small(call, block)
    z_at = region + sums.layer_of(plan, 1).values_offset
    for i in range(plan.n_outputs * group_size(memory)):
        outputs[i] = memory[z_at + i]
    status[1] = network.losses_small(call, block)
    sums.zero(memory, region + plan.sums_offset, plan.sums_size)
    network.gradient_small(plan, memory, region)
    sums.zero(call.accumulators, 0, plan.n_parameters)
    network.fold_small(call, region, 0)
    network.input_gradient_small(call, block)


class Case(NamedTuple):
    """A network, and whether its block is full, has labels, or weights."""

    net: MLP
    n_rows: int  # after the last full group
    has_weights: bool = False
    has_labels: bool = False


def network_of(*sizes, activation="sigmoid", loss="binary_cross_entropy", bias=True):
    return MLP(sizes, activation=activation, loss=loss, bias=bias)


CASES = {
    "the lecture's": Case(network_of(2, 100, 1, bias=False), 0),
    "the lecture's, one row": Case(network_of(2, 3, 1), 1, True),
    "three inputs, odd units": Case(network_of(3, 5, 1), 13, True),
    "one input, one unit": Case(network_of(1, 1, 1, activation="tanh", loss="squared_error"), 7),
    "tanh": Case(network_of(5, 6, 1, activation="tanh", loss="squared_error", bias=False), 0, True),
    "sigmoid, two outputs": Case(network_of(2, 5, 2), 9, True),
    "labels": Case(network_of(4, 7, 3, activation="tanh", loss="cross_entropy"), 11, True, True),
    "probabilities": Case(network_of(2, 4, 4, loss="cross_entropy", bias=False), 0),
}
PARAMETERS = [
    pytest.param(case, dtype, id=f"{name}, {dtype.__name__}") for name, case in CASES.items() for dtype in DTYPES
]


def softmax(z):
    power = np.exp(z - z.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


HIDDEN = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}
SLOPES = {"sigmoid": lambda h: h * (1 - h), "tanh": lambda h: 1 - h * h}
LOSSES = {
    "binary_cross_entropy": lambda z, y: (np.log1p(np.exp(z)) - y * z, HIDDEN["sigmoid"](z) - y),
    "squared_error": lambda z, y: ((z - y) ** 2 / 2, z - y),
    "cross_entropy": lambda z, y: (-y * np.log(softmax(z)), softmax(z) - y),
}


class Numpy(NamedTuple):
    """The same by the formulas, in float64."""

    h: np.ndarray
    z: np.ndarray
    losses: np.ndarray
    d: np.ndarray  # weight dl/dz
    gradient: np.ndarray
    d_x: np.ndarray


def by_numpy(net, params, x, y, weight):
    (w1, w2), (b1, b2) = (params.weights, params.biases) if net.bias else (params.weights, (0.0, 0.0))
    h = HIDDEN[net.activations[0].name](x @ w1 + b1)
    z = h @ w2 + b2
    losses, d = (part * weight[:, None] for part in LOSSES[net.loss_function.name](z, y))
    delta = d @ w2.T * SLOPES[net.activations[0].name](h)
    parts = [x.T @ delta, delta.sum(axis=0), h.T @ d, d.sum(axis=0)]
    gradient = np.concatenate([part.ravel() for part in (parts if net.bias else parts[::2])])
    return Numpy(h, z, losses.sum(axis=1), d, gradient, delta @ w1.T)


def data_of(case, dtype):
    """A call of one block, its number of rows, and what NumPy makes of it."""
    net, rng = case.net, np.random.default_rng(1)
    n_rows = case.n_rows % lanes(dtype) or GROUP_REGISTERS * lanes(dtype)
    x, params = rng.standard_normal((n_rows, net.n_inputs)).astype(dtype), net.init(0, dtype=dtype)
    params.vector[:] = rng.standard_normal(params.vector.size)
    y = rng.random((n_rows, net.n_outputs)).astype(dtype)
    if net.loss_function.name == "cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    if case.has_labels:
        labels = rng.integers(0, net.n_outputs, n_rows)
        y = np.eye(net.n_outputs)[labels]
    weight = rng.random(n_rows).astype(dtype) if case.has_weights else np.ones(n_rows, dtype)
    call = Call(net, params, x, labels if case.has_labels else y, weight if case.has_weights else None, d_x=True)
    exact = net.init(0, dtype=np.float64)
    exact.vector[:] = params.vector
    return call, n_rows, by_numpy(net, exact, x.astype(np.float64), y.astype(np.float64), weight.astype(np.float64))


def run(case, dtype):
    """What a kernel left in its region, with the region's bounds checked; the outputs; what NumPy makes of the data."""
    call, n_rows, wanted = data_of(case, dtype)
    status, outputs = np.full(2, 99), np.empty(case.net.n_outputs * GROUP_REGISTERS * lanes(dtype), dtype)
    inputs, before = [a.copy() for a in (call.vector, call.x, call.y)], call.memory.copy()
    block_of_samples(call.vector, call.address, n_rows, status, outputs)
    assert status.tolist() == [0, 0]
    for kept, now in zip(inputs, (call.vector, call.x, call.y), strict=True):
        np.testing.assert_array_equal(kept, now)
    region = int(call.plan.regions_offset)
    assert unchanged(before, call.memory, np.arange(region, region + int(call.plan.region_size)))
    return call, n_rows, outputs.reshape(case.net.n_outputs, -1), wanted


def columns_of(call, offset, n, n_rows):
    """n features of the block's rows, (n_rows, n)."""
    group = GROUP_REGISTERS * lanes(call.memory.dtype)
    return matrix_in(call.memory, Rows(int(call.plan.regions_offset + offset), group, n, n_rows)).T


def close(got, wanted, n_terms):
    """Of sums of n_terms terms of about the size of the result's largest, with some roundings in each of them."""
    assert_sums(np.asarray(got), wanted, n_terms + 16, np.abs(wanted).max())


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_hidden_values_and_outputs(case, dtype):
    """h = a(x W1 + b1), z = h W2 + b2 of the rows there are."""
    call, n_rows, outputs, wanted = run(case, dtype)
    n_hidden = case.net.layer_sizes[1]
    close(columns_of(call, call.layers[0].values_offset, n_hidden, n_rows), wanted.h, case.net.n_inputs)
    close(outputs[:, :n_rows].T, wanted.z, n_hidden)


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_losses_and_their_derivatives(case, dtype):
    """w l and w dl/dz of each row; after the last row 0, so that sums over the lanes are those over the rows."""
    call, n_rows, _, wanted = run(case, dtype)
    group, n_out = GROUP_REGISTERS * lanes(dtype), case.net.n_outputs
    close(columns_of(call, call.plan.losses_offset, 1, n_rows)[:, 0], wanted.losses, sum(case.net.layer_sizes))
    d = columns_of(call, call.layers[1].values_offset, n_out, group)
    close(d[:n_rows], wanted.d, sum(case.net.layer_sizes))
    assert not d[n_rows:].any()
    assert not columns_of(call, call.plan.losses_offset, 1, group)[n_rows:].any()


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_the_gradient_of_a_block(case, dtype):
    """dW2 = h^T d, dW1 = x^T (d W2^T h'), and the sums of both for the biases, in the accumulator and nowhere else."""
    call, n_rows, _, wanted = run(case, dtype)
    n = case.net.n_parameters
    close(call.accumulators[:n].astype(dtype), wanted.gradient, n_rows + sum(case.net.layer_sizes))
    assert np.isnan(call.accumulators[n:]).all()


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_the_gradient_of_the_inputs(case, dtype):
    """dL/dx = scale (d W2^T h') W1^T of the rows there are; others are not written."""
    call, n_rows, _, wanted = run(case, dtype)
    n_in = case.net.n_inputs
    close(call.d_x[: n_rows * n_in].reshape(n_rows, n_in), wanted.d_x, sum(case.net.layer_sizes))
    assert np.isnan(call.d_x[n_rows * n_in :]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "bad", "place"),
    [("binary_cross_entropy", np.nan, "x"), ("squared_error", np.inf, "y"), ("binary_cross_entropy", 1.5, "y")],
)
def test_what_must_not_be_computed_with_is_said(loss, bad, place, dtype):
    """An input that is not finite, a target that is not, or outside of the loss's domain: a status, at any row."""
    case = Case(network_of(3, 2, 1, activation="tanh", loss=loss), 5)
    call, n_rows, _ = data_of(case, dtype)
    outputs = np.empty(GROUP_REGISTERS * lanes(dtype), dtype)
    array = (call.x if place == "x" else call.y).reshape(-1)
    for i in range(array.size):
        good, array[i], status = array[i], bad, np.zeros(2, np.int64)
        block_of_samples(call.vector, call.address, n_rows, status, outputs)
        assert (status != 0).tolist() == [place == "x", place == "y"]
        array[i] = good
