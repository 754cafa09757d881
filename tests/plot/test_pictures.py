"""Pictures are those that were looked at: every artist, with its data, colors and text, is the one in drawn.json.

After a change that is wanted: python tests/plot/test_pictures.py FOLDER draws them into a folder, to look at, and
writes drawn.json anew.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import fastbp
from fastbp import graph, plot

KEPT = Path(__file__).with_name("drawn.json")
TOLERANCE = 1e-3  # of the largest number in a list

SPIRALS = fastbp.data.spirals(400)
LECTURE = fastbp.MLP((2, 20, 1), bias=False)
TRAINED = fastbp.train(
    LECTURE, LECTURE.init(0, dtype=np.float64), *SPIRALS, optimizer=fastbp.optim.adam(0.1), batch_size=None, steps=400,
    snapshots=[1, 20, 100, 400],
)  # fmt: skip
CLASSES = fastbp.MLP((4, 8, 3), activation="tanh", loss="cross_entropy")
OF_CLASSES = CLASSES.init(2, dtype=np.float64, scheme="lecture")
X = np.random.default_rng(0).standard_normal((60, 4))
Y = CLASSES.predict(OF_CLASSES, X + 0.3 * X[::-1])

PICTURES = {
    "boundary": lambda ax: plot.decision_boundary(LECTURE, TRAINED.params, *SPIRALS, ax=ax, title="boundary"),
    "density": lambda ax: plot.decision_boundary(LECTURE, TRAINED.params, *fastbp.data.spirals(20_000), ax=ax),
    "regions": lambda ax: plot.decision_boundary(CLASSES, OF_CLASSES, X, Y, plane="pca", ax=ax),
    "learning-curve": lambda ax: plot.learning_curve(
        {"step": [1, 2, 3], "loss": [3, 1, 0.1], "accuracy": [0.5, 0.6, 0.9]}, ax=ax
    ),
    "graph": lambda ax: plot.computation_graph(
        # Rounding errors, which the title tells, differ from processor to processor.
        dataclasses.replace(graph.trace(LECTURE, TRAINED.params, *SPIRALS), difference=1e-15),
        ax=ax,
        title="graph",
    ),
    "weights": lambda ax: plot.weights(LECTURE, TRAINED.params, x=SPIRALS[0], ax=ax),
    "images": lambda ax: plot.weights(CLASSES, OF_CLASSES, image_shape=(2, 2), ax=ax),
    "activations": lambda ax: plot.activation_histograms(LECTURE, TRAINED.params, SPIRALS[0], ax=ax),
    "gradient-flow": lambda ax: plot.gradient_flow(LECTURE, TRAINED.snapshots, *SPIRALS, ax=ax),
    "confusion": lambda ax: plot.confusion_matrix(Y, CLASSES.predict(OF_CLASSES, X), ax=ax),
    "calibration": lambda ax: plot.calibration(SPIRALS[1], LECTURE.forward(TRAINED.params, SPIRALS[0]), ax=ax),
}


def figure_of(name, layout=None):
    """The figure of a picture; without a layout, no place in it depends on the size of letters."""
    wide = name == "graph"
    figure = Figure(figsize=(13, 4.6) if wide else (5.6, 4.4), dpi=70, layout=layout)
    PICTURES[name](figure.subplots())
    figure.draw_without_rendering()
    return figure


# -- what is drawn -----------------------------------------------------------------------------------------------------


def described(figure):
    """Every visible artist of a figure as a dict of texts and lists of numbers, axes after axes."""
    found = []
    for ax in figure.axes:
        found.append(of_axes(ax))
        found += [of_line(line) for line in ax.lines if line.get_visible()]
        found += [of_collection(artist) for artist in ax.collections if artist.get_visible()]
        found += [of_image(image) for image in ax.images if image.get_visible()]
        found += [of_patch(patch) for patch in ax.patches if patch.get_visible()]
        found += [of_text(text) for text in ax.texts if text.get_visible()]
        legend = ax.get_legend()
        if legend is not None and legend.get_visible():
            found.append({"kind": "legend", "entries": [text.get_text() for text in legend.get_texts()]})
    return found


def of_axes(ax):
    texts = [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
    scales = [ax.get_xscale(), ax.get_yscale()]
    x, y = map(numbers, (ax.get_xlim(), ax.get_ylim()))
    return {"kind": "axes", "texts": texts, "scales": scales, "x": x, "y": y}


def of_line(line):
    look = [to_hex(line.get_color(), keep_alpha=True), line.get_linestyle(), str(line.get_marker())]
    return {"kind": "line", "look": look, "width": numbers([line.get_linewidth()]), **of_points(line.get_xydata())}


def of_collection(artist):
    """Points of a scatter at their offsets, lines and areas by their paths."""
    colors = [of_colors(artist.get_facecolor()), of_colors(artist.get_edgecolor())]
    offsets = artist.get_offsets()
    is_scatter = len(offsets) > 1 or not len(artist.get_paths())
    points = offsets if is_scatter else np.concatenate([path.vertices for path in artist.get_paths()])
    sizes = numbers(artist.get_linewidths()[:1])
    return {"kind": "collection", "colors": colors, "width": sizes, **of_points(points)}


def of_image(image):
    """An image in up to 4 x 4 fields, and where it lies."""
    values = np.nan_to_num(np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan))
    rows = np.array_split(values, min(4, len(values)))
    fields = [field.mean() for row in rows for field in np.array_split(row, min(4, row.shape[1]), axis=1)]
    return {
        "kind": "image",
        "map": image.get_cmap().name,
        "extent": numbers(image.get_extent()),
        "fields": numbers(fields),
    }


def of_patch(patch):
    colors = [of_colors([patch.get_facecolor()]), of_colors([patch.get_edgecolor()])]
    points = patch.get_patch_transform().transform(patch.get_path().vertices)
    return {
        "kind": type(patch).__name__,
        "colors": colors,
        "width": numbers([patch.get_linewidth()]),
        **of_points(points),
    }


def of_text(text):
    color = to_hex(text.get_color(), keep_alpha=True)
    return {"kind": "text", "text": text.get_text(), "color": color, "at": numbers(text.get_position())}


def of_colors(colors):
    """The different ones, up to four, in the order in which they come."""
    return list(dict.fromkeys(to_hex(color, keep_alpha=True) for color in colors))[:4]


def of_points(points):
    """How many, and for x and y what a shift or a missing part changes: bounds, mean, spread, and one of the points."""
    points = np.ma.filled(np.ma.asarray(points, float), np.nan)
    points = points[np.isfinite(points).all(axis=1)]
    moments = [(v.min(), v.max(), v.mean(), v.std(), v[len(v) // 3]) for v in points.T if len(v)]
    return {"n": len(points), **dict(zip("xy", map(numbers, moments), strict=False))}


def numbers(values):
    """To six digits."""
    return [float(f"{value:.6g}") for value in values]


def differences(one, other):
    """What is not the same, artist by artist; numbers within TOLERANCE of the largest in their list."""
    if len(one) != len(other):
        return [f"{len(one)} artists, and {len(other)}"]
    return [
        (a, b)
        for a, b in zip(one, other, strict=True)
        if a.keys() != b.keys() or not all(map(alike, a.values(), b.values()))
    ]


def alike(a, b):
    is_numbers = isinstance(a, list) and isinstance(b, list) and all(isinstance(n, float | int) for n in [*a, *b])
    if not is_numbers or len(a) != len(b):
        return a == b
    return np.allclose(a, b, rtol=0, atol=TOLERANCE * max(1e-9, *np.abs(a)))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_those_that_were_looked_at(name):
    """With any version of matplotlib."""
    kept = json.loads(KEPT.read_text())[name]
    assert not differences(described(figure_of(name)), kept)


def hidden(artist):
    artist.set_visible(False)


def recolored(artist):
    artist.set_edgecolor("lime") if hasattr(artist, "set_edgecolor") else artist.set_color("lime")


@pytest.mark.parametrize("change", [hidden, recolored])
@pytest.mark.parametrize("name", PICTURES)
def test_a_change_is_seen(name, change):
    """Each line, set of points, shape and text, one after the other: without it or recolored it is another picture."""
    figure = figure_of(name)
    before = described(figure)
    for ax in figure.axes:
        legend = [ax.get_legend()] if ax.get_legend() else []
        colorless = [] if change is recolored else [*ax.images, *legend]
        for artist in [*ax.lines, *ax.collections, *ax.patches, *ax.texts, *colorless]:
            if artist.get_visible():
                change(artist)
                after = described(figure)
                assert differences(after, before), artist
                before = after


@pytest.mark.parametrize("name", PICTURES)
def test_moved_lines_are_seen(name):
    """By a hundredth of their height."""
    figure = figure_of(name)
    before = described(figure)
    for ax in figure.axes:
        for line in ax.lines:
            y = np.asarray(line.get_ydata(), float)
            line.set_ydata(y + 0.01 * np.nanmax(np.abs(y)))
            after = described(figure)
            assert differences(after, before), line
            before = after


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    rows = {}
    for name in PICTURES:
        figure_of(name, "constrained").savefig(folder / f"{name}.png")
        rows[name] = ",\n".join(f"  {json.dumps(artist)}" for artist in described(figure_of(name)))
    KEPT.write_text("{\n" + ",\n".join(f' "{name}": [\n{text}\n ]' for name, text in rows.items()) + "\n}\n")
