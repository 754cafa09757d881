"""What the lecture's slides name, in one import: a two-layer classifier, its functions, and its pictures.

    z1 = x W1,  h = sigmoid(z1),  z2 = h W2,  y_pred = sigmoid(z2),  L = -[y ln(y_pred) + (1 - y) ln(1 - y_pred)]

The training run of the lecture, on data it can learn without biases:

    import fastbp
    from fastbp.lecture import *

    x, y = fastbp.data.spirals(400)
    visualize_dataset(x, y)
    classifier = Classifier()
    for t in range(10_000):
        y_pred = classifier.forward(x)
        loss = cross_entropy(y_pred, y)
        classifier.backward(y_pred, y)
        if t in (5, 20, 100) or t % 1000 == 0:
            plot_decision_boundary(classifier, x, y, title=f"step {t}, loss {loss:.4f}")

Source: Stanford CS231n, discussion section "Backpropagation", 14 April 2023. Where the slides' formula dL/dy_pred
divides by zero, once y_pred saturates, the classifier uses dL/dz2 = y_pred - y, which the formulas multiply out to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import optim
from .engine import backprop, inputs
from .errors import InputError, StateError
from .model.network import MLP
from .model.parameters import Parameters
from .plot import boundary, style
from .training.batches import BatchSource
from .training.steps import Descent

__all__ = [
    "Classifier",
    "cross_entropy",
    "get_weights",
    "plot_decision_boundary",
    "sigmoid",
    "visualize_dataset",
]

PICTURE_STEPS = (5, 20, 100)
PICTURES_EVERY = 1000


def sigmoid(z: Any) -> np.ndarray:
    """1 / (1 + exp(-z)) of each number, without overflow, in the shape of z; float32 stays float32.

    >>> sigmoid([-1e4, 0.0, 1e4])
    array([0. , 0.5, 1. ])
    """
    z = np.asarray(z)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def cross_entropy(y_pred: Any, y: Any) -> float:
    """The mean of -[y ln(y_pred) + (1 - y) ln(1 - y_pred)] with 0 ln 0 = 0; infinite where a certain answer is wrong.

    y_pred, y : numbers in [0, 1], both (N,) or (N, 1). InputError for shapes that differ otherwise.

    >>> round(cross_entropy([[0.5], [0.25]], [1, 0]), 4)  # (ln 2 + ln 4/3) / 2
    0.4904
    """
    y_pred, y = np.asarray(y_pred, np.float64), np.asarray(y, np.float64)
    if _column_shape(y_pred) != _column_shape(y):
        raise InputError(f"y_pred and y must have one shape; got {y_pred.shape} and {y.shape}")
    y_pred, y = y_pred.ravel(), y.ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(y > 0, y * np.log(y_pred), 0) + np.where(y < 1, (1 - y) * np.log1p(-y_pred), 0)
    return abs(float(terms.mean()))


def get_weights(n_in: int, n_out: int, *, rng: Any = None) -> np.ndarray:
    """Weights (n_in, n_out) to start from, float64, each drawn from the standard normal distribution.

    rng : None (fresh entropy), an integer seed, or a `numpy.random.Generator`.

    >>> get_weights(2, 100, rng=0).shape
    (2, 100)
    """
    return np.random.default_rng(rng).standard_normal((n_in, n_out))


def visualize_dataset(x: Any, y: Any, *, title: str | None = None, ax: Any = None) -> Any:
    """Draw the samples in the plane, each class in its color; returns the Axes.

    x : (N, 2). y : classes 0 and 1, (N,) or (N, 1). ax : by default a new figure of pyplot, which `plt.show()` shows.
    InputError, naming the row, for what cannot be drawn.

    >>> ax = visualize_dataset(*fastbp.data.spirals(400), title="two spirals")
    """
    x, y = style.points(x, 2), style.class_codes("y", np.ravel(y), 2)
    if len(x) != len(y):
        raise InputError(f"y must hold a class for each row of x, 0 or 1; got {len(y)} for {len(x)}")
    ax = _axes(ax)
    low, high = boundary.region(x)
    boundary.draw_data(ax, x, y, style.class_names(range(2)), low, high)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x1", ylabel="x2", title=style.plain(title or ""))
    return ax


def plot_decision_boundary(classifier: Any, x: Any, y: Any, *, title: str | None = None, ax: Any = None) -> Any:
    """Draw y_pred over the plane, the line where it is 1/2, and the samples; returns the Axes.

    classifier : a `Classifier`, or an object of your own with `w1` (2, n_hidden) and `w2` (n_hidden, 1).
    x : (N, 2). y : classes 0 and 1, (N,) or (N, 1). ax : by default a new figure of pyplot, which `plt.show()` shows.
    InputError, naming the row, for what cannot be drawn.

    >>> x, y = fastbp.data.spirals(400)
    >>> ax = plot_decision_boundary(Classifier(rng=0), x, y, title="before training")
    """
    w1, w2 = np.asarray(classifier.w1, np.float64), np.asarray(classifier.w2, np.float64)
    if w1.ndim != 2 or len(w1) != 2 or w2.shape != (w1.shape[1], 1):
        raise InputError(f"w1 must have shape (2, n_hidden) and w2 (n_hidden, 1); got {w1.shape} and {w2.shape}")
    net = _network(*w1.shape)
    params = Parameters.from_vector(net, np.concatenate([w1.ravel(), w2.ravel()]))
    return boundary.decision_boundary(net, params, x, np.ravel(y), title=title, ax=_axes(ax))


class Classifier:
    """The lecture's classifier: two layers of sigmoids without biases, trained by gradient descent on all the data.

    Parameters
    ----------
    n_inputs, n_hidden : features of a sample, hidden units.
    learning_rate : alpha in W -= alpha dL/dW, where L is summed over the samples.
    rng : None, seed or `numpy.random.Generator`; the weights start from the standard normal distribution.
    dtype : float64 or float32.

    Attributes: `w1` (n_inputs, n_hidden), `w2` (n_hidden, 1), and after a step `grad_w1`, `grad_w2`, its gradients.

    >>> x, y = fastbp.data.spirals(400)
    >>> classifier = fastbp.Classifier(rng=0, learning_rate=0.01)
    >>> losses = classifier.fit(x, y, n_steps=200)
    >>> bool(losses[-1] < losses[0])
    True
    """

    def __init__(
        self, n_inputs: int = 2, n_hidden: int = 100, *, learning_rate: float = 1e-4, rng: Any = None,
        dtype: Any = np.float64,
    ) -> None:  # fmt: skip
        self.net = _network(n_inputs, n_hidden)
        self.learning_rate = learning_rate
        self._params = self.net.init(rng, dtype=dtype, scheme="lecture")
        self._gradient: Parameters | None = None
        self._workspace = backprop.Workspace()
        self._x: np.ndarray | None = None
        self._w1: np.ndarray | None = None

    @property
    def params(self) -> Parameters:
        """Both weights as `fastbp.Parameters`; the classifier trains them in place."""
        return self._params

    @property
    def w1(self) -> np.ndarray:
        """Weights of the hidden layer, (n_inputs, n_hidden)."""
        return self._params.weights[0]

    @w1.setter
    def w1(self, values: Any) -> None:
        _assign(self.w1, values, "w1")

    @property
    def w2(self) -> np.ndarray:
        """Weights of the output, (n_hidden, 1)."""
        return self._params.weights[1]

    @w2.setter
    def w2(self, values: Any) -> None:
        _assign(self.w2, values, "w2")

    @property
    def grad_w1(self) -> np.ndarray:
        """dL/dW1 of the last step, (n_inputs, n_hidden)."""
        return self._last_gradient().weights[0]

    @property
    def grad_w2(self) -> np.ndarray:
        """dL/dW2 of the last step, (n_hidden, 1)."""
        return self._last_gradient().weights[1]

    def forward(self, x: Any) -> np.ndarray:
        """y_pred (N, 1) for x (N, n_inputs); x and the hidden layer are remembered for `backward`."""
        self._x = inputs.as_inputs(x, self.net.n_inputs, self._params.dtype)
        self._w1 = self.w1.copy()
        return self.net.forward(self._params, self._x, workspace=self._workspace)

    def backward(self, y_pred: Any, y: Any) -> None:
        """The gradient summed over the samples, then the update, both weights by their gradient.

            d = y_pred - y,  dL/dW2 = h^T d,  dL/dW1 = x^T [(d W2^T) h (1 - h)]

        y_pred, y : (N, 1) or (N,). x and h are those of the last `forward`, W2 is taken before its update.
        """
        if self._x is None:
            raise StateError("backward needs the x and h of a forward pass; call forward(x) first")
        delta = self._column("y_pred", y_pred) - self._column("y", y)
        before = self._params.copy()
        before.weights[0][...] = self._w1
        self._gradient = backprop.pullback(self.net, before, self._x, delta, out=self._gradient)
        self._params.vector -= self._params.dtype.type(self.learning_rate) * self._gradient.vector

    def step(self, x: Any, y: Any) -> float:
        """Forward and backward in one; returns the mean loss before the update."""
        self._gradient = self._gradient or Parameters.zeros(self.net, self._params.dtype)
        x = inputs.as_inputs(x, self.net.n_inputs, self._params.dtype)
        total, _ = self.net.value_and_grad(
            self._params, x, y, reduction="sum", out=self._gradient, workspace=self._workspace
        )
        self._params.vector -= self._params.dtype.type(self.learning_rate) * self._gradient.vector
        return total / len(x)

    def fit(
        self, x: Any, y: Any, n_steps: int = 10_000, callback: Callable[[Classifier, int, float], Any] | None = None
    ) -> np.ndarray:
        """n_steps on the whole data set; returns the mean loss before each step, float64 (n_steps,).

        callback(classifier, step, loss) is called after steps 5, 20, 100 and every 1,000, as the lecture draws its
        pictures, with the loss before that step. Many steps run inside one compiled call of at most 50 ms, where the
        batch is small; a large one is shared out to threads, step by step.
        """
        x = inputs.as_inputs(x, self.net.n_inputs, self._params.dtype)
        y = inputs.as_targets(y, self.net, len(x), self._params.dtype)
        state = optim.sgd(self.learning_rate).init(self._params)
        descent = Descent(self.net, self._params, BatchSource(x, y), state=state, reduction="sum")
        losses = np.empty(n_steps)
        start = 0
        for stop in picture_steps(n_steps):
            losses[start:stop] = descent.run(start, stop - start).data_loss / len(x)
            self._gradient = descent.gradient
            if callback is not None and _is_picture_step(stop):
                callback(self, stop, float(losses[stop - 1]))
            start = stop
        return losses

    def _column(self, name: str, values: Any) -> np.ndarray:
        column = np.asarray(values, dtype=self._params.dtype)
        n = len(self._x)
        if column.shape not in ((n, 1), (n,)):
            raise InputError(
                f"{name} must have the shape of the last forward pass, ({n}, 1) or ({n},); got {column.shape}"
            )
        return column.reshape(n, 1)

    def _last_gradient(self) -> Parameters:
        if self._gradient is None:
            raise StateError("there is no gradient yet; call backward, step or fit first")
        return self._gradient


def _network(n_inputs: int, n_hidden: int) -> MLP:
    return MLP((n_inputs, n_hidden, 1), activation="sigmoid", loss="binary_cross_entropy", bias=False)


def _column_shape(values: np.ndarray) -> tuple[int, ...]:
    """The shape of a column (N, 1) for that of its numbers (N,), too."""
    return (*values.shape, 1) if values.ndim == 1 else values.shape


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(6.4, 5.4), layout="constrained")[1]


def picture_steps(n_steps: int) -> list[int]:
    """The steps after which the lecture draws a picture, up to and including the last step."""
    early = [step for step in PICTURE_STEPS if step < n_steps]
    return [*early, *range(PICTURES_EVERY, n_steps, PICTURES_EVERY), n_steps] if n_steps else []


def _is_picture_step(step: int) -> bool:
    return step in PICTURE_STEPS or step % PICTURES_EVERY == 0


def _assign(weights: np.ndarray, values: Any, name: str) -> None:
    values = np.asarray(values)
    if values.shape != weights.shape:
        raise InputError(f"{name} must have shape {weights.shape}; got {values.shape}")
    weights[...] = values
