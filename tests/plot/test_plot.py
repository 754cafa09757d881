"""Pictures: what the Axes hold, and that what is written is a picture."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy import sparse

from fastbp import plot
from fastbp.data import Standardize, spirals
from fastbp.errors import InputError
from fastbp.model.network import MLP
from fastbp.plot import boundary, style

NETWORKS = {
    "one output": MLP((2, 10, 1), bias=False),
    "two outputs": MLP((2, 10, 2), activation="tanh", loss="cross_entropy"),
    "three classes": MLP((2, 10, 3), activation="tanh", loss="cross_entropy"),
    "twelve classes": MLP((2, 10, 12), activation="tanh", loss="cross_entropy"),
}


def classes_of(net):
    return max(2, net.n_outputs)


def draw(net, n_rows=300, **options):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n_rows, 2)) * [1, 50], np.arange(n_rows) % classes_of(net)
    return plot.decision_boundary(net, net.init(1, scheme="lecture"), x, y, **options)


def lines_in(ax):
    """Segments of black contour lines."""
    black = [c for c in ax.collections if len(c.get_edgecolor()) and tuple(c.get_edgecolor()[0][:3]) == (0, 0, 0)]
    return [segment for c in black if not hasattr(c, "get_sizes") for segment in c.get_paths() if len(segment.vertices)]


def scatters_in(ax):
    return [c for c in ax.collections if len(c.get_offsets()) > 1 and c.get_label()[0] != "_"]


def png_of(ax):
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_boundary_picture_has_all_its_parts(name):
    """Title, axis labels, a shaded plane, a black boundary line, and every class's points."""
    net = NETWORKS[name]
    ax = draw(net, title="step 100, loss 0.1234", names=("length", "width"))
    assert ax.get_title() == "step 100, loss 0.1234"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length", "width")
    assert lines_in(ax)
    assert len(scatters_in(ax)) == classes_of(net)
    assert sum(len(points.get_offsets()) for points in scatters_in(ax)) == 300
    assert [image.get_zorder() for image in ax.images] == [0]
    assert png_of(ax).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("name", ["one output", "two outputs"])
def test_two_classes_are_shaded_by_probability(name):
    """The shading is the probability of the second class at its point, and a color bar names it."""
    net = NETWORKS[name]
    ax = draw(net, classes=["cat", "dog"])
    (image,) = ax.images
    shown = image.get_array()
    left, right, bottom, top = image.get_extent()
    n_rows, n_columns = shown.shape
    first = left + (np.arange(n_columns) + 0.5) * (right - left) / n_columns
    second = bottom + (np.arange(n_rows) + 0.5) * (top - bottom) / n_rows
    points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    wanted = net.forward(net.init(1, scheme="lecture"), points)[:, -1]
    np.testing.assert_allclose(shown.ravel(), wanted, atol=1e-4)
    assert wanted.min() < 0.4 < 0.6 < wanted.max()
    assert ax.figure.axes[1].get_ylabel() == "probability of dog"


def test_the_boundary_lies_where_the_probability_is_half():
    """Along the line, in the units of x, the standardized network answers 1/2."""
    net = NETWORKS["one output"]
    params, standardize = net.init(1, scheme="lecture"), Standardize(np.array([0.0, 10.0]), np.array([2.0, 50.0]))
    ax = draw(net, standardize=standardize)
    vertices = np.concatenate([path.vertices for path in lines_in(ax)])
    p = net.forward(params, standardize.apply(vertices, np.float32))
    assert len(vertices) > 50
    np.testing.assert_allclose(p, 0.5, atol=0.01)


@pytest.mark.parametrize("name", ["three classes", "twelve classes"])
def test_regions_belong_to_the_class_that_wins(name):
    """The color of a point is that of the class that wins there."""
    net = NETWORKS[name]
    ax = draw(net)
    (image,) = ax.images
    shown = np.asarray(image.get_array())
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    n = len(shown)
    grid = np.stack(np.meshgrid(np.linspace(left, right, n), np.linspace(low, high, n)), axis=-1).reshape(-1, 2)
    winners = net.predict(net.init(1, scheme="lecture"), grid)
    colors = {code: np.unique(shown.reshape(-1, 3)[winners == code], axis=0) for code in np.unique(winners)}
    assert len(colors) > 1
    for code, found in colors.items():
        wanted = 0.3 * np.array(to_rgb(style.COLORS[code % 8])) + 0.7
        assert np.abs(found - wanted).max(axis=1).min() < 1e-6
        assert (np.abs(shown.reshape(-1, 3)[winners == code] - wanted).max(axis=1) < 1e-6).mean() > 0.99


def test_a_plane_without_boundary_says_so():
    """When one class wins everywhere there is no line, but a sentence, which stays in its Axes."""
    from matplotlib.figure import Figure

    net = MLP((2, 3, 1))
    params = net.init(0)
    params.biases[1][...] = 50
    x, y = spirals(100)
    ax = plot.decision_boundary(net, params, x, y, classes=["cat", "dog"])
    small = Figure(figsize=(12, 9)).subplots(3, 3)[0, 0]
    (text,) = plot.decision_boundary(net, params, x, y, classes=["cat", "dog"], ax=small).texts
    (left, _), (right, _) = text.get_window_extent().get_points()
    assert small.bbox.x0 <= left
    assert right <= small.bbox.x1
    assert text.get_clip_on()
    assert not lines_in(ax)
    assert [text.get_text() for text in ax.texts] == ["no boundary here: every point\nis taken for dog"]


def test_large_data_are_drawn_as_density():
    """No dots: cells in the color of the class that has most points there, where there are any; all are counted."""
    net = NETWORKS["one output"]
    x, _ = spirals(50_000)
    y = (np.arange(50_000) % 10 == 0).astype(int)
    ax = plot.decision_boundary(net, net.init(0), x, y)
    assert scatters_in(ax) == []
    shown = np.asarray(ax.images[1].get_array())
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    n = len(shown)
    ends = [np.linspace(a, b, n + 1) for a, b in ((low, high), (left, right))]
    counts = [np.histogram2d(x[y == code, 1], x[y == code, 0], bins=ends)[0] for code in range(2)]
    there = counts[0] + counts[1] > 0
    assert (there == (shown[..., 3] > 0)).mean() > 0.999  # the edges of cells are rounded
    is_second = np.abs(shown[..., :3] - 0.75 * np.array(to_rgb(style.ORANGE))).max(axis=-1) < 1e-6
    assert ((counts[1] > counts[0]) == is_second)[there].mean() > 0.999
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["0 (45,000)", "1 (5,000)"]


def test_every_point_is_counted_in_the_density():
    """In the cell it lies in, of its class; points that can hardly be told apart, too."""
    flat, y = np.array([[0.0, 0.0], [0.999, 0.0], [0.0, 0.5], [0.0, 0.5]]), np.array([0, 1, 1, 1])
    counts = boundary.density(flat, y, 2, np.zeros(2), np.ones(2))
    assert counts.sum() == 4
    assert (counts[0, 0, 0], counts[1, 0, -1], counts[1, counts.shape[1] // 2, 0]) == (1, 1, 2)
    for spread in (
        np.full(4, 1e17),
        np.full(4, -1e17),
        np.full(4, 7.0),
        np.arange(4) * 1e-310,
        1e17 + 16 * np.arange(4),
    ):
        flat = np.stack([spread, np.linspace(0, 1, 4)], axis=1)
        assert boundary.density(flat, y, 2, *boundary.region(flat)).sum() == 4


MANY = MLP((4, 5, 3), activation="tanh", loss="cross_entropy")


@pytest.mark.parametrize("plane", [(2, 0), (-1, 1), "pca"])
def test_planes_of_more_features(plane):
    """The picture is what the network answers on the plane through the mean; points lie where they fall on it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 4)) * [1, 2, 3, 4] + 5, rng.integers(0, 3, 200)
    x[:, 3] += x[:, 2]
    params = MANY.init(1, scheme="lecture")
    ax = plot.decision_boundary(MANY, params, x, y, plane=plane, names=list("abcd"), standardize=Standardize.fit(x))
    points = np.concatenate([np.asarray(points.get_offsets()) for points in scatters_in(ax)])
    u = (x - x.mean(axis=0)) / x.std(axis=0)
    if plane == "pca":
        _, _, axes = np.linalg.svd(u, full_matrices=False)
        wanted, lift = u @ axes[:2].T, lambda p, signs: (p * signs) @ axes[:2] * x.std(axis=0) + x.mean(axis=0)
        assert ax.get_xlabel().startswith("principal component 1, ")
    else:
        wanted = x[:, plane]
        assert (ax.get_xlabel(), ax.get_ylabel()) == tuple("abcd"[i] for i in plane)
    wanted = wanted[np.argsort(y, kind="stable")]
    signs = np.sign((wanted * points).sum(axis=0)) if plane == "pca" else 1
    np.testing.assert_allclose(points, wanted * signs, atol=1e-9)
    (image,) = ax.images
    n = len(image.get_array())
    first, second = np.linspace(*ax.get_xlim(), n)[50], np.linspace(*ax.get_ylim(), n)[300]
    if plane == "pca":
        point = lift(np.array([[first, second]]), signs)
    else:
        point = x.mean(axis=0)[None].copy()
        point[0, list(plane)] = first, second
    winner = MANY.predict(params, Standardize.fit(x).apply(point, np.float32))[0]
    np.testing.assert_allclose(image.get_array()[300, 50], 0.3 * np.array(to_rgb(style.COLORS[winner])) + 0.7)


@pytest.mark.parametrize(
    "plane", [(0, 0), (0, 4), (1,), "plane", (0, -4), ("a", "b"), (None, 1), (0.5, 1), (0, 1, 1), 5, ((0, 1), 2)]
)
def test_a_plane_that_is_none_is_refused(plane):
    """Two different features, or "pca"."""
    with pytest.raises(InputError, match="plane must be two different features of 4, such as"):
        plot.decision_boundary(MANY, MANY.init(0), np.zeros((5, 4)), np.zeros(5, int), plane=plane)


def test_the_legend_names_the_classes_and_markers_tell_them_apart():
    """A legend entry for each class, each with a marker and a color of its own; none for more than ten."""
    ax = draw(NETWORKS["three classes"], classes=["a", "b", "c"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a (100)", "b (100)", "c (100)"]
    points = scatters_in(ax)
    assert len({c.get_paths()[0].vertices.tobytes() for c in points}) == 3
    assert len({tuple(c.get_facecolor()[0]) for c in points}) == 3
    assert draw(NETWORKS["twelve classes"]).get_legend() is None


def test_classes_that_share_a_color_differ_in_their_marker():
    """As many pairs of both as there are."""
    assert len({(style.COLORS[code % 8], style.marker(code)) for code in range(64)}) == 64


LONG = [f"a name of class {i:02d} that is far too long" for i in range(10)]


def parts_inside(figure, artists):
    """Whether all of them lie within the figure, once it has been drawn."""
    figure.canvas.draw()
    edges = [artist.get_window_extent().extents for artist in artists]
    return all((e[:2] >= -0.5).all() and (e[2:] <= np.array(figure.bbox.size) + 0.5).all() for e in edges)


@pytest.mark.parametrize(("names", "shown"), [
    (["cat", 7], ["cat", "7"]), (["x" * 20, "y"], ["x" * 20, "y"]),
    (["x" * 20 + "1", "y"], ["x" * 11 + "…" + "x" * 7 + "1", "y"]),
    ([*LONG[:2], "cat"], ["0: a name of c…too long", "1: a name of c…too long", "2: cat"]), (["a", "a"], ["a", "a"]),
])  # fmt: skip
def test_names_are_shortened_to_what_tells_them_apart(names, shown):
    """Up to 20 characters as they are."""
    assert style.class_names(names) == shown


@pytest.mark.parametrize("name", ["one output", "three classes", "ten classes"])
def test_long_names_leave_room_for_the_picture(name):
    """Shown by their beginnings and ends, none over the edge, and the Axes keep most of the figure."""
    net = MLP((2, 10, 10), loss="cross_entropy") if name == "ten classes" else NETWORKS[name]
    ax = draw(net, classes=LONG[: classes_of(net)])
    assert parts_inside(ax.figure, [ax.get_legend(), *ax.get_legend().get_texts()])
    assert ax.get_legend().get_texts()[1].get_text().startswith("1: a name of c…too long (")
    assert ax.get_position().size.min() > 0.6

    y = np.arange(30) % classes_of(net)
    ax = plot.confusion_matrix(y, y, classes=LONG[: classes_of(net)])
    assert parts_inside(ax.figure, [ax.title, *ax.get_xticklabels(), *ax.get_yticklabels()])
    assert ax.get_position().size.min() > 0.45


def test_axes_that_are_given_are_used():
    """`ax=` is drawn on and returned, by both functions; without it every call makes a figure of its own."""
    from matplotlib.figure import Figure

    first, second = Figure().subplots(1, 2)
    assert draw(NETWORKS["one output"], ax=first) is first
    assert plot.learning_curve([3.0, 2.0], ax=second) is second
    assert first.collections
    assert second.lines
    assert plot.learning_curve([1.0]).figure is not plot.learning_curve([1.0]).figure


@pytest.mark.parametrize(("net", "message"), [
    (MLP((3, 4, 1)), "a decision boundary is drawn in a plane: of 3 inputs, plane=(i, j) chooses two, and plane='pca'"),
    (MLP((2, 4, 1), loss="squared_error"), "a decision boundary is drawn for a classifier; got 2-4-1"),
    (MLP((2, 4, 2)), "a decision boundary is drawn for a classifier; got 2-4-2"),
    (MLP((1, 4, 1)), "a decision boundary is drawn in a plane, of two inputs or more; got 1-4-1"),
])  # fmt: skip
def test_a_network_without_a_boundary_in_the_plane_is_refused(net, message):
    """Only classifiers have a picture, and more than two inputs need a plane; the message names the network."""
    with pytest.raises(InputError) as error:
        plot.decision_boundary(net, net.init(0), np.zeros((5, net.n_inputs)), np.zeros(5, int))
    assert str(error.value).startswith(message)


DRAWN_FROM_POINTS = {
    "decision_boundary": lambda net, x: plot.decision_boundary(net, net.init(0), x, np.zeros(3, int)),
    "activation_histograms": lambda net, x: plot.activation_histograms(net, net.init(0), x),
    "weights": lambda net, x: plot.weights(net, net.init(0), x=x),
}


@pytest.mark.parametrize("draw", DRAWN_FROM_POINTS.values(), ids=DRAWN_FROM_POINTS)
@pytest.mark.parametrize(("x", "message"), [
    (np.zeros((0, 2)), "x must have shape (N, 2), one row a sample, one column a feature; got shape (0, 2), float64. "),
    (np.zeros((3, 3)), "x must have shape (N, 2), one row a sample, one column a feature; got shape (3, 3), float64. "),
    (np.zeros(3), "x must have shape (N, 2), one row a sample, one column a feature; got shape (3,), float64. "),
    ([[0, 1], [2, np.nan], [3, 4]], "x must be finite; got nan at row 1, column 1. "),
    ([["a", "b"], ["c", "d"], ["e", "f"]], "x must hold real numbers; got text, shape (3, 2), <U1. "),
    (object(), "x must be an array of numbers; got "),
])  # fmt: skip
def test_points_must_be_finite_rows_of_inputs(draw, x, message):
    """x of another shape, without rows, not finite or not of numbers is refused as everywhere else."""
    with pytest.raises(InputError) as error:
        draw(NETWORKS["one output"], x)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("draw", DRAWN_FROM_POINTS.values(), ids=DRAWN_FROM_POINTS)
@pytest.mark.parametrize(
    "given", [sparse.csr_matrix, pd.DataFrame, np.ndarray.tolist, np.float32], ids=lambda f: f.__name__
)
def test_points_may_come_in_any_form(draw, given):
    """A sparse matrix, a data frame, a list and float32 give the picture of the array."""
    net, x = NETWORKS["one output"], np.array([[0.0, 1.0], [2.0, -1.5], [0.5, 0.0]])
    pictures = []
    for points in (given(x), x):
        canvas = draw(net, points).figure.canvas
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize(("y", "message"), [
    ([0, 1, 2], "y must hold class codes 0 to 1; got 2 at row 2"),
    ([0, 1], "y must hold a class code for each row of x, 0 to 1; got 2 for 3"),
    ([0, 0.5, 1], "y must hold class codes 0 to 1; got 0.5 at row 1"),
    ([0, -1, 1], "y must hold class codes 0 to 1; got -1 at row 1"),
    ([0, 1, np.nan], "y must hold class codes 0 to 1; got nan at row 2"),
    ([np.inf, 1, 0], "y must hold class codes 0 to 1; got inf at row 0"),
    ([1e300, 1, 0], "y must hold class codes 0 to 1; got 1e+300 at row 0"),
    (["a", "b", "a"], "y must hold class codes 0 to 1, shape (N,); got <U1 (3,)"),
    (np.zeros((3, 2), int), "y must hold class codes 0 to 1, shape (N,); got int64 (3, 2)"),
])  # fmt: skip
def test_classes_must_be_codes(y, message):
    """One for each row, none beyond those of the network."""
    net = NETWORKS["one output"]
    with pytest.raises(InputError) as error:
        plot.decision_boundary(net, net.init(0), np.eye(3)[:, :2], y)
    assert str(error.value) == message


def test_a_learning_curve_of_losses():
    """A list of losses is drawn against steps from 1, with a logarithmic axis."""
    ax = plot.learning_curve([3.0, 2.0, 0.5], title="t")
    (line,) = ax.lines
    assert line.get_xydata().tolist() == [[1, 3], [2, 2], [3, 0.5]]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), ax.get_yscale()) == ("step", "loss", "t", "log")
    assert png_of(ax).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("losses", [[1.0, 0.0], [1.0, -2.0], []])
def test_losses_that_are_not_positive_have_a_linear_axis(losses):
    """A logarithmic axis would hide them."""
    assert plot.learning_curve(losses).get_yscale() == "linear"


def test_a_learning_curve_with_scores():
    """Scores stand on an axis of their own, without the steps where they were not taken, and in the legend."""
    nan = np.nan
    history = {"step": [5, 10, 15], "loss": [3.0, 2.0, 1.0], "r2": [nan, 0.5, 0.9], "held_out_r2": [nan, nan, -0.2]}
    ax = plot.learning_curve(history)
    right = ax.figure.axes[1]
    assert [line.get_xydata().tolist() for line in right.lines] == [[[10, 0.5], [15, 0.9]], [[15, -0.2]]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["loss", "R²", "held-out R²"]
    assert right.get_ylim()[0] < -0.2
    assert ax.lines[0].get_xydata().tolist() == [[5, 3], [10, 2], [15, 1]]
