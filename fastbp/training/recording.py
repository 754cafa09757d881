"""Rows of the history: what the steps of an epoch recorded, put together, and the scores after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import optim
from ..kernels import structures as k
from ..metrics import score, targets_like
from ..model.network import MLP
from ..model.parameters import Parameters
from .arguments import Part
from .steps import Descent


class Recorder:
    """The records of steps, until their epoch has a row.

    pending : those records, RECORD of `kernels.structures`. seconds : that all steps took; recorded : of them, those up
    to the last row.
    """

    def __init__(
        self, net: MLP, params: Parameters, state: optim.OptimizerState, descent: Descent, validation: Part | None,
        metrics: dict[str, Any], n_threads: int | None,
    ) -> None:  # fmt: skip
        self.net, self.params, self.state, self.descent = net, params, state, descent
        self.validation, self.metrics, self.n_threads = validation, metrics, n_threads
        self.pending = k.records(k.RECORD, 0)
        self.seconds = self.recorded = 0.0

    def add(self, records: np.recarray) -> None:
        """Keep what some more steps left."""
        self.pending = np.concatenate([self.pending, records]).view(np.recarray)

    def finished(self, step: int) -> tuple[int, dict[str, Any]] | None:
        """(records, columns) of the epochs that have ended by that step: how many records, and their rows; or None."""
        length, first = self.descent.n_batches, step - len(self.pending)
        ends = np.arange((first // length + 1) * length, step + 1, length)
        if not len(ends):
            return None
        n = ends[-1] - first
        return n, self._rows(self.pending[:n], np.concatenate([[0], ends[:-1] - first]), ends)

    def unfinished(self, step: int) -> dict[str, Any] | None:
        """The row of an epoch that ends too early, after that step; None if there is none."""
        return self._rows(self.pending, np.array([0]), np.array([step])) if len(self.pending) else None

    def forget(self, n: int) -> None:
        """Drop the first n records: they have their row."""
        self.pending, self.recorded = self.pending[n:], self.seconds

    def columns(self) -> list[str]:
        """The names of the columns that the rows will have."""
        of_validation, prefix = ([], "") if self.validation is None else (["val_loss"], "val_")
        scores = [*of_validation, *(prefix + name for name in self.metrics)]
        return ["epoch", "step", "loss", "data_loss", *scores, "learning_rate", "seconds"]

    def _rows(self, records: np.recarray, starts: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
        """Columns for epochs that start at those places of the records and end after those steps."""
        weights = records.weight
        total = np.add.reduceat(weights, starts)
        total = np.where(total > 0, total, 1.0)  # an epoch may have but samples of weight 0
        data_loss, penalty = (
            np.add.reduceat(column * weights, starts) / total for column in (records.data_loss, records.penalty)
        )
        return {
            "epoch": -(-ends // self.descent.n_batches),
            "step": ends,
            "loss": data_loss + penalty,
            "data_loss": data_loss,
            **{name: np.full(len(ends), value) for name, value in self.scores().items()},
            "learning_rate": self.state.optimizer.schedule(ends - 1) * self.state.scale,
            "seconds": np.linspace(self.recorded, self.seconds, len(ends) + 1)[1:],
        }

    def scores(self) -> dict[str, float]:
        """Loss and metrics on the validation data, or metrics on the training data, as they are now."""
        if self.validation is not None:
            x, y, weights = self.validation
            loss = self.net.loss(self.params, x, y, sample_weight=weights, n_threads=self.n_threads)
            return {"val_loss": loss, **self._metrics("val_", x, y)}
        return self._metrics("", *self.descent.source.rows_of_epoch()) if self.metrics else {}

    def _metrics(self, prefix: str, x: Any, y: np.ndarray) -> dict[str, float]:
        if not self.metrics:
            return {}
        y_pred, wanted = self.net.predict(self.params, x, n_threads=self.n_threads), targets_like(y, self.net)
        return {prefix + name: score(name, metric, wanted, y_pred) for name, metric in self.metrics.items()}
