"""Scores of predictions, by name or as a function of the user's own.

A metric is called as metric(y, y_pred) with y_pred as `MLP.predict` gives it, labels or means; so are most of
scikit-learn's. Labels are (N,), numbers (N, n_outputs); a list will do. InputError if the shapes do not agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .engine import inputs
from .errors import InputError
from .model.network import MLP

__all__ = ["accuracy", "balanced_accuracy", "f1", "mae", "r2", "rmse"]


def accuracy(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The share of labels that are right; of several binary outputs, of all of them.

    >>> fastbp.metrics.accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    return float(np.mean(np.equal(*_pair(y, y_pred))))


def balanced_accuracy(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The mean over the classes in y of the share that is right.

    >>> fastbp.metrics.balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    y, y_pred = _pair(y, y_pred)
    return float(np.mean([np.mean(y_pred[y == label] == label) for label in np.unique(y)]))


def f1(y: np.ndarray, y_pred: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of class 1 for labels 0 and 1, else its mean over all classes in y or y_pred.

    >>> fastbp.metrics.f1([0, 0, 1, 1], [0, 1, 1, 1])
    0.8
    """
    y, y_pred = _pair(y, y_pred)
    labels = np.union1d(y, y_pred)
    labels = np.array([1]) if set(labels.tolist()) <= {0, 1} else labels
    hits = np.array([np.sum((y == label) & (y_pred == label)) for label in labels])
    wanted = np.array([np.sum(y == label) + np.sum(y_pred == label) for label in labels])
    return float(np.mean(2 * hits / np.maximum(wanted, 1)))


def r2(y: np.ndarray, y_pred: np.ndarray) -> float:
    """1 - sum (y - y_pred)^2 / sum (y - mean of y)^2 of each output, then the mean over the outputs.

    As scikit-learn's r2_score by default: an output that does not vary in y counts 1 where it is met exactly, else 0.
    Of a single row it is NaN: the rows are compared with their mean, and one row is its own.

    >>> fastbp.metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    if len(y) < 2:
        return math.nan
    wanted = np.asarray(y, np.float64).reshape(len(y), -1)
    with np.errstate(all="ignore"):
        missed = np.square(_residual(y, y_pred)).reshape(len(y), -1).sum(axis=0)
        spread = np.square(wanted - wanted.mean(axis=0)).sum(axis=0)
        share = np.where((wanted == wanted[0]).all(axis=0), missed > 0, missed / spread)
    return float(np.mean(1 - share))


def rmse(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The root of the mean square of y - y_pred, over rows and outputs.

    >>> fastbp.metrics.rmse([0.0, 0.0], [3.0, 3.0])
    3.0
    """
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(np.square(_residual(y, y_pred)))))


def mae(y: np.ndarray, y_pred: np.ndarray) -> float:
    """The mean of |y - y_pred|, over rows and outputs.

    >>> fastbp.metrics.mae([0.0, 0.0], [3.0, -1.0])
    2.0
    """
    return float(np.mean(np.abs(_residual(y, y_pred))))


def _residual(y: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    return np.subtract(*_pair(y, y_pred), dtype=np.float64)


def _pair(y: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape, (N,) and (N, 1) being the same; InputError if they are not."""
    y, y_pred = np.asarray(y), np.asarray(y_pred)
    if y.shape[:1] != y_pred.shape[:1] or y.size != y_pred.size:
        raise InputError(f"y_pred must have the shape of y, {y.shape}; got {y_pred.shape}")
    return y, y_pred.reshape(y.shape)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": f1, "r2": r2, "rmse": rmse, "mae": mae,
}  # fmt: skip
_OF_LABELS = ("accuracy", "balanced_accuracy", "f1")

# -- names -----------------------------------------------------------------------------------------------

# Ours and scikit-learn's, without "_score" and the way in which classes are averaged: the better, the larger.
_RISING = frozenset((
    *_OF_LABELS, "r2", "auc", "average_precision", "cohen_kappa", "d2_absolute_error", "d2_brier", "d2_log_loss",
    "d2_pinball", "d2_tweedie", "dcg", "explained_variance", "fbeta", "jaccard", "label_ranking_average_precision",
    "matthews_corrcoef", "ndcg", "positive_likelihood_ratio", "precision", "recall", "roc_auc", "top_k_accuracy",
    "adjusted_mutual_info", "adjusted_rand", "completeness", "fowlkes_mallows", "homogeneity", "mutual_info",
    "normalized_mutual_info", "rand", "v_measure",
))  # fmt: skip
_FALLING = frozenset(("loss", "mse", "rmse", "mae", "mape", "msle", "rmsle", "brier"))
_FALLING_ENDINGS = ("_loss", "_error", "_deviance")
_OF_HISTORY = ("epoch", "step", "loss", "data_loss", "learning_rate", "seconds")


def direction(column: str) -> str | None:
    """Which values of a column of the history are better, by its name: "min", "max", or None where it does not say."""
    name = column.removeprefix("val_")
    if name.startswith("neg_"):
        return "max"
    base = re.sub(r"_(micro|macro|weighted|samples|ovr|ovo)", "", name).removesuffix("_score")
    if base in _RISING:
        return "max"
    return "min" if base in _FALLING or name.endswith(_FALLING_ENDINGS) else None


def as_metrics(metrics: Any, net: MLP) -> dict[str, Callable[..., float]]:
    """Functions by name; InputError for unknown ones, and for those that do not go with the network's loss."""
    is_one = isinstance(metrics, str) or callable(metrics)
    if not (is_one or inputs.is_series(metrics)):
        raise InputError(f'metrics must be names and functions, such as ["accuracy"]; got {metrics!r}')
    chosen = {}
    for metric in (metrics,) if is_one else metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        if metric not in METRICS if isinstance(metric, str) else not callable(metric):
            raise InputError(f"a metric must be a function or one of {', '.join(METRICS)}; got {metric!r}")
        if isinstance(metric, str) and (metric in _OF_LABELS) != net.loss_function.is_classification:
            fitting = [name for name in METRICS if (name in _OF_LABELS) == net.loss_function.is_classification]
            raise InputError(f"{metric} does not go with {net.loss_function.name}; {', '.join(fitting)} do")
        if name in _OF_HISTORY:
            raise InputError(f"a metric must not take the name of a column of the history; got {name!r}. Rename it")
        if name in chosen:
            raise InputError(f"every metric needs a name of its own; {name!r} came more than once")
        chosen[name] = METRICS[metric] if isinstance(metric, str) else metric
    return chosen


def score(name: str, metric: Callable[..., float], y: np.ndarray, y_pred: np.ndarray) -> float:
    """What a metric says; InputError, by its name, for what is no number."""
    value = metric(y, y_pred)
    if np.ndim(value) or not isinstance(value, int | float | np.number | np.bool_ | np.ndarray):
        raise InputError(f"a metric must return one number; {name} returned {value!r}")
    return float(value)


def targets_like(y: np.ndarray, net: MLP) -> np.ndarray:
    """y as `MLP.predict` would give it: labels (N,) from probabilities or one column, numbers (N, n_outputs)."""
    labels = net.loss_function.record.link.labels
    return y if labels is None or y.ndim == 1 else labels(y, 0.5)
