"""Formulas of backpropagation: read as NumPy they give the numbers they stand for; with numbers, and in LaTeX."""

import math
import re

import numpy as np
import pytest

import fastbp
from fastbp import graph
from fastbp.graph import formulas
from fastbp.graph import text as graph_text
from fastbp.model import activations, elementary, losses
from tests.graph.test_graph import ACTIVATIONS, LOSSES, some

FUNCTIONS = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sqrt": np.sqrt, "pi": np.pi, "sign": np.sign,
    "max": np.maximum, "min": np.minimum, "sigmoid": elementary.sigma, "erf": np.vectorize(math.erf),
}  # fmt: skip


def as_python(formula):
    """The formula with Python's signs."""
    formula = re.sub(r"\|([^|]*)\|", r"abs(\1)", formula)
    formula = re.sub(r"\[([^\]]*)\]", r"(1.0 * (\1))", formula)
    return re.sub(r"(\w)'", r"\1_prime", formula.replace("^", "**"))


def evaluated(formula, names, definitions=()):
    """What a formula says, as NumPy reads it, with definitions such as "u(z) = 2 * z"."""
    scope = FUNCTIONS | names
    for definition in definitions:
        head, body = as_python(definition).split(" = ")
        name, arguments = head.rstrip(")").split("(")
        scope[name] = eval(f"lambda {arguments}: {body}", scope)
    return eval(as_python(formula), scope)


@pytest.mark.parametrize("activation", ACTIVATIONS[:-1], ids=str)
def test_formulas_of_activations(activation):
    """Read as NumPy, they give the numbers of the reference; functions beyond the usual ones are defined."""
    z = np.linspace(-3, 3, 31)
    activation = activations.named(activation)
    value, derivative = formulas.of_activation(activation, "z", "a")
    a, slope = activation.evaluate(z)
    defined = formulas.definitions([activation])
    np.testing.assert_allclose(evaluated(value, {"z": z}, defined) + 0 * z, a, rtol=1e-12, atol=1e-12)
    got = evaluated(derivative, {"z": z, "a": a}, defined)
    np.testing.assert_allclose(got + 0 * z, slope(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES[:-1] if loss != "cross_entropy"], ids=str)
def test_formulas_of_losses(loss):
    """Read as NumPy: dl/dy_hat times the link's derivative is dl/dz, which `both` says, too."""
    loss = losses.named(loss)
    z, y = np.linspace(-2, 2, 21), np.linspace(0, 1, 21) ** 2
    y_hat = loss.response(z)
    value, slope = loss.evaluate(y, z)
    parts, given = formulas.of_loss(loss, "z"), ({"y": y, "y_hat": y_hat, "z": z}, formulas.definitions([loss]))
    np.testing.assert_allclose(evaluated(parts.value, *given), value, rtol=1e-12)
    np.testing.assert_allclose(evaluated(parts.link, *given), y_hat, rtol=1e-12)
    by_chain = evaluated(parts.derivative, *given) * evaluated(parts.link_derivative, *given)
    np.testing.assert_allclose(by_chain, slope(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(evaluated(parts.both, *given), slope(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", activations.NAMES)
@pytest.mark.parametrize("loss", [*losses.NAMES, losses.huber(0.2)], ids=str)
def test_rules_are_read_as_what_they_give(loss, activation, weighted):
    """h, loss, dL/dy_hat and dL/dz of a graph, read as NumPy, are its numbers: no product takes a part of a sum."""
    net = fastbp.MLP((3, 5, 2), activation=activation, loss=loss)
    g = graph.trace(net, *some(net), sample_weight=np.arange(1.0, 8.0) if weighted else None, reduction="sum")
    names = {name: node.value for name, node in g.nodes.items()} | {"s": g.scale[:, None]}
    names |= {f"grad_{name}": node.grad for name, node in g.nodes.items()}

    def read(formula):
        return evaluated(re.sub(r"dL/d(\w+)", r"grad_\1", formula), names, g.definitions)

    sum_of, each = g["L"].operation.split(" ", 1)
    assert sum_of == "sum_ik"
    np.testing.assert_allclose(read(each).sum(), g["L"].value, rtol=1e-12)
    assert formulas.factor(each) == each
    np.testing.assert_allclose(read(g["h"].operation), g["h"].value, rtol=1e-9, atol=1e-12)
    for name in ("y_hat", "z1", *(["z2"] if loss != "cross_entropy" else [])):
        for right in g[name].rule.split(" = ")[1:]:
            np.testing.assert_allclose(read(right), g[name].grad, rtol=1e-9, atol=1e-12)


# -- with numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "text"), [
    (0.34494, "0.3449"), (1, "1"), (-1, "-1"), (-0.0, "0"), (1 - 1.2e-5, "(1 - 1.2e-05)"), (1 + 1.2e-5, "1"),
    (-1 + 1.2e-5, "-(1 - 1.2e-05)"), (-1 - 1.2e-5, "-1"), (np.nan, "nan"), (-np.inf, "-inf"),
])  # fmt: skip
def test_numbers(value, text):
    """Four digits; beside 1 and -1 the distance from them."""
    assert graph_text.number(value) == text


@pytest.mark.parametrize(("formula", "names", "filled"), [
    ("(1 - h^2) * dL/dh", {"h": "-0.3449"}, "(1 - (-0.3449)^2) * (-0.2805)"),
    ("(1 - h^2) * dL/dh", {"h": "-(1 - 1e-05)"}, "(1 - (-(1 - 1e-05))^2) * (-0.2805)"),
    ("(1 - h^2) * dL/dh", {"h": "[-1 2]"}, "(1 - [-1 2]^2) * (-0.2805)"),
    ("y_hat - y", {"y_hat": "-1", "y": "-2"}, "-1 - (-2)"),
    ("s * (y_hat - y)^2 / 2", {"s": "1", "y_hat": "-1", "y": "2"}, "1 * (-1 - 2)^2 / 2"),
    ("-y / y_hat", {"y": "-1", "y_hat": "-2"}, "-(-1) / (-2)"),
    ("z1^3", {"z1": "-2"}, "(-2)^3"),
    ("tanh(z1)", {"z1": "-2"}, "tanh(-2)"),
    ("max(z1, 0) + min(0, z1)", {"z1": "-2"}, "max(-2, 0) + min(0, -2)"),
    ("[z1 > 0] + [y > z1]", {"z1": "-2", "y": "-3"}, "[-2 > 0] + [-3 > -2]"),
    ("x W1 + b1", {"x": "-1", "W1": "[[-2]]", "b1": "-3"}, "(-1) [[-2]] + (-3)"),
    ("h^T dL/dh", {"h": "2"}, "2^T (-0.2805)"),
    ("x(z1) + x'(z1) * x", {"x": "7", "z1": "5"}, "x(5) + x'(5) * 7"),
])  # fmt: skip
def test_numbers_put_in(formula, names, filled):
    """Negative ones in parentheses where a sign could take a part of them; names of functions stay."""
    assert formulas.replaced(formula, names, {"h": "-0.2805"}) == filled


def steps(derivation):
    """(numbers put in, result) of its steps with both."""
    for step in re.split(r"\n(?=  \w)", derivation):
        lines = [line.strip()[2:] for line in step.splitlines() if line.startswith("    ")]
        if len(lines) == 2:
            yield from ((part, lines[1].split(",")[0]) for part in lines[0].split(" = "))


def number_of(text, definitions=()):
    """What it says of single numbers: matrices are numbers, side by side they are products."""
    text = re.sub(r"\[\[([^]]*)\]\]", r"(\1)", text.replace("^T", ""))
    return float(evaluated(re.sub(r"(?<=[\d)]) (?=[\d(])", " * ", text), {}, definitions))


@pytest.mark.parametrize("activation", ACTIVATIONS[:-1], ids=str)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES[:-1] if loss != "cross_entropy"], ids=str)
def test_derivations_can_be_recalculated(loss, activation):
    """Of a network of single numbers: every line of a derivation gives the line below it."""
    net = fastbp.MLP((1, 1, 1), activation=activation, loss=loss)
    params, x, y = some(net, 5)
    g = graph.trace(net, params, x, y, sample_weight=np.arange(1.0, 6.0), reduction="sum")
    for sample in range(5):
        found = list(steps(g.explain("W1", sample=sample)))
        assert len(found) >= 6
        for filled, result in found:
            assert number_of(filled, g.definitions) == pytest.approx(number_of(result), rel=5e-3, abs=2e-3)


# -- in LaTeX ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_latex_can_be_set(activation, loss):
    """Every line is read by matplotlib's mathtext."""
    from matplotlib.mathtext import MathTextParser

    net = fastbp.MLP((3, 5, 4, 3), activation=activation, loss=loss)
    g = graph.trace(net, *some(net))
    lines = g.latex().splitlines()
    assert lines[0] == r"\begin{align*}"
    assert len(lines) == 2 + 7 + 13 + len(g.definitions)
    for line in lines[1:-1]:
        MathTextParser("path").parse(f"${line.removesuffix(chr(92) * 2).replace('&', '')}$")


@pytest.mark.parametrize(("formula", "latex"), [
    (formulas.of_activation(activations.leaky_relu(1e-5), "z1", "h")[0],
     r"\max(z_{1}, 0) + 10^{-5} \cdot \min(z_{1}, 0)"),
    (formulas.of_activation(activations.elu(-2.5e-7), "z1", "h")[1],
     r"[z_{1} > 0] + (-2.5 \cdot 10^{-7}) \cdot \exp(z_{1}) \odot [z_{1} \leq 0]"),
    (formulas.of_activation(activations.leaky_relu(-1), "z1", "h")[1], r"[z_{1} > 0] + (-1) \cdot [z_{1} \leq 0]"),
    ("s * (y_hat - y)", r"s \cdot (\hat{y} - y)"),
    ("-s * y * log(y_hat)", r"-s \cdot y \odot \log(\hat{y})"),
    ("h * (1 - h) * dL/dh", r"h \odot (1 - h) \odot \frac{\partial L}{\partial h}"),
    ("z1 * h^2 * y", r"z_{1} \odot h^2 \odot y"),
    ("h / 2 * z1", r"h / 2 \odot z_{1}"),
    ("sqrt(2 / pi) * (z + 1)", r"\sqrt{2 / \pi} \cdot (z + 1)"),
    ("_my_own'(z1)", r"\mathrm{\_my\_own}'(z_{1})"),
])  # fmt: skip
def test_latex(formula, latex):
    """Powers of ten, and a dot behind a single number; a circle between arrays."""
    assert formulas.latex(formula) == latex
