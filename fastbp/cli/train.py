"""`fastbp train`: from a data file, or two spirals made on the spot, to a folder with a model and its pictures."""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from .. import files, optim, plot
from ..data.encoding import Rows
from ..errors import DivergenceError, InputError
from ..model.parameters import Parameters
from ..plot.style import has_matplotlib
from ..training.callbacks import Run
from ..training.checkpoint import Checkpoints
from ..training.history import History
from ..training.interrupts import Terminated
from . import config_file
from .prepare_training import Prepared, prepare
from .progress import Display, display
from .run_folder import RunFolder

_N_SCORED = 20  # epochs whose scores are taken, evenly spaced
_HOW_TO_GET_PICTURES = 'no pictures without matplotlib; to get them: pip install "fastbp[plot]"'


def run(args: argparse.Namespace) -> int:
    """Train as the options say; returns the exit code."""
    if args.resume and args.checkpoint is None:
        raise InputError("--resume needs --checkpoint, the folder to go on from")
    if args.memory_limit is not None:
        for name, is_wanted in (("--animate", args.animate), ("--live", args.live is not None)):
            if is_wanted:
                raise InputError(f"{name} needs the data in memory; leave out --memory-limit")
    if args.animate and not has_matplotlib():
        raise InputError('--animate needs matplotlib: pip install "fastbp[plot]"')
    folder = RunFolder(args.out)
    inputs = {"--data": args.data, "--config": args.config, "--checkpoint": args.checkpoint}
    files.check_output_folder(args.out, inputs)
    with tempfile.TemporaryDirectory(prefix="fastbp-") as scratch:
        return _run(args, folder, prepare(args, Path(scratch)))


def _run(args: argparse.Namespace, folder: RunFolder, ready: Prepared) -> int:
    session = Session(ready, folder, args, pictures=not args.no_plots and has_matplotlib())
    with display(ready.n_steps, quiet=args.quiet, as_json=args.json) as screen, session.checkpoints() as resumed:
        screen.say(_announcement(ready, args.data))
        if ready.left_out:
            screen.say(ready.left_out)
        if resumed:
            screen.say(f"resumed at step {ready.training.progress.step:,}")
        ready.evaluate(args.threads)  # what the kernels refuse, they refuse before the folder is touched
        folder.begin()
        try:
            with session.live(screen):
                session.follow(screen)
        except (KeyboardInterrupt, Terminated) as interrupt:
            # Quickly: no pictures.
            session.pictures = False
            raise type(interrupt)(session.save()) from None
        except DivergenceError:
            session.save_history()
            raise
        session.save_film(screen)
        written = session.save()
        screen.say(session.summary())
        screen.say(written)
        if not (session.pictures or args.no_plots):
            screen.say(_HOW_TO_GET_PICTURES)
        screen.done({"step": ready.training.progress.step, "out": str(folder.path), **session.values})
    return 0


class Film(NamedTuple):
    """What an animation shows: parameters by step, and the history."""

    snapshots: dict[int, Parameters]
    history: History


class Session:
    """One run on its way: the scores so far, and what is written when."""

    def __init__(self, ready: Prepared, folder: RunFolder, args: argparse.Namespace, *, pictures: bool) -> None:
        self.ready, self.folder, self.args, self.pictures = ready, folder, args, pictures
        in_memory = isinstance(ready.train, Rows)
        self.boundaries = in_memory and ready.task.classes is not None and len(ready.task.features) == 2
        self.scores: dict[int, dict[str, float]] = {}
        self.values: dict[str, float] = {}
        self.snapshots: dict[int, Parameters] = {}

    @contextlib.contextmanager
    def checkpoints(self) -> Any:
        """The folder of checkpoints, if there is to be one; gives whether the run goes on from one."""
        if self.args.checkpoint is None:
            yield False
            return
        with Checkpoints(self.args.checkpoint) as checkpoints:
            yield self.ready.training.keep(checkpoints, resume=self.args.resume, meta=self._meta())

    @contextlib.contextmanager
    def live(self, screen: Display) -> Any:
        """The live view, if there is to be one."""
        if self.args.live is None:
            yield
            return
        from ..plot.live import LiveView

        train, task = self.ready.train, self.ready.task
        view = LiveView(
            train.original, train.y, port=self.args.live, standardize=task.inputs, classes=task.classes
        )  # fmt: skip
        screen.say(f"watch it at {view.url}")
        self.ready.training.callbacks.add(view)
        try:
            yield
        finally:
            view.close()

    def follow(self, screen: Display) -> None:
        """Make the steps; take scores and pictures at some."""
        ready, n_steps = self.ready, self.ready.n_steps
        snapshots, length = snapshot_steps(n_steps), ready.steps_an_epoch
        every = length * math.ceil(n_steps / length / _N_SCORED)
        scored = {*snapshots, *range(every, n_steps + 1, every)}
        for run in ready.training.advance(n_steps, scored):
            screen.step(run)
            if run.step in scored or run.stopped:
                self._evaluate(run, screen)
            if run.step in snapshots and self.pictures and self.boundaries:
                self._draw_boundary(run.step, self.values["loss"])
            if run.step in snapshots and self.args.animate:
                self.snapshots[run.step] = ready.params.copy()
        if not self.values:  # a checkpoint of the last step
            self._evaluate(ready.training.progress, screen)
        if ready.training.progress.stopped and ready.training.stopping:
            screen.say(ready.training.progress.stopped)
            self._evaluate(ready.training.progress, screen)  # with the best parameters

    def _evaluate(self, run: Run, screen: Display) -> None:
        history = self.ready.training.progress.history
        of_validation = {"val_loss": float(history["val_loss"][-1])} if "val_loss" in history else {}
        self.values = self.ready.evaluate(self.args.threads) | of_validation
        self.scores[run.step] = {name: value for name, value in self.values.items() if not name.endswith("loss")}
        screen.evaluated(run, self.values)

    def save(self) -> str:
        """Write model, history, options and learning curve; returns the line that says what was written."""
        step = self.ready.training.progress.step
        done = f"step {step:,} of {self.ready.n_steps:,}" if step else "no step made"
        self.folder.save_model(self.ready.net, self.ready.params, {**self._meta(), "steps": step})
        self.folder.save_text("config.toml", config_file.text_of(self.args, self.ready.in_effect))
        self.save_history()
        return f"{done}: {', '.join(self.folder.written())} in {self.folder.path}{os.sep}"

    def save_history(self) -> None:
        """Write history.csv and its picture, with as many epochs as there were; nothing if there were none."""
        rows = [row | self.scores.get(int(row["step"]), {}) for row in self.ready.training.progress.history.rows()]
        if not rows:
            return
        score = self.ready.task.metric
        names = ["val_loss", score, f"held_out_{score}"]
        shown = [name for name in names if any(name in row for row in rows)]
        columns = ["step", "epoch", "loss", *shown, "learning_rate", "seconds"]
        whole = ("step", "epoch")
        table = [[int(row[name]) if name in whole else row.get(name) for name in columns] for row in rows]
        self.folder.save_history(columns, table)
        if self.pictures:
            curves = {name: [row.get(name, math.nan) for row in rows] for name in ("step", "loss", *shown)}
            self.folder.save_picture("learning-curve.png", plot.learning_curve(curves, title=str(self.ready.net)))

    def save_film(self, screen: Display) -> None:
        """Write the film of the run, if it is wanted and there are steps to show."""
        if len(self.snapshots) < 2:
            if self.args.animate:
                screen.say("no animation: it needs two steps or more of those that are drawn")
            return
        ready, train = self.ready, self.ready.train
        film = Film(self.snapshots, ready.training.progress.history)
        self.folder.save_film(
            functools.partial(
                plot.animate, ready.net, film, train.original, train.y, standardize=ready.task.inputs,
                classes=ready.task.classes, names=ready.task.features,
            )
        )  # fmt: skip

    def _meta(self) -> dict[str, Any]:
        return {"task": self.ready.task.to_meta()}

    def summary(self) -> str:
        """The line with the last scores."""
        ready, values = self.ready, self.values
        parts = [f"loss {values['loss']:.4f}"]
        for prefix, name, rows in (("", "training", ready.train), ("held_out_", "held-out", ready.held_out)):
            if rows is None:
                continue
            if ready.task.metric == "accuracy":
                parts.append(f"accuracy {values[prefix + 'accuracy']:.4f} on {rows.n_rows:,} {name} rows")
            else:
                r2 = "needs two rows" if rows.n_rows == 1 else f"{values[prefix + 'r2']:.4f}"
                parts.append(f"R^2 {r2}, RMSE {values[prefix + 'rmse']:.4g} on {rows.n_rows:,} {name} rows")
        return "; ".join(parts)

    def _draw_boundary(self, step: int, loss: float) -> None:
        ready = self.ready
        axes = plot.decision_boundary(
            ready.net, ready.params, ready.train.original, ready.train.y, title=f"step {step:,}, loss {loss:.4f}",
            standardize=ready.task.inputs, classes=ready.task.classes, names=ready.task.features,
        )  # fmt: skip
        self.folder.save_picture(f"boundary-step-{step:06}.png", axes)


def snapshot_steps(n_steps: int) -> set[int]:
    """Steps whose boundary is drawn: the lecture's 5, 20, 100 and every thousand, 300 between them, and the last one.

    Beyond 10,000 every ten thousand, so that a long run is not spent on pictures.
    """
    steps = {5, 20, 100, 300, *range(1000, 10_001, 1000), *range(20_000, n_steps + 1, 10_000), n_steps}
    return {step for step in steps if step <= n_steps}


def _announcement(ready: Prepared, source: str | None) -> str:
    task, n_held_out = ready.task, 0 if ready.held_out is None else ready.held_out.n_rows
    kind = "a number" if task.classes is None else f"{len(task.classes)} classes"
    rows = f"{ready.train.n_rows:,} rows" + (f" (and {n_held_out:,} held out)" if n_held_out else "")
    batch = f"batches of {ready.training.descent.batch_size:,}" if ready.steps_an_epoch > 1 else "the full batch"
    optimizer = ready.training.state.optimizer
    how = f"{optimizer.schedule.rate:g}" if optimizer == optim.sgd(optimizer.schedule.rate) else str(optimizer)
    return (
        f"{source or 'two spirals'}: {rows}, {len(task.features)} features, target {task.target!r} ({kind})\n"
        f"{ready.net}, {ready.params.dtype}: {ready.n_steps:,} steps of {how} on {batch}"
    )
