"""Pictures of what is inside a network, and of how good it is: what the Axes hold."""

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import fastbp
from fastbp import graph, plot
from fastbp.errors import InputError
from fastbp.graph import formulas
from fastbp.graph import text as graph_text

NET = fastbp.MLP((2, 6, 5, 1), activation=["tanh", "relu"])
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 2)), RNG.integers(0, 2, 40)
PARAMS = NET.init(3, dtype=np.float64)
SNAPSHOTS = {1: PARAMS, 10: NET.init(4, dtype=np.float64), 100: NET.init(5, dtype=np.float64)}

PICTURES = {
    "computation_graph": lambda **o: plot.computation_graph(graph.trace(NET, PARAMS, X, Y), **o),
    "weights": lambda **o: plot.weights(NET, PARAMS, x=X, **o),
    "weight images": lambda **o: plot.weights(NET, PARAMS, image_shape=(1, 2), **o),
    "activation_histograms": lambda **o: plot.activation_histograms(NET, PARAMS, X, **o),
    "gradient_flow": lambda **o: plot.gradient_flow(NET, SNAPSHOTS, X, Y, **o),
    "confusion_matrix": lambda **o: plot.confusion_matrix(Y, 1 - Y, **o),
    "calibration": lambda **o: plot.calibration(Y, np.linspace(0, 1, 40), **o),
}


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_axes_that_are_given_are_used(draw, style):
    """`ax=` is drawn on and returned, `title` stands above it, and it can be written, in dark styles, too."""
    import matplotlib.style

    with matplotlib.style.context(style):
        figure = Figure()
        ax = figure.subplots()
        assert draw(ax=ax, title="this one") is ax
        assert ax.get_title().startswith("this one")
        assert draw().figure is not draw().figure
        file = io.BytesIO()
        figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG\r\n")


def test_the_graph_shows_every_node_value_and_gradient():
    """A circle, a name and a shape each, an arrow for each edge, and both numbers beside it."""
    from matplotlib.patches import Circle, FancyArrowPatch

    g = graph.trace(NET, PARAMS, X[:1], Y[:1])
    ax = plot.computation_graph(g)
    assert len([patch for patch in ax.patches if isinstance(patch, Circle)]) == len(g.nodes)
    assert len([patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]) == len(g.edges)
    texts = [text.get_text() for text in ax.texts]
    assert {"$x$", "$W_{1}$", "$b_{3}$", r"$\hat{y}$", "$L$"} <= set(texts)
    assert any(text.endswith("$\n1 x 6") for text in texts)
    for node in g.nodes.values():
        if node.taken_by:
            for numbers in (node.value, node.grad):
                wanted = "" if numbers is None else graph_text.summary(numbers, 3)
                assert (wanted if len(wanted) <= 21 else graph_text.summary(numbers, 2)) in [*texts, ""]
            assert any(text.split("\n")[-1] == graph_text.shape_of(node) for text in texts)
    centers = [patch.center for patch in ax.patches if isinstance(patch, Circle)]
    assert min(abs(a[0] - b[0]) + abs(a[1] - b[1]) for i, a in enumerate(centers) for b in centers[:i]) > 0.6


@pytest.mark.parametrize(("numbers", "text"), [
    ([1.4812, -0.4951, -0.2812], "[1.48 -0.495 -0.281]"), ([0.11123, -0.003712, 0.004203], "[0.11 -0.0037 0.0042]"),
])  # fmt: skip
def test_numbers_of_the_graph_have_room_on_their_edge(numbers, text):
    """Three digits, or two where they are long."""
    net = fastbp.MLP((3, 1), loss="squared_error")
    ax = plot.computation_graph(graph.trace(net, net.init(0, dtype=np.float64), [numbers], [0.0]))
    assert text in [each.get_text() for each in ax.texts]


def test_the_graph_defines_its_functions():
    """Each below the picture, inside of it."""
    net = fastbp.MLP((2, 3, 1), activation="gelu", loss=fastbp.losses.huber(0.5))
    g = graph.trace(net, net.init(0, dtype=np.float64), X, Y)
    ax = plot.computation_graph(g)
    lines = [text for text in ax.texts if " = " in text.get_text() and text.get_text()[:2] != "$L"]
    wanted = [f"${formulas.latex(definition)}$" for definition in g.definitions]
    assert [text.get_text() for text in lines if text.get_text() in wanted] == wanted
    assert len(wanted) == 4
    assert min(text.get_position()[1] for text in lines) > ax.get_ylim()[0]


def test_lines_of_weights_are_where_units_switch():
    """Along each line w x + b = 0; the thickest is that of the unit which weighs most."""
    ax = plot.weights(NET, PARAMS, x=X)
    w, b = PARAMS.weights[0], PARAMS.biases[0]
    assert len(ax.lines) == 6
    for line in ax.lines:
        ends = np.array(line.get_xydata())
        assert min(np.abs(ends @ w + b).max(axis=0)) < 1e-9
    order = np.argsort(-np.linalg.norm(PARAMS.weights[1], axis=1))
    assert np.abs(np.array(ax.lines[0].get_xydata()) @ w[:, order[0]] + b[order[0]]).max() < 1e-9
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(widths, reverse=True)


def test_images_of_weights():
    """Each unit's weights in the shape of the image, scaled by the largest."""
    net = fastbp.MLP((6, 5, 1))
    params = net.init(0)
    (image,) = plot.weights(net, params, image_shape=(2, 3)).images
    shown = np.ma.filled(image.get_array(), np.nan)
    w = params.weights[0][:, 4].reshape(2, 3)
    np.testing.assert_allclose(shown[4:6, 5:8], w / np.abs(w).max())


def test_histograms_of_activations():
    """Shares that sum to 1, of each hidden layer; how many are zero behind a relu."""
    ax = plot.activation_histograms(NET, PARAMS, X)
    assert [patch.get_data().values.sum() for patch in ax.patches] == pytest.approx([1, 1])
    zero = np.mean(np.maximum(np.tanh(X @ PARAMS.weights[0]) @ PARAMS.weights[1], 0) == 0)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert re.fullmatch(r"h1, tanh: \d+% saturated", labels[0])
    assert labels[1] == f"h2, relu: {zero:.0%} zero"


def test_the_gradient_flow():
    """A line a layer through the root mean squares of its gradient."""
    ax = plot.gradient_flow(NET, SNAPSHOTS, X, Y)
    for k, line in enumerate(ax.lines):
        wanted = [np.sqrt(np.mean(NET.value_and_grad(p, X, Y)[1].weights[k] ** 2)) for p in SNAPSHOTS.values()]
        np.testing.assert_array_equal(line.get_xdata(), [1, 10, 100])
        np.testing.assert_allclose(line.get_ydata(), wanted)
    assert len(ax.lines) == 3
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_confusion_matrix():
    """Counts in the cells, shares as shades, names at the axes, what is right above."""
    ax = plot.confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0]), classes=["a", "b", "c"])
    assert [text.get_text() for text in ax.texts] == ["1", "1", "0", "0", "1", "0", "1", "0", "2"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 0, 2 / 3]])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_title() == "66.67% right"


def test_a_calibration_curve():
    """Of two bins: what was said, what came true; the error is the mean distance, weighted by rows."""
    ax = plot.calibration(np.array([0, 1, 1, 1]), np.array([0.2, 0.9, 0.9, 0.6]), n_bins=2)
    curve = ax.lines[1]
    np.testing.assert_allclose(curve.get_xydata(), [[0.2, 0.0], [0.8, 1.0]])
    assert curve.get_label() == "model, ECE 0.200"
    assert [bar.get_height() for bar in ax.patches] == [0.25, 0.75]
    ax = plot.calibration(np.array([1, 1, 1, 1]), np.array([0.2, 0.9, 0.9, 0.6]), n_bins=2)
    assert ax.lines[1].get_label() == "model, ECE 0.350"


def test_calibration_of_many_classes_is_that_of_the_class_predicted():
    """The largest probability, and whether its class is right."""
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    curve = plot.calibration(np.array([0, 1]), p, n_bins=1).lines[1]
    np.testing.assert_allclose(curve.get_xydata(), [[0.75, 0.5]])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: plot.weights(fastbp.MLP((3, 1)), None), "weights are drawn for two inputs, or for images"),
    (lambda: plot.weights(NET, PARAMS, image_shape=(2, 2)), "image_shape must be (height, width) of 2 inputs"),
    (lambda: plot.activation_histograms(fastbp.MLP((2, 1)), None, X), "activations are those of hidden layers"),
    (lambda: plot.gradient_flow(NET, {}, X, Y), "gradient_flow needs parameters at some steps"),
    (lambda: plot.confusion_matrix(Y, Y[:3]), "y and y_pred must have the same length of at least 1; got 40 and 3"),
    (lambda: plot.confusion_matrix(Y, Y + 0.5), "y_pred must hold class codes 0 to 999; got 0.5 at row 0"),
    (lambda: plot.confusion_matrix(Y, Y, classes=["a"]), "1 classes were named, but codes go up to 1"),
    (lambda: plot.calibration(Y, np.full(40, 1.5)), "probability must be (40,) or (40, K), from 0 to 1"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(call, message):
    """With what was wanted and what came."""
    with pytest.raises(InputError, match=re.escape(message)):
        call()
