"""The computation graph: its numbers are those of the kernels, its formulas those of its numbers."""

import copy
import json
import pickle
import re

import numpy as np
import pytest
import scipy.sparse

import fastbp
from fastbp import graph, losses
from fastbp.errors import InputError
from fastbp.graph import text as graph_text
from fastbp.graph import tracing
from fastbp.model import activations

LOSSES = [
    "binary_cross_entropy", "cross_entropy", "squared_error", "absolute_error", losses.huber(0.7), losses.quantile(0.3),
    "poisson", fastbp.Loss("quartic", lambda y, z: (z - y) ** 4 / 4, lambda y, z: (z - y) ** 3),
]  # fmt: skip
SQUARE = fastbp.Activation("square", lambda z: z * z, lambda z: 2 * z)
ACTIVATIONS = [*activations.NAMES, activations.leaky_relu(0.2), activations.elu(0.5), SQUARE]


def some(net, n=7, seed=0):
    """Parameters, inputs and targets that the loss takes."""
    rng = np.random.default_rng(seed)
    params = net.init(rng, dtype=np.float64)
    params.vector += 0.1 * rng.standard_normal(net.n_parameters)
    x = rng.standard_normal((n, net.n_inputs))
    y = (
        rng.integers(0, net.n_outputs, n)
        if net.loss_function.name == "cross_entropy"
        else rng.random((n, net.n_outputs))
    )
    return params, x, y


def close(a, b):
    """Equal to 1e-12 of the norm."""
    return np.linalg.norm(np.asarray(a) - b) <= 1e-12 * max(np.linalg.norm(b), 1e-300)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_gradients_are_those_of_the_kernels(activation, loss):
    """Every gradient, in parameters and inputs, and the loss: 1e-12 in float64."""
    net = fastbp.MLP((3, 5, 4, 3), activation=activation, loss=loss)
    params, x, y = some(net)
    weight = np.arange(1.0, 8.0)
    for options in ({}, {"reduction": "sum"}, {"sample_weight": weight}):
        g = graph.trace(net, params, x, y, **options)
        value, gradient = net.value_and_grad(params, x, y, **options)
        assert close(g["L"].value, value)
        for layer in range(3):
            assert close(g[f"W{layer + 1}"].grad, gradient.weights[layer])
            assert close(g[f"b{layer + 1}"].grad, gradient.biases[layer])
        assert close(g["x"].grad, net.input_grad(params, x, y, **options))
        assert g.difference <= 1e-12


def calculated(node, g):
    """The gradient of a node by its local derivative and what comes from the right."""
    if node.kind == "parameter" and node.value.ndim == 2:
        return node.local @ node.upstream
    if node.kind == "parameter":
        return (node.upstream * node.local).sum(axis=0)
    if node.taken_by[0] == "z":
        return node.upstream @ node.local
    if node.local.ndim == 3:
        return np.einsum("nk,nkj->nj", node.upstream, node.local)
    return node.upstream * node.local


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_local_derivative_times_upstream_is_the_gradient(loss):
    """The chain rule, node by node."""
    net = fastbp.MLP((3, 5, 4, 3), activation=["tanh", "silu"], loss=loss)
    g = graph.trace(net, *some(net))
    for node in g.nodes.values():
        if node.taken_by is not None and node.grad is not None:
            np.testing.assert_array_equal(node.upstream, g[node.taken_by].grad)
            assert node.grad.shape == node.shape
            np.testing.assert_allclose(calculated(node, g), node.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"sample_weight": np.arange(1.0, 8.0)}], ids=str)
def test_what_samples_add_is_the_loss(loss, options):
    """The derivation ends its forward part with the share of one sample, and with the sum over all."""
    net = fastbp.MLP((3, 5, 3), activation="tanh", loss=loss)
    g, total = graph.trace(net, *some(net), **options), 0.0
    for sample in range(7):
        text = g.explain("L", sample=sample)
        forward, backward = text.split("\n\nbackward, from L\n")
        assert backward == "  dL/dL = 1"
        last = re.search(r"= (\S+), which is what this sample adds; the sum over all 7 is L = (\S+)$", forward)
        share, whole = last.groups()
        total += float(share)
    assert total == pytest.approx(float(g["L"].value), rel=1e-3)
    assert float(whole) == pytest.approx(float(g["L"].value), rel=1e-3)


# -- a value -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_a_graph_stays_what_it_was(form, dtype):
    """Whatever becomes of parameters and data: they are copied."""
    net = fastbp.MLP((3, 5, 4, 3), activation=["identity", "silu"], loss="squared_error")
    params, x, y = some(net)
    params, y, weight = params.astype(dtype), y.astype(dtype), np.ones(7, dtype)
    given = form(x.astype(dtype))
    g, before = (graph.trace(net, params, given, y, sample_weight=weight, reduction="sum") for _ in range(2))
    before = before.to_json()
    for array in (params.vector, given if form is np.asarray else given.data, y, weight):
        array += 1
    assert g.to_json() == before


def test_a_graph_can_be_compared_hashed_and_pickled():
    """By identity; and a copy says the same."""
    for activation in ACTIVATIONS[:-1]:
        net = fastbp.MLP((3, 5, 3), activation=activation, loss="cross_entropy")
        g = graph.trace(net, *some(net))
        other = pickle.loads(pickle.dumps(g))
        assert g == g
        assert g != other
        assert len({g, other, g["W1"], other["W1"], g["W1"]}) == 4
        assert other.to_json() == copy.deepcopy(g).to_json() == g.to_json()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_overflow_is_shown_without_a_warning(activation, loss):
    """As infinities and NaN; in JSON as null."""
    net = fastbp.MLP((3, 5, 3), activation=activation, loss=loss)
    params, x, y = some(net)
    params.vector *= 1e200
    g = graph.trace(net, params, 1e150 * x, y)
    difference = json.loads(g.to_json())["difference_to_kernels"]
    is_finite = all(np.isfinite(g[name].grad).all() for name in ("W1", "b1", "W2", "b2"))
    assert difference <= 1e-12 if is_finite else difference is None
    assert is_finite != g.table().splitlines()[-1].startswith("gradients overflow")
    assert all(g.explain(name) for name in g.nodes)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_the_difference_is_relative(size):
    """Of any size; where nothing is wanted it is what there is."""
    wanted = size * np.array([3.0, -4.0])
    assert tracing._difference(1.001 * wanted, wanted) == pytest.approx(1e-3)
    assert tracing._difference(wanted, wanted) == 0
    assert tracing._difference(np.array([3.0, -4.0]), 0 * wanted) == 5


# -- the lecture's graph -----------------------------------------------------------------------------------------------

NET = fastbp.MLP((2, 3, 1), bias=False)


def lecture():
    """The lecture's network with three hidden units, on two samples."""
    params = fastbp.Parameters.from_vector(NET, np.array([0.5, -1.0, 2.0, 1.0, 0.0, -0.5, 1.0, -2.0, 0.5]))
    return graph.trace(NET, params, np.array([[1.0, 2.0], [-1.0, 0.5]]), np.array([1.0, 0.0]), reduction="sum")


def test_the_lecture():
    """Its nodes, its edges, its rules, and the order in which it walks them."""
    g = lecture()
    assert list(g.nodes) == ["x", "W1", "z1", "h", "W2", "z2", "y_hat", "y", "L"]
    assert g.backward == ("L", "y_hat", "z2", "W2", "h", "z1", "W1", "x")
    assert g.edges == [
        ("x", "z1"), ("W1", "z1"), ("z1", "h"), ("h", "z2"), ("W2", "z2"), ("z2", "y_hat"), ("y_hat", "L"), ("y", "L"),
    ]  # fmt: skip
    assert [g[name].rule for name in g.backward] == [
        "dL/dL = 1",
        "dL/dy_hat = -(y / y_hat - (1 - y) / (1 - y_hat))",
        "dL/dz2 = y_hat * (1 - y_hat) * dL/dy_hat = y_hat - y",
        "dL/dW2 = h^T dL/dz2",
        "dL/dh = dL/dz2 W2^T",
        "dL/dz1 = h * (1 - h) * dL/dh",
        "dL/dW1 = x^T dL/dz1",
        "dL/dx = dL/dz1 W1^T",
    ]
    assert [g[name].operation for name in ("z1", "h", "z2", "y_hat", "L")] == [
        "x W1", "sigmoid(z1)", "h W2", "sigmoid(z2)", "sum_i -(y * log(y_hat) + (1 - y) * log(1 - y_hat))",
    ]  # fmt: skip


def test_table():
    """One line a node, and how far the kernels are."""
    lines = lecture().table().splitlines()
    assert lines[0].split() == ["node", "operation", "shape", "value", "chain", "rule", "gradient"]
    assert [line.split()[0] for line in lines[2:11]] == list(lecture().nodes)
    assert re.fullmatch(r"z1 +x W1 +2 x 3 +-2\.25 \.\. 2\.5 .*", lines[4])
    assert re.fullmatch(r"y +data +2 x 1 +\[1 0\]", lines[9])  # three numbers at most are shown one by one
    assert re.fullmatch(r"W2 .* \[1 -2 0\.5\] .*", lines[6])
    assert lines[-2].startswith("2-3-1 sigmoid, binary_cross_entropy, no bias; 2 samples; a .. b")
    assert re.fullmatch(
        r"gradients are those of the compiled kernels, (bit for bit|up to \S+ of their norm)", lines[-1]
    )


def test_explain():
    """The derivation of W1 with the numbers of the second sample."""
    text = lecture().explain("W1", sample=1)
    assert "sample 1 of 2: x = [-1 0.5], y = 0" in text
    steps = re.findall(r"^  (dL/d\w+) = ", text, re.MULTILINE)
    assert steps == ["dL/dy_hat", "dL/dz2", "dL/dh", "dL/dz1", "dL/dW1"]
    # z1 = (0, 1, -2.25), h = (0.5, 0.7311, 0.09535), z2 = -0.9145, y_hat = 0.2861
    assert "z1 = x W1\n     = [-1 0.5] [[0.5 -1 2] [1 0 -0.5]]\n     = [0 1 -2.25]" in text
    assert "= 0.2861 * (1 - 0.2861) * 1.401 = 0.2861 - 0" in text
    assert "= [-1 0.5]^T [0.07152 -0.1125 0.01234]" in text
    assert "= [[-0.07152 0.1125 -0.01234] [0.03576 -0.05625 0.006169]]" in text
    assert "That is what this sample adds; the sum over all 2 is dL/dW1 = [[" in text


@pytest.mark.parametrize(("options", "formula", "of_second"), [
    ({}, "1 / N", 1 / 4), ({"reduction": "sum"}, "", 1), ({"sample_weight": [1, 5, 3, 1]}, "w / sum(w)", 0.5),
    ({"sample_weight": [1, 5, 3, 1], "reduction": "sum"}, "w", 5),
])  # fmt: skip
def test_the_weight_of_a_sample(options, formula, of_second):
    """Its formula stands below the table, and its number in the derivation."""
    params, x, y = some(NET, 4)
    g = graph.trace(NET, params, x, y, **options)
    assert (g.scale_formula, g.scale[1]) == (formula, of_second)
    assert (f"4 samples, s = {formula};" if formula else "4 samples; a") in g.table()
    step = g.explain("y_hat", sample=1).splitlines()[-2]
    assert step.strip().startswith(f"= -{of_second:g} * (" if formula else "= -(")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.explain("W3"), "the graph has no node 'W3'; its nodes are x, W1, z1, h, W2, z2, y_hat, y, L"),
        (lambda g: g.explain("W1", sample=2), "sample must be one of the 2 rows, 0 to 1; got 2"),
        (lambda g: g.explain("W1", sample=-3), "sample must be one of the 2 rows, 0 to 1; got -3"),
        *(
            (
                lambda g, given=given: g.explain("W1", sample=given),
                f"sample must be a whole number, that of a row; got {given!r}",
            )
            for given in (True, np.True_, "0", 1.0, np.float64(1), None)
        ),
        (lambda g: graph.trace(None, *some(NET)), "net must be a fastbp.MLP; got NoneType"),
        (lambda g: graph.trace("2-3-1", *some(NET)), "net must be a fastbp.MLP; got str"),
        (lambda g: g["w1"], "the graph has no node 'w1'"),
    ],
)
def test_errors(call, message):
    """What is wrong, and what there is."""
    with pytest.raises(InputError, match=re.escape(message)):
        call(lecture())


def test_bad_data_is_named():
    """As everywhere: the kernels' door."""
    params = NET.init(0)
    with pytest.raises(InputError, match="x must have shape"):
        graph.trace(NET, params, np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        graph.trace(NET, params, np.zeros((2, 2)), np.array([0.0, 2.0]))


def test_saturated_outputs():
    """The gradient of the logits stays right where dL/dy_hat is infinite."""
    net = fastbp.MLP((1, 1), bias=False)
    params = fastbp.Parameters.from_vector(net, np.array([1000.0]))
    g = graph.trace(net, params, np.array([[1.0], [-1.0]]), np.array([0.0, 1.0]), reduction="sum")
    np.testing.assert_array_equal(g["y_hat"].grad, [[np.inf], [-np.inf]])
    np.testing.assert_array_equal(g["z1"].grad, [[1.0], [-1.0]])
    assert json.loads(g.to_json())["nodes"][3]["grad"] == [[None], [None]]


def test_json():
    """All of it comes back; large arrays as their extent."""
    g = lecture()
    whole = json.loads(g.to_json())
    assert [node["name"] for node in whole["nodes"]] == list(g.nodes)
    for node in whole["nodes"]:
        np.testing.assert_array_equal(node["value"], g[node["name"]].value)
    assert whole["edges"] == [list(edge) for edge in g.edges]
    short = json.loads(g.to_json(max_values=3))["nodes"][1]["grad"]
    assert short["shape"] == [2, 3]
    assert short["norm"] == pytest.approx(np.linalg.norm(g["W1"].grad))


def test_dot_escapes_what_it_quotes():
    """Quotes and backslashes; lines become those of a label."""
    assert graph_text._quoted('a"b', "c\\d") == r'"a\"b\nc\\d"'


def test_dot():
    """Every node and every edge."""
    text = lecture().to_dot()
    assert text.startswith("digraph")
    assert text.endswith("}")
    assert all(f'  "{name}" [label=' in text for name in lecture().nodes)
    assert all(f'  "{a}" -> "{b}";' in text for a, b in lecture().edges)


def test_latex_of_the_lecture():
    """As on the slides."""
    text = lecture().latex()
    assert r"z_{1} &= x W_{1} \\" in text
    assert r"\frac{\partial L}{\partial W_{2}} &= h^\top \frac{\partial L}{\partial z_{2}} \\" in text
    assert r"&= h \odot (1 - h) \odot \frac{\partial L}{\partial h} \\" in text
