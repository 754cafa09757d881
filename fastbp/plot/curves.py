"""The loss, and scores, over the steps of a training run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import style


def learning_curve(history: Mapping[str, Any] | Sequence[float], *, ax: Any = None, title: str | None = None) -> Any:
    """The loss over the steps, on a logarithmic axis where it is positive, and scores against an axis on the right.

    history : losses of step 1, 2, ..., or a mapping with "step", "loss" and any scores of the same length, such as
        "accuracy" and "held_out_accuracy"; NaN where a score was not taken.
    """
    if not isinstance(history, Mapping):
        history = {"step": np.arange(1, len(history) + 1), "loss": history}
    curves = {name: np.asarray(values, np.float64) for name, values in history.items()}
    steps, losses = curves.pop("step"), curves.pop("loss")
    ax = style.new_axes(6.4, 4.2) if ax is None else ax
    few = {"marker": "o", "markersize": 4} if len(steps) <= 20 else {}
    lines = ax.plot(steps, losses, color=style.BLUE, linewidth=1.6, label="loss", **few)
    if len(losses) and np.nanmin(losses) > 0:
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="loss", title=title or "")
    ax.grid(alpha=0.3)
    if curves:
        lines += _scores_on_the_right(ax, steps, curves)
        style.legend_below(ax, lines)
    return ax


# -- parts -------------------------------------------------------------------------------------------


def _scores_on_the_right(ax: Any, steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> list[Any]:
    right = ax.twinx()
    lines = []
    styles = itertools.cycle([(style.ORANGE, "--"), (style.GREEN, ":"), (style.PURPLE, "-.")])
    for (name, values), (colour, dash) in zip(curves.items(), styles, strict=False):
        taken = ~np.isnan(values)
        label = name.replace("_", " ").replace("held out", "held-out").replace("r2", "R²")
        lines += right.plot(
            steps[taken], values[taken], color=colour, linestyle=dash, marker="o", markersize=3, label=label
        )
    lowest = min((np.nanmin(values) for values in curves.values() if not np.isnan(values).all()), default=0.0)
    right.set(ylabel="score", ylim=(max(min(0.0, lowest), -1.0) - 0.02, 1.02))
    return lines
