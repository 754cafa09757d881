"""Arguments that no picture can be made of are refused: what was wanted, and what came."""

import re

import numpy as np
import pytest

import fastbp
from fastbp import plot
from fastbp.errors import InputError

NET, OTHER = fastbp.MLP((2, 6, 1)), fastbp.MLP((2, 5, 1))
PARAMS, CODES = NET.init(0), [0, 1, 1, 0]
X = np.random.default_rng(0).standard_normal((4, 2))
RESULT = fastbp.train(NET, PARAMS, X, CODES, steps=2, snapshots=[1, 2])
WANTED = "params must be those of 2-6-1 sigmoid, binary_cross_entropy, as net.init() returns; got "


def boundary(params=PARAMS, x=X, y=CODES, **options):
    return plot.decision_boundary(NET, params, x, y, **options)


def curve(**columns):
    return plot.learning_curve(columns)


REFUSED = [
    (lambda: boundary(OTHER.init(0)), WANTED + "Parameters("),
    (lambda: plot.weights(NET, OTHER.init(0)), WANTED + "Parameters("),
    (lambda: plot.activation_histograms(NET, OTHER.init(0), X), WANTED + "Parameters("),
    (lambda: boundary(RESULT), WANTED + "TrainResult"),
    (lambda: boundary(classes=["a"]), "classes must hold a name for each of 2; got 1"),
    (lambda: boundary(classes=["a", "b", "c"]), "classes must hold a name for each of 2; got 3"),
    (lambda: boundary(names=["a"]), "names must hold a name for each of 2; got 1"),
    (
        lambda: plot.decision_boundary(fastbp.MLP((1, 2, 1)), None, X[:, :1], CODES, plane="pca"),
        "a decision boundary is drawn in a plane, of two inputs or more; got 1-2-1",
    ),
    (lambda: plot.confusion_matrix([0, 10**6], [0, 1]), "y must hold class codes 0 to 999; got 1000000 at row 1"),
    (lambda: plot.confusion_matrix([0], [1e18]), "y_pred must hold class codes 0 to 999; got 1e+18 at row 0"),
    (lambda: plot.calibration([0, 2], [0.5, 0.5]), "y must hold class codes 0 to 1; got 2 at row 1"),
    (lambda: plot.calibration([0, 2], [[0.5], [0.5]]), "y must hold class codes 0 to 1; got 2 at row 1"),
    (lambda: plot.calibration([3, 0], np.full((2, 3), 1 / 3)), "y must hold class codes 0 to 2; got 3 at row 0"),
    (lambda: plot.calibration([0], 0.5), "probability must be (1,) or (1, K), from 0 to 1; got shape ()"),
    (lambda: plot.calibration([0], np.zeros((1, 0))), "probability must be (1,) or (1, K), from 0 to 1; got shape (1"),
    (lambda: plot.calibration([0, 1], [0.5]), "probability must be (2,) or (2, K), from 0 to 1; got shape (1,)"),
    (lambda: plot.calibration([0, 1], ["a", "b"]), "probability must hold real numbers; got text"),
    (lambda: plot.calibration([0], [0.5], n_bins=0), "n_bins must be a whole number of at least 1; got 0"),
    (lambda: plot.calibration([0], [0.5], n_bins=2.5), "n_bins must be a whole number of at least 1; got 2.5"),
    (
        lambda: plot.gradient_flow(NET, RESULT, X, CODES),
        "snapshots must be parameters by step, such as result.snapshots; got TrainResult",
    ),
    (lambda: plot.activation_histograms(NET, PARAMS, X, bins=-1), "bins must be a whole number of at least 1; got -1"),
    (lambda: plot.learning_curve({"accuracy": [1]}), "a learning curve needs losses, a column 'loss'; got accuracy"),
    (lambda: plot.learning_curve({}), "a learning curve needs losses, a column 'loss'; got none"),
    (lambda: curve(step=[1], loss=[1, 2]), "step must have a number for each of 2 losses; got 1"),
    (lambda: curve(loss=[1, 2], accuracy=[1]), "accuracy must have a number for each of 2 losses; got 1"),
    (lambda: plot.learning_curve([[1, 2]]), "loss must hold numbers, shape (N,); got a list"),
    (lambda: plot.learning_curve(RESULT), "loss must hold numbers, shape (N,); got a TrainResult"),
    (lambda: curve(loss=[1], accuracy=["a"]), "accuracy must hold numbers, shape (N,); got a list"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_no_picture_is_refused(call, message):
    """By an InputError of one line."""
    with pytest.raises(InputError, match="^" + re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(-1, -2), (1.0, 2), (2,), (1, 2, 1), 2, "ab", (2, 2)], ids=str)
def test_an_image_has_a_height_and_a_width(shape):
    """Two positive whole numbers, whose product is the number of inputs."""
    with pytest.raises(InputError) as error:
        plot.weights(NET, PARAMS, image_shape=shape)
    assert str(error.value) == f"image_shape must be (height, width) of 2 inputs; got {shape}"


@pytest.mark.parametrize(
    "x", [np.full((2001, 2), 1e17), np.arange(4002).reshape(2001, 2) * 1e-313], ids=["huge", "tiny"]
)
def test_many_points_that_are_hardly_apart_are_drawn(x):
    """As density, and the picture can be written."""
    ax = boundary(x=x, y=np.arange(2001) % 2)
    ax.figure.canvas.draw()
    assert np.asarray(ax.images[1].get_array())[..., 3].max() > 0


def test_activations_that_are_not_finite_are_counted():
    """The bins hold the others; the label tells how many are missing."""
    net = fastbp.MLP((2, 4, 1), activation="relu")
    params = net.init(0, dtype=np.float64)
    params.weights[0][...] = [[1e308, 1, 1, 1], [1e308, 1, 1, 1]]
    params.biases[0][...] = 0
    ax = plot.activation_histograms(net, params, np.full((5, 2), 2.0))
    assert ax.patches[0].get_data().values.sum() == pytest.approx(0.75)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["h, relu: 25% not finite"]
