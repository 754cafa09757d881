"""A training run as a film: the boundary as it moves, the loss, and the gradient of each layer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import InputError
from ..network import MLP
from . import boundary, curves, layers, style

ENDINGS = (".gif", ".mp4")
_LAST_FRAMES = 3  # how many times the last picture is shown


def animate(
    net: MLP, result: Any, x: Any, y: Any, *, path: str | os.PathLike[str] = "training.gif", fps: float = 2.0,
    plane: Any = None, standardise: Any = None, classes: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """Write a film with a picture for each of the snapshots of a run; returns its path.

    result : what `fastbp.train(..., snapshots=[5, 20, 100, ...])` gives; or anything with `snapshots`, parameters by
        step, and `history`, columns "step" and "loss".
    x, y : the data, of which boundary and gradients are drawn. standardise, from the units of x to those of the net,
        plane, classes, names : as in `decision_boundary`.
    path : .gif (needs Pillow), or .mp4 (needs ffmpeg). fps : pictures a second.
    A network that has no boundary in the plane is shown by its loss and its gradients alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if len(result.snapshots) < 2:
        raise InputError("a film needs parameters at two steps or more, such as train(..., snapshots=[5, 20, 100])")
    has_boundary = boundary.can_be_drawn(net, plane)
    figure = Figure(figsize=(11.0, 5.4) if has_boundary else (6.4, 5.4), dpi=90)
    FigureCanvasAgg(figure)
    start, width = (0.64, 0.34) if has_boundary else (0.14, 0.83)  # places found once; to look for them takes as long
    options = {"plane": plane, "standardise": standardise, "classes": classes, "names": names}
    inputs = np.asarray(x) if standardise is None else standardise.apply(np.asarray(x), np.float32)
    steps, bottom = sorted(result.snapshots), 0.16
    sizes = np.array([layers.gradient_sizes(net, result.snapshots[step], inputs, y) for step in steps])
    with tempfile.TemporaryDirectory(prefix="fastbp-film-") as folder:
        film = Path(folder) / f"film{path.suffix}"
        writer = _writer(path, fps)
        writer.setup(figure, film, figure.dpi)
        for step in (*steps, *[steps[-1]] * (_LAST_FRAMES - 1)):
            figure.clear()
            if has_boundary:
                left = figure.add_axes((0.06, bottom, 0.47, 0.91 - bottom))
                boundary.decision_boundary(net, result.snapshots[step], x, y, ax=left, **options)
                bottom += _cut_off(left)
                left.set_position((0.06, bottom, left.get_position().width, 0.91 - bottom))
            upper = figure.add_axes((start, 0.55, width, 0.36))
            _draw_loss(upper, result.history, step)
            lower = figure.add_axes((start, 0.1, width, 0.36), sharex=upper)
            _draw_flow(lower, steps, sizes, step)
            figure.suptitle(f"step {step:,} of {steps[-1]:,}: {net}", fontsize="medium")
            writer.grab_frame()
        writer.finish()
        with files.replacing(path) as file:
            file.write(film.read_bytes())
    return path


def _cut_off(ax: Any) -> float:
    """The share of the figure's height by which a legend below the Axes, of many classes, hangs over its edge."""
    legend = ax.get_legend()
    return 0.0 if legend is None else max(0.0, 0.01 - legend.get_window_extent().y0 / ax.figure.bbox.height)


def _writer(path: Path, fps: float) -> Any:
    from matplotlib.animation import FFMpegWriter, PillowWriter

    if path.suffix not in ENDINGS:
        raise InputError(f"a film must end in {' or '.join(ENDINGS)}; got {path}")
    if path.suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise InputError(f"{path}: an .mp4 is made by ffmpeg, which is not there; install it, or write a .gif")
    return PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)


def _draw_loss(ax: Any, history: Any, step: int) -> None:
    """The whole curve pale, up to the step strong."""
    curves.learning_curve({name: history[name] for name in ("step", "loss")}, ax=ax)
    (line,) = ax.lines
    line.set(alpha=0.25, marker="")
    steps, losses = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    done = steps <= step
    ax.plot(steps[done], losses[done], color=style.BLUE, linewidth=1.8)
    if done.any():
        ax.plot(steps[done][-1:], losses[done][-1:], color=style.BLUE, marker="o")
        ax.set_title(f"loss {losses[done][-1]:.4f}", fontsize="small")
    ax.set_xlabel("")


def _draw_flow(ax: Any, steps: Sequence[int], sizes: np.ndarray, step: int) -> None:
    """The size of each layer's gradient, up to the step strong."""
    for line in layers.draw_flow(ax, steps, sizes):
        line.set_alpha(0.25)
    done = np.asarray(steps) <= step
    for size, look in zip(sizes.T, style.line_styles(sizes.shape[1]), strict=True):
        ax.plot(np.asarray(steps)[done], size[done], linewidth=1.8, marker="o", markersize=3, **look)
    ax.legend(handles=ax.lines[sizes.shape[1] :], labels=[f"W{k + 1}" for k in range(sizes.shape[1])], fontsize="small")
