"""The loss, and scores, over the steps of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from . import style

_NOT_DRAWN = ("epoch", "step", "learning_rate", "seconds")


def learning_curve(history: Mapping[str, Any] | Sequence[float], *, ax: Any = None, title: str | None = None) -> Any:
    """Losses over the steps, on a logarithmic axis where all are positive, and scores against an axis on the right.

    history : what `fastbp.train` gives as `history`, or a mapping of columns of one length: "loss", other losses, whose
        names end in "loss", scores by any other name, and "step", without which steps are 1, 2, ...; NaN where a number
        was not taken. Or a loss for each step. "data_loss" is drawn where it differs from "loss"; "epoch",
        "learning_rate" and "seconds" are not.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> result = fastbp.train(net, params, x, y, epochs=5, snapshots=[1, 5])
    >>> ax = fastbp.plot.learning_curve(result.history)
    """
    steps, curves = _columns(history if isinstance(history, Mapping) else {"loss": history})
    losses = [name for name in curves if name.endswith("loss")]
    scores = [name for name in curves if name not in losses]
    ax = style.new_axes(6.4, 4.2) if ax is None else ax
    looks = style.line_styles(len(curves))
    lines = [_line(ax, steps, name, curves[name], look) for name, look in zip(losses, looks, strict=False)]
    if _numbers(curves, losses).min(initial=np.inf) > 0 and lines[0].get_xdata().size:
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="loss", title=style.plain(title or ""))
    ax.grid(alpha=0.3)
    if scores:
        right, numbers = ax.twinx(), _numbers(curves, scores)
        lines += [_line(right, steps, name, curves[name], looks[len(lines) + k]) for k, name in enumerate(scores)]
        low, high = np.clip(numbers.min(initial=0), -1, 0), numbers.max(initial=1)
        right.set(ylabel="score", ylim=(low - 0.02 * high, 1.02 * high))
    if len(lines) > 1:
        style.legend_below(ax, lines)
    return ax


# -- parts -------------------------------------------------------------------------------------------


def _columns(history: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps, and what is drawn over them, the loss first; InputError for columns that do not fit together."""
    if "loss" not in history:
        raise InputError(
            f"a learning curve needs losses, a column 'loss'; got {', '.join(map(str, history)) or 'none'}"
        )
    drawn = ["loss", *(name for name in history if name != "loss" and name not in _NOT_DRAWN)]
    curves = {name: _column(name, history[name]) for name in drawn}
    steps = _column("step", history.get("step", range(1, curves["loss"].size + 1)))
    for name, values in {"step": steps, **curves}.items():
        if len(values) != curves["loss"].size:
            raise InputError(f"{name} must have a number for each of {curves['loss'].size} losses; got {len(values)}")
    if "data_loss" in curves and np.array_equal(curves["data_loss"], curves["loss"], equal_nan=True):
        del curves["data_loss"]
    return steps, curves


def _column(name: str, values: Any) -> np.ndarray:
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        column = np.empty(())
    if column.ndim != 1:
        raise InputError(f"{name} must hold numbers, shape (N,); got a {type(values).__name__}")
    return column


def _numbers(curves: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """All numbers of these columns that are finite."""
    values = np.concatenate([curves[name] for name in names])
    return values[np.isfinite(values)]


def _line(ax: Any, steps: np.ndarray, name: str, values: np.ndarray, look: Mapping[str, Any]) -> Any:
    """A column where its numbers were taken."""
    taken = ~np.isnan(values)
    label = style.plain(name.replace("_", " ").replace("held out", "held-out").replace("r2", "R²"))
    few = {"marker": "o", "markersize": 4} if taken.sum() <= 20 else {}
    (line,) = ax.plot(steps[taken], values[taken], label=label, linewidth=1.6, **few, **look)
    return line
