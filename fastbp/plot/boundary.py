"""The decision boundary: what a classifier answers over a plane, and the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..network import MLP
from ..parameters import Parameters
from . import style

MAX_POINTS = 2000  # more would hide the boundary behind them
_GRID = 240


def decision_boundary(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    ax: Any = None,
    title: str | None = None,
    standardise: Any = None,
    classes: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """What a classifier of two features answers over the plane, where its answer changes, and the data.

    x : (N, 2); y : (N,) class codes 0, 1, ...; above MAX_POINTS rows a random sample of each class is drawn.
    standardise : with `.apply(x, dtype)`, from the units of x to those of the network; by default x is taken as it is.
    classes : names of the classes. names : of the two features.
    Two classes: shaded by probability, the line where it is 1/2. More: each region in the colour of its class.
    """
    n_classes = _check_classifier(net)
    x, y = np.asarray(x), np.asarray(y).reshape(-1)
    ax = style.new_axes(6.4, 5.4) if ax is None else ax
    classes = range(n_classes) if classes is None else classes
    first, second = _grid(x)
    points = np.stack([first.ravel(), second.ravel()], axis=1)
    points = points.astype(params.dtype) if standardise is None else standardise.apply(points, params.dtype)
    z = net.logits(params, points)
    if n_classes == 2:
        z = (z[:, 0] if net.n_outputs == 1 else z[:, 1] - z[:, 0]).reshape(first.shape)
        _shade_probability(ax, first, second, z, classes)
    else:
        _shade_regions(ax, first, second, z.reshape(*first.shape, n_classes))
    _scatter_classes(ax, x, y, classes)
    ax.set(xlabel=names[0] if names else "x1", ylabel=names[1] if names else "x2", title=title or "")
    ax.set(xlim=(first[0, 0], first[0, -1]), ylim=(second[0, 0], second[-1, 0]))
    return ax


# -- parts -------------------------------------------------------------------------------------------


def _check_classifier(net: MLP) -> int:
    """The number of classes; InputError for a network without a boundary in a plane."""
    loss = net.loss_function
    n_classes = net.n_outputs if loss.link == "softmax" else 2
    if net.n_inputs != 2 or not loss.is_classification or (loss.link == "sigmoid" and net.n_outputs != 1):
        raise InputError(f"a decision boundary is drawn for a classifier with two inputs; got {net}")
    return n_classes


def _grid(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x.ndim != 2 or x.shape[1] != 2 or len(x) == 0:
        raise InputError(f"x must have shape (N, 2); got {x.shape}")
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.06 * (high - low), 1.0)
    low, high = low - margin, high + margin
    return tuple(np.meshgrid(np.linspace(low[0], high[0], _GRID), np.linspace(low[1], high[1], _GRID)))


def _shade_probability(ax: Any, first: np.ndarray, second: np.ndarray, z: np.ndarray, classes: Sequence[Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("blue-white-orange", ["#6BAED6", "#F7F7F7", "#FDC15C"])
    probability = 0.5 * (1 + np.tanh(z / 2))
    shading = ax.pcolormesh(
        first, second, probability, cmap=shades, vmin=0, vmax=1, shading="gouraud", rasterized=True, zorder=0
    )
    ax.figure.colorbar(shading, ax=ax, label=f"probability of {classes[1]}", ticks=[0, 0.25, 0.5, 0.75, 1])
    if z.min() < 0 < z.max():
        ax.contour(first, second, z, levels=[0], colors="black", linewidths=1.6, zorder=3)
    else:
        only = f"no boundary here: every point is taken for {classes[int(z.min() > 0)]}"
        ax.text(0.5, 0.02, only, transform=ax.transAxes, ha="center", va="bottom", zorder=4, fontsize="small")


def _shade_regions(ax: Any, first: np.ndarray, second: np.ndarray, z: np.ndarray) -> None:
    for code in range(z.shape[-1]):
        # Positive where the class wins, and smooth across the boundary, unlike the winner itself.
        lead = z[..., code] - np.delete(z, code, axis=-1).max(axis=-1)
        if lead.max() > 0:
            colour = style.COLOURS[code % len(style.COLOURS)]
            ax.contourf(first, second, lead, levels=[0, np.inf], colors=[colour], alpha=0.3, zorder=0)
        if lead.min() < 0 < lead.max():
            ax.contour(first, second, lead, levels=[0], colors="black", linewidths=1.2, zorder=3)


def _scatter_classes(ax: Any, x: np.ndarray, y: np.ndarray, classes: Sequence[Any]) -> None:
    rng = np.random.default_rng(0)
    share = min(1.0, MAX_POINTS / len(x))
    size = float(np.clip(4000 / min(len(x), MAX_POINTS), 7, 28))
    for code, label in enumerate(classes):
        rows = np.flatnonzero(y == code)
        drawn = rows if share == 1 else rng.choice(rows, int(np.ceil(share * len(rows))), replace=False)
        count = f"{len(rows):,}" if len(drawn) == len(rows) else f"{len(drawn):,} of {len(rows):,}"
        look = {
            "c": style.COLOURS[code % len(style.COLOURS)],
            "marker": style.MARKERS[code % len(style.MARKERS)],
            "s": size,
        }
        edges = {"edgecolors": "black", "linewidths": 0.3}
        ax.scatter(x[drawn, 0], x[drawn, 1], zorder=2, label=f"{label} ({count})", **look, **edges)
    if len(classes) <= style.MAX_LEGEND:
        style.legend_below(ax, ax.collections[-len(classes) :], markerscale=1.5)
