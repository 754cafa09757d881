"""A user's own activations and losses: the same gradients as a built-in of the same formula, and clear refusals."""

import math
import re

import numpy as np
import pytest

import fastbp
from fastbp import reference
from fastbp.compiler import jit
from fastbp.errors import InputError

DTYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


def softplus(z):
    return math.log1p(math.exp(-abs(z))) + max(z, 0.0)


def logistic(z):
    return 1 / (1 + math.exp(-z))


def bent(z):
    if z > 0:
        return z
    return 0.3 * z


def bent_slope(z):
    if z > 0:
        return 1.0
    return 0.3


# own function, the built-in that it repeats
ACTIVATIONS = [
    (fastbp.Activation("own_tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2), "tanh"),
    (fastbp.Activation("own_softplus", softplus, logistic), "softplus"),
    (fastbp.Activation("own_leaky", bent, bent_slope), fastbp.activations.leaky_relu(0.3)),
]
LOSSES = [
    (fastbp.Loss("own_square", lambda y, z: (z - y) ** 2 / 2, lambda y, z: z - y), "squared_error"),
    (
        fastbp.Loss("own_huber", lambda y, z: (z - y) ** 2 / 2 if abs(z - y) < 1 else abs(z - y) - 0.5,
                    lambda y, z: min(max(z - y, -1.0), 1.0)),
        "huber",
    ),
]  # fmt: skip
SIZES = [(2, 30, 1), (5, 33, 17, 2), (3, 4)]


def pairs():
    for sizes in SIZES[:2]:
        for own, builtin in ACTIVATIONS:
            yield (
                fastbp.MLP(sizes, activation=own, loss="squared_error"),
                fastbp.MLP(sizes, activation=builtin, loss="squared_error"),
            )
    for sizes in SIZES:
        for own, builtin in LOSSES:
            yield fastbp.MLP(sizes, activation="tanh", loss=own), fastbp.MLP(sizes, activation="tanh", loss=builtin)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("own", "builtin"), list(pairs()), ids=str)
def test_gradients_are_those_of_the_built_in(own, builtin, dtype):
    """Kernels and reference, one block and many, on two threads; input gradients too."""
    rng = np.random.default_rng(0)
    for n_rows in (7, 3000):
        params = builtin.init(1, dtype=dtype)
        x = rng.standard_normal((n_rows, own.n_inputs)).astype(dtype)
        y = rng.standard_normal((n_rows, own.n_outputs)).astype(dtype)
        mine = fastbp.Parameters(own, params.vector)
        wanted, wanted_grad = builtin.value_and_grad(params, x, y)
        for compute in (own.value_and_grad, lambda *given: reference.value_and_grad(own, *given)):
            value, grad = compute(mine, x, y)
            assert value == pytest.approx(wanted, rel=TOLERANCE[dtype])
            error = np.linalg.norm(grad.vector - wanted_grad.vector) / np.linalg.norm(wanted_grad.vector)
            assert error < TOLERANCE[dtype]
        d_x, wanted_d_x = own.input_grad(mine, x, y), builtin.input_grad(params, x, y)
        assert np.linalg.norm(d_x - wanted_d_x) < TOLERANCE[dtype] * np.linalg.norm(wanted_d_x)


def test_a_new_function_compiles_no_engine():
    """Only the function itself is compiled."""
    net = fastbp.MLP((3, 8, 8, 1), activation=ACTIVATIONS[0][0], loss="squared_error")
    given = net.init(0), np.ones((4, 3)), np.ones(4)
    net.value_and_grad(*given)
    before = jit.signatures_compiled()
    other = fastbp.Activation("cube", lambda z: z * z * z, lambda z: 3 * z * z)
    fastbp.MLP((3, 8, 8, 1), activation=other, loss="squared_error").value_and_grad(
        fastbp.MLP((3, 8, 8, 1), activation=other, loss="squared_error").init(0), *given[1:]
    )
    after = jit.signatures_compiled()
    changed = {name for name in after if after[name] != before.get(name, 0)}
    assert changed <= {"fastbp.kernels.math.custom.activation_address.<locals>.run"}


def test_the_gradient_check_takes_them():
    """check_grad compares with complex step and central differences."""
    net = fastbp.MLP((3, 6, 2), activation=ACTIVATIONS[1][0], loss=LOSSES[0][0])
    rng = np.random.default_rng(0)
    assert fastbp.check_grad(net, net.init(0, dtype=np.float64), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))).ok


WRONG = [
    (lambda z: z * z, lambda z: z, "the derivative of mine is not that of its value"),
    (lambda z: z / np.sum(z), lambda z: 1 + 0 * z, "must be elementwise|not that of its value"),
    (lambda z: z, None, "needs two functions"),
    (lambda: 1.0, lambda z: 1.0, "must take a number"),
    (lambda z: "text", lambda z: 1.0, "must take a number"),
]


@pytest.mark.parametrize(("value", "derivative", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_functions_are_refused(value, derivative, message):
    """At once, with what is wrong."""
    with pytest.raises(InputError, match=message):
        fastbp.Activation("mine", value, derivative)


def test_a_wrong_derivative_can_be_wanted():
    """check=False: straight-through estimators and the like."""
    step = fastbp.Activation("step", lambda z: np.sign(z), lambda z: 1.0, check=False)
    net = fastbp.MLP((2, 3, 1), activation=step, loss="squared_error")
    _, grad = net.value_and_grad(net.init(0), np.ones((5, 2)), np.ones(5))
    assert grad.weights[0].any()


def test_names_and_files():
    """A built-in's name is taken; a file cannot hold a function."""
    with pytest.raises(InputError, match="built-in activation"):
        fastbp.Activation("relu", lambda z: z, lambda z: 1.0)
    with pytest.raises(InputError, match="built-in loss"):
        fastbp.Loss("huber", lambda y, z: z, lambda y, z: 1.0)
    with pytest.raises(InputError, match="which a file cannot hold"):
        fastbp.MLP((2, 3, 1), activation=ACTIVATIONS[0][0]).to_dict()


@pytest.mark.parametrize("name", ['a"b', "a\\b", "50%", "$x$", "own tanh", "2x", "größe", "", None, 5], ids=repr)
def test_a_name_must_be_an_identifier(name):
    """It stands in formulas, in LaTeX, in Graphviz and in pictures."""
    with pytest.raises(InputError) as error:
        fastbp.Activation(name, lambda z: z, lambda z: 1.0)
    assert str(error.value) == (
        f"Activation(name, ...) needs a name of ASCII letters, digits and _ that begins with no digit; got {name!r}"
    )


@pytest.mark.parametrize("name", ["x", "h", "y_hat", "W1", "s", "L", "u", "_own", "huber"])
def test_a_name_may_be_that_of_a_node(name):
    """In a derivation it stays that of the function."""
    text = {}
    for each in (name, "softsign"):
        own = fastbp.Activation(each, lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)
        net = fastbp.MLP((2, 1, 1), activation=own, loss="squared_error")
        g = fastbp.graph.trace(net, net.init(0, dtype=np.float64), np.array([[0.5, -1.0]]), [1.0])
        text[each] = g.explain("W1")
        assert g.definitions == []
    assert re.sub(rf"\b{name}(?='?\()", "softsign", text[name]) == text["softsign"]
    assert f" {name}(" in text[name]
    assert f"{name}'(" in text[name]


@pytest.mark.skipif(not jit.COMPILED, reason="compiles")
def test_what_cannot_be_compiled_is_named():
    """No traceback of the compiler's."""
    odd = fastbp.Activation("odd", lambda z: float(str(z)), lambda z: 1.0 + 0 * z)
    net = fastbp.MLP((2, 3, 1), activation=odd, loss="squared_error")
    with pytest.raises(InputError, match="cannot be compiled"):
        net.value_and_grad(net.init(0), np.ones((5, 2)), np.ones(5))
