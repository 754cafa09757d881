"""The kernels as plain Python: NUMBA_DISABLE_JIT=1 runs every line of them, with the NumPy twins of the intrinsics.

By itself, and with each kernel against NumPy, for coverage:
NUMBA_DISABLE_JIT=1 python -m pytest tests/kernels/test_uncompiled.py tests/kernels/direct --cov=fastbp.kernels
"""

import numpy as np
import pytest
import scipy.sparse as sp

import fastbp
from fastbp import optim, reference
from fastbp.compiler import jit
from fastbp.kernels.math.random import mixed
from fastbp.kernels.structures import HEADER, Rows, records
from fastbp.kernels.wide import dropout as drops
from fastbp.training.batches import BatchSource
from fastbp.training.steps import Descent
from tests.cases import CASES, LECTURE, MIXED, SMALL, Case, make_data

pytestmark = [
    pytest.mark.skipif(jit.COMPILED, reason="for NUMBA_DISABLE_JIT=1"),
    # Rows behind a block's last one hold whatever was left there: NumPy says so where the instructions do not.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

TINY = tuple(case for case in SMALL if case.net.n_parameters <= 120)
NAMES = {case.net.activations[0].name: case for case in CASES if case.net.activations and case.n_rows <= 7}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [*TINY, *NAMES.values(), *LECTURE[:3], *MIXED], ids=lambda case: case.id)
def test_uncompiled_kernels_are_the_reference_s(case, dtype):
    """Gradient, outputs and labels of a few rows."""
    case = Case(case.net, min(case.n_rows, 33), case.label_rows)
    data = make_data(case, dtype)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    exact = make_data(case)
    value, grad = case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, n_threads=1)
    wanted, wanted_grad = reference.value_and_grad(
        case.net, exact.params, exact.x, exact.y, sample_weight=exact.sample_weight
    )
    assert value == pytest.approx(wanted, rel=10 * tolerance)
    assert np.linalg.norm(grad.vector - wanted_grad.vector) <= 10 * tolerance * np.linalg.norm(wanted_grad.vector)
    d_x = case.net.input_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, n_threads=1)
    wanted_d_x = reference.input_grad(case.net, exact.params, exact.x, exact.y, sample_weight=exact.sample_weight)
    assert np.linalg.norm(d_x - wanted_d_x) <= 10 * tolerance * np.linalg.norm(wanted_d_x)
    outputs = case.net.forward(data.params, data.x, n_threads=1)
    wanted_outputs = reference.forward(case.net, exact.params, exact.x)
    assert np.linalg.norm(outputs - wanted_outputs) <= 10 * tolerance * np.linalg.norm(wanted_outputs)
    assert (
        case.net.predict(data.params, data.x, n_threads=1).shape
        == reference.predict(case.net, exact.params, exact.x).shape
    )


@pytest.mark.parametrize("n_out", [5, 40, 70, 130])
def test_uncompiled_sparse_inputs(n_out):
    """Outputs that fill parts of a register, several of them, one strip and two: the bits of dense inputs."""
    net, rng = fastbp.MLP((30, n_out, 1)), np.random.default_rng(0)
    params, x, y = net.init(0), rng.standard_normal((5, 30)).astype(np.float32), rng.random(5).astype(np.float32)
    x[rng.random(x.shape) < 0.8] = 0
    value, grad = net.value_and_grad(params, sp.csr_array(x), y, n_threads=1)
    wanted, wanted_grad = net.value_and_grad(params, x, y, n_threads=1)
    assert value == wanted
    np.testing.assert_array_equal(grad.vector, wanted_grad.vector)
    d_x, wanted_d_x = (net.input_grad(params, form, y, n_threads=1) for form in (sp.csr_array(x), x))
    np.testing.assert_array_equal(d_x, wanted_d_x)
    bad = sp.csr_array(np.array([[np.nan] * 30], np.float32))
    with pytest.raises(fastbp.errors.InputError, match="must be finite"):
        net.forward(params, bad, n_threads=1)


def test_uncompiled_functions_of_the_user_s_own():
    """An activation and a loss, against the reference."""
    square = fastbp.Loss("square", lambda y, z: (z - y) ** 2 / 2, lambda y, z: z - y)
    softsign = fastbp.Activation("softsign", lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)
    net = fastbp.MLP((2, 3, 1), activation=softsign, loss=square)
    params, x = net.init(0, dtype=np.float64), np.random.default_rng(0).standard_normal((5, 2))
    value, grad = net.value_and_grad(params, x, x[:, 0], n_threads=1)
    wanted, wanted_grad = reference.value_and_grad(net, params, x, x[:, 0])
    assert value == pytest.approx(wanted)
    np.testing.assert_allclose(grad.vector, wanted_grad.vector, rtol=1e-10)


@pytest.mark.parametrize("dropout", [(), (0.2, 0.5)], ids=str)
@pytest.mark.parametrize("sizes", [(2, 3, 1), (3, 4, 2)], ids=str)
def test_uncompiled_steps_of_training(sizes, dropout):
    """Shuffled batches of 3 of 7 rows: rows, gradients, and Adam with all that is common, from their formulas."""
    net, rng, rate, seed = fastbp.MLP(sizes, activation="tanh", loss="squared_error"), np.random.default_rng(0), 0.1, 4
    params, average = net.init(0, dtype=np.float64), net.init(0, dtype=np.float64).vector
    x, y = rng.standard_normal((7, sizes[0])), rng.standard_normal((7, sizes[-1]))
    state = optim.adam(rate, clip_norm=0.5, weight_decay=0.2, ema_decay=0.6).init(params)
    descent = Descent(
        net, params, BatchSource(x, y), state=state, batch_size=3, seed=seed, dropout=dropout, n_threads=1
    )
    is_weight, m, v, seen = np.zeros(params.vector.size), 0.0, 0.0, []
    for layer in net.layers:
        is_weight[layer.weights] = 1
    for t in range(6):
        before = params.copy()
        descent.run(t, 1)
        rows = descent.rows[: 1 if t % 3 == 2 else 3].copy()
        kept = [kept_values(share, layer, len(rows), sizes[layer], seed, t) for layer, share in enumerate(dropout)]
        g = gradient_of_what_is_kept(net, before, x[rows], y[rows], kept)
        np.testing.assert_allclose(descent.gradient.vector, g, rtol=1e-11, atol=1e-14)
        g *= min(1.0, 0.5 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        wanted = before.vector * (1 - rate * 0.2 * is_weight) - rate * step
        average = 0.6 * average + 0.4 * wanted
        np.testing.assert_allclose(params.vector, wanted, rtol=1e-11)
        np.testing.assert_allclose(state.ema, average, rtol=1e-11)
        seen.append(rows)
    for epoch in (seen[:3], seen[3:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(7))


def kept_values(share, layer, n_rows, n, seed, t):
    """What the values of a layer are multiplied by in step t: 0 or 1 / (1 - share)."""
    plan, factors = records(HEADER)[0], np.ones(n_rows * n)
    plan.drop_key = np.int64(mixed(mixed(np.uint64(seed), 1), t))
    drops.drop(plan, round(share * drops.ALL), layer, factors, Rows(0, n, n_rows, n), 0)
    return factors.reshape(n_rows, n)


def gradient_of_what_is_kept(net, params, x, y, kept):
    """The reference's gradient of the mean over rows, each of a network with one hidden layer, of which parts are kept.

    Hidden values multiplied by factors are rows of the second layer's weights multiplied by them.
    """
    inputs, hidden = kept or (np.ones_like(x), np.ones((len(x), net.layer_sizes[1])))
    total = np.zeros_like(params.vector)
    for row in range(len(x)):
        thinned, one = params.copy(), slice(row, row + 1)
        thinned.weights[1][...] *= hidden[row][:, None]
        _, grad = reference.value_and_grad(net, thinned, (x * inputs)[one], y[one])
        grad.weights[1][...] *= hidden[row][:, None]
        total += grad.vector / len(x)
    return total
