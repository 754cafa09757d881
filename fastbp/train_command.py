"""`fastbp train`: from a data file, or two spirals made on the spot, to a folder with a model and its pictures."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from typing import Any

from . import plot
from .errors import DivergenceError
from .preparing import Prepared, prepare
from .progress import Silence, display
from .runs import RunFolder
from .training import Progress, gradient_descent

_N_SCORED = 20  # epochs whose scores are taken, evenly spaced
_HOW_TO_GET_PICTURES = 'no pictures without matplotlib; to get them: pip install "fastbp[plot]"'


def run(args: argparse.Namespace) -> int:
    """Train as the options say; returns the exit code."""
    folder = RunFolder(args.out)
    ready = prepare(args)
    steps = gradient_descent(
        ready.net, ready.params, ready.train.x, ready.train.y, learning_rate=ready.learning_rate,
        n_steps=ready.n_steps, batch_size=ready.batch_size, seed=args.seed, n_threads=args.threads,
    )  # fmt: skip
    training = Training(ready, folder, args.threads, pictures=not args.no_plots and has_matplotlib())
    with display(ready.n_steps, quiet=args.quiet) as screen:
        screen.say(_announcement(ready, args.data))
        ready.evaluate(args.threads)  # what the kernels refuse, they refuse before the folder is touched
        folder.begin()
        try:
            training.follow(steps, screen)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(training.save()) from None
        except DivergenceError:
            training.save_history()
            raise
        written = training.save()
    screen.say(training.summary())
    screen.say(written)
    if not (training.pictures or args.no_plots):
        screen.say(_HOW_TO_GET_PICTURES)
    return 0


class Training:
    """One run on its way: the history so far, and what is written when."""

    def __init__(self, ready: Prepared, folder: RunFolder, n_threads: int | None, *, pictures: bool) -> None:
        self.ready, self.folder, self.n_threads, self.pictures = ready, folder, n_threads, pictures
        self.boundaries = ready.task.classes is not None and len(ready.task.features) == 2
        self.history: list[dict[str, Any]] = []
        self.last: Progress | None = None
        self.values: dict[str, float] = {}

    def follow(self, steps: Iterator[Progress], screen: Silence) -> None:
        """Make the steps; keep a row of history for each epoch, scores and pictures for some."""
        length, snapshots = self.ready.steps_an_epoch, snapshot_steps(self.ready.n_steps)
        scored_every = length * math.ceil(self.ready.n_steps / length / _N_SCORED)
        loss_sum = n_rows = 0.0
        for progress in steps:
            self.last = progress
            screen.step(progress)
            loss_sum, n_rows = loss_sum + progress.loss * progress.n_rows, n_rows + progress.n_rows
            is_last, values = progress.step == self.ready.n_steps, {}
            if is_last or progress.step in snapshots or progress.step % scored_every == 0:
                self.values = values = self.ready.evaluate(self.n_threads)
                screen.evaluated(progress, values)
            if is_last or progress.step % length == 0:
                self._record(progress, loss_sum / n_rows, values)
                loss_sum = n_rows = 0.0
            if progress.step in snapshots and self.pictures and self.boundaries:
                self._draw_boundary(progress.step, values["loss"])

    def save(self) -> str:
        """Write model, history and learning curve; returns the line that says what was written."""
        done = f"step {self.last.step:,} of {self.ready.n_steps:,}" if self.last else "no step made"
        meta = {"task": self.ready.task.to_meta(), "steps": self.last.step if self.last else 0}
        self.folder.save_model(self.ready.net, self.ready.params, meta)
        self.save_history()
        return f"{done}: {', '.join(self.folder.written())} in {self.folder.path}{os.sep}"

    def save_history(self) -> None:
        """Write history.csv and its picture, with as many epochs as there were; nothing if there were none."""
        if not self.history:
            return
        score = self.ready.task.metric
        scores = [score] if self.ready.held_out is None else [score, f"held_out_{score}"]
        columns = ["step", "epoch", "loss", *scores, "samples_per_second"]
        self.folder.save_history(columns, [[row.get(name) for name in columns] for row in self.history])
        if self.pictures:
            curves = {name: [row.get(name, math.nan) for row in self.history] for name in columns[:1] + columns[2:-1]}
            self.folder.save_picture("learning-curve.png", plot.learning_curve(curves, title=str(self.ready.net)))

    def summary(self) -> str:
        """The line with the last scores."""
        ready, values = self.ready, self.values
        parts = [f"loss {values['loss']:.4f}"]
        for prefix, name, rows in (("", "training", ready.train), ("held_out_", "held-out", ready.held_out)):
            if rows is None:
                continue
            if ready.task.metric == "accuracy":
                parts.append(f"accuracy {values[prefix + 'accuracy']:.4f} on {len(rows.x):,} {name} rows")
            else:
                r2, rmse = values[prefix + "r2"], values[prefix + "rmse"]
                parts.append(f"R^2 {r2:.4f}, RMSE {rmse:.4g} on {len(rows.x):,} {name} rows")
        return "; ".join(parts)

    def _record(self, progress: Progress, loss: float, values: dict[str, float]) -> None:
        scores = {name: value for name, value in values.items() if name != "loss"}
        row = {"step": progress.step, "epoch": progress.epoch, "loss": loss, **scores}
        self.history.append(row | {"samples_per_second": round(progress.samples_per_second)})

    def _draw_boundary(self, step: int, loss: float) -> None:
        ready = self.ready
        axes = plot.decision_boundary(
            ready.net, ready.params, ready.train.original, ready.train.y, title=f"step {step:,}, loss {loss:.4f}",
            standardise=ready.task.inputs, classes=ready.task.classes, names=ready.task.features,
        )  # fmt: skip
        self.folder.save_picture(f"boundary-step-{step:06}.png", axes)


def snapshot_steps(n_steps: int) -> set[int]:
    """Steps whose boundary is drawn: the lecture's 5, 20, 100 and every thousand, 300 between them, and the last one.

    Beyond 10,000 every ten thousand, so that a long run is not spent on pictures.
    """
    steps = {5, 20, 100, 300, *range(1000, 10_001, 1000), *range(20_000, n_steps + 1, 10_000), n_steps}
    return {step for step in steps if step <= n_steps}


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def _announcement(ready: Prepared, source: str | None) -> str:
    task, n_held_out = ready.task, 0 if ready.held_out is None else len(ready.held_out.x)
    kind = "a number" if task.classes is None else f"{len(task.classes)} classes"
    rows = f"{len(ready.train.x):,} rows" + (f" (and {n_held_out:,} held out)" if n_held_out else "")
    batch = f"batches of {ready.batch_size:,}" if ready.steps_an_epoch > 1 else "the full batch"
    return (
        f"{source or 'two spirals'}: {rows}, {len(task.features)} features, target {task.target!r} ({kind})\n"
        f"{ready.net}, {ready.params.dtype}: {ready.n_steps:,} steps of {ready.learning_rate:g} on {batch}"
    )
