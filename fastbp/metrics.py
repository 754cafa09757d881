"""Scores of predictions, by name or as a function of the user's own.

A metric is called as metric(y, y_pred) with y_pred as `MLP.predict` gives it, labels or means; so are most of
scikit-learn's. Labels are (N,), numbers (N, n_outputs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .network import MLP


def accuracy(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The share of labels that are right; of several binary outputs, of all of them."""
    return float(np.mean(y == y_pred))


def balanced_accuracy(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The mean over the classes in y of the share that is right."""
    return float(np.mean([np.mean(y_pred[y == label] == label) for label in np.unique(y)]))


def f1(y: np.ndarray, y_pred: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of class 1 for labels 0 and 1, else its mean over all classes in y or y_pred."""
    labels = np.union1d(y, y_pred)
    labels = np.array([1]) if set(labels.tolist()) <= {0, 1} else labels
    hits = np.array([np.sum((y == label) & (y_pred == label)) for label in labels])
    wanted = np.array([np.sum(y == label) + np.sum(y_pred == label) for label in labels])
    return float(np.mean(2 * hits / np.maximum(wanted, 1)))


def r2(y: np.ndarray, y_pred: np.ndarray) -> float:
    """1 - sum (y - y_pred)^2 / sum (y - mean)^2, averaged over the outputs; NaN where y does not vary."""
    spread = np.square(y - y.mean(axis=0)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.mean(1 - np.square(y - y_pred).sum(axis=0) / np.where(spread > 0, spread, np.nan)))


def rmse(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The root of the mean square of y - y_pred."""
    return float(np.sqrt(np.mean(np.square(y - y_pred))))


def mae(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The mean of |y - y_pred|."""
    return float(np.mean(np.abs(y - y_pred)))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": f1, "r2": r2, "rmse": rmse, "mae": mae,
}  # fmt: skip
_OF_LABELS = ("accuracy", "balanced_accuracy", "f1")


def as_metrics(metrics: Sequence[Any], net: MLP) -> dict[str, Callable[..., float]]:
    """Functions by name; InputError for unknown ones, and for those that do not go with the network's loss."""
    chosen = {}
    for metric in (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        if isinstance(metric, str) and metric not in METRICS:
            raise InputError(f"a metric must be a function or one of {', '.join(METRICS)}; got {metric!r}")
        if isinstance(metric, str) and (metric in _OF_LABELS) != net.loss_function.is_classification:
            fitting = [name for name in METRICS if (name in _OF_LABELS) == net.loss_function.is_classification]
            raise InputError(f"{metric} does not go with {net.loss_function.name}; {', '.join(fitting)} do")
        if name in chosen:
            raise InputError(f"every metric needs a name of its own; {name!r} came more than once")
        chosen[name] = METRICS[metric] if isinstance(metric, str) else metric
    return chosen


def targets_like(y: np.ndarray, net: MLP) -> np.ndarray:
    """y as `MLP.predict` would give it: labels (N,) from probabilities or one column, numbers (N, n_outputs)."""
    labels = net.loss_function.record.link.labels
    return y if labels is None or y.ndim == 1 else labels(y, 0.5)
