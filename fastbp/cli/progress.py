"""What `fastbp train` shows while it runs: a live bar in a terminal with rich, lines or JSON elsewhere."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from ..model.network import MLP
from ..training.callbacks import Run


def display(n_steps: int, *, quiet: bool = False, as_json: bool = False) -> Display:
    """The display that fits the terminal and what is installed, to be used as a context."""
    if as_json:
        return Objects()
    if quiet:
        return Display()
    if sys.stdout.isatty():
        try:
            return Bar(n_steps)
        except ImportError:
            pass
    return Lines()


class Display:
    """Shows nothing; the interface of every display."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def say(self, text: str) -> None:
        """A line that stays."""

    def step(self, run: Run) -> None:
        """Some steps were made."""

    def evaluated(self, run: Run, values: Mapping[str, float]) -> None:
        """Loss and scores after a step."""

    def done(self, values: Mapping[str, Any]) -> None:
        """The end, for machines."""


class Lines(Display):
    """One line for each evaluation."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def evaluated(self, run: Run, values: Mapping[str, float]) -> None:
        self.say(f"step {run.step:>6,}  {_described(values)}  {_rate(run)}")


class Objects(Display):
    """One JSON object a line: for each evaluation, and at the end."""

    def evaluated(self, run: Run, values: Mapping[str, float]) -> None:
        self._print({"step": run.step, "epoch": run.epoch, **values, "samples_per_second": run.samples_per_second})

    def done(self, values: Mapping[str, Any]) -> None:
        self._print(values)

    def _print(self, values: Mapping[str, Any]) -> None:
        broken = {name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
        print(json.dumps({name: None if name in broken else value for name, value in values.items()}), flush=True)


class Bar(Lines):
    """A live bar: steps, epoch, loss of the last step, scores of the last evaluation, speed, time left."""

    def __init__(self, n_steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(bar_width=24),
            TextColumn("step"),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("preparing", total=n_steps)
        self._scores = ""

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, run: Run) -> None:
        text = f"epoch {run.epoch:,}  loss {run.loss:.4f}  {self._scores}  {_rate(run)}"
        self._bar.update(self._task, completed=run.step, description=text)

    def evaluated(self, run: Run, values: Mapping[str, float]) -> None:
        self._scores = _described({name: value for name, value in values.items() if name != "loss"})


def flops(net: MLP) -> int:
    """Operations of products for a sample's loss and gradient: 6 a weight, 4 in the first layer."""
    products = [layer.n_in * layer.n_out for layer in net.layers]
    return 6 * sum(products) - 2 * products[0]


def _described(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
        if not (name.endswith("rmse") or math.isnan(value))  # R^2 of one row is NaN
    )


def _rate(run: Run) -> str:
    rate = run.samples_per_second
    return f"{rate / 1e6:.3g} M samples/s, {rate * flops(run.net) / 1e9:.3g} GFLOP/s"
