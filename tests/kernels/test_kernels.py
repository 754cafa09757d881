"""The kernels against their NumPy twin, for every case: the same numbers, the same meaning of every argument."""

import numpy as np
import pytest

from fastbp import losses, reference
from fastbp.engine import plan
from fastbp.engine.backprop import Workspace
from fastbp.model.network import MLP
from fastbp.model.parameters import Parameters
from tests.cases import CASES, LECTURE, MIXED, SMALL, make_data

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
DTYPES = (np.float64, np.float32)


def distance(got, wanted):
    """Norm-wise: ||got - wanted|| / ||wanted||."""
    scale = np.linalg.norm(wanted)
    assert scale > 0
    return np.linalg.norm(np.asarray(got, np.float64) - wanted) / scale


def in_float64(data):
    """The same rounded values in float64, for the reference."""
    y = data.y if data.y.dtype == np.int64 else data.y.astype(np.float64)
    return data.params.astype(np.float64), data.x.astype(np.float64), y, data.sample_weight.astype(np.float64)


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_value_and_gradient_are_the_reference_s(case, dtype):
    """Loss and gradient, weighted and with both penalties, norm-wise 1e-12 in float64 and 1e-5 in float32."""
    data = make_data(case, dtype)
    params, x, y, weight = in_float64(data)
    value, grad = case.net.value_and_grad(
        data.params, data.x, data.y, sample_weight=data.sample_weight, l1=0.01, l2=0.1
    )
    wanted, wanted_grad = reference.value_and_grad(case.net, params, x, y, sample_weight=weight, l1=0.01, l2=0.1)
    assert value == pytest.approx(wanted, rel=TOLERANCE[dtype])
    assert distance(grad.vector, wanted_grad.vector) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case.id)
def test_outputs_are_the_reference_s(case, dtype):
    """Responses and logits, norm-wise; labels wherever the logits are not close."""
    data = make_data(case, dtype)
    params, x, _, _ = in_float64(data)
    net, tolerance = case.net, 10 * TOLERANCE[dtype]
    wanted = reference.logits(net, params, x)
    assert distance(net.logits(data.params, data.x), wanted) < tolerance
    assert distance(net.forward(data.params, data.x), reference.forward(net, params, x)) < tolerance
    got, wanted_labels = net.predict(data.params, data.x), reference.predict(net, params, x)
    assert got.shape == wanted_labels.shape
    if net.loss_function.is_classification:
        assert got.dtype == np.int64
        assert (got == wanted_labels).mean() > 0.98


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_loss_alone_is_the_reference_s(case, reduction):
    """Each reduction, with and without weights."""
    data = make_data(case)
    penalties = {} if reduction == "none" else {"l1": 0.01, "l2": 0.1}
    for weight in (None, data.sample_weight):
        got = case.net.loss(data.params, data.x, data.y, sample_weight=weight, reduction=reduction, **penalties)
        wanted = reference.loss(
            case.net, data.params, data.x, data.y, sample_weight=weight, reduction=reduction, **penalties
        )
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", SMALL[::3], ids=lambda case: case.id)
def test_sum_is_the_mean_times_the_weights(case):
    """reduction="sum" leaves out the division and nothing else."""
    data = make_data(case)
    mean, grad = case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight)
    total, grads = case.net.value_and_grad(
        data.params, data.x, data.y, sample_weight=data.sample_weight, reduction="sum"
    )
    whole = data.sample_weight.sum()
    assert total == pytest.approx(mean * whole, rel=1e-13)
    assert distance(grads.vector, grad.vector * whole) < 1e-14


@pytest.mark.parametrize("n_rows", range(1, 301, 13))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_rows(n_rows, dtype):
    """Ragged blocks, in both families of kernels, and with few outputs."""
    for case in (LECTURE[0], LECTURE[9], SMALL[5], MIXED[0]):
        ragged = type(case)(case.net, n_rows, case.label_rows)
        data = make_data(ragged, dtype)
        params, x, y, _ = in_float64(data)
        _, grad = case.net.value_and_grad(data.params, data.x, data.y)
        _, wanted = reference.value_and_grad(case.net, params, x, y)
        assert distance(grad.vector, wanted.vector) < TOLERANCE[dtype]


WAYS = {
    "accumulators": {},
    "accumulators of several chunks": {"MAX_CHUNK_ROWS": 256},
    "one accumulator, waves": {"SUMS_BYTES": 0, "WAVE_BYTES": 1, "MAX_CHUNK_ROWS": 9999},
    "one accumulator of several chunks, waves across them": {
        "SUMS_BYTES": 0, "WAVE_BYTES": 1, "MAX_CHUNK_ROWS": 384
    },
    "accumulators of several chunks in waves": {"MOST_IDLE": -9, "WAVE_BYTES": 1, "MAX_CHUNK_ROWS": 384},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n_rows", [700, 9000])
def test_accumulators_chunks_and_waves(n_rows, way, monkeypatch):
    """However a batch is cut and shared out, its sums are the reference's."""
    for name, setting in WAYS[way].items():
        monkeypatch.setattr(f"fastbp.engine.plan.{name}", setting)
    plan.layout.cache_clear()
    net = MLP((300, 130, 3), activation="tanh", loss="cross_entropy")
    rng = np.random.default_rng(0)
    params, x = net.init(rng, dtype=np.float64), rng.standard_normal((n_rows, 300))
    y, space = rng.integers(3, size=n_rows), Workspace()
    wanted, wanted_grad = reference.value_and_grad(net, params, x, y, l1=0.01, l2=0.1)
    for n_threads in (1, 2):
        value, grad = net.value_and_grad(params, x, y, l1=0.01, l2=0.1, n_threads=n_threads, workspace=space)
        assert value == pytest.approx(wanted, rel=1e-12)
        assert distance(grad.vector, wanted_grad.vector) < 1e-12
        assert net.loss(params, x, y, n_threads=n_threads, workspace=space) == pytest.approx(
            reference.loss(net, params, x, y), rel=1e-12
        )
    batch = space.batch(net, n_rows, params.dtype, 2)
    if n_rows == 9000:
        assert (batch.layout.n_accumulators > 1) == way.startswith("accumulators")
        assert (batch.schedule.n_wave > 0) == ("waves" in way)
        assert (batch.layout.chunk_blocks < batch.layout.accumulator_blocks) == ("several chunks" in way)
    plan.layout.cache_clear()


SATURATED = [17.0, -17.0, 89.0, -89.0, 710.0, -710.0, 1e4, -1e4]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("z", SATURATED)
@pytest.mark.parametrize("hidden", [(), (3,)])
def test_saturated_logits(z, dtype, hidden):
    """Losses and gradients of logits far from 0 are finite and right, where the slides' formula gives NaN."""
    net = MLP((1, *hidden, 1), activation="identity", bias=False)
    params = Parameters.zeros(net, dtype)
    for weights in params.weights:
        weights.flat[0] = 1
    for y in (0.0, 1.0):
        value, grad = net.value_and_grad(params, np.array([[z]], dtype), np.array([y], dtype))
        p = 1 / (1 + np.exp(-z)) if z > 0 else np.exp(max(z, -745)) / (1 + np.exp(max(z, -745)))
        assert value == pytest.approx(max(z, 0) - y * z + np.log1p(np.exp(-abs(z))), rel=2e-6, abs=1e-30)
        assert grad.weights[0].flat[0] == pytest.approx(z * (p - y), rel=2e-6, abs=abs(z) * 1.2e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("z", [17.0, 89.0, 710.0, 1e4])
@pytest.mark.parametrize("hidden", [(), (3,)])
@pytest.mark.parametrize("higher", [0, 1])
def test_saturated_softmax(z, dtype, hidden, higher):
    """Two classes z apart: the loss of the wrong one is z, of the right one 0, whichever is the higher."""
    net = MLP((1, *hidden, 2), activation="identity", loss="cross_entropy", bias=False)
    params = Parameters.zeros(net, dtype)
    params.weights[0].flat[0] = 1
    params.weights[-1].flat[:2] = z * np.eye(2)[higher]
    x = np.ones((2, 1), dtype)
    each = net.loss(params, x, np.array([higher, 1 - higher]), reduction="none")
    np.testing.assert_allclose(each, [np.log1p(np.exp(-z)), z], rtol=2e-7, atol=1e-7)
    _, grad = net.value_and_grad(params, x[:1], np.array([1 - higher]))
    np.testing.assert_allclose(grad.weights[-1].flat[:2], 2 * np.eye(2)[higher] - 1, atol=2e-7)


@pytest.mark.parametrize("case", [*SMALL[::4], *MIXED], ids=lambda case: case.id)
def test_scratch_memory_may_hold_anything(case):
    """Workspaces poisoned with NaN or with all bits set give the same gradient, which is not all zeros."""
    data = make_data(case)
    wanted, wanted_grad = case.net.value_and_grad(data.params, data.x, data.y)
    assert wanted_grad.vector.any()
    for poison in (0x00, 0xFF):
        workspace = Workspace()
        case.net.value_and_grad(data.params, data.x, data.y, workspace=workspace)
        for batch in workspace._batches.values():
            batch.memory.view(np.uint8)[:] = poison
            batch.accumulators.view(np.uint8)[:] = poison
        value, grad = case.net.value_and_grad(data.params, data.x, data.y, workspace=workspace)
        assert value == wanted
        np.testing.assert_array_equal(grad.vector, wanted_grad.vector)


def test_row_of_nan_weights_is_not_hidden():
    """A NaN among the parameters shows in the loss, through every activation."""
    for case in SMALL:
        data = make_data(case)
        data.params.weights[0].flat[0] = np.nan
        assert np.isnan(case.net.loss(data.params, data.x, data.y)), case.id


def test_poisson_of_a_large_mean_overflows_to_infinity():
    """exp(z) beyond the range is inf, as in NumPy; nothing wraps around."""
    net = MLP((1, 1), loss=losses.poisson(), bias=False)
    params = Parameters.from_vector(net, np.array([1.0], np.float32))
    assert net.loss(params, np.array([[1000.0]], np.float32), np.array([1.0], np.float32)) == np.inf


@pytest.mark.parametrize("n_outputs", [1, 2, 20])
@pytest.mark.parametrize("hidden", [(3, 5), (3, 16), (40, 17)])
def test_an_overflow_reaches_no_more_than_it_does_in_numpy(hidden, n_outputs):
    """Where a hidden layer is infinite, a sigmoid above it is 1: the padding of its rows, inf times 0, stays unseen."""
    net = MLP((20, *hidden, n_outputs), activation=("relu", "sigmoid"), loss="squared_error")
    params = net.init(0)
    for w in params.weights:
        w[...] = abs(w)
    params.weights[0][...] = 1e20
    x = np.full((3, 20), 1e20, np.float32)
    wanted = (params.weights[2].sum(axis=0, dtype=np.float64) + params.biases[2]) * np.ones((3, 1))
    np.testing.assert_allclose(net.forward(params, x), wanted, rtol=1e-5)
    value, grad = net.value_and_grad(params, x, np.zeros((3, n_outputs), np.float32))
    assert value == pytest.approx((wanted**2).sum() / 6, rel=1e-5)
    assert np.isfinite(grad.weights[2]).all()
    assert np.isfinite(grad.biases[2]).all()


@pytest.mark.parametrize("n_inputs", [2, 40])
def test_what_would_stand_behind_the_last_row_may_overflow(n_inputs):
    """A poisson mean that is infinite for x = 0, which is no row of the batch."""
    net = MLP((n_inputs, 8, 1), activation="sigmoid", loss="poisson")
    params = net.init(0)
    params.weights[0][...], params.weights[1][...], params.biases[1][...] = 10, -30, 240
    value, grad = net.value_and_grad(params, np.ones((5, n_inputs), np.float32), np.ones(5, np.float32))
    assert value == pytest.approx(1, rel=1e-3)
    assert np.isfinite(grad.vector).all()
