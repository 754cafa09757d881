"""What `fastbp train` shows while it runs: a live bar in a terminal where rich is installed, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from .training import Progress


def display(n_steps: int, *, quiet: bool = False) -> Silence:
    """The display that fits the terminal and what is installed, to be used as a context."""
    if quiet:
        return Silence()
    if sys.stdout.isatty():
        try:
            return Bar(n_steps)
        except ImportError:
            pass
    return Lines()


class Silence:
    """Shows nothing; the interface of every display."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def say(self, text: str) -> None:
        """A line that stays."""

    def step(self, progress: Progress) -> None:
        """A step was made."""

    def evaluated(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Loss and scores after a step."""


class Lines(Silence):
    """One line for each evaluation."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def evaluated(self, progress: Progress, values: Mapping[str, float]) -> None:
        self.say(f"step {progress.step:>6,}  {_described(values)}  {_rate(progress)}")


class Bar(Lines):
    """A live bar: steps, loss of the last step, scores of the last evaluation, samples per second, time left."""

    def __init__(self, n_steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            BarColumn(bar_width=24),
            TextColumn("step"),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._bar = RichProgress(*columns)
        self._task = self._bar.add_task("preparing", total=n_steps)
        self._scores = ""

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, progress: Progress) -> None:
        text = f"loss {progress.loss:.4f}  {self._scores}  {_rate(progress)}"
        self._bar.update(self._task, completed=progress.step, description=text)

    def evaluated(self, progress: Progress, values: Mapping[str, float]) -> None:
        self._scores = _described({name: value for name, value in values.items() if name != "loss"})


def _described(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in values.items() if not name.endswith("rmse")
    )


def _rate(progress: Progress) -> str:
    return f"{progress.samples_per_second / 1e6:.3g} M samples/s"
