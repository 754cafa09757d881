"""Learning curves: which line stands on which axis."""

import itertools

import numpy as np
import pytest

import fastbp
from fastbp import plot

NAN = np.nan
X, Y = fastbp.data.spirals(120)
NET = fastbp.MLP((2, 5, 1))


def trained(**options):
    return fastbp.train(NET, NET.init(0), X, Y, epochs=3, **options).history


HISTORIES = {
    "a run": (trained(), ["loss"], None),
    "with penalties": (trained(l2=0.1), ["loss", "data loss"], None),
    "with validation": (
        trained(validation=0.25, metrics=["accuracy", "f1"]), ["loss", "val loss"], ["val accuracy", "val f1"],
    ),
    "all at once": (
        trained(validation=0.25, metrics=["accuracy", "f1"], l1=0.1),
        ["loss", "data loss", "val loss"], ["val accuracy", "val f1"],
    ),
    "without steps": ({"loss": [3, 2, 1]}, ["loss"], None),
    "scores alone": ({"r2": [0, 0.5], "loss": [2, 1]}, ["loss"], ["R²"]),
    "six lines": (
        {"loss": [1, 2], "a_loss": [1, 3], "b_loss": [2, 2], "u": [0, 1], "v": [1, 0], "w": [1, 1]},
        ["loss", "a loss", "b loss"], ["u", "v", "w"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("history", "losses", "scores"), HISTORIES.values(), ids=HISTORIES)
def test_losses_stand_on_the_left_and_scores_on_the_right(history, losses, scores):
    """All of them but what is neither; the right axis is there for scores alone; no two lines look the same."""
    ax = plot.learning_curve(history)
    axes = ax.figure.axes
    assert [[line.get_label() for line in each.lines] for each in axes] == ([losses, scores] if scores else [losses])
    looks = [(line.get_color(), line.get_linestyle()) for line in itertools.chain(*(each.lines for each in axes))]
    assert len(set(looks)) == len(looks)
    named = [] if ax.get_legend() is None else [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == ([*losses, *(scores or [])] if len(looks) > 1 else [])
    assert ax.get_yscale() == "log"
    wanted = history.get("step", np.arange(1, len(history["loss"]) + 1))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), wanted)


@pytest.mark.parametrize(("history", "scale"), [
    ([NAN, NAN], "linear"), ({"loss": [1, 2], "val_loss": [NAN, NAN]}, "log"),
    ({"loss": [1, 2], "val_loss": [NAN, 0]}, "linear"),
    ({"loss": [1, np.inf], "accuracy": [NAN, NAN]}, "log"), ({"loss": [None, 2.0]}, "log"),
])  # fmt: skip
def test_the_scale_fits_the_losses_that_were_taken(history, scale):
    """Logarithmic where all of these are positive; without a warning, and it can be written."""
    ax = plot.learning_curve(history)
    ax.figure.canvas.draw()
    assert ax.get_yscale() == scale


def test_scores_above_one_are_seen():
    """The axis on the right reaches as far as they do."""
    ax = plot.learning_curve({"loss": [2, 1], "rmse": [12.0, 3.0]})
    assert ax.figure.axes[1].get_ylim()[1] > 12
