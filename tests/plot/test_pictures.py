"""Pictures are those that were looked at: each beside the one kept in pictures/, so close that nothing can be missing.

After a change that is wanted: python tests/plot/test_pictures.py draws them anew; then look at each.
"""

import dataclasses
import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import fastbp
from fastbp import graph, plot

KEPT = Path(__file__).parent / "pictures"
VERSION = KEPT / "matplotlib-version.txt"
TOLERANCE = 0.5  # root mean square over the picture, of 255

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


def drawn(name):
    """The figure of a picture."""
    wide = name == "graph"
    figure = Figure(figsize=(13, 4.6) if wide else (5.6, 4.4), dpi=70, layout="constrained")
    PICTURES[name](figure.subplots())
    return figure


def pixels(figure):
    """A picture as numbers (height, width, 3)."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB")).astype(float)


def distance(a, b):
    """The root mean square of the difference; pictures of other sizes are as far as can be."""
    return float(np.sqrt(np.mean((a - b) ** 2))) if a.shape == b.shape else 255.0


is_same_matplotlib = pytest.mark.skipif(
    not VERSION.exists() or VERSION.read_text().split(".")[:2] != matplotlib.__version__.split(".")[:2],
    reason="the pictures kept were drawn by another matplotlib",
)


@is_same_matplotlib
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_those_that_were_looked_at(name):
    """To a root mean square of TOLERANCE."""
    kept = np.asarray(Image.open(KEPT / f"{name}.png").convert("RGB")).astype(float)
    assert distance(pixels(drawn(name)), kept) <= TOLERANCE


@pytest.mark.parametrize("name", PICTURES)
def test_a_missing_artist_is_seen(name):
    """Each line, set of points, image, shape, and the legend: without it a picture is too far off, or it was tiny."""
    figure = drawn(name)
    whole = pixels(figure)
    figure.set_layout_engine("none")
    assert distance(pixels(figure), whole) == 0
    n_pixels = whole.shape[0] * whole.shape[1]
    for ax in figure.axes:
        legend = [] if ax.get_legend() is None else [ax.get_legend()]
        for artist in [*ax.lines, *ax.collections, *ax.images, *ax.patches, *legend]:
            if not artist.get_visible():
                continue
            artist.set_visible(False)
            without = pixels(figure)
            artist.set_visible(True)
            is_small = (np.abs(without - whole).max(axis=-1) > 30).sum() < 2e-3 * n_pixels
            assert distance(without, whole) > TOLERANCE or is_small, artist


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for name in PICTURES:
        drawn(name).savefig(KEPT / f"{name}.png")
    VERSION.write_text(matplotlib.__version__ + "\n")
