"""A run in a folder of checkpoints: what is written of it, and how another process goes on from there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .. import optim
from ..errors import CheckpointError
from ..kernels import structures as k
from ..model.parameters import Parameters
from .checkpoint import Checkpoints, CheckpointWarning, Found, check_same

if TYPE_CHECKING:
    from .loop import Training


class KeptRun:
    """A training whose state is kept in a folder.

    meta : what every checkpoint is to hold beside the training.
    """

    def __init__(self, training: Training, checkpoints: Checkpoints, meta: dict[str, Any] | None) -> None:
        self.training, self.checkpoints, self.meta = training, checkpoints, meta or {}
        self.identity = training.setup.identity()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return self.checkpoints.is_due

    def write(self, *, is_last: bool = False) -> None:
        """Write a checkpoint of the run as it is; CheckpointError where it is the last one, else a warning."""
        training, recorder, run = self.training, self.training.recorder, self.training.progress
        stopping = None if training.stopping is None else training.stopping.to_meta()
        values = {
            "identity": self.identity, "step": run.step, "epoch": run.epoch, "state": training.state.to_meta(),
            "history": dict(run.history), "pending": k.as_columns(recorder.pending), "stopping": stopping,
            "stopped": run.stopped,
            "loss": run.loss, "seconds": recorder.seconds, "recorded": recorder.recorded,
            "snapshots": {str(step): params.vector for step, params in training.snapshots.items()},
        }  # fmt: skip
        try:
            self.checkpoints.write(run.step, training.net, training.params, {**self.meta, "training": values})
        except CheckpointError as error:
            if is_last:
                raise
            warnings.warn(f"{error}. The training goes on", CheckpointWarning, stacklevel=2)

    def go_on_from(self, found: Found) -> None:
        """Give the training the state of a checkpoint; CheckpointError if it is one of another training."""
        training, recorder, run, values = (
            self.training, self.training.recorder, self.training.progress, found.meta["training"]
        )  # fmt: skip
        optimizer = optim.Optimizer.from_dict(values["identity"]["optimizer"])  # options by their present names
        check_same(found.path, self.identity, {**values["identity"], "optimizer": optimizer.to_dict()})
        state = optim.OptimizerState.from_meta(found.params, values["state"])
        training.params.vector[...] = found.params.vector
        training.state.assign(state)
        run.step, run.epoch, run.loss = values["step"], values["epoch"], values["loss"]
        run.stopped = values["stopped"]
        run.history.extend(values["history"])
        recorder.pending = k.as_records(values["pending"], k.RECORD)
        recorder.seconds, recorder.recorded = values["seconds"], values["recorded"]
        training.snapshots = {int(step): Parameters(training.net, v) for step, v in values["snapshots"].items()}
        if training.stopping is not None and values["stopping"] is not None:
            training.stopping.assign(values["stopping"])
