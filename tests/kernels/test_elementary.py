"""Activations and losses of the NumPy twin, one value at a time: formulas, kinks and saturation."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from fastbp import reference
from fastbp.model import activations, elementary, losses
from fastbp.model.network import MLP
from fastbp.model.parameters import Parameters

EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}
REAL_LINE = np.concatenate([np.linspace(-37.0, 37.0, 297), [-1e-8, 1e-8, -1e-300, 0.0, 0.5, 1e-3]])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def complex_step(f, p, h=1e-30):
    """The derivative of f at p in the real direction."""
    return f(p + 1j * h).imag / h


# -- activations, losses, links: values and derivatives --------------------------------------------------


FAR = (-1e4, -710.0, 710.0, 1e4)
_RAMP, _STEP = (0, 0, 710, 1e4), (0, 0, 1, 1)  # of functions that are 0 far to the left, and z far to the right


def exact_activations(p):
    """Of each activation with the parameter p the formula in mpmath, and a(z) and a'(z) at FAR."""
    exp, log, tanh = mpmath.exp, mpmath.log, mpmath.tanh
    return {
        "identity": (lambda z: z, FAR, (1, 1, 1, 1)),
        "sigmoid": (lambda z: 1 / (1 + exp(-z)), (0, 0, 1, 1), (0, 0, 0, 0)),
        "tanh": (tanh, (-1, -1, 1, 1), (0, 0, 0, 0)),
        "relu": (lambda z: max(z, mpmath.mpf(0)), _RAMP, _STEP),
        "leaky_relu": (lambda z: z if z > 0 else p * z, (-1e4 * p, -710 * p, 710, 1e4), (p, p, 1, 1)),
        "elu": (lambda z: z if z > 0 else p * mpmath.expm1(z), (-p, -p, 710, 1e4), _STEP),
        "softplus": (lambda z: log(1 + exp(z)), _RAMP, _STEP),
        "silu": (lambda z: z / (1 + exp(-z)), _RAMP, _STEP),
        "gelu": (lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2, _RAMP, _STEP),
        "gelu_tanh": (
            lambda z: z * (1 + tanh(mpmath.sqrt(2 / mpmath.pi) * (z + 0.044715 * z**3))) / 2, _RAMP, _STEP,
        ),
    }  # fmt: skip


def test_every_activation_and_loss_has_an_exact_formula():
    """And none is left of those that are gone."""
    assert list(exact_activations(0.0)) == list(activations.NAMES)
    assert list(EXACT_LOSSES) == list(losses.NAMES)


@pytest.mark.parametrize("name", activations.NAMES)
def test_activation_is_its_formula_and_its_derivative_that_of_complex_step(name):
    """a(z) is the formula to rounding in 60 digits, and a'(z) is Im a(z + ih)/h, from -37 to 37."""
    activation = activations.named(name)
    z = REAL_LINE[REAL_LINE != 0]
    value, derivative = activation.evaluate(z)
    formula, _, _ = exact_activations(activation.parameter)[name]
    with mpmath.workdps(60):
        exact = np.array([float(formula(mpmath.mpf(v))) for v in z])
    rounding = 4 * EPS[np.float64] * np.maximum(np.abs(z), 1)
    assert (np.abs(value - exact) <= rounding).all()
    stepped = complex_step(lambda v: activation.evaluate(v)[0], z)
    assert (np.abs(derivative() - stepped) <= rounding).all()


EXACT_LOSSES = {
    "binary_cross_entropy": lambda y, z, p: -(y * np.log(1 / (1 + np.exp(-z))) + (1 - y) * np.log(1 / (1 + np.exp(z)))),
    "cross_entropy": lambda y, z, p: -y * np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
    "squared_error": lambda y, z, p: (z - y) ** 2 / 2,
    "absolute_error": lambda y, z, p: np.maximum(z - y, y - z),
    "huber": lambda y, z, p: np.where(np.abs(z - y) <= p, (z - y) ** 2 / 2, p * (np.abs(z - y) - p / 2)),
    "quantile": lambda y, z, p: np.where(y > z, p * (y - z), (1 - p) * (z - y)),
    "poisson": lambda y, z, p: np.exp(z) - y * z,
}


@pytest.mark.parametrize("loss", [*losses.NAMES, losses.huber(0.3), losses.quantile(0.9)], ids=str)
def test_loss_is_its_formula_and_its_derivative_that_of_complex_step(loss):
    """l(y, z) is the textbook formula where that one is safe, and dl/dz is the derivative of its sum over outputs."""
    loss = losses.named(loss)
    rng = np.random.default_rng(0)
    z, y = rng.normal(0.0, 2.0, (50, 3)), rng.dirichlet(np.ones(3), 50)
    value, derivative = loss.evaluate(y, z)
    assert value == pytest.approx(EXACT_LOSSES[loss.name](y, z, loss.parameter), rel=1e-13, abs=1e-15)
    for k in range(3):
        step = np.eye(3)[k] * 1e-30j
        stepped = loss.evaluate(y, z + step)[0].sum(axis=1).imag / 1e-30
        assert derivative()[:, k] == pytest.approx(stepped, rel=1e-14, abs=1e-15)


def test_normal_distribution_function_is_right_in_both_tails():
    """Phi(z) and phi(z) = Phi'(z) agree with mpmath relative to their own size, down to 1e-300."""
    z = REAL_LINE
    with mpmath.workdps(60):
        cdf = np.array([float(mpmath.erfc(-mpmath.mpf(v) / mpmath.sqrt(2)) / 2) for v in z])
        pdf = np.array([float(mpmath.npdf(mpmath.mpf(v))) for v in z])
    # exp(-z^2/2) alone turns the rounding of z^2/2 into a relative error of that size.
    allowed = 2e-15 + EPS[np.float64] * z * z
    assert (np.abs(elementary.normal_cdf(z) - cdf) <= allowed * cdf).all()
    assert (np.abs(elementary.normal_pdf(z) - pdf) <= allowed * pdf).all()
    # With h = 1e-30 the imaginary part would underflow in the tails; 1e-9 costs z^2 h^2 / 6.
    stepped = complex_step(elementary.normal_cdf, z, h=1e-9)
    assert (np.abs(stepped - pdf) <= allowed * pdf).all()


@pytest.mark.parametrize(
    ("activation", "derivative"),
    [("relu", 0.0), ("leaky_relu", 0.01), (activations.leaky_relu(0.3), 0.3), (activations.elu(0.7), 0.7)],
    ids=str,
)
def test_activation_derivative_at_its_kink(activation, derivative):
    """At exactly 0 the derivative is the one from the left, in a'(0) and by complex step."""
    activation = activations.named(activation)
    value, slope = activation.evaluate(np.zeros(1))
    assert (value, slope()) == (0.0, derivative)
    stepped = complex_step(lambda z: activation.evaluate(z)[0], np.zeros(1))
    assert stepped == pytest.approx(derivative, rel=EPS[np.float64])


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", losses.quantile(0.9)], ids=str)
def test_loss_derivative_at_its_kink(loss):
    """Where the prediction meets y exactly, loss and derivative are 0, by complex step too."""
    loss = losses.named(loss)
    y = np.full((1, 1), 0.75)
    value, slope = loss.evaluate(y, y)
    assert (value.item(), slope().item()) == (0.0, 0.0)
    assert complex_step(lambda z: loss.evaluate(y, z)[0], y).item() == 0.0


def test_l1_derivative_of_a_zero_weight_is_zero():
    """sign(0) = 0 for a weight exactly 0."""
    net = MLP((1, 2), loss="squared_error", bias=False)
    params = Parameters(net, np.array([0.0, -2.0]))
    value, grad = reference.value_and_grad(net, params, [[0.0]], [[0.0, 0.0]], l1=0.5)
    assert value == 1.0
    assert grad.vector.tolist() == [0.0, -0.5]


# -- saturation -----------------------------------------------------------------------------------------

SATURATED = [-1e4, -710.0, -89.0, -17.0, 17.0, 89.0, 710.0, 1e4]


def one_output(z, loss, dtype):
    """A network whose one logit is exactly z: 1 x z, and its gradient in the weight is dl/dz."""
    net = MLP((1, 1), loss=loss, bias=False)
    return net, Parameters(net, np.array([z], dtype)), np.ones((1, 1))


@both_dtypes
@pytest.mark.parametrize("y", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("z", SATURATED)
def test_binary_cross_entropy_of_saturated_logits(z, y, dtype):
    """Loss relative to itself, gradient and probability to rounding; sure and right, the loss is still exp(-|z|)."""
    net, params, x = one_output(z, "binary_cross_entropy", dtype)
    value, grad = reference.value_and_grad(net, params, x, [y])
    with mpmath.workdps(5000):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        exact = -(y * mpmath.log(p) + (1 - y) * mpmath.log(1 - p))
        exact_value, exact_grad, exact_p = float(exact), float(p - y), float(p)
    eps = EPS[dtype]
    assert value == pytest.approx(exact_value, rel=4 * eps, abs=1e-37)
    assert grad.vector[0] == pytest.approx(exact_grad, abs=2 * eps)
    assert reference.forward(net, params, x).item() == pytest.approx(exact_p, rel=4 * eps, abs=1e-37)


@both_dtypes
@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("z", SATURATED)
def test_cross_entropy_of_saturated_logits(z, label, dtype):
    """Logits (z, -z, 0): loss, gradient and probabilities are right to rounding, for labels and rows alike."""
    net = MLP((1, 3), loss="cross_entropy", bias=False)
    params = Parameters(net, np.array([z, -z, 0.0], dtype))
    with mpmath.workdps(5000):
        e = [mpmath.exp(mpmath.mpf(v)) for v in (z, -z, 0.0)]
        probabilities = np.array([float(v / sum(e)) for v in e])
        exact = float(-mpmath.log(e[label] / sum(e)))
    eps = EPS[dtype]
    for y in ([label], np.eye(3)[[label]]):
        value, grad = reference.value_and_grad(net, params, [[1.0]], y)
        assert value == pytest.approx(exact, rel=4 * eps, abs=4 * eps)
        assert grad.vector == pytest.approx(probabilities - np.eye(3)[label], abs=4 * eps)
    assert reference.forward(net, params, [[1.0]])[0] == pytest.approx(probabilities, abs=4 * eps)


@both_dtypes
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
@pytest.mark.parametrize("z", SATURATED)
def test_regression_losses_of_far_predictions(z, loss, dtype):
    """Losses with the identity link take any z: exact forms at y = 0."""
    value, grad = reference.value_and_grad(*one_output(z, loss, dtype), [0.0])
    exact = {"squared_error": z * z / 2, "absolute_error": abs(z), "huber": abs(z) - 0.5, "quantile": abs(z) / 2}
    slope = {"squared_error": z, "absolute_error": np.sign(z), "huber": np.sign(z), "quantile": np.sign(z) / 2}
    assert value == pytest.approx(exact[loss], rel=2 * EPS[dtype])
    assert grad.vector[0] == slope[loss]


@both_dtypes
@pytest.mark.parametrize("name", activations.NAMES)
def test_activations_of_far_inputs_are_finite_and_at_their_limits(name, dtype):
    """At +-710 and +-1e4 value and derivative are the limits, without a warning, for real and complex z."""
    activation = activations.named(name)
    z = np.array(FAR, dtype)
    _, value_limit, slope_limit = exact_activations(activation.parameter)[name]
    value, slope = activation.evaluate(z)
    assert value.dtype == slope().dtype == dtype
    assert value == pytest.approx(np.array(value_limit, dtype), rel=1e-6, abs=1e-12)
    assert slope() == pytest.approx(np.array(slope_limit, dtype), rel=1e-6, abs=1e-12)
    stepped = complex_step(lambda v: activation.evaluate(v)[0], z.astype(np.float64))
    assert stepped == pytest.approx(np.array(slope_limit), rel=1e-6, abs=1e-12)
