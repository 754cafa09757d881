"""What `fastbp train` needs before its first step: data, split and standardized, a network and a training."""

from __future__ import annotations

import argparse
import inspect
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import data, optim
from ..data.encoding import Rows, TableInMemory
from ..data.streaming import FileRows, SpilledTable
from ..data.tables import BadRows, Table
from ..data.task import Task, class_codes, default_loss
from ..errors import DataError, InputError
from ..model.network import MLP
from ..model.parameters import Parameters
from ..optim.makers import MAKERS
from ..training.arguments import as_batch_size, n_trained, split_rows
from ..training.loop import Training


class Defaults(NamedTuple):
    """What is used where an option is not given."""

    hidden: tuple[int, ...]
    activation: str
    bias: bool
    scheme: str | None
    optimizer: str
    learning_rate: float
    epochs: int
    test_fraction: float


# The lecture's network. Its step of 1e-4 on a sum over the batch diverges on a million points; this is on the mean.
SPIRALS = Defaults(
    hidden=(100,), activation="sigmoid", bias=False, scheme="lecture", optimizer="sgd", learning_rate=10.0, epochs=1000,
    test_fraction=0.0,
)  # fmt: skip
# Of sigmoid, tanh and relu with rates from 0.01 to 1, tried on 20 splits of breast_cancer, 4 of digits, 5 of diabetes:
# never below 0.955 and 0.966, and among the best on diabetes, where many others diverge.
FILES = Defaults(
    hidden=(100,), activation="tanh", bias=True, scheme=None, optimizer="sgd", learning_rate=0.03, epochs=50,
    test_fraction=0.2,
)  # fmt: skip
_SHARE_WARMUP, _N_FALLS, _LAST_SHARE = 0.05, 3, 0.01  # of schedules that need more than a rate and a length


class Prepared(NamedTuple):
    """Everything that `fastbp train` starts from."""

    net: MLP
    task: Task
    train: Rows | FileRows
    held_out: Rows | FileRows | None
    training: Training
    n_steps: int
    in_effect: dict[str, Any]  # options, with what was chosen for those that were not given
    left_out: str  # what is to be said of bad rows

    @property
    def params(self) -> Parameters:
        """The parameters as they are now."""
        return self.training.params

    @property
    def steps_an_epoch(self) -> int:
        """Batches that make up the training rows."""
        return self.training.descent.n_batches

    def evaluate(self, n_threads: int | None) -> dict[str, float]:
        """Loss and scores of the parameters as they are, on the training rows, and scores on the held-out ones."""
        values = {"loss": self._loss(n_threads)}
        for prefix, rows in (("", self.train), ("held_out_", self.held_out)):
            if rows is not None:
                y_pred = [self.net.predict(self.params, x, n_threads=n_threads) for x, _ in rows.blocks()]
                scores = self.task.score(np.concatenate(y_pred), rows.y)
                values |= {prefix + name: value for name, value in scores.items()}
        return values

    def _loss(self, n_threads: int | None) -> float:
        sums = [self.net.loss(self.params, x, y, reduction="sum", n_threads=n_threads) for x, y in self.train.blocks()]
        return sum(sums) / self.train.n_rows


def prepare(args: argparse.Namespace, folder: Path) -> Prepared:
    """From the options of `fastbp train`. DataError and InputError for what cannot be used.

    folder : where data larger than --memory-limit are kept while it runs.
    """
    defaults = SPIRALS if args.data is None else FILES
    chosen = {name: getattr(args, name, None) for name in Defaults._fields}
    wanted = defaults._replace(**{name: value for name, value in chosen.items() if value is not None})
    if args.optimizer is not None and args.learning_rate is None:
        wanted = wanted._replace(learning_rate=optim.as_optimizer(args.optimizer).schedule.rate)

    bad = BadRows(skip=args.on_bad_rows == "skip")
    task, train, held_out = _data(args, wanted, folder, bad)
    sizes = (len(task.features), *wanted.hidden, task.n_outputs)
    net = MLP(sizes, activation=wanted.activation, loss=task.loss, bias=wanted.bias)
    params = net.init(args.seed, dtype=args.dtype, scheme=wanted.scheme)
    n_train = n_trained(train.n_rows, args.validation or None)
    default = None if args.data is None else "auto"
    batch_size = as_batch_size(default if args.batch_size is None else args.batch_size, n_train)
    n_steps = args.steps or wanted.epochs * math.ceil(n_train / batch_size)
    given = (train,) if isinstance(train, FileRows) else (train.x, train.y)
    training = Training(
        net, params, *given, memory_limit=args.memory_limit, optimizer=_optimizer(args, wanted, n_steps),
        batch_size=batch_size, seed=args.seed, dropout=args.dropout, l1=args.l1, l2=args.l2,
        validation=args.validation or None,
        early_stopping=args.early_stopping, n_threads=args.threads,
    )  # fmt: skip
    in_effect = {**wanted._asdict(), "loss": task.loss, "batch_size": batch_size, "steps": n_steps}
    return Prepared(net, task, train, held_out, training, n_steps, in_effect, bad.report())


def _data(
    args: argparse.Namespace, wanted: Defaults, folder: Path, bad: BadRows
) -> tuple[Task, Rows | FileRows, Rows | FileRows | None]:  # fmt: skip
    """The task, and the two parts of the data: read, split, scaled and encoded, in memory or on the disk."""
    with _table(args, folder, bad) as source:
        table = source.table
        loss = args.loss or default_loss(table)
        parts = _parts(table, loss, wanted.test_fraction, args.seed)
        task = Task.fit(table, loss, parts[0], inputs=source.scales(parts[0]))
        return task, *source.encode(task, parts, args.dtype)


def _table(args: argparse.Namespace, folder: Path, bad: BadRows) -> TableInMemory | SpilledTable:
    if args.data is None:
        return TableInMemory(_spirals(args.samples, args.seed))
    if args.memory_limit is not None:
        return SpilledTable(args.data, args.target, folder, bad)
    return TableInMemory(data.read_table(args.data, target=args.target, bad=bad))


def _optimizer(args: argparse.Namespace, wanted: Defaults, n_steps: int) -> optim.Optimizer:
    rate, common = wanted.learning_rate, {"weight_decay": args.weight_decay, "clip_norm": args.clip_norm}
    options = {name: value for name, value in common.items() if value is not None}
    make = MAKERS[wanted.optimizer]
    if args.momentum is not None:
        if "momentum" not in inspect.signature(make).parameters:
            raise InputError(f"--momentum goes with sgd and rmsprop; {wanted.optimizer} has none. Leave it out")
        options["momentum"] = args.momentum
    return make(_schedule(args.schedule, rate, n_steps), **options)


def _schedule(name: str | None, rate: float, n_steps: int) -> Any:
    """The schedule of that name over n_steps."""
    match name:
        case "cosine":
            return optim.cosine(rate, n_steps)
        case "warmup-cosine":
            return optim.warmup_cosine(rate, min(n_steps - 1, math.ceil(_SHARE_WARMUP * n_steps)), n_steps)
        case "one-cycle":
            return optim.one_cycle(rate, max(2, n_steps))
        case "step-decay":
            return optim.step_decay(rate, math.ceil(n_steps / _N_FALLS))
        case "exponential":
            return optim.exponential(rate, _LAST_SHARE, n_steps)
        case "inverse-scaling":
            return optim.inverse_scaling(rate)
        case "reduce-on-plateau":
            return optim.reduce_on_plateau(rate)
    return rate


def _spirals(n: int, seed: int) -> Table:
    x, y = data.spirals(n, rng=seed)
    return Table(("x1", "x2"), x, y, "spiral", "two spirals")


def _parts(table: Table, loss: str, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows to train on and those to hold out, None for a fraction of 0; classes are split alike."""
    n = len(table.x)
    if fraction == 0:
        return np.arange(n), None
    if n < 2:
        raise DataError(f"{table.source}: at least 2 rows are needed to hold some out; got 1. Use --test-fraction 0")
    codes = class_codes(table, loss)
    if codes is not None and codes.max() == n - 1 > 1:
        raise DataError(
            f"{table.source}: the classes of {table.target_name!r} need more than a row each to hold some out; got "
            f"{n} rows of {n} classes. Name another column with --target, or use --test-fraction 0"
        )
    return split_rows(codes, n, fraction, seed, draw=1)
