"""What the slides name, and their script."""

import re
import textwrap

import numpy as np
import pytest

import fastbp
from fastbp import lecture
from fastbp.errors import InputError

plt = pytest.importorskip("matplotlib.pyplot")

# The slides write the class out; where they err, their formulas are followed.
BY_HAND = """
from fastbp.lecture import *

class Classifier:
    def __init__(self):
        self.w1 = get_weights(2, 100)
        self.w2 = get_weights(100, 1)

    def forward(self, x):
        self.x = x
        self.h = sigmoid(x @ self.w1)
        return sigmoid(self.h @ self.w2)

    def backward(self, y_pred, y):
        grad_y_pred = -(y / y_pred - (1 - y) / (1 - y_pred))
        grad_z2 = y_pred * (1 - y_pred) * grad_y_pred
        grad_w2 = self.h.T @ grad_z2
        grad_h = grad_z2 @ self.w2.T
        grad_w1 = self.x.T @ (self.h * (1 - self.h) * grad_h)
        self.w1 -= 1e-4 * grad_w1
        self.w2 -= 1e-4 * grad_w2

x, y = fastbp.data.spirals(400)
y = y.reshape(-1, 1)
visualize_dataset(x, y)
classifier = Classifier()
for t in range(10_000):
    y_pred = classifier.forward(x)
    loss = cross_entropy(y_pred, y)
    classifier.backward(y_pred, y)
    if t in (5, 20, 100) or t % 1000 == 0:
        plot_decision_boundary(classifier, x, y, title=f"step {t}, loss {loss:.4f}")
"""
PRINTED = textwrap.dedent(re.search(r"^    import fastbp\n.*?\n(?=\S)", lecture.__doc__, re.DOTALL | re.MULTILINE)[0])


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("script", [PRINTED, BY_HAND], ids=["as printed", "with a class of one's own"])
def test_the_script_runs(script):
    """For 22 of its steps: the data, and the boundary with its loss after steps 0, 5 and 20; the loss is right."""
    assert script.count("10_000") == 1
    scope = {"fastbp": fastbp}
    exec(script.replace("10_000", "22"), scope)
    titles = [plt.figure(number).axes[0].get_title() for number in plt.get_fignums()]
    assert [title.split(",")[0] for title in titles] == ["", "step 0", "step 5", "step 20"]
    y_pred, y = scope["y_pred"].ravel(), scope["y"].ravel()
    wanted = -np.mean(np.where(y == 1, np.log(y_pred), np.log(1 - y_pred)))
    assert scope["loss"] == pytest.approx(wanted)


def test_the_picture_is_that_of_the_weights():
    """The shades are y_pred, whoever holds the weights."""
    x, y = fastbp.data.spirals(50)
    ours = fastbp.Classifier(rng=0)

    class Theirs:
        w1, w2 = ours.w1.tolist(), ours.w2.tolist()

    shades = [lecture.plot_decision_boundary(c, x, y).images[0] for c in (ours, Theirs())]
    np.testing.assert_array_equal(*[shade.get_array() for shade in shades])
    left, right, bottom, top = shades[0].get_extent()
    n = len(shades[0].get_array())
    corner = [[left + (right - left) / (2 * n), bottom + (top - bottom) / (2 * n)]]
    assert shades[0].get_array()[0, 0] == pytest.approx(ours.forward(corner)[0, 0])


def test_weights_to_start_from():
    """Standard normal, the same for a seed, of the shape asked for."""
    weights = lecture.get_weights(100, 50, rng=1)
    assert (weights.shape, weights.dtype) == ((100, 50), np.float64)
    assert (abs(weights.mean()), weights.std()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
    np.testing.assert_array_equal(weights, lecture.get_weights(100, 50, rng=1))


def test_one_axes_for_a_picture():
    """What is given as ax is drawn on and returned."""
    x, y = fastbp.data.spirals(20)
    ax = plt.subplots()[1]
    assert lecture.visualize_dataset(x, y, ax=ax) is ax
    assert sum(len(points.get_offsets()) for points in ax.collections) == 20


class Lopsided:
    w1, w2 = np.ones((2, 5)), np.ones((4, 1))


REFUSED = {
    "rows": (lambda x, y: lecture.visualize_dataset(x, y[1:]), ["y", "19", "20"]),
    "a third class": (lambda x, y: lecture.visualize_dataset(x, np.where(y == 1, 2, y)), ["y", "row 1"]),
    "weights": (lambda x, y: lecture.plot_decision_boundary(Lopsided(), x, y), ["w1", "w2", "(2, 5)", "(4, 1)"]),
    "a row of y": (lambda x, y: lecture.cross_entropy(y[None], y), ["y_pred", "(1, 20)", "(20,)"]),
}


@pytest.mark.parametrize(("call", "facts"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(call, facts):
    """With what came."""
    with pytest.raises(InputError) as error:
        call(*fastbp.data.spirals(20))
    assert [fact for fact in facts if fact not in str(error.value)] == []
