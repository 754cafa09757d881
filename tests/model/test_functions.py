"""One record per activation, loss and link: complete, right, with its defaults, and the one place that knows a name."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import activations, losses
from fastbp.errors import InputError
from fastbp.kernels.math import scalar
from fastbp.model.activation_records import ACTIVATIONS
from fastbp.model.link_records import LINKS
from fastbp.model.loss_records import LOSSES
from fastbp.model.network import MLP
from fastbp.model.parameters import SCHEMES

every_activation = pytest.mark.parametrize("record", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
every_loss = pytest.mark.parametrize("record", LOSSES.values(), ids=list(LOSSES))
MAKERS = [*((activations, name) for name in ACTIVATIONS), *((losses, name) for name in LOSSES)]
KINDS = {activations: activations.Activation, losses: losses.Loss}


# -- a record is complete ----------------------------------------------------------------------------------------------


@every_activation
def test_activation_records_are_complete(record):
    """What has a default for a user's own function is given, and a scheme is one that `init` knows."""
    assert record.onnx is not None
    assert record.numpy is not None
    assert record.scheme in SCHEMES


@every_loss
def test_loss_records_are_complete(record):
    """With another link than the identity, formula and function of dl/dy_hat differ from those of dl/dz."""
    assert bool(record.text_in_z) == (record.in_response is not None) == (not record.link.is_identity)
    assert record.link in LINKS.values()


def test_kernels_have_a_formula_for_every_record():
    """Named as the record, and no other; losses that couple their outputs are calculated by rows instead."""
    of_records = {*ACTIVATIONS, *(name for name, record in LOSSES.items() if not record.link.couples_outputs)}
    pairs = {name for name, formula in vars(scalar).items() if getattr(formula, "n_results", 1) == 2}
    assert pairs == of_records | {"pullback", "custom"}


# -- a record is right -------------------------------------------------------------------------------------------------


def away_from(points, values):
    """Those values that differ by more than 0.02 from the points."""
    return values[(np.abs(values[:, None] - np.array([*points, np.inf])) > 0.02).all(axis=1)]


def differences(function, z, h=1e-3):
    """The derivative to 4th order; wrong in the 3rd digit where it jumps between z - 2h and z + 2h."""
    return (8 * (function(z + h) - function(z - h)) - (function(z + 2 * h) - function(z - 2 * h))) / (12 * h)


def assert_smooth_but_at(kinks, value, slope, points):
    """The slope is that of the value; at the kinks, and there alone, it or its own slope jumps."""
    smooth = away_from(kinks, points)
    np.testing.assert_allclose(differences(value, smooth), slope(smooth), rtol=1e-8, atol=1e-8)
    for kink in kinks:
        below, above = slope(kink + np.array([-2e-6, -1e-6])), slope(kink + np.array([1e-6, 2e-6]))
        assert abs(above[0] - below[1]) > 0.1 or abs(np.diff(above) - np.diff(below)) > 1e-7


@every_activation
def test_activations_have_the_traits_that_are_said(record):
    """Smooth but at the kinks, between the bounds or endless, and 0 below 0 if a rectifier and only then."""
    p = 0.3 if record.parameter else 0.0

    def value(z):
        return record.evaluate(z, p)[0]

    assert_smooth_but_at(record.kinks, value, lambda z: record.evaluate(z, p)[1](), np.linspace(-4, 4, 801))
    a = value(np.concatenate([[-1e12, 1e12], np.linspace(-40, 40, 801)]))
    assert (np.abs(a).max() < 1e6) == (record.bounds is not None)
    if record.bounds is not None:
        assert (a.min(), a.max()) == pytest.approx(record.bounds, abs=1e-9)
    assert record.is_rectifier == bool((value(np.linspace(-9, -1, 81)) == 0).all())


@every_loss
def test_losses_have_the_traits_that_are_said(record):
    """Smooth but at the kinks, and squares if they are (z - y)^2 / 2 and only then."""
    p, residuals = 0.3 if record.parameter else 0.0, np.linspace(-2, 2, 801)

    def value(r):
        return record.evaluate(np.full((len(r), 1), 0.25), 0.25 + r[:, None], p)[0].ravel()

    def slope(r):
        return record.evaluate(np.full((len(r), 1), 0.25), 0.25 + r[:, None], p)[1]().ravel()

    assert_smooth_but_at(record.kinks(p), value, slope, residuals)
    assert record.is_squares == np.allclose(value(residuals), residuals**2 / 2)


@pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))
def test_links_are_differentiated_as_they_are(link):
    """Derivative and pullback are those of complex step; the identity, coupled outputs and labels are what is said."""
    z = np.random.default_rng(0).standard_normal((4, 3))
    y_hat = link.evaluate(z)
    jacobian = np.stack([link.evaluate(z + 1e-30j * np.eye(3)[k]).imag / 1e-30 for k in range(3)], axis=2)
    diagonal = np.einsum("nkk->nk", jacobian)
    np.testing.assert_allclose(link.derivative(z, y_hat), jacobian if link.couples_outputs else diagonal, rtol=1e-13)
    assert link.couples_outputs == bool(np.abs(jacobian - diagonal[:, :, None] * np.eye(3)).max() > 1e-3)
    d_y = np.random.default_rng(1).standard_normal((4, 3))
    np.testing.assert_allclose(link.pull(d_y, y_hat), np.einsum("nk,nkj->nj", d_y, jacobian), rtol=1e-12)
    assert link.is_identity == bool((y_hat == z).all())
    if link.labels is not None:
        np.testing.assert_array_equal(link.labels(z, 0.0), link.labels(y_hat, 0.5))


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_are_those_that_are_said(record, dtype):
    """Kernels take what is drawn, and refuse what lies beyond the bounds of the domain, naming loss and row."""
    net = MLP((2, 3), loss=record.name)
    params, x = net.init(0, dtype=dtype), np.zeros((6, 2), dtype)
    targets = record.targets
    drawn = targets.draw(np.random.default_rng(0), 6, 3)
    assert math.isfinite(net.loss(params, x, drawn))
    for bound, beyond in ((targets.low, -1e-3), (targets.high, 1e-3)):
        y = np.zeros((6, 3)) if not targets.are_distributions else np.eye(3)[[0, 1, 2, 0, 1, 2]]
        if not math.isfinite(bound):
            y[4] = -1e4 if beyond < 0 else 1e4
            assert math.isfinite(net.loss(params, x, y))
            continue
        y[4, 1] = bound + beyond
        if targets.are_distributions:
            y[4, 0] = 1 - y[4, 1]
        with pytest.raises(InputError, match=rf"^y of {record.name} .*row 4.*"):
            net.loss(params, x, y)


# -- parameters --------------------------------------------------------------------------------------------------------

WITH_PARAMETER = [(module, name) for module, name in MAKERS if KINDS[module].records[name].parameter]


@pytest.mark.parametrize(("module", "name"), WITH_PARAMETER, ids=[name for _, name in WITH_PARAMETER])
def test_a_value_made_directly_has_the_documented_default(module, name):
    """`Loss("huber")` is `losses.huber()`: the same network, the same loss, not 0."""
    made, maker = KINDS[module](name), getattr(module, name)
    assert made == maker()
    assert (made.parameter,) == maker.__defaults__
    assert str(made) == f"{name}({made.parameter:g})"
    option = "activation" if module is activations else "loss"
    nets = [MLP((2, 4, 1), **{"loss": "squared_error", option: value}) for value in (made, name)]
    assert nets[0] == nets[1]
    params, x, y = nets[0].init(0), np.ones((5, 2)), np.full(5, 3.0)
    value = nets[0].loss(params, x, y)
    assert value > 0.1
    assert value == pytest.approx(fastbp.reference.loss(nets[0], params, x, y), rel=1e-5)


@pytest.mark.parametrize(("module", "name"), WITH_PARAMETER, ids=[name for _, name in WITH_PARAMETER])
@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, "0.3", True, [0.3]], ids=str)
def test_bad_parameters_are_refused(module, name, given):
    """By the maker and by the class, in the same words: the parameter, whose it is, what came."""
    errors = []
    for make in (getattr(module, name), lambda value: KINDS[module](name, parameter=value)):
        with pytest.raises(InputError) as caught:
            make(given)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert errors[0].startswith(f"{KINDS[module].records[name].parameter.name} of {name} must ")
    assert errors[0].endswith(f"got {given!r}")


@pytest.mark.parametrize(("name", "given"), [("huber", 0), ("huber", -1.0), ("quantile", 0), ("quantile", 1)])
def test_parameters_beyond_their_range_are_refused(name, given):
    """huber's delta is positive, quantile's q lies between 0 and 1."""
    with pytest.raises(InputError, match=f"of {name} must .*; got {float(given)}"):
        losses.Loss(name, parameter=given)


def test_a_parameter_is_kept_as_a_float():
    """Of whatever type of number: equal networks, plain values in files."""
    for given in (2, np.float32(2), np.int64(2)):
        assert type(losses.Loss("huber", parameter=given).parameter) is float
        assert losses.Loss("huber", parameter=given) == losses.huber(2.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: activations.Activation("relu", parameter=0.3),
        lambda: losses.Loss("poisson", parameter="0"),
        lambda: activations.Activation("cube", lambda z: z**3, lambda z: 3 * z * z, parameter=2.0),
    ],
)
def test_a_parameter_that_nothing_reads_is_refused(make):
    """A function without one says so."""
    with pytest.raises(InputError, match=r"^\w+ has no parameter; got .*\. Leave it out$"):
        make()


@pytest.mark.parametrize(
    ("kind", "records"), [(activations.Activation, ACTIVATIONS), (losses.Loss, LOSSES)], ids=["activation", "loss"]
)
@pytest.mark.parametrize("name", ["swish", "", None, ["relu"]], ids=str)
def test_unknown_names_are_refused(kind, records, name):
    """When the value is made, with the names that are known."""
    with pytest.raises(InputError) as caught:
        kind(name)
    assert str(caught.value) == f"unknown {kind.__name__.lower()} {name!r}; known are {', '.join(records)}"


def test_files_of_the_first_version_load():
    """0.1 wrote 0 as the parameter of `Loss("huber")` and `Activation("elu")`; predictions stay what they were."""
    values = {"layer_sizes": [2, 3, 1], "activation": [["elu", 0.0]], "loss": ["huber", 0.0], "bias": True}
    net = MLP.from_dict(values)
    assert net == MLP((2, 3, 1), activation=activations.elu(0.0), loss="huber")
    assert MLP.from_dict(net.to_dict()) == net
    assert MLP.from_dict(values | {"loss": ["quantile", 0.0]}).loss_function == losses.quantile()


# -- the one place that knows a name -----------------------------------------------------------------------------------

PACKAGE = Path(fastbp.__file__).parent
# Records, and the public makers beside them.
RECORDS = ("activation_records.py", "link_records.py", "loss_records.py", "activations.py", "losses.py")
# They translate a network into the words of PyTorch, JAX and scikit-learn, for those functions that those have.
PEERS = ("peers.py",)
# Words that are no names of a function of a network where they stand.
OTHER_WORDS = {
    ("__init__.py", "cross_entropy"): "a function of the lecture",
    ("__init__.py", "sigmoid"): "a function of the lecture",
    ("lecture.py", "cross_entropy"): "a function of the lecture",
    ("lecture.py", "sigmoid"): "a function of the lecture",
    ("formulas.py", "exp"): "a word of formulas, in LaTeX",
    ("formulas.py", "sigmoid"): "a word of formulas, in LaTeX",
    ("formulas.py", "tanh"): "a word of formulas, in LaTeX",
    ("resuming.py", "identity"): "what tells one training from another",
}
CHOICES = ("activation", "loss", "default")


def parents_of(tree):
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def chooses(node, parents):
    """Whether a name is only chosen, as `test_nothing_decides_by_the_name_of_a_function` allows."""
    while isinstance(parents[node], ast.IfExp) and node is not parents[node].test:
        node = parents[node]
    parent = parents[node]
    if isinstance(parent, ast.keyword):
        return parent.arg in CHOICES
    if isinstance(parent, ast.arguments):
        given = [*zip(parent.args[::-1], parent.defaults[::-1], strict=False)]
        given += zip(parent.kwonlyargs, parent.kw_defaults, strict=True)
        return any(value is node and argument.arg in CHOICES for argument, value in given)
    if isinstance(parent, ast.Return):
        while not isinstance(parent, ast.FunctionDef):
            parent = parents[parent]
        return parent.name.startswith("default_")
    return False


def is_name_of_a_function(node):
    """activation.name, net.loss_function.code, loss.record.link.name, link, ..."""
    if not isinstance(node, ast.Attribute) or node.attr not in ("name", "code", "link"):
        return False
    owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return node.attr == "link" or owner in ("a", "activation", "function", "link", "loss", "loss_function", "record")


def dispatches(text):
    """Where a program decides by what a function is called: each as "line: text"."""
    tree = ast.parse(text)
    parents, names = parents_of(tree), {*ACTIVATIONS, *LOSSES, *LINKS}
    for node in ast.walk(tree):
        is_name = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
        if is_name and not chooses(node, parents):
            yield node.lineno, node.value
        operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        operands += [node.slice] if isinstance(node, ast.Subscript) else []
        operands += [node.subject] if isinstance(node, ast.Match) else []
        if any(map(is_name_of_a_function, operands)):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in RECORDS + PEERS],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_nothing_decides_by_the_name_of_a_function(path):
    """To add one is to write its record, its formula for kernels, its maker, and its row in the table of cases.

    No string of the package is the name of an activation, loss or link, but in the records, in their makers, and where
    one is chosen: as the keyword argument or the default of a parameter called activation, loss or default, or as what
    a function default_... returns. And no comparison, subscript or match takes the name, code or link of a function.
    Compiled kernels read what the plan has copied from the records.
    """
    found = [(line, what) for line, what in dispatches(path.read_text()) if (path.name, what) not in OTHER_WORDS]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        'if net.loss_function.name == "huber": pass',
        'if loss in ("poisson", "huber"): pass',
        "if loss.code == SIGMOID: pass",
        "if net.loss_function.link == linked: pass",
        "table[activation.name]",
        '{"relu": 1}',
        'table.get("softmax")',
        'match loss:\n    case "huber": pass',
        "match net.loss_function.name:\n    case _: pass",
        'def f(name="relu"): pass',
        'def f(): return "relu"',
        'def default_loss(x): return 1 if x == "relu" else 2',
    ],
)
def test_a_decision_by_name_is_found(text):
    """In whatever form."""
    assert list(dispatches(text))


@pytest.mark.parametrize(
    "text",
    [
        'MLP((2, 1), activation="relu", loss="huber")',
        'def f(x, activation="relu", *, loss="huber"): pass',
        'def default_loss(x): return "huber" if x else "poisson"',
        'print(f"{net.loss_function.name} and cross_entropy")',
        "Row(activation.name, loss.code)",
    ],
)
def test_choosing_a_function_is_no_decision(text):
    """Neither is to print its name."""
    assert not list(dispatches(text))
