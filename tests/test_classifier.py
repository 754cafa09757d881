"""The lecture's classifier against the slides' arithmetic, written out here."""

import numpy as np
import pytest

import fastbp
from fastbp.errors import InputError, StateError


def data(n=200):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2))
    return x, (x[:, 0] * x[:, 1] > 0).astype(float).reshape(-1, 1)


def slides_step(w1, w2, x, y, learning_rate):
    """One training step in the slides' own arithmetic, in place; returns both gradients and y_pred."""
    h = 1 / (1 + np.exp(-(x @ w1)))
    y_pred = 1 / (1 + np.exp(-(h @ w2)))
    grad_y_pred = -(y / y_pred - (1 - y) / (1 - y_pred))
    grad_w2 = h.T @ (y_pred * (1 - y_pred) * grad_y_pred)
    grad_h = (y_pred * (1 - y_pred) * grad_y_pred) @ w2.T
    grad_w1 = x.T @ (h * (1 - h) * grad_h)
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2
    return grad_w1, grad_w2, y_pred


@pytest.mark.parametrize("how", ["fit", "step", "forward and backward"])
def test_a_thousand_steps_are_the_slides(how):
    """Weights and gradients after 1,000 steps in float64, to 1e-12."""
    x, y = data()
    classifier = fastbp.Classifier(rng=0, learning_rate=1e-3)
    w1, w2 = classifier.w1.copy(), classifier.w2.copy()
    for _ in range(1000):
        grad_w1, grad_w2, _ = slides_step(w1, w2, x, y, 1e-3)
    if how == "fit":
        classifier.fit(x, y, 1000)
    for _ in range(1000):
        if how == "step":
            classifier.step(x, y)
        elif how == "forward and backward":
            classifier.backward(classifier.forward(x), y)
    for got, wanted in ((classifier.w1, w1), (classifier.w2, w2)):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    for got, wanted in ((classifier.grad_w1, grad_w1), (classifier.grad_w2, grad_w2)):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def test_saturated_outputs_train_where_the_slides_divide_by_zero():
    """Large weights: the slides' gradient is NaN, the classifier's is (y_pred - y) as multiplied out."""
    x, y = data(50)
    classifier = fastbp.Classifier(rng=0, learning_rate=0.0)
    classifier.w2 = classifier.w2 * 200
    with np.errstate(all="ignore"):
        grad_w1, _, _ = slides_step(classifier.w1.copy(), classifier.w2.copy(), x, y, 0.0)
    assert np.isnan(grad_w1).any()
    h = fastbp.sigmoid(x @ classifier.w1)
    delta = fastbp.sigmoid(h @ classifier.w2) - y
    loss = classifier.step(x, y)
    z = h @ classifier.w2
    assert loss == pytest.approx((np.logaddexp(0, z) - y * z).mean(), rel=1e-13)
    np.testing.assert_allclose(classifier.grad_w2, h.T @ delta, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(classifier.grad_w1, x.T @ (delta @ classifier.w2.T * h * (1 - h)), rtol=1e-10, atol=1e-9)


def test_backward_takes_the_given_prediction():
    """delta = y_pred - y with whatever y_pred is given, not with the network's own."""
    x, y = data(30)
    classifier = fastbp.Classifier(rng=0)
    w2 = classifier.w2.copy()
    h = fastbp.sigmoid(x @ classifier.w1)
    classifier.forward(x)
    given = np.full((30, 1), 0.25)
    classifier.backward(given, y)
    np.testing.assert_allclose(classifier.grad_w2, h.T @ (given - y), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(classifier.grad_w1, x.T @ ((given - y) @ w2.T * h * (1 - h)), rtol=1e-11, atol=1e-12)


def test_backward_takes_the_hidden_layer_of_the_last_forward():
    """h is that of the forward pass, even where W1 was written to in between; W2 is today's."""
    x, y = data(30)
    classifier = fastbp.Classifier(rng=0)
    h = fastbp.sigmoid(x @ classifier.w1)
    y_pred = classifier.forward(x)
    classifier.w1 = classifier.w1 * 2
    w2 = classifier.w2 * 3
    classifier.w2 = w2
    classifier.backward(y_pred, y)
    np.testing.assert_allclose(classifier.grad_w2, h.T @ (y_pred - y), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(classifier.grad_w1, x.T @ ((y_pred - y) @ w2.T * h * (1 - h)), rtol=1e-10, atol=1e-11)


def test_fit_calls_back_where_the_lecture_draws():
    """After steps 5, 20, 100 and every 1,000, with the loss of that step."""
    x, y = data()
    calls = []
    losses = fastbp.Classifier(rng=0).fit(x, y, 2500, callback=lambda _, step, loss: calls.append((step, loss)))
    assert [step for step, _ in calls] == [5, 20, 100, 1000, 2000]
    assert all(loss == losses[step - 1] for step, loss in calls)
    assert losses.shape == (2500,)
    assert losses[-1] < losses[0]


def test_fit_of_a_large_batch_is_its_steps():
    """A batch shared out to threads takes the same steps as `step`."""
    x, y = data(20_000)
    fitted, stepped = (fastbp.Classifier(rng=0, learning_rate=1e-6) for _ in range(2))
    losses = fitted.fit(x, y, 3)
    np.testing.assert_array_equal(losses, [stepped.step(x, y) for _ in range(3)])
    np.testing.assert_array_equal(fitted.w1, stepped.w1)


def test_order_and_shapes_are_checked():
    """A missing forward pass and wrong shapes are named."""
    x, y = data(10)
    classifier = fastbp.Classifier(rng=0)
    with pytest.raises(StateError, match="there is no gradient yet; call backward, step or fit first"):
        _ = classifier.grad_w1
    with pytest.raises(StateError, match=r"backward needs the x and h of a forward pass; call forward\(x\) first"):
        classifier.backward(y, y)
    y_pred = classifier.forward(x)
    with pytest.raises(
        InputError, match=r"y must have the shape of the last forward pass, \(10, 1\) or \(10,\); got \(9, 1\)"
    ):
        classifier.backward(y_pred, y[:9])
    with pytest.raises(InputError, match=r"w1 must have shape \(2, 100\); got \(100, 2\)"):
        classifier.w1 = np.zeros((100, 2))


def test_cross_entropy_of_certain_answers():
    """0 ln 0 is 0; a certain wrong answer costs infinity."""
    assert fastbp.cross_entropy([1.0, 0.0], [1, 0]) == 0.0
    assert fastbp.cross_entropy([0.0], [1]) == np.inf
    assert fastbp.cross_entropy([0.5, 0.5], [1, 0]) == pytest.approx(np.log(2))
    with pytest.raises(InputError, match="y_pred and y must have one shape"):
        fastbp.cross_entropy([0.5], [1, 0])


def test_sigmoid_far_from_zero():
    """Without overflow, and float32 stays float32."""
    np.testing.assert_array_equal(fastbp.sigmoid(np.array([-1e4, 0, 1e4])), [0, 0.5, 1])
    assert fastbp.sigmoid(np.float32([1.0])).dtype == np.float32
