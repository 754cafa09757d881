"""The gradient check itself: it passes right gradients, and must fail one that is wrong by 0.1 % in one weight."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp import losses, reference
from fastbp.engine.gradcheck import GradientReport, GradientRow, check_grad
from fastbp.model.network import MLP
from fastbp.model.parameters import Parameters
from tests.cases import SMALL, make_data

CHECKED = [case for case in SMALL if case.net.n_parameters <= 260][::4]
WIDE = MLP((40, 64, 10), activation="relu", loss="cross_entropy")


def wrong_at(j, factor=1.001):
    """The reference's gradient with entry j multiplied by a factor."""

    def value_and_grad(net, params, x, y, **options):
        value, grad = reference.value_and_grad(net, params, x, y, **options)
        grad.vector[j] *= factor
        return value, grad

    return value_and_grad


def wide_data(dtype=np.float64):
    rng = np.random.default_rng(0)
    return WIDE.init(0, dtype=dtype), rng.standard_normal((6, 40)), rng.integers(0, 10, 6)


def lecture_data():
    net = MLP((2, 5, 1), bias=False)
    x = np.random.default_rng(0).standard_normal((20, 2))
    return net, net.init(0, dtype=np.float64), x, x[:, 0] > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.id)
def test_a_right_gradient_passes(case, dtype):
    """The reference's own gradient agrees with all three answers, in both precisions, with weights and penalties."""
    d = make_data(case, dtype)
    options = {"sample_weight": d.sample_weight, "l1": 0.01, "l2": 0.1}
    report = check_grad(
        case.net, d.params, d.x, d.y, value_and_grad=reference.value_and_grad, rng=case.n_rows, **options
    )
    assert report.ok, str(report)
    assert bool(report)
    assert sum(row.n for row in report.rows) == case.net.n_parameters
    assert not any(math.isnan(row.complex_step) or math.isnan(row.projection) for row in report.rows)
    if dtype is np.float64:
        assert max(row.complex_step for row in report.rows) < 1e-13


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.id)
def test_a_gradient_wrong_by_a_thousandth_in_one_weight_fails(case):
    """In every layer, the largest weight gradient times 1.001 is caught, in that row and no other."""
    d = make_data(case)
    _, grad = reference.value_and_grad(case.net, d.params, d.x, d.y)
    for number, layer in enumerate(case.net.layers, start=1):
        j = layer.weights.start + np.abs(grad.vector[layer.weights]).argmax()
        report = check_grad(case.net, d.params, d.x, d.y, value_and_grad=wrong_at(j))
        assert not report.ok
        assert [row.name for row in report.rows if not row.ok] == [f"W{number}"]
        assert str(report).endswith(f"\nwrong: the gradient of W{number}")


@pytest.mark.parametrize("place", range(0, WIDE.n_parameters, 307))
def test_projections_catch_a_wrong_weight_that_was_not_stepped(place):
    """In a network that is only sampled, one weight wrong by 0.1 % is caught wherever it is."""
    params, x, y = wide_data()
    _, grad = reference.value_and_grad(WIDE, params, x, y)
    place += np.flatnonzero(grad.vector[place:])[0]
    report = check_grad(WIDE, params, x, y, value_and_grad=wrong_at(place))
    (row,) = [row for row in report.rows if not row.ok]
    assert row.projection > row.tolerance
    assert [r.n_checked for r in report.rows] == [64, 64, 64, 10]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1.0, 0.0])
def test_a_gradient_that_is_no_gradient_fails(broken):
    """NaN, infinity, the wrong sign or nothing at all is never ok."""
    net, params, x, y = lecture_data()
    with np.errstate(invalid="ignore"):
        assert not check_grad(net, params, x, y, value_and_grad=wrong_at(slice(None), broken)).ok


def test_a_wrong_gradient_in_float32_fails():
    """1 % in one layer is far above float32's rounding."""
    params, x, y = wide_data(np.float32)
    assert check_grad(WIDE, params, x, y, value_and_grad=reference.value_and_grad).ok
    report = check_grad(WIDE, params, x, y, value_and_grad=wrong_at(WIDE.layers[1].weights, 1.01))
    assert [row.name for row in report.rows if not row.ok] == ["W2"]


def test_both_sides_see_the_same_numbers():
    """float32 rounds x and y before the check, so data beyond its precision are no error; labels stay whole."""
    net = MLP((2, 3, 1), loss="squared_error")
    x, y = np.full((5, 2), 1.0) + 1e-6 * np.arange(10).reshape(5, 2) / 7, np.arange(5) / 3
    seen = []

    def spy(net, params, x, y, **options):
        seen.append((x.dtype, y.dtype, options["sample_weight"].dtype))
        return reference.value_and_grad(net, params, x, y, **options)

    assert check_grad(net, net.init(0), x, y, sample_weight=np.full(5, 0.1), value_and_grad=spy).ok
    assert seen == [(np.float32, np.float32, np.float32)]


def test_points_on_a_kink_are_said_and_do_not_fail():
    """A residual and a pre-activation of 0: central differences are left out, complex step still judges."""
    net = MLP((1, 2, 1), activation="relu", loss="absolute_error")
    params = Parameters(net, np.array([1.0, -1.0, 0.0, 0.5, 2.0, 1.0, 0.25]))
    x, y = np.array([[0.0], [1.0]]), np.array([0.75, 3.0])
    report = check_grad(net, params, x, y, value_and_grad=reference.value_and_grad)
    assert report.ok, str(report)
    assert report.n_near_kink == 2
    assert [row.n_smooth for row in report.rows] == [2, 0, 1, 0]
    assert str(report).splitlines()[-3:] == [
        "4 of 7 parameters were left out of the central differences: their steps cross a kink",
        "2 pre-activations or residuals lie within 1e-6 of a kink, where the derivative is a convention and rounding "
        "may choose the other side",
        "ok: the gradient agrees",
    ]
    assert not check_grad(net, params, x, y, value_and_grad=wrong_at(0)).ok


@pytest.mark.parametrize("loss", [losses.huber(0.5), losses.quantile(0.9), "absolute_error"], ids=str)
def test_where_nothing_is_smooth_no_central_difference_is_claimed(loss):
    """A row exactly on the loss's kink leaves "-" in the table and the verdict to the others."""
    net = MLP((1, 1), loss=loss)
    residual = 0.5 if losses.named(loss).name == "huber" else 0.0
    params = Parameters(net, np.array([1.0, 0.0]))
    report = check_grad(net, params, [[1.0]], [1.0 - residual], value_and_grad=reference.value_and_grad)
    assert [row.n_smooth for row in report.rows] == [0, 0]
    assert all(math.isnan(row.central_difference) for row in report.rows)
    assert report.ok
    assert str(report).splitlines()[2].split()[5] == "-"


def test_a_weight_at_zero_is_a_kink_of_the_penalty_only():
    """Under l1, a weight of 0 is left out of the central differences; a bias of 0 is not."""
    net = MLP((1, 1), loss="squared_error")
    params = Parameters(net, np.zeros(2))
    both = [
        check_grad(net, params, [[1.0]], [1.0], l1=l1, value_and_grad=reference.value_and_grad) for l1 in (0.0, 0.5)
    ]
    assert [[row.n_smooth for row in report.rows] for report in both] == [[1, 1], [0, 1]]
    assert all(report.ok for report in both)


def test_the_table_reads_well():
    """Columns line up, numbers are short, the formula is there, the verdict comes last."""
    rows = (
        GradientRow("W1", 200704, 64, 64, 3.4e-16, 1.25e-15, 4.9e-11, 1e-11),
        GradientRow("b1", 256, 64, 0, 0.5, 0.25, math.nan, 1e-11),
    )
    assert str(GradientReport("Gradient of 784-256 linear, squared_error, float64, 9 rows", rows, 0)) == "\n".join(
        [
            "Gradient of 784-256 linear, squared_error, float64, 9 rows",
            "          n  checked  complex step  projection  central diff.  tolerance",
            "W1  200,704       64       3.4e-16     1.2e-15        4.9e-11      1e-11     ok",
            "b1      256       64       5.0e-01     2.5e-01              -      1e-11  WRONG",
            "error = ||g - g_ref|| / ||g_ref||, over the parameters checked; central differences may err by 1e-06",
            "64 of 128 parameters were left out of the central differences: their steps cross a kink",
            "wrong: the gradient of b1",
        ]
    )


def test_rng_decides_the_sample():
    """The same seed gives the same report, another seed another sample."""
    params, x, y = wide_data()
    first, again, other = (
        check_grad(WIDE, params, x, y, value_and_grad=reference.value_and_grad, rng=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_parameters_and_data_are_not_written():
    """The check steps copies: everything given may be read-only."""
    net, params, x, y = lecture_data()
    for array in (params.vector, x):
        array.flags.writeable = False
    assert check_grad(net, params, x, y, value_and_grad=reference.value_and_grad).ok
