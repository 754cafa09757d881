"""What all pictures have in common: text as it is given, room in small Axes, and colors for light and dark."""

import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.text import Text

import fastbp
from fastbp import graph, plot
from fastbp.plot import boundary, style

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 2)), RNG.integers(0, 2, 60)
NET = fastbp.MLP((2, 4, 1), activation="tanh", bias=False)
PARAMS = NET.init(1, dtype=np.float64, scheme="lecture")
SNAPSHOTS = {1: PARAMS, 10: NET.init(2, dtype=np.float64)}
TWELVE = fastbp.MLP((2, 10, 12), activation="tanh", loss="cross_entropy")
OF_TWELVE = TWELVE.init(1, scheme="lecture")
GRAPH = graph.trace(NET, PARAMS, X, Y)


def draw_twelve(classes=None, **options):
    return plot.decision_boundary(TWELVE, OF_TWELVE, X, np.arange(60) % 12, classes=classes, **options)


# By name: a picture with a title, and with other text that is given.
PICTURES = {
    "decision_boundary": lambda text="a", **o: plot.decision_boundary(
        NET, PARAMS, X, Y, classes=[text, "b"], names=[text, "b"], **o
    ),
    "names in regions": lambda text="a", **o: draw_twelve([f"{text} {i}" for i in range(12)], **o),
    "learning_curve": lambda text="a", **o: plot.learning_curve({"loss": [2, 1], text: [0, 1], "b_loss": [1, 2]}, **o),
    "computation_graph": lambda text="a", **o: plot.computation_graph(GRAPH, **o),
    "weights": lambda text="a", **o: plot.weights(NET, PARAMS, **o),
    "images": lambda text="a", **o: plot.weights(NET, PARAMS, image_shape=(1, 2), **o),
    "activation_histograms": lambda text="a", **o: plot.activation_histograms(NET, PARAMS, X, **o),
    "gradient_flow": lambda text="a", **o: plot.gradient_flow(NET, SNAPSHOTS, X, Y, **o),
    "confusion_matrix": lambda text="a", **o: plot.confusion_matrix(Y, 1 - Y, classes=[text, "b"], **o),
    "calibration": lambda text="a", **o: plot.calibration(Y, np.linspace(0, 1, 60), label=text, **o),
}
N_TEXTS = {  # that are given beside the title; a class stands in the legend, too, or at both axes
    "decision_boundary": 2, "names in regions": 6, "learning_curve": 1, "confusion_matrix": 2, "calibration": 1,
}  # fmt: skip


@pytest.mark.parametrize("given", ["in $", "$a$ or $b$", "$^$", r"\$1 $x$"])
@pytest.mark.parametrize("name", PICTURES)
def test_text_is_drawn_as_it_is_given(name, given):
    """Dollars are no mathematics: in titles, and in names of classes, features, columns and models."""
    ax = PICTURES[name](given, title=f"title {given}")
    ax.figure.draw_without_rendering()
    texts = [text.get_text() for text in ax.figure.findobj(Text) if "$" in text.get_text()]
    shown = [text.replace(r"\$", "$") for text in texts if not is_math_text(text)]
    assert any(text.startswith(f"title {given}") for text in shown)
    assert sum(given in text and not text.startswith("title") for text in shown) >= N_TEXTS.get(name, 0)
    assert all(given not in text for text in texts if is_math_text(text))


@pytest.mark.parametrize("name", ["decision_boundary", "learning_curve", "activation_histograms", "gradient_flow"])
@pytest.mark.parametrize("size", [(2.4, 1.8), (6, 5), (12, 11)], ids=str)
def test_legends_stand_below_the_name_of_the_axis(name, size):
    """Near it, however small or large the Axes."""
    figure = Figure(figsize=size)
    ax = PICTURES[name](ax=figure.add_axes((0.2, 0.4, 0.7, 0.5)))
    figure.draw_without_rendering()
    gap = ax.xaxis.label.get_window_extent().y0 - ax.get_legend().get_window_extent().y1
    assert 0 <= gap < 12 * figure.dpi / 72


@pytest.mark.parametrize("n_handles", [1, 3, 7, 20])
@pytest.mark.parametrize("length", [1, 12, 25])
def test_legends_are_no_wider_than_their_axes(n_handles, length):
    """Of as many columns as fit, at least one."""
    ax = Figure(figsize=(6.4, 4.8)).subplots()
    style.legend_below(ax, [ax.plot([0, 1], label="x" * length)[0] for _ in range(n_handles)])
    box, columns = ax.get_legend().get_window_extent(), ax.get_legend()._ncols
    assert box.width <= ax.bbox.width
    assert columns == n_handles or box.width * (columns + 1) / columns > 0.8 * ax.bbox.width


def test_a_graph_among_other_pictures():
    """All keep their place, and the letters of the graph are as small as its circles."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    axes = figure.subplots(3, 3)
    for ax, draw in zip(axes.flat, [PICTURES["computation_graph"], *PICTURES.values()], strict=False):
        draw(ax=ax)
    figure.draw_without_rendering()
    assert min(ax.get_position(original=True).height for ax in axes.flat) > 0.1

    for width in (4.5, 9.0):
        figure = Figure(figsize=(width, 4.0), layout="constrained")
        ax = plot.computation_graph(GRAPH, ax=figure.subplots())
        figure.draw_without_rendering()
        letter = max(text.get_fontsize() for text in ax.texts)
        circle = next(patch for patch in ax.patches if hasattr(patch, "radius")).get_window_extent().height
        assert letter / 15 == pytest.approx(circle / figure.dpi / 0.6, rel=0.05)
    own = plot.computation_graph(GRAPH)
    assert sorted({text.get_fontsize() for text in own.texts}) == [9.5, 15]
    assert min(text.get_fontsize() for text in PICTURES["computation_graph"](ax=axes[0, 0]).texts) == 3


def test_names_stand_in_the_regions_of_many_classes():
    """Of more than ten: one for each that wins somewhere, at a point where it does, and no legend."""
    ax = draw_twelve([f"n{i}" for i in range(12)])
    places = np.array([text.get_position() for text in ax.texts])
    codes = TWELVE.predict(OF_TWELVE, places)
    assert [text.get_text() for text in ax.texts] == [f"n{code}" for code in codes]
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    grid = np.stack(np.meshgrid(np.linspace(left, right, 99), np.linspace(low, high, 99)), axis=-1).reshape(-1, 2)
    assert set(np.unique(TWELVE.predict(OF_TWELVE, grid))) <= set(codes)
    assert len(codes) > 5
    ten = fastbp.MLP((2, 10, 10), activation="tanh", loss="cross_entropy")
    assert not list(plot.decision_boundary(ten, ten.init(1, scheme="lecture"), X, np.arange(60) % 10).texts)


@pytest.mark.parametrize(("rows", "wanted"), [
    (["....", ".##.", ".##.", ".##."], (2, 1)), (["#......", "..#####", "..#####", "..#####"], (2, 4)),
    (["#.#.###", "....###", "#.#.###"], (1, 5)), (["..#."], (0, 2)),
    (["#####", "#####", "#####", "#####", "#####"], (2, 2)),
])  # fmt: skip
def test_a_name_stands_deep_in_its_region(rows, wanted):
    """Far from the edges, and in a part of it that is large."""
    inside = np.array([list(row) for row in rows]) == "#"
    assert boundary._deepest(inside) == wanted


def luminance(color):
    """Relative luminance and contrast as in the Web Content Accessibility Guidelines 2.2."""
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(
    "name", sorted(set(PICTURES) - {"images", "confusion_matrix", "decision_boundary", "names in regions"})
)
def test_lines_and_text_are_seen_on_black(name):
    """In a dark style their contrast to the background is at least 5."""
    with context("dark_background"):
        ax = PICTURES[name]()
        axes = ax.figure.axes
        colors = [artist.get_color() for each in axes for artist in (*each.lines, *each.texts)]
        colors += [patch.get_edgecolor() for patch in ax.patches if name != "calibration"]
    assert colors
    assert min((luminance(color) + 0.05) / (luminance("black") + 0.05) for color in colors) >= 5
    assert style.blue() == style.BLUE


@pytest.mark.parametrize(("background", "color"), [
    ("white", style.BLUE), ("#EAEAF2", style.BLUE), ("black", style.SKY), ("0.2", style.SKY), ("none", style.BLUE),
])  # fmt: skip
def test_blue_is_light_on_a_dark_background(background, color):
    """And so are seven lines, all of different colors."""
    with context({"axes.facecolor": background}):
        assert style.blue() == color
        looks = style.line_styles(7)
    assert same_color(looks[0]["color"], color)
    assert len({look["color"] for look in looks}) == 7
