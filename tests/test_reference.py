"""The NumPy twin against complex step, high precision, exact forms and the lecture's slides."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fastbp import reference
from fastbp.errors import InputError
from fastbp.model import activations, losses
from fastbp.model.network import MLP
from fastbp.model.parameters import Parameters
from tests.cases import CASES, LOSSES, MARGIN, SMALL, Case, make_data

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
small_cases = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)


def norm_wise(got, wanted):
    """||got - wanted|| / ||wanted||."""
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


# -- the table of cases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [CASES, SMALL], ids=["CASES", "SMALL"])
def test_table_covers_every_activation_loss_depth_and_kind_of_label(table):
    """No list of cases is empty where it claims to be full."""
    hidden = {(a.name, c.net.loss_function.name, c.net.bias) for c in table for a in c.net.activations}
    wanted = {(a, loss, bias) for a in activations.NAMES for loss in losses.NAMES for bias in (True, False)}
    assert {a for a, _, _ in hidden} == set(activations.NAMES)
    assert {loss for _, loss, _ in hidden} == set(losses.NAMES)
    assert table is SMALL or hidden >= wanted
    assert {len(c.net.layers) for c in table} == {1, 2, 3, 4, 5}
    assert {c.label_rows for c in table if c.net.loss_function.name == "cross_entropy"} == {True, False}
    assert {c.net.n_outputs for c in table} >= {1, 2, 3, 16}
    assert len({c.id for c in table}) == len(table)


@small_cases
def test_data_keep_away_from_kinks_and_are_the_same_in_both_precisions(case):
    """Pre-activations stay 1e-3 away from 0, and float32 data are the float64 data, rounded."""
    wide, narrow = make_data(case), make_data(case, np.float32)
    zs = reference.pre_activations(case.net, wide.params, wide.x)
    for z, activation in zip(zs, case.net.activations, strict=False):
        assert all(np.abs(z - kink).min() >= MARGIN for kink in activation.record.kinks)
    assert (narrow.x == wide.x.astype(np.float32)).all()
    assert (narrow.params.vector == wide.params.vector.astype(np.float32)).all()


# -- gradients ------------------------------------------------------------------------------------------


@every_case
def test_gradient_is_that_of_complex_step(case):
    """dL/dp agrees with Im L(p + i h e_j) / h at 1e-12 norm-wise, and with four random directions."""
    d = make_data(case)
    options = {"sample_weight": d.sample_weight, "l1": 0.01, "l2": 0.1}
    value, grad = reference.value_and_grad(case.net, d.params, d.x, d.y, **options)

    def derivative(direction):
        params = Parameters(case.net, d.params.vector + 1e-30j * direction)
        return reference.loss(case.net, params, d.x, d.y, **options).imag / 1e-30

    rng = np.random.default_rng(0)
    n = case.net.n_parameters
    some = rng.permutation(n)[: 24 if case.n_rows < 200 else 6]
    assert grad.vector[some].any()
    assert norm_wise(grad.vector[some], [derivative(np.eye(1, n, j)[0]) for j in some]) < 1e-12
    signs = rng.choice([-1.0, 1.0], (4, n))
    assert np.abs(signs @ grad.vector - [derivative(v) for v in signs]).max() < 1e-12 * np.linalg.norm(grad.vector)
    assert value == reference.loss(case.net, d.params, d.x, d.y, **options)


@every_case
def test_float32_is_float64_to_rounding(case):
    """Value, gradient and predictions in float32 are those in float64 at 1e-5, and stay float32."""
    wide, narrow = make_data(case), make_data(case, np.float32)
    results = []
    for d in (wide, narrow):
        options = {"sample_weight": d.sample_weight, "l1": 0.01, "l2": 0.1}
        value, grad = reference.value_and_grad(case.net, d.params, d.x, d.y, **options)
        response = reference.forward(case.net, d.params, d.x)
        assert type(value) is float
        assert grad.dtype == response.dtype == d.params.dtype
        results.append((value, grad.vector, response))
    (value, grad, response), (value32, grad32, response32) = results
    assert value32 == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert norm_wise(grad32, grad) < 1e-5
    assert norm_wise(response32, response) < 1e-5


@small_cases
def test_a_gradient_can_be_differentiated_again(case):
    """At complex parameters the gradient is analytic too: its complex step gives a symmetric Hessian."""
    d = make_data(case)
    rng = np.random.default_rng(1)
    u, v = rng.standard_normal((2, case.net.n_parameters))

    def hessian_times(direction):
        params = Parameters(case.net, d.params.vector + 1e-30j * direction)
        return reference.value_and_grad(case.net, params, d.x, d.y, l2=0.1)[1].vector.imag / 1e-30

    hu, hv = hessian_times(u), hessian_times(v)
    assert abs(v @ hu - u @ hv) < 1e-12 * (np.linalg.norm(hu) * np.linalg.norm(v) + np.linalg.norm(hv))


# -- the objective --------------------------------------------------------------------------------------


@small_cases
def test_sample_weight_is_repetition(case):
    """A row of weight 2 counts as two rows of weight 1, and a row of weight 0 as none."""
    d = make_data(case)
    times = np.arange(case.n_rows) % 3 + (case.n_rows == 1)
    again = np.repeat(np.arange(case.n_rows), times)
    for reduction in ("mean", "sum"):
        weighted = reference.value_and_grad(case.net, d.params, d.x, d.y, sample_weight=times, reduction=reduction)
        repeated = reference.value_and_grad(case.net, d.params, d.x[again], d.y[again], reduction=reduction)
        assert weighted[0] == pytest.approx(repeated[0], rel=1e-13)
        assert norm_wise(weighted[1].vector, repeated[1].vector) < 1e-12


@small_cases
def test_reductions_are_one_sum(case):
    """sum = sum of none, mean = sum / sum of weights, penalties unscaled, and gradients follow."""
    d = make_data(case)
    total = d.sample_weight.sum()

    def loss(reduction, **penalty):
        return reference.loss(
            case.net, d.params, d.x, d.y, sample_weight=d.sample_weight, reduction=reduction, **penalty
        )

    terms = loss("none")
    assert terms.shape == (case.n_rows,)
    assert loss("sum") == pytest.approx(terms.sum(), rel=1e-13)
    assert loss("mean") == pytest.approx(terms.sum() / total, rel=1e-13)
    penalty = sum(0.3 * np.abs(w).sum() + 0.35 * (w**2).sum() for w in d.params.weights)
    for reduction in ("mean", "sum"):
        assert loss(reduction, l1=0.3, l2=0.7) - loss(reduction) == pytest.approx(penalty, rel=1e-10)
    mean, summed = (
        reference.value_and_grad(case.net, d.params, d.x, d.y, sample_weight=d.sample_weight, reduction=r)[1].vector
        for r in ("mean", "sum")
    )
    assert norm_wise(mean * total, summed) < 1e-13


@small_cases
def test_penalties_touch_weights_only(case):
    """dL/dW gains l1 sign(W) + l2 W; dL/db gains nothing."""
    d = make_data(case)
    _, plain = reference.value_and_grad(case.net, d.params, d.x, d.y)
    _, penalised = reference.value_and_grad(case.net, d.params, d.x, d.y, l1=0.3, l2=0.7)
    for before, after, w in zip(plain.weights, penalised.weights, d.params.weights, strict=True):
        assert after - before == pytest.approx(0.3 * np.sign(w) + 0.7 * w, abs=1e-12)
    for before, after in zip(plain.biases, penalised.biases, strict=True):
        assert (before == after).all()


@pytest.mark.parametrize(
    "case",
    [c for c in SMALL if c.net.loss_function.name == "cross_entropy" or c.net.n_outputs == 1],
    ids=lambda case: case.id,
)
def test_labels_are_rows_with_a_single_one(case):
    """cross_entropy of labels (N,) equals that of one-hot rows, to the bit; (N,) equals (N, 1) for one output."""
    d = make_data(case)
    if case.net.loss_function.name == "cross_entropy":
        labels = d.y if d.y.ndim == 1 else d.y.argmax(axis=1)
        other = np.eye(case.net.n_outputs)[labels]
    else:
        labels = d.y.reshape(-1)
        other = labels[:, None]
    one, two = (reference.value_and_grad(case.net, d.params, d.x, y) for y in (labels, other))
    assert one[0] == two[0]
    assert (one[1].vector == two[1].vector).all()


@small_cases
def test_predictions_are_the_likeliest_label_or_the_mean(case):
    """predict: int64 labels for the cross entropies, the response otherwise; forward: the link of the logits."""
    d = make_data(case)
    link = case.net.loss_function.link
    response = reference.forward(case.net, d.params, d.x)
    predicted = reference.predict(case.net, d.params, d.x)
    z = reference.logits(case.net, d.params, d.x)
    if link == "softmax":
        assert response.sum(axis=1) == pytest.approx(1.0, abs=1e-14)
        wanted = response.argmax(axis=1)
    elif link == "sigmoid":
        wanted = (response > 0.5)[:, 0] if case.net.n_outputs == 1 else response > 0.5
    else:
        assert (response == (np.exp(z) if link == "exp" else z)).all()
        wanted = response
    assert predicted.dtype == (np.int64 if link in ("softmax", "sigmoid") else np.float64)
    assert predicted.shape == wanted.shape
    assert (predicted == wanted).all()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_inputs_are_not_written(loss):
    """x, y, weights and parameters may be read-only."""
    net = MLP((3, 4, 2), activation="relu", loss=loss)
    d = make_data(Case(net, 6))
    for array in (d.x, d.y, d.sample_weight, d.params.vector):
        array.flags.writeable = False
    params = Parameters(net, d.params.vector)
    reference.value_and_grad(net, params, d.x, d.y, sample_weight=d.sample_weight, l1=0.1)
    _, grad = reference.value_and_grad(net, params, d.x, d.y)
    assert grad.vector.flags.writeable


# -- the lecture ----------------------------------------------------------------------------------------


def test_gradient_is_the_one_on_the_slides():
    """2-100-1 without bias: the slides' computation graph, walked step by step from L to W1, gives the same."""
    net = MLP((2, 100, 1), bias=False)
    params = net.init(0, dtype=np.float64, scheme="lecture")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 2))
    y = (x[:, :1] * x[:, 1:] > 0).astype(float)
    w1, w2 = (w / 4 for w in params.weights)
    params = Parameters(net, params.vector / 4)

    z1 = x @ w1
    h = 1 / (1 + np.exp(-z1))
    z2 = h @ w2
    y_hat = 1 / (1 + np.exp(-z2))
    loss = -(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))
    d_y_hat = -(y / y_hat - (1 - y) / (1 - y_hat))
    d_z2 = y_hat * (1 - y_hat) * d_y_hat
    d_w2 = h.T @ d_z2
    d_h = d_z2 @ w2.T
    d_z1 = h * (1 - h) * d_h
    d_w1 = x.T @ d_z1

    value, grad = reference.value_and_grad(net, params, x, y, reduction="sum")
    assert reference.forward(net, params, x) == pytest.approx(y_hat, rel=1e-13)
    assert value == pytest.approx(loss.sum(), rel=1e-13)
    assert norm_wise(grad.weights[0], d_w1) < 1e-13
    assert norm_wise(grad.weights[1], d_w2) < 1e-13


def test_without_bias_opposite_inputs_have_logits_that_add_to_a_constant():
    """f(-x) = sum(W2) - f(x), since sigmoid(-z) = 1 - sigmoid(z)."""
    net = MLP((2, 100, 1), bias=False)
    params = net.init(0, dtype=np.float64, scheme="lecture")
    x = np.random.default_rng(1).standard_normal((50, 2))
    total = reference.logits(net, params, x) + reference.logits(net, params, -x)
    assert total == pytest.approx(params.weights[1].sum(), abs=1e-12)


# -- refusals and imports -------------------------------------------------------------------------------

BINARY, CLASSES = MLP((2, 3, 1)), MLP((2, 3), loss="cross_entropy")


@pytest.mark.parametrize(
    ("net", "arguments", "message"),
    [
        (
            BINARY,
            {"x": np.zeros((4, 3))},
            "x must have shape (N, 2) for the network 2-3-1 sigmoid, binary_cross_entropy; got (4, 3)",
        ),
        (
            BINARY,
            {"y": np.zeros(5)},
            "y must have shape (4, 1), like the outputs of the network 2-3-1 sigmoid, binary_cross_entropy; got (5,)",
        ),
        (CLASSES, {"y": np.array([0, 1, 3, -1])}, "labels must be whole numbers from 0 to 2; got [-1  0  1  3]"),
        (
            BINARY,
            {"sample_weight": [1, -1, 1, 1]},
            "sample_weight must be 4 numbers, none negative and not all zero; got [ 1 -1  1  1]",
        ),
        (
            BINARY,
            {"sample_weight": [0, 0, 0, 0]},
            "sample_weight must be 4 numbers, none negative and not all zero; got [0 0 0 0]",
        ),
        (BINARY, {"reduction": "average"}, "reduction must be 'mean', 'sum' or 'none'; got 'average'"),
        (
            BINARY,
            {"reduction": "none", "l1": 0.5},
            "reduction='none' gives one loss a sample, to which the penalties l1=0.5, l2=0.0 do not belong; "
            "leave them out, or use reduction='mean' or 'sum'",
        ),
    ],
)
def test_refusals(net, arguments, message):
    """What cannot be computed is refused, and the message says what was wanted and what came."""
    x, y = arguments.pop("x", np.zeros((4, 2))), arguments.pop("y", np.zeros(4, int))
    with pytest.raises(InputError) as caught:
        reference.loss(net, net.init(0), x, y, **arguments)
    assert str(caught.value) == message


def test_a_gradient_is_of_one_objective():
    """value_and_grad refuses reduction="none"."""
    with pytest.raises(InputError) as caught:
        reference.value_and_grad(BINARY, BINARY.init(0), np.zeros((4, 2)), np.zeros(4), reduction="none")
    assert str(caught.value) == "a gradient needs one objective: reduction must be 'mean' or 'sum'; got 'none'"


def test_works_without_numba():
    """Importing and running the reference needs NumPy alone: the import of numba is blocked."""
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from fastbp.engine import gradcheck; from fastbp import reference\n"
        "from fastbp.model.network import MLP\n"
        "net = MLP((2, 3, 1), activation='gelu'); params = net.init(0)\n"
        "data = np.ones((4, 2)), np.ones(4)\n"
        "value, grad = reference.value_and_grad(net, params, *data)\n"
        "report = gradcheck.check_grad(net, params, *data, value_and_grad=reference.value_and_grad)\n"
        "print(report.ok, grad.vector.size)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True 13\n", "")
