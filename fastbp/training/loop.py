"""`fastbp.train`: epochs of steps on mini-batches, with validation, early stopping, checkpoints and a history."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import optim
from ..data.datasets import Dataset
from ..engine import inputs
from ..errors import CheckpointError, DivergenceError, InputError
from ..metrics import as_metrics
from ..model.network import MLP
from ..model.parameters import Parameters, check_params
from . import arguments
from .callbacks import Callbacks, EarlyStopping, Run
from .checkpoint import Checkpoints
from .history import History
from .interrupts import Interrupts
from .prefetch import MEMORY
from .preparing import Setup
from .recording import Recorder
from .resuming import KeptRun

SPAN_SECONDS = 0.1  # of steps between two looks at what else there is to do; signals are seen sooner


class TrainResult(NamedTuple):
    """What training gives back.

    params : trained parameters. opt_state : to go on with, `train(..., opt_state=)`. history : a row for each epoch.
    snapshots : parameters after the steps asked for, by step. stopped : why it ended early, or None.
    """

    params: Parameters
    opt_state: optim.OptimizerState
    history: History
    snapshots: dict[int, Parameters]
    stopped: str | None = None


def train(
    net: MLP, params: Parameters, x: Any, y: Any = None, *,
    optimizer: Any = "adam", epochs: int | None = None, steps: int | None = None, batch_size: int | str | None = "auto",
    order: Any = "shuffled", seed: int = 0, dropout: Any = 0.0, input_dropout: float = 0.0, sample_weight: Any = None,
    class_weight: Any = None, l1: float = 0.0, l2: float = 0.0, validation: Any = None, metrics: Sequence[Any] = (),
    early_stopping: EarlyStopping | int | None = None, callbacks: Sequence[Any] = (), snapshots: Sequence[int] = (),
    opt_state: optim.OptimizerState | None = None, checkpoint: Checkpoints | str | os.PathLike[str] | None = None,
    resume: bool = False, memory_limit: int | None = None, n_threads: int | None = None,
) -> TrainResult:  # fmt: skip
    """Train a network; `params` are left as they are, the trained ones are in the result.

    Parameters
    ----------
    x, y, sample_weight, l1, l2 : as in `MLP.value_and_grad`; x may be sparse. The objective of a step is the mean over
        its batch, weighted by the weights of its samples, plus the penalties. Or x alone, a `fastbp.data.Dataset`
        whose rows are read while they are needed, to the same bits, within memory_limit bytes (256 MB by default).
    optimizer : of `fastbp.optim`, or the name of one. epochs or steps : how long, beyond what opt_state has made.
    batch_size : rows of a step; "auto" at least 32, and so many that an epoch has at most 1,000 steps; None all rows.
        The last batch of an epoch has the rows that are left.
    order : "shuffled", anew in every epoch, a pure function of (seed, epoch) that copies nothing; "sequential"; or the
        numbers of the rows, epoch after epoch, from the start again at the end.
    dropout : the share of each hidden layer's values that is dropped, one number or one per hidden layer;
        input_dropout : of the inputs. In training only, the others multiplied by 1 / (1 - share).
    class_weight : {label: weight}, 1 for labels that it does not name, or "balanced", n / (K n_label) over the K labels
        of the n rows to train on; multiplied into the sample weights.
    validation : (x, y) or (x, y, sample_weight); or a share of the rows to hold out, the classes split alike.
        val_loss is to these rows what data_loss is to those that are trained on: the mean weighted by sample_weight
        times the weight of the row's class, without penalties. It is the same for a share and for the same rows given.
    metrics : names (accuracy, balanced_accuracy, f1; r2, rmse, mae) or functions (y, y_pred) -> number, computed after
        each epoch on the validation data, as val_..., or on the training data where there is none. They take no
        weights: each row counts once.
    early_stopping : `EarlyStopping`, or its patience in epochs. callbacks : see `fastbp.callbacks`.
    snapshots : steps after which a copy of the parameters is kept.
    checkpoint : a folder, or `fastbp.Checkpoints`, that keeps the last few states of the run while it trains, after
        SIGINT and SIGTERM, and at its end. resume : go on from the last good one there, bit for bit as if the run had
        never stopped, `epochs` and `steps` being those of the whole run; start anew where there is none.

    The same arguments give the same bits, on any number of threads (same versions and CPU type). InputError for
    arguments that make no sense, and for bad values in any row, before the run (in a data set's own rows, when they are
    read); DivergenceError when the numbers are no longer finite, CheckpointError for checkpoints that cannot be written
    or gone on from.
    """
    training = Training(
        net, params, x, y, optimizer=optimizer, batch_size=batch_size, order=order, seed=seed, dropout=dropout,
        input_dropout=input_dropout, sample_weight=sample_weight, class_weight=class_weight, l1=l1, l2=l2,
        validation=validation, metrics=metrics, early_stopping=early_stopping, callbacks=callbacks,
        snapshots=snapshots, opt_state=opt_state, memory_limit=memory_limit, n_threads=n_threads,
    )  # fmt: skip
    last = training.last_step(epochs, steps)
    if not isinstance(resume, bool | np.bool_):
        raise InputError(f"resume must be True or False; got {resume!r}")
    if checkpoint is None:
        if resume:
            raise InputError("resume=True needs checkpoint=, the folder to go on from")
        return training.run(last)
    with checkpoint if isinstance(checkpoint, Checkpoints) else Checkpoints(checkpoint) as checkpoints:
        training.keep(checkpoints, resume=resume)
        return training.run(last)


class Training:
    """A run that is prepared, and then goes on step by step; arguments as in `train`."""

    def __init__(
        self, net: MLP, params: Parameters, x: Any, y: Any = None, *, optimizer: Any = "adam", batch_size: Any = "auto",
        order: Any = "shuffled", seed: int = 0, dropout: Any = 0.0, input_dropout: float = 0.0,
        sample_weight: Any = None, class_weight: Any = None, l1: float = 0.0, l2: float = 0.0, validation: Any = None,
        metrics: Sequence[Any] = (), early_stopping: Any = None, callbacks: Sequence[Any] = (),
        snapshots: Iterable[int] = (), opt_state: optim.OptimizerState | None = None, memory_limit: int | None = None,
        n_threads: int | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(net, MLP):
            raise InputError(f"net must be a fastbp.MLP, such as fastbp.MLP((2, 10, 1)); got {type(net).__name__}")
        check_params(net, params)
        self.net, self.params = net, params.copy()
        self.state = arguments.as_state(optimizer, opt_state, self.params)
        settings = {
            "seed": arguments.as_seed(seed),
            "l1": inputs.check_penalty("l1", l1),
            "l2": inputs.check_penalty("l2", l2),
            "dropout": arguments.as_dropout(net, dropout, input_dropout, x),
        }
        self.setup = Setup(net, self.params, self.state, settings, n_threads)
        memory = MEMORY if memory_limit is None else inputs.count("memory_limit", memory_limit)
        metrics = as_metrics(metrics, net)
        if isinstance(x, Dataset):
            if not (y is None and sample_weight is None and class_weight is None):
                raise InputError("a data set brings its own y and sample_weight; give x alone, and no class_weight")
            if metrics and validation is None:
                raise InputError("metrics of a data set need validation data: validation=(x, y) or a share; got None")
            self.setup.use_dataset(x, order, batch_size, validation, memory)
        else:
            self.setup.use_arrays(x, y, (sample_weight, class_weight), order, batch_size, validation)
        self.descent = self.setup.descent
        self.recorder = Recorder(
            net, self.params, self.state, self.descent, self.setup.validation, metrics, n_threads
        )  # fmt: skip
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            early_stopping = EarlyStopping(inputs.count("early_stopping", early_stopping))
        self.stopping = None if early_stopping is None else dataclasses.replace(early_stopping)
        if self.stopping is not None:
            self.stopping.check(self.recorder.columns())
        self.callbacks = Callbacks(callbacks)
        self.snapshots: dict[int, Parameters] = {}
        self.progress = Run(net, self.params, self.state, History(), step=self.state.step)
        self.progress.epoch = self.progress.step // self.descent.n_batches
        self._wanted = arguments.as_steps(snapshots)
        self._first = self.state.step
        self._steps_a_span = self.descent.steps_a_call
        self._interrupts = Interrupts()
        self._kept: KeptRun | None = None
        self.descent.is_stopped = lambda: self._interrupts.came

    def last_step(self, epochs: int | None, steps: int | None) -> int:
        """The step to run to, from the length of the run."""
        if (epochs is None) == (steps is None):
            raise InputError("give either epochs=, such as 10, or steps=, such as 1000")
        name, number = ("steps", steps) if epochs is None else ("epochs", epochs)
        count = inputs.count(name, number)
        return self._first + (count if epochs is None else count * self.descent.n_batches)

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self, last: int) -> TrainResult:
        """Make the steps up to number `last`."""
        for _ in self.advance(last):
            pass
        return self.result()

    def result(self) -> TrainResult:
        """What there is now."""
        run = self.progress
        return TrainResult(self.params, self.state, run.history, self.snapshots, run.stopped)

    def advance(self, last: int, events: Iterable[int] = ()) -> Iterator[Run]:
        """Make the steps up to number `last`, and come back with the run after each of `events`, and now and then.

        Signals end it between two steps, after the last checkpoint.
        """
        run, self._events, self._is_finished = self.progress, sorted({*events, *self._wanted}), False
        run.last_step = last
        with self._interrupts:
            try:
                self.callbacks.call("on_start", run)
                self._finish_epochs()  # of a checkpoint that came between an epoch and its row
                while run.step < last and run.stopped is None:
                    self._span(min(last, self._next_event()))
                    self._finish_epochs()
                    self.callbacks.call("on_progress", run)
                    yield run
                    if self._kept is not None and self._kept.is_due:
                        self._write_checkpoint()
                self._finish()
            except BaseException as error:
                is_from_outside = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
                if is_from_outside and self._kept is not None and not self._is_finished:
                    self._write_checkpoint()
                if not isinstance(error, GeneratorExit):
                    self.callbacks.call("on_error", run, error)
                raise
            finally:
                self.descent.source.close()

    def _next_event(self) -> int:
        """The step up to which nothing but steps is to be done."""
        step, length = self.progress.step, self.descent.n_batches
        if self.callbacks.has("on_step"):
            return step + 1
        plateau = self.state.optimizer.schedule.name == "reduce_on_plateau"
        looks_at_epochs = (
            self.setup.validation or self.recorder.metrics or self.stopping or plateau or self.callbacks.has("on_epoch")
        )
        events = [step + self._steps_a_span, *(event for event in self._events if event > step)]
        return min([*events, (step // length + 1) * length] if looks_at_epochs else events)

    def _span(self, stop: int) -> None:
        """Steps up to number `stop`, or fewer if a signal comes."""
        run, start = self.progress, time.perf_counter()
        with self._interrupts.held():
            try:
                records = self.descent.run(run.step, stop - run.step)
            except DivergenceError as error:
                error.params, run.step = self.params, self.state.step
                raise
            seconds = time.perf_counter() - start
            self._steps_a_span = max(1, min(2 * self._steps_a_span, int(SPAN_SECONDS * len(records) / seconds)))
            self.recorder.seconds, run.seconds = self.recorder.seconds + seconds, run.seconds + seconds
            if len(records):
                run.n_samples += self.descent.n_samples(run.step, run.step + len(records))
                run.step += len(records)
                run.loss = float(records.data_loss[-1] + records.penalty[-1])
                self.recorder.add(records)
                if run.step in self._wanted:
                    self.snapshots[run.step] = self.params.copy()
        self.callbacks.call("on_step", run)

    def _finish_epochs(self) -> None:
        """Rows of history for the epochs that have ended, and what is due after an epoch."""
        run, finished = self.progress, self.recorder.finished(self.progress.step)
        if finished is None:
            return
        n_records, columns = finished
        with self._interrupts.held():
            self.recorder.forget(n_records)
            run.epoch = run.step // self.descent.n_batches
            run.history.extend(columns)
            if self.stopping is not None:
                self.stopping.observe(run)
            self.state.observe(float(columns["val_loss" if "val_loss" in columns else "loss"][-1]))
        self.callbacks.call("on_epoch", run)

    def _finish(self) -> None:
        """The end of the run: its last checkpoint, the row of an epoch that was not finished, the best parameters."""
        run = self.progress
        if self._kept is not None:
            self._write_checkpoint(is_last=True)
        self._is_finished = True  # what follows is for the result, not to go on from
        run.history.extend(self.recorder.unfinished(run.step) or {})
        if self.stopping is not None and self.stopping.best_vector is not None:
            self.params.vector[...] = self.stopping.best_vector
        self.callbacks.call("on_end", run)

    # -- checkpoints -------------------------------------------------------------------------------------

    def keep(self, checkpoints: Checkpoints, *, resume: bool, meta: dict[str, Any] | None = None) -> bool:
        """Keep the run in a folder, from now on; returns whether it goes on from what was there.

        meta : what every checkpoint is to hold beside the training.
        """
        found = checkpoints.latest()
        if found is not None and not resume:
            raise CheckpointError(
                f"{checkpoints.folder}: there are checkpoints of another run; resume it, or choose another folder"
            )
        self._kept = KeptRun(self, checkpoints, meta)
        if found is None:
            self._write_checkpoint(is_last=True)  # now, and not after hours, an error is of use
            return False
        self._kept.go_on_from(found)
        return True

    def _write_checkpoint(self, *, is_last: bool = False) -> None:
        with self._interrupts.held():
            self._kept.write(is_last=is_last)
