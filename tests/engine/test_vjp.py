"""Gradients in the inputs, and pullbacks of the outputs, against the reference and the complex step."""

import numpy as np
import pytest

import fastbp
from fastbp import reference
from fastbp.errors import InputError
from fastbp.model.parameters import Parameters
from tests.cases import LECTURE, SMALL, make_data

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
DTYPES = (np.float64, np.float32)
CASES = [*LECTURE, *SMALL]
# Accumulators and waves, several outputs with samples in lanes, one layer, inputs that fill no register.
LARGE = [
    (fastbp.MLP((2, 30, 1)), 20_000),
    (fastbp.MLP((3, 9, 4), activation="tanh", loss="cross_entropy"), 5_000),
    (fastbp.MLP((5, 33, 17, 2), activation="gelu", loss="squared_error"), 20_000),
    (fastbp.MLP((40, 70, 35, 10), activation="softplus", loss="cross_entropy"), 3_000),
    (fastbp.MLP((7, 3), loss="poisson"), 300),
]


def distance(got, wanted):
    return np.linalg.norm(np.asarray(got, np.float64) - wanted) / np.linalg.norm(wanted)


def some(net, n_rows, dtype):
    rng = np.random.default_rng(0)
    params = net.init(1, dtype=dtype)
    params.vector[:] += rng.standard_normal(params.vector.size).astype(dtype) * dtype(0.1)
    x = rng.standard_normal((n_rows, net.n_inputs)).astype(dtype)
    y = rng.integers(net.n_outputs, size=n_rows) if net.loss_function.name == "cross_entropy" else None
    return params, x, rng.random((n_rows, net.n_outputs)).astype(dtype) if y is None else y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_input_gradients_are_the_reference_s(case, dtype):
    """Weighted, as a mean and as a sum."""
    data = make_data(case, dtype)
    params, x = data.params.astype(np.float64), data.x.astype(np.float64)
    y = data.y if data.y.dtype == np.int64 else data.y.astype(np.float64)
    for reduction in ("mean", "sum"):
        got = case.net.input_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, reduction=reduction)
        wanted = reference.input_grad(
            case.net, params, x, y, sample_weight=data.sample_weight.astype(np.float64), reduction=reduction
        )
        assert got.dtype == dtype
        assert distance(got, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("net", "n_rows"), LARGE, ids=str)
def test_large_batches(net, n_rows, dtype):
    """Many blocks give the reference's gradients too, on one thread and on two with the same bits, in `out`."""
    params, x, y = some(net, n_rows, dtype)
    out = np.empty_like(x)
    assert net.input_grad(params, x, y, n_threads=2, out=out) is out
    np.testing.assert_array_equal(out, net.input_grad(params, x, y, n_threads=1))
    exact = y if y.dtype == np.int64 else y.astype(np.float64)
    assert (
        distance(out, reference.input_grad(net, params.astype(np.float64), x.astype(np.float64), exact))
        < (TOLERANCE[dtype])
    )


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_the_reference_is_the_complex_step(case):
    """dL/dx in a random direction."""
    data = make_data(case)
    u = np.random.default_rng(0).standard_normal(data.x.shape)
    complex_params = Parameters(case.net, data.params.vector.astype(np.complex128))
    stepped = reference.loss(case.net, complex_params, data.x + 1e-30j * u, data.y).imag / 1e-30
    grad = reference.input_grad(case.net, data.params, data.x, data.y)
    assert (grad * u).sum() == pytest.approx(stepped, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*LECTURE[:3], *SMALL], ids=lambda case: case.id)
def test_pullbacks_are_the_complex_step(case, dtype):
    """d/dt sum(d_y forward(params + t v, x + t u)) = gradient v + d_x u; y_pred has the bits of forward."""
    data, rng = make_data(case, dtype), np.random.default_rng(0)
    y_pred, pullback = case.net.vjp(data.params, data.x)
    np.testing.assert_array_equal(y_pred, case.net.forward(data.params, data.x))
    d_y = rng.standard_normal(y_pred.shape).astype(dtype)
    grad, d_x = pullback(d_y)
    v, u = rng.standard_normal(grad.vector.shape), rng.standard_normal(d_x.shape)
    moved = Parameters(case.net, data.params.vector + 1e-30j * v)
    stepped = (d_y * reference.forward(case.net, moved, data.x + 1e-30j * u)).sum().imag / 1e-30
    got = grad.vector.astype(np.float64) @ v + (d_x * u).sum()
    scale = np.linalg.norm(grad.vector) * np.linalg.norm(v) + np.linalg.norm(d_x) * np.linalg.norm(u)
    assert abs(got - stepped) < (1e-11 if dtype == np.float64 else 1e-5) * scale


def test_a_pullback_keeps_the_parameters_it_came_from():
    """Training on in between changes nothing."""
    net, (params, x, _) = LARGE[0][0], some(*LARGE[0], np.float64)
    y_pred, pullback = net.vjp(params, x)
    wanted, _ = pullback(np.ones_like(y_pred))
    params.vector[:] = 0
    np.testing.assert_array_equal(pullback(np.ones(len(x)))[0].vector, wanted.vector)


def test_wrong_arguments_are_refused():
    """Shapes of d_y and `out`, and reduction="none", which has no gradient."""
    net, (params, x, y) = LARGE[0][0], some(*LARGE[0], np.float64)
    _, pullback = net.vjp(params, x)
    with pytest.raises(InputError, match=r"d_y must have the shape \(20000, 1\)"):
        pullback(np.ones((20_000, 2)))
    with pytest.raises(InputError, match="out"):
        net.input_grad(params, x, y, out=np.empty((3, 2)))
    with pytest.raises(InputError, match="reduction"):
        net.input_grad(params, x, y, reduction="none")
    with pytest.raises(InputError, match="params"):
        net.vjp(None, x)
