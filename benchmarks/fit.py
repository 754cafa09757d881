"""The lecture's training run: a Classifier on 200 points for many steps, without pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp

N_POINTS = 200
LEARNING_RATE = 1e-3


def case_id(n_steps: int) -> str:
    """The run's name in results and targets."""
    return f"Classifier.fit, {N_POINTS} points, {n_steps:,} steps, float64"


def _problem() -> tuple[fastbp.Classifier, np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).standard_normal((N_POINTS, 2))
    y = (x[:, :1] * x[:, 1:] > 0).astype(np.float64)
    return fastbp.Classifier(2, 100, learning_rate=LEARNING_RATE, rng=0, dtype=np.float64), x, y


def prepare_fastbp(n_steps: int) -> Callable[[], tuple[float, list[np.ndarray]]]:
    """A call that trains a new Classifier and returns the sum of its weights, and the weights."""

    def call() -> tuple[float, list[np.ndarray]]:
        classifier, x, y = _problem()
        classifier.fit(x, y, n_steps=n_steps)
        return _result(classifier.w1, classifier.w2)

    return call


def prepare_numpy(n_steps: int) -> Callable[[], tuple[float, list[np.ndarray]]]:
    """The same by the slides' code, step by step."""

    def call() -> tuple[float, list[np.ndarray]]:
        classifier, x, y = _problem()
        w1, w2 = classifier.w1.copy(), classifier.w2.copy()
        for _ in range(n_steps):
            h = 1 / (1 + np.exp(-(x @ w1)))
            y_pred = 1 / (1 + np.exp(-(h @ w2)))
            grad_z2 = y_pred - y
            grad_w2 = h.T @ grad_z2
            grad_h = grad_z2 @ w2.T
            grad_w1 = x.T @ (grad_h * h * (1 - h))
            w1 -= LEARNING_RATE * grad_w1
            w2 -= LEARNING_RATE * grad_w2
        return _result(w1, w2)

    return call


def _result(w1: Any, w2: Any) -> tuple[float, list[np.ndarray]]:
    return float(np.abs(w1).sum() + np.abs(w2).sum()), [w1, w2]
