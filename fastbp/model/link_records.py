"""One record per link, the function from the outputs z of a network to its response: everything that is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from . import activation_records
from .elementary import Array, log_softmax, sigma
from .records import NumpySource, by_name


@dataclass(frozen=True, eq=False, kw_only=True)
class LinkRecord:
    """What is known of a link, the function from the outputs z of a network to its response y_hat.

    evaluate : z -> y_hat, in NumPy, analytic.
    derivative : (z, y_hat) -> dy_hat/dz, for each row a matrix if outputs are coupled.
    pull : (d_y, y_hat) -> the gradient in z of what has the gradient d_y in y_hat.
    text : y_hat and its derivative as `formulas` reads them, with {z}.
    labels : (rows, threshold) -> labels (N,), or (N, n_outputs) of several yes-or-no outputs, of rows of outputs or
        probabilities; None if the response is a number.
    couples_outputs : whether each output is a class, of which a sample has one; then y may be labels (N,).
    onnx : the operator of opset 17. numpy : the calculation in an exported Python file.
    """

    name: str
    evaluate: Callable[[Array], Array]
    derivative: Callable[[Array, Array], Array]
    pull: Callable[[Array, Array], Array]
    text: tuple[str, str]
    labels: Callable[[Array, float], Array] | None = None
    is_identity: bool = False
    couples_outputs: bool = False
    onnx: str
    numpy: NumpySource


def _yes_or_no(rows: Array, threshold: float) -> Array:
    labels = (rows > threshold).astype(np.int64)
    return labels[:, 0] if rows.shape[1] == 1 else labels


IDENTITY = LinkRecord(
    name="identity",
    evaluate=lambda z: z,
    derivative=lambda z, y_hat: np.ones_like(z),
    pull=lambda d_y, y_hat: d_y,
    text=("{z}", "1"),
    is_identity=True,
    onnx="Identity",
    numpy=NumpySource("{z}"),
)

SIGMOID = LinkRecord(
    name="sigmoid",
    evaluate=sigma,
    derivative=lambda z, y_hat: y_hat * sigma(-z),
    pull=lambda d_y, y_hat: d_y * y_hat * (1 - y_hat),
    text=("sigmoid({z})", "y_hat * (1 - y_hat)"),
    labels=_yes_or_no,
    onnx="Sigmoid",
    numpy=activation_records.SIGMOID.numpy,
)

SOFTMAX = LinkRecord(
    name="softmax",
    evaluate=lambda z: np.exp(log_softmax(z)),
    derivative=lambda z, y_hat: y_hat[:, :, None] * (np.eye(z.shape[1], dtype=z.dtype) - y_hat[:, None, :]),
    pull=lambda d_y, y_hat: y_hat * (d_y - (d_y * y_hat).sum(axis=1, keepdims=True)),
    text=("softmax({z})", "(diag(y_hat) - y_hat^T y_hat)"),
    labels=lambda rows, threshold: rows.argmax(axis=1),
    couples_outputs=True,
    onnx="Softmax",
    numpy=NumpySource(
        "softmax({z})",
        '''
def softmax(z):
    """exp(z) / sum exp(z) of each row, without overflow."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
''',
    ),
)

EXP = LinkRecord(
    name="exp",
    evaluate=np.exp,
    derivative=lambda z, y_hat: y_hat,
    pull=lambda d_y, y_hat: d_y * y_hat,
    text=("exp({z})", "y_hat"),
    onnx="Exp",
    numpy=NumpySource("np.exp({z})"),
)

# A kernel knows a link by its place here.
LINKS = MappingProxyType(by_name(IDENTITY, SIGMOID, SOFTMAX, EXP))
