"""The lecture's classifier: two layers of sigmoids without biases, trained by gradient descent on the whole data set.

    z1 = x W1,  h = sigmoid(z1),  z2 = h W2,  y_pred = sigmoid(z2),  L = -[y ln(y_pred) + (1 - y) ln(1 - y_pred)]

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
from .training.batches import BatchSource
from .training.steps import Descent

PICTURE_STEPS = (5, 20, 100)
PICTURES_EVERY = 1000


def sigmoid(z: Any) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow; float32 stays float32."""
    z = np.asarray(z)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def cross_entropy(y_pred: Any, y: Any) -> float:
    """The mean of -[y ln(y_pred) + (1 - y) ln(1 - y_pred)] with 0 ln 0 = 0; infinite where a certain answer is wrong.

    y_pred, y : of one shape, in [0, 1].
    """
    y_pred, y = np.asarray(y_pred, np.float64), np.asarray(y, np.float64)
    if y_pred.shape != y.shape:
        raise InputError(f"y_pred and y must have one shape; got {y_pred.shape} and {y.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(y > 0, y * np.log(y_pred), 0) + np.where(y < 1, (1 - y) * np.log1p(-y_pred), 0)
    return abs(float(terms.mean()))


class Classifier:
    """Two classes, one hidden layer of sigmoids, no biases; `forward`, `backward` and training as in the lecture.

    Parameters
    ----------
    n_inputs, n_hidden : features of a sample, hidden units.
    learning_rate : alpha in W -= alpha dL/dW, where L is summed over the samples.
    rng : None, seed or `numpy.random.Generator`; the weights start from the standard normal distribution.
    dtype : float64 or float32.

    Attributes: `w1` (n_inputs, n_hidden), `w2` (n_hidden, 1), and after a step `grad_w1`, `grad_w2`, its gradients.
    """

    def __init__(
        self, n_inputs: int = 2, n_hidden: int = 100, *, learning_rate: float = 1e-4, rng: Any = None,
        dtype: Any = np.float64,
    ) -> None:  # fmt: skip
        self.net = MLP((n_inputs, n_hidden, 1), activation="sigmoid", loss="binary_cross_entropy", bias=False)
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
