"""A training run as a film: the boundary as it moves, the loss, and the gradient of each layer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..engine import inputs
from ..errors import InputError
from ..model.network import MLP
from . import boundary, curves, layers, style

ENDINGS = (".gif", ".mp4")
_LAST_FRAMES = 3  # how many times the last picture is shown


def animate(
    net: MLP, result: Any, x: Any, y: Any, *, path: str | os.PathLike[str] = "training.gif", fps: float = 2.0,
    plane: Any = None, standardize: Any = None, classes: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """Write a film with a picture for each of the snapshots of a run; returns its path.

    result : what `fastbp.train(..., snapshots=[5, 20, 100, ...])` gives; or anything with `snapshots`, parameters by
        step, and `history`, columns "step" and "loss".
    x, y : the data, of which boundary and gradients are drawn. standardize, from the units of x to those of the net,
        plane, classes, names : as in `decision_boundary`.
    path : .gif (needs Pillow), or .mp4 (needs ffmpeg). fps : pictures a second.
    A network that has no boundary in the plane is shown by its loss and its gradients alone.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> result = fastbp.train(net, net.init(0), x, y, steps=10, snapshots=[1, 10])
    >>> film = fastbp.plot.animate(net, result, x, y, path="training.gif")
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = files.expanded(path)
    writer = _writer(path, fps)
    if len(result.snapshots) < 2:
        raise InputError("a film needs parameters at two steps or more, such as train(..., snapshots=[5, 20, 100])")
    x, has_boundary = style.points(x, net.n_inputs), boundary.can_be_drawn(net, plane)
    figure = Figure(figsize=(11.0, 5.4) if has_boundary else (6.4, 5.4), dpi=90)
    FigureCanvasAgg(figure)
    start, width = (0.64, 0.34) if has_boundary else (0.14, 0.83)  # places found once; to look for them takes as long
    options = {"plane": plane, "standardize": standardize, "classes": classes, "names": names}
    scaled = x if standardize is None else standardize.apply(x, np.float32)
    steps = sorted(result.snapshots)
    sizes = np.array([layers.gradient_sizes(net, result.snapshots[step], scaled, y) for step in steps])
    with tempfile.TemporaryDirectory(prefix="fastbp-film-") as folder:
        film = Path(folder) / f"film{path.suffix}"
        writer.setup(figure, film, figure.dpi)
        for step in (*steps, *[steps[-1]] * (_LAST_FRAMES - 1)):
            figure.clear()
            if has_boundary:
                left = figure.add_axes((0.06, 0.16, 0.47, 0.75))
                boundary.decision_boundary(net, result.snapshots[step], x, y, ax=left, **options)
                _make_room(left)
            upper = figure.add_axes((start, 0.57, width, 0.34))
            _draw_loss(upper, result.history, step)
            lower = figure.add_axes((start, 0.16, width, 0.34), sharex=upper)
            _draw_flow(lower, steps, sizes, step)
            _make_room(lower)
            figure.suptitle(f"step {step:,} of {steps[-1]:,}: {style.plain(net)}", fontsize="medium")
            writer.grab_frame()
        writer.finish()
        with files.replacing(path) as file:
            file.write(film.read_bytes())
    return path


def _make_room(ax: Any) -> None:
    """Lift the lower edge of Axes by as much as the legend below them, of many lines, hangs over that of the figure."""
    legend, box = ax.get_legend(), ax.get_position()
    missing = 0.0 if legend is None else 0.01 - legend.get_window_extent().y0 / ax.figure.bbox.height
    if missing > 0:
        ax.set_position((box.x0, box.y0 + missing, box.width, box.height - missing))


def _writer(path: Path, fps: float) -> Any:
    from matplotlib.animation import FFMpegWriter, PillowWriter

    fps = inputs.number("fps", fps, above=0)
    if path.suffix not in ENDINGS:
        raise InputError(f"a film must end in {' or '.join(ENDINGS)}; got {path}")
    if path.suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise InputError(f"{path}: an .mp4 is made by ffmpeg, which is not there; install it, or write a .gif")
    files.check_output(path)
    return PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)


def _draw_loss(ax: Any, history: Any, step: int) -> None:
    """The whole curve pale, up to the step strong."""
    curves.learning_curve({name: history[name] for name in ("step", "loss")}, ax=ax)
    (line,) = ax.lines
    line.set(alpha=0.25, marker="")
    steps, losses = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    done = steps <= step
    ax.plot(steps[done], losses[done], color=line.get_color(), linewidth=1.8)
    if done.any():
        ax.plot(steps[done][-1:], losses[done][-1:], color=line.get_color(), marker="o")
        ax.set_title(f"loss {losses[done][-1]:.4f}", fontsize="small")
    ax.set_xlabel("")


def _draw_flow(ax: Any, steps: Sequence[int], sizes: np.ndarray, step: int) -> None:
    """The size of each layer's gradient, up to the step strong."""
    pale = layers.draw_flow(ax, steps, sizes)
    done = sum(each <= step for each in steps)
    style.legend_below(ax, layers.draw_flow(ax, steps[:done], sizes[:done]))
    for line in pale:
        line.set_alpha(0.25)
