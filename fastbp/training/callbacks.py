"""What a training run can be watched and stopped by.

A callback is a function, called after every epoch with the `Run`, or an object with any of the methods of `Callback`.
Whatever returns True stops the training after the epoch or step; so does `run.stop(reason)`. Callbacks read the run;
`run.params` are the live parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine import inputs
from ..engine.inputs import count, number
from ..errors import InputError
from ..metrics import direction
from ..model.network import MLP
from ..model.parameters import Parameters
from .history import History

if TYPE_CHECKING:
    from ..optim.optimizer import OptimizerState


@dataclass
class Run:
    """A training run as callbacks see it.

    step, epoch : finished so far, with those of earlier runs that this one continues. history : a row for each epoch.
    loss : of the last step. n_samples, seconds : that the steps of this process took. stopped : why the run ends early,
    or None.
    """

    net: MLP
    params: Parameters
    state: OptimizerState
    history: History
    step: int = 0
    epoch: int = 0
    loss: float = math.nan
    last_step: int = 0
    n_samples: int = 0
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def samples_per_second(self) -> float:
        """The speed of the steps themselves."""
        return self.n_samples / self.seconds if self.seconds else math.nan

    def stop(self, reason: str = "a callback stopped it") -> None:
        """End the run after what is under way."""
        self.stopped = self.stopped or reason


class Callback:
    """The protocol, to inherit from or to follow: all methods are optional.

    >>> class Stop(fastbp.callbacks.Callback):
    ...     def on_epoch(self, run):
    ...         return run.loss < 0.5
    """

    def on_start(self, run: Run) -> bool | None:
        """Before the first step."""

    def on_step(self, run: Run) -> bool | None:
        """After every step. Small networks are then not trained many steps at a time, which costs some 20 us a step."""

    def on_progress(self, run: Run) -> bool | None:
        """Now and then, about ten times a second or as rarely as a step ends."""

    def on_epoch(self, run: Run) -> bool | None:
        """After every epoch, with its row in the history."""

    def on_end(self, run: Run) -> bool | None:
        """After the last step, also where the run was stopped; not after an error."""

    def on_error(self, run: Run, error: BaseException) -> bool | None:
        """Where the run diverges, fails or is interrupted, before the error goes on to the caller."""


class Callbacks:
    """Several callbacks, or one, as one."""

    def __init__(self, callbacks: Any) -> None:
        self._by_event: dict[str, list[Any]] = {name: [] for name in _METHODS}
        for callback in callbacks if inputs.is_series(callbacks) and not _is_callback(callbacks) else [callbacks]:
            self.add(callback)

    def add(self, callback: Any) -> None:
        """One more; InputError for what is none."""
        if not _is_callback(callback):
            raise InputError(
                f"a callback must be a function of the run or have one of {', '.join(_METHODS)}; got {callback!r}"
            )
        for name, methods in self._by_event.items():
            if method := _method(callback, name):
                methods.append(method)

    def has(self, name: str) -> bool:
        """Whether any callback wants to hear of an event."""
        return bool(self._by_event[name])

    def call(self, name: str, run: Run, *what: Any) -> None:
        """Tell all that want to hear of it."""
        for callback in self._by_event[name]:
            if callback(run, *what) is True:
                run.stop()


_METHODS = ("on_start", "on_step", "on_progress", "on_epoch", "on_end", "on_error")


def _is_callback(value: Any) -> bool:
    is_class = isinstance(value, type)  # whose methods have no object yet
    return not is_class and (callable(value) or any(hasattr(value, name) for name in _METHODS))


def _method(callback: Any, name: str) -> Any:
    own = getattr(callback, name, None)
    if own is not None and getattr(type(callback), name, None) is not getattr(Callback, name):
        return own
    is_function = callable(callback) and not any(hasattr(callback, method) for method in _METHODS)
    return callback if is_function and name == "on_epoch" else None


@dataclass
class EarlyStopping:
    """Stop once the watched column has not improved by more than min_delta for `patience` epochs in a row.

    monitor : a column of the history, by default val_loss, or loss where there is no validation.
    mode : "min" for a column that is to fall, "max" for one that is to rise. By default as its name says, with val_ or
    without: losses, errors, deviances (..._loss, ..._error, ..._deviance, rmse, mae, brier) fall; scores (accuracy, f1,
    r2, roc_auc, average_precision, ..., as in scikit-learn, and neg_...) rise. Other names need a mode.
    restore_best : give back the parameters of the best epoch instead of the last one's.

    InputError for arguments that make no sense, when it is made; and in training, for a column that was NaN in all of
    the first `patience` epochs.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> stopping = fastbp.EarlyStopping(patience=3, monitor="val_accuracy")
    >>> result = fastbp.train(
    ...     net, params, x, y, epochs=50, validation=0.2, metrics=["accuracy"], early_stopping=stopping
    ... )
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str | None = None
    mode: str | None = None
    restore_best: bool = True
    best: float = field(default=math.inf, init=False)
    best_epoch: int = field(default=0, init=False)
    best_vector: np.ndarray | None = field(default=None, init=False, repr=False)
    waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        count("patience", self.patience)
        number("min_delta", self.min_delta, 0)
        if self.mode not in (None, "min", "max"):
            raise InputError(f"mode must be 'min', for what is to fall, 'max', or None; got {self.mode!r}")
        if not (self.monitor is None or (isinstance(self.monitor, str) and self.monitor)):
            raise InputError(f"monitor must be a column of the history, such as 'val_loss'; got {self.monitor!r}")
        if not isinstance(self.restore_best, bool | np.bool_):
            raise InputError(f"restore_best must be True or False; got {self.restore_best!r}")
        watched = self.monitor or "val_loss"
        if self.mode is None and direction(watched) is None:
            raise InputError(
                f"mode must be 'min' or 'max' for {watched!r}, whose name does not say whether it is to fall or to "
                f"rise; got None. Write EarlyStopping(monitor={watched!r}, mode='max')"
            )
        if self.mode == "max" and watched.removeprefix("val_") in ("loss", "data_loss"):
            raise InputError(f"mode must be 'min' for {watched!r}, which is to fall; got 'max'. Name another monitor")

    def check(self, columns: Sequence[str]) -> None:
        """InputError if the history, whose columns these are, will not have the watched one."""
        if self.monitor is not None and self.monitor not in columns:
            raise InputError(
                f"early stopping watches {self.monitor!r}, which is no column of the history: {', '.join(columns)}"
            )

    def to_meta(self) -> dict[str, Any]:
        """What it remembers, as plain values and arrays."""
        return {
            "best": self.best, "best_epoch": self.best_epoch, "best_vector": self.best_vector, "waited": self.waited,
        }  # fmt: skip

    def assign(self, meta: dict[str, Any]) -> None:
        """Remember what `to_meta` gave."""
        self.best, self.best_epoch = float(meta["best"]), meta["best_epoch"]
        self.best_vector, self.waited = meta["best_vector"], meta["waited"]

    def observe(self, run: Run) -> None:
        """Look at the last row of the history; stops the run when it is time."""
        monitor = self.monitor or ("val_loss" if "val_loss" in run.history else "loss")
        value = float(run.history[monitor][-1])
        if (self.mode or direction(monitor)) == "max":
            value = -value
        if value < self.best - self.min_delta or not (self.best_epoch or math.isnan(value)):
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            if self.restore_best:
                self.best_vector = run.params.vector.copy()
            return
        self.waited += 1
        if self.waited < self.patience:
            return
        if not self.best_epoch:
            raise InputError(
                f"early stopping needs numbers; {monitor} was NaN in all of {self.waited} epochs. Watch another column "
                f"({', '.join(run.history)}), or see why it is NaN: such as r2 of a single row"
            )
        run.stop(f"{monitor} has not improved for {self.waited} epochs; the best was epoch {self.best_epoch}")
