"""What a network learns from a table: how columns become numbers on the way in, and answers on the way out.

A model file keeps it, so that `predict` does to new data what was done to the old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import metrics
from ..engine import inputs as arrays
from ..errors import DataError, ModelError
from ..model import losses
from ..model.network import MLP
from ..model.parameters import Parameters
from . import tables
from .labels import encode_labels, encode_with
from .scaling import Standardize
from .tables import Table, as_float, with_values

MAX_CLASSES = 20  # whole numbers with more values than this are taken for quantities


@dataclass(frozen=True, eq=False)
class Task:
    """Names and scales of the features, and the classes or the scale of the target.

    inputs : standardization of the features. classes : (K,) sorted labels, or None where the target is a number.
    outputs : standardization of the target; identity for counts (poisson), None for classes. loss : it was made for.

    >>> table = fastbp.data.Table(("a",), np.array([[1.0], [2.0], [4.0]]), np.array([0, 1, 1]), "y", "a table")
    >>> task = fastbp.data.Task.fit(table, "binary_cross_entropy")
    >>> task.n_outputs, task.encode_target(table)
    (1, array([0, 1, 1]))
    >>> net = fastbp.MLP((1, 4, task.n_outputs))
    >>> x, y = task.encode_inputs(table, np.float32), task.encode_target(table)
    >>> result = fastbp.train(net, net.init(0), x, y, epochs=3)
    """

    features: tuple[str, ...]
    target: str
    inputs: Standardize
    classes: np.ndarray | None
    outputs: Standardize | None
    loss: str = ""

    @classmethod
    def fit(
        cls, table: Table, loss: str, rows: np.ndarray | None = None, *, inputs: Standardize | None = None
    ) -> Task:  # fmt: skip
        """The task of learning the table's target with that loss, on the scales of its `rows`, by default of all.

        inputs : the scales of the features, where the features are not in the table. Classes are those of all rows, so
        that a label which only held-out rows have is one, too. DataError naming the row of a target that the loss
        cannot take.
        """
        rows = slice(None) if rows is None else rows
        inputs = inputs or Standardize.fit(table.x[rows])
        if losses.named(loss).is_classification:
            classes, outputs = _classes_and_codes(table, loss)[0], None
        else:
            classes, outputs = None, _scales_of_target(table, loss, rows)
        return cls(table.names, table.target_name, inputs, classes, outputs, loss)

    @property
    def metric(self) -> str:
        """The score that is reported: "accuracy" or "r2"."""
        return "r2" if self.classes is None else "accuracy"

    @property
    def n_outputs(self) -> int:
        """How many outputs the network needs."""
        if self.classes is None:
            return len(self.outputs.mean)
        return len(self.classes) if losses.named(self.loss).couples_outputs else 1

    def encode_inputs(self, table: Table, dtype: Any) -> np.ndarray:
        """Standardized features (N, n) in `dtype`; DataError naming the row of a value too large for it."""
        return self.scaled(table.x, dtype, table)

    def scaled(self, x: np.ndarray, dtype: Any, table: Table, rows: np.ndarray | None = None) -> np.ndarray:
        """The same of features x that lie elsewhere; `rows` of the table they are, by default the first ones."""
        scaled = self.inputs.apply(x, dtype)
        found = arrays.first_bad_row(scaled)
        if found is not None:
            row, column, _ = found
            place = table.where(row if rows is None else int(rows[row]))
            raise tables.cell_error(place, table.names[column], x[row, column].item(), np.dtype(dtype))
        return scaled

    def encode_target(self, table: Table) -> np.ndarray:
        """Class codes (N,) int64, or the standardized target (N, k) float64.

        Cells of a CSV are numbers if the classes are; "01" beside "1a" is a word, also in a part that has but "01".
        """
        if self.classes is None or self.classes.dtype.kind != "U":
            table = with_values(table)
        if self.classes is not None:
            return encode_with(self.classes, table.target, table)
        return self.outputs.apply(_as_columns(table.target_numbers()), np.float64)

    def answers(self, net: MLP, params: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """(labels (N,), probabilities of the classes, codes), or (numbers in the target's units, None, before that)."""
        response, y_pred = net.forward(params, x), net.predict(params, x)
        if self.classes is None:
            numbers = response.astype(np.float64) * self.outputs.scale + self.outputs.mean
            return (numbers[:, 0] if net.n_outputs == 1 else numbers), None, y_pred
        return self.classes[y_pred], response, y_pred

    def score(self, y_pred: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """{"accuracy"}, or {"r2", "rmse"} with rmse in the units of the target, as in `fastbp.metrics`.

        y_pred as `MLP.predict` gives it, y as `encode_target` does.
        """
        if self.classes is not None:
            return {"accuracy": metrics.accuracy(y, y_pred)}
        scale = self.outputs.scale
        return {"r2": metrics.r2(y, y_pred), "rmse": metrics.rmse(y * scale, y_pred * scale)}

    def to_meta(self) -> dict[str, Any]:
        """Plain values and arrays from which `from_meta` makes an equal task."""
        scales = {"mean": self.inputs.mean, "scale": self.inputs.scale, "classes": self.classes}
        if self.outputs is not None:
            scales |= {"target_mean": self.outputs.mean, "target_scale": self.outputs.scale}
        return {"features": list(self.features), "target": self.target, **scales}

    @classmethod
    def from_meta(cls, path: Any, net: MLP, meta: dict[str, Any]) -> Task:
        """The task that a model file describes; ModelError if it describes none that fits its network."""
        try:
            classes = meta["classes"]
            outputs = None if classes is not None else Standardize(meta["target_mean"], meta["target_scale"])
            inputs = Standardize(meta["mean"], meta["scale"])
            task = cls(tuple(meta["features"]), meta["target"], inputs, classes, outputs)
            n_answers = (max(2, net.n_outputs),) if outputs is None else (net.n_outputs,)
            sizes = {(len(task.features),), inputs.mean.shape, inputs.scale.shape}
            fits = sizes == {(net.n_inputs,)} and (outputs.mean if classes is None else classes).shape == n_answers
        except (KeyError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise ModelError(
                f"{path}: a model written by `fastbp train` is wanted; it does not say which features and classes it "
                "is for. Models saved from Python are applied with net.predict"
            )
        return task


def class_codes(table: Table, loss: str) -> np.ndarray | None:
    """The class of each row (N,) int64, as the fitted task encodes it; None where the loss is not one of classes."""
    return _classes_and_codes(table, loss)[1] if losses.named(loss).is_classification else None


def default_loss(table: Table) -> str:
    """By the target: two classes binary_cross_entropy, more cross_entropy, numbers squared_error.

    Text, bools, and whole numbers with at most MAX_CLASSES different values are classes. DataError naming the row of
    text among numbers, which is rather an error in the file than a class.
    """
    target = table.target
    if target.ndim != 1:
        return "squared_error"
    values, counts = np.unique(target, return_counts=True)
    if target.dtype.kind == "U":
        numeric = np.array([as_float(value) is not None for value in values]) & ~tables.are_padded(values)
        if counts[numeric].sum() > len(target) / 2:
            table.target_numbers()
    elif target.dtype.kind != "b" and (len(values) > MAX_CLASSES or (values != np.floor(values)).any()):
        return "squared_error"
    return "binary_cross_entropy" if len(values) <= 2 else "cross_entropy"


def _classes_and_codes(table: Table, loss: str) -> tuple[np.ndarray, np.ndarray]:
    classes, codes = encode_labels(table.target, table)
    if not losses.named(loss).couples_outputs and len(classes) != 2:
        raise DataError(
            f"{table.source}: {loss} needs a target with two classes; {table.target_name!r} has "
            f"{len(classes)}: {tables.listed(classes.tolist())}. Use --loss cross_entropy"
        )
    return classes, codes


def _scales_of_target(table: Table, loss: str, rows: np.ndarray | slice) -> Standardize:
    numbers = _as_columns(table.target_numbers())
    targets = losses.named(loss).record.targets
    if not targets.are_counts:
        return Standardize.fit(numbers[rows])
    negative = np.flatnonzero((numbers < targets.low).any(axis=1))
    if len(negative):
        row = int(negative[0])
        raise DataError(f"{table.where(row)}: the target of {loss} must be a count >= 0; got {numbers[row].min():g}")
    return Standardize(np.zeros(numbers.shape[1]), np.ones(numbers.shape[1]))


def _as_columns(numbers: np.ndarray) -> np.ndarray:
    return numbers.reshape(len(numbers), -1)
