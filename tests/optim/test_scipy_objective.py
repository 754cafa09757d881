"""Objectives for SciPy: gradient, Hessian times a vector, residuals and their Jacobian; minima found with them."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

import fastbp
from fastbp import optim, reference
from fastbp.errors import InputError
from fastbp.model.parameters import Parameters
from tests.cases import CASES, SMALL, make_data

SQUARES = [case for case in CASES if case.net.loss_function.name == "squared_error" and case.net.n_parameters <= 800]
KINKED = ("relu", "leaky_relu", "elu", "absolute_error", "quantile", "huber")
SMOOTH = [
    case
    for case in SMALL
    if case.net.n_parameters <= 150
    and not {case.net.loss_function.name, *(activation.name for activation in case.net.activations)} & {*KINKED}
]
OWN = fastbp.MLP(
    (3, 5, 4, 2),
    activation=(fastbp.Activation("own", lambda z: z / (1 + z * z), lambda z: (1 - z * z) / (1 + z * z) ** 2), "gelu"),
    loss="squared_error",
)
NET = fastbp.MLP((2, 4, 1), activation="tanh", loss="squared_error")


def some(net=NET, n=30, dtype=np.float64):
    """(vector, x, y, weights), targets being those of another network, with weights 0 among the others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, net.n_inputs)).astype(dtype)
    y = reference.forward(net, net.init(5, dtype=np.float64), x).astype(dtype)
    return net.init(1, dtype=np.float64).vector, x, y, rng.integers(0, 3, n).astype(dtype)


# -- values and gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", SMALL[::3], ids=lambda case: case.id)
def test_value_and_gradient_are_the_network_s(case, reduction):
    """The bits of value_and_grad in float64; float64 arrays of its own; the complex step agrees in a direction."""
    d = make_data(case)
    options = {"sample_weight": d.sample_weight, "reduction": reduction, "l1": 0.01, "l2": 0.1}
    objective = optim.scipy_objective(case.net, d.x, d.y, **options)
    value, gradient = objective(d.params.vector)
    wanted, wanted_gradient = case.net.value_and_grad(d.params, d.x, d.y, **options)
    assert isinstance(value, float)
    assert value == wanted
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, wanted_gradient.vector)
    assert not np.shares_memory(objective(d.params.vector)[1], gradient)
    direction = np.random.default_rng(0).standard_normal(gradient.size)
    moved = Parameters(case.net, d.params.vector + 1e-30j * direction)
    stepped = reference.loss(case.net, moved, d.x, d.y, **options).imag / 1e-30
    assert gradient @ direction == pytest.approx(stepped, rel=1e-9, abs=1e-10 * np.linalg.norm(gradient))


def test_check_grad_passes_the_objective_s_gradient():
    """With weights and both penalties."""
    vector, x, y, weight = some()

    def value_and_grad(net, params, x, y, **options):
        value, gradient = optim.scipy_objective(net, x, y, **options)(params.vector)
        return value, Parameters(net, gradient)

    options = {"sample_weight": weight, "l1": 0.01, "l2": 0.1}
    report = fastbp.check_grad(NET, Parameters(NET, vector), x, y, value_and_grad=value_and_grad, **options)
    assert report.ok, str(report)


@pytest.mark.parametrize("kind", ["float32", "sparse", "list", "labels"])
def test_data_pass_the_door_once(kind, monkeypatch):
    """Data of any kind are made float64 when the objective is made, and never again."""
    net = fastbp.MLP((2, 4, 3), loss="cross_entropy") if kind == "labels" else NET
    vector, x, y, weight = some(net, dtype=np.float32 if kind == "float32" else np.float64)
    y = np.arange(len(x), dtype=np.uint8) % 3 if kind == "labels" else y
    given = {"sparse": sp.coo_array(x), "list": x.tolist()}.get(kind, x)
    objective = optim.scipy_objective(net, given, y, sample_weight=weight)
    wanted, wanted_gradient = reference.value_and_grad(
        net, Parameters(net, vector), x.astype(np.float64), y, sample_weight=weight.astype(np.float64)
    )
    monkeypatch.setattr(fastbp.engine.inputs, "_real_array", None)
    value, gradient = objective(vector)
    assert value == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gradient, wanted_gradient.vector, rtol=1e-9, atol=1e-14)


def test_vectors_of_any_kind_are_taken_and_none_is_written():
    """Lists, float32, strided and read-only vectors give the gradient of the same numbers."""
    vector, x, y, _ = some()
    vector = vector.astype(np.float32).astype(np.float64)
    objective = optim.scipy_objective(NET, x, y)
    wanted = [objective(vector)[1], objective.jacobian(vector), objective.hessp(vector, vector)]
    frozen = vector.copy()
    frozen.flags.writeable = False
    for other in (vector.tolist(), vector.astype(np.float32), np.repeat(vector, 2)[::2], frozen):
        found = [objective(other)[1], objective.jacobian(other), objective.hessp(other, other)]
        for got, one in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, one)
    np.testing.assert_array_equal(frozen, vector)


def test_calls_in_several_threads():
    """Get the bits of one."""
    vector, x, y, _ = some(n=3000)
    objective = optim.scipy_objective(NET, x, y, n_threads=1)
    wanted, wrong = objective(vector)[1], []

    def work():
        for _ in range(20):
            if (objective(vector)[1] != wanted).any():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_scipy_is_not_imported():
    """By fastbp, neither for the objective nor for what it computes."""
    code = (
        "import sys, numpy as np, fastbp\n"
        "net = fastbp.MLP((2, 3, 1), loss='squared_error')\n"
        "o = fastbp.optim.scipy_objective(net, np.ones((4, 2)), np.ones(4)); v = np.ones(13)\n"
        "o(v), o.hessp(v, v), o.residuals(v), o.jacobian(v)\n"
        "print([name for name in sys.modules if name.startswith('scipy')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Numba looks for SciPy's BLAS by itself, wherever it is installed.
    assert "scipy.optimize" not in result.stdout


# -- second derivatives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*SMOOTH[:12], *SQUARES[:2]], ids=lambda case: case.id)
def test_hessian_vector_products(case):
    """Of every unit vector, against the exact Hessian, by complex steps of the reference's gradient; it is linear."""
    d = make_data(case)
    options = {"sample_weight": d.sample_weight, "l2": 0.1}
    objective, n = optim.scipy_objective(case.net, d.x, d.y, **options), d.params.vector.size

    def exact(p):
        moved = Parameters(case.net, d.params.vector + 1e-30j * p)
        return reference.value_and_grad(case.net, moved, d.x, d.y, **options)[1].vector.imag / 1e-30

    wanted = np.array([exact(unit) for unit in np.eye(n)])
    got = np.array([objective.hessp(d.params.vector, unit) for unit in np.eye(n)])
    scale = np.abs(wanted).max() + np.abs(objective(d.params.vector)[1]).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * scale)
    p = np.random.default_rng(0).standard_normal(n)
    for size in (1.0, 1e8, 1e-8):
        np.testing.assert_allclose(
            objective.hessp(d.params.vector, size * p), size * exact(p), rtol=0, atol=1e-8 * size * scale * n
        )
    assert not objective.hessp(d.params.vector, np.zeros(n)).any()


# -- least squares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SQUARES[::2], ids=lambda case: case.id)
def test_residuals_and_their_jacobian(case):
    """Half the sum of squares is the objective, J'r its gradient, J the complex step of r in every parameter."""
    d = make_data(case)
    objective = optim.scipy_objective(case.net, d.x, d.y, sample_weight=d.sample_weight, reduction="sum")
    vector, n = d.params.vector, case.net.n_parameters
    value, gradient = objective(vector)
    residuals, jacobian = objective.residuals(vector), objective.jacobian(vector)
    assert residuals.shape == (case.n_rows * case.net.n_outputs,)
    assert jacobian.shape == (case.n_rows * case.net.n_outputs, n)
    assert residuals.dtype == jacobian.dtype == np.float64
    z = reference.logits(case.net, d.params, d.x)
    wanted = np.sqrt(d.sample_weight)[:, None] * (z - d.y.reshape(z.shape))
    np.testing.assert_allclose(residuals, wanted.reshape(-1), rtol=1e-12)
    assert residuals @ residuals / 2 == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(residuals @ jacobian, gradient, rtol=1e-9, atol=1e-11 * np.linalg.norm(gradient))
    for j in range(0, n, 1 + n // 60):
        stepped = objective.residuals(vector + 1e-30j * np.eye(1, n, j)[0]).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, j], stepped, rtol=1e-10, atol=1e-14)


def test_the_jacobian_of_functions_of_the_user_s_own():
    """Complex step, for an activation of one's own beside a built-in one, with sparse inputs as with dense ones."""
    vector, x, y, weight = some(OWN)
    objective = optim.scipy_objective(OWN, x, y, sample_weight=weight)
    jacobian = objective.jacobian(vector)
    for j in range(vector.size):
        stepped = objective.residuals(vector + 1e-30j * np.eye(1, vector.size, j)[0]).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, j], stepped, rtol=1e-10, atol=1e-14)
    sparse = optim.scipy_objective(OWN, sp.csr_array(x), y, sample_weight=weight)
    np.testing.assert_array_equal(sparse.jacobian(vector), jacobian)
    np.testing.assert_array_equal(sparse.residuals(vector), objective.residuals(vector))


# -- minima ------------------------------------------------------------------------------------------------------------

METHODS = {
    "L-BFGS-B": {"options": {"maxiter": 3000, "maxfun": 10_000, "ftol": 1e-15, "gtol": 1e-9}},
    "BFGS": {"options": {"gtol": 1e-8}},
    "Newton-CG": {"hessp": True, "options": {"maxiter": 500}},
    "trust-krylov": {"hessp": True, "options": {"gtol": 1e-7}},
}


@pytest.mark.parametrize("method", METHODS)
def test_minimize_reaches_the_bottom(method):
    """The targets are a network's own: the loss falls below 1e-7 of where it starts."""
    vector, x, y, weight = some(n=60)
    objective = optim.scipy_objective(NET, x, y, sample_weight=weight)
    options = dict(METHODS[method])
    if options.pop("hessp", False):
        options["hessp"] = objective.hessp
    found = scipy.optimize.minimize(objective, vector, jac=True, method=method, **options)
    assert found.fun < 1e-7 * objective(vector)[0]
    params = Parameters.from_vector(NET, found.x)
    assert NET.loss(params, x, y, sample_weight=weight) == pytest.approx(found.fun, rel=1e-12)


@pytest.mark.parametrize("jac", ["exact", "cs"])
def test_least_squares_reaches_the_bottom(jac):
    """The same with residuals, and their Jacobian or SciPy's own complex steps."""
    vector, x, y, weight = some(n=60)
    objective = optim.scipy_objective(NET, x, y, sample_weight=weight, reduction="sum")
    jacobian = objective.jacobian if jac == "exact" else jac
    found = scipy.optimize.least_squares(objective.residuals, vector, jac=jacobian, xtol=1e-12)
    assert found.cost < 1e-12 * objective(vector)[0]
    assert objective(found.x)[0] == pytest.approx(found.cost, rel=1e-9)


def test_logistic_regression_has_its_one_minimum():
    """A convex objective: all methods end at the same parameters, where the gradient is 0."""
    net, rng = fastbp.MLP((3, 1)), np.random.default_rng(0)
    x, y = rng.standard_normal((200, 3)), rng.random(200) < 0.4
    objective = optim.scipy_objective(net, x, y, l2=0.01)
    ends = [
        scipy.optimize.minimize(objective, np.zeros(4), jac=True, method=method, tol=1e-6, **options).x
        for method, options in (("trust-krylov", {"hessp": objective.hessp}), ("BFGS", {}), ("L-BFGS-B", {}))
    ]
    for end in ends:
        np.testing.assert_allclose(end, ends[0], atol=1e-4)
        assert np.abs(objective(end)[1]).max() < 1e-5


# -- refusals ----------------------------------------------------------------------------------------------------------


def made(net=NET, *, x=None, y=None, **options):
    """An objective with something wrong."""
    _, right_x, right_y, _ = some()
    return optim.scipy_objective(net, right_x if x is None else x, right_y if y is None else y, **options)


BAD_X = some()[1].copy()
BAD_X[7, 1] = np.nan
WANTED = f"must hold 17 real numbers, shape (17,), one for each parameter of {NET}; got"
CLASSIFIER = fastbp.MLP((2, 4, 1))
NO_SQUARES = (
    "residuals and jacobian are those of squared_error; the network has binary_cross_entropy. Use minimize with the "
    "objective itself, or MLP(..., loss='squared_error')"
)
NO_PENALTIES = (
    "residuals and jacobian hold no penalties; got l1=0, l2=0.5. Leave them out, or use minimize with the objective "
    "itself"
)
REFUSED = {
    "x": (
        lambda: made(x=BAD_X),
        "x must be finite; got nan at row 7, column 1. Drop such rows or fill in the values",
    ),
    "y": (
        lambda: made(CLASSIFIER, y=np.full(30, 1.5)),
        "y of binary_cross_entropy must lie between 0 and 1; got 1.5 at row 0, column 0. Rescale it",
    ),
    "rows": (
        lambda: made(y=np.ones(29)),
        "y must have shape (30,) or (30, 1); got shape (29,), float64. x has 30 rows, y has 29",
    ),
    "weights": (
        lambda: made(sample_weight=np.full(30, -1.0)),
        "sample_weight must be finite and >= 0; got -1 at row 0. Use 0 to leave out a row",
    ),
    "reduction": (lambda: made(reduction="none"), "reduction must be one of 'mean', 'sum'; got 'none'"),
    "l2": (lambda: made(l2=-1.0), "l2 must be a finite number >= 0; got -1.0"),
    "length": (lambda: made()(np.ones(16)), f"vector {WANTED} shape (16,), float64"),
    "matrix": (lambda: made().residuals(np.ones((17, 1))), f"vector {WANTED} shape (17, 1), float64"),
    "complex": (lambda: made()(np.ones(17, complex)), f"vector {WANTED} shape (17,), complex128"),
    "complex jacobian": (lambda: made().jacobian(np.ones(17, complex)), f"vector {WANTED} shape (17,), complex128"),
    "text": (lambda: made()(["a"] * 17), f"vector {WANTED} shape (17,), <U1"),
    "direction": (lambda: made().hessp(np.ones(17), np.ones(18)), f"p {WANTED} shape (18,), float64"),
    "Parameters": (lambda: made()(NET.init(0)), f"vector {WANTED} shape (), object"),
    "residuals": (lambda: made(CLASSIFIER, y=np.ones(30)).residuals(np.ones(17)), NO_SQUARES),
    "jacobian": (lambda: made(CLASSIFIER, y=np.ones(30)).jacobian(np.ones(17)), NO_SQUARES),
    "penalties": (lambda: made(l2=0.5).jacobian(np.ones(17)), NO_PENALTIES),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honored_is_refused(call, message):
    """With what was wanted and what came; data when the objective is made."""
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
