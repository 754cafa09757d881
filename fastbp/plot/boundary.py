"""The decision boundary: what a classifier answers over a plane, and the data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data.scaling import Standardize
from ..errors import InputError
from ..model.network import MLP
from ..model.parameters import Parameters, check_params
from . import style

MAX_POINTS = 2000  # that are drawn one by one; more are drawn as density
GRID = 400  # points each way at which the network is asked
_CELLS = 200  # each way, in which points are counted
_DARKER = 0.75  # density than the shades under it


def decision_boundary(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    plane: tuple[int, int] | str | None = None,
    ax: Any = None,
    title: str | None = None,
    standardize: Any = None,
    classes: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """What a classifier answers over a plane, where its answer changes, and the data.

    x : (N, n_inputs); y : (N,) class codes 0, 1, .... More than MAX_POINTS rows are drawn as density: each cell in the
    color of the class that has most points in it, the stronger the more there are.
    plane : for more than two inputs. (i, j) are two features, the others stay at their means; "pca" is the plane
        through the mean in which the features, each divided by its deviation, vary most; points fall upright onto it.
    standardize : with `.apply(x, dtype)`, from the units of x to those of the network; by default x is taken as it is.
    classes : names of the classes, of which 20 characters are shown. names : of the features.
    Two classes: shaded by probability, the line where it is 1/2. More: each region in the color of its class; of more
    than ten its name stands in it.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> ax = fastbp.plot.decision_boundary(net, params, x, y)
    >>> ax.figure.savefig("boundary.png")
    """
    n_classes = _check_classifier(net, plane)
    check_params(net, params)
    x, y = style.points(x, net.n_inputs), style.class_codes("y", y, n_classes)
    if len(y) != len(x):
        raise InputError(f"y must hold a class code for each row of x, 0 to {n_classes - 1}; got {len(y)} for {len(x)}")
    view = _view(x, plane, style.names("names", names, [f"x{i + 1}" for i in range(net.n_inputs)]))
    classes = style.class_names(style.names("classes", classes, range(n_classes)))
    ax = style.new_axes(6.4, 5.4) if ax is None else ax
    low, high = region(view.flat)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, GRID).T), axis=-1)
    points = view.lift(grid.reshape(-1, 2))
    points = points.astype(params.dtype) if standardize is None else standardize.apply(points, params.dtype)
    z = net.logits(params, points)
    if n_classes == 2:
        z = z[:, 0] if net.n_outputs == 1 else z[:, 1] - z[:, 0]
        _shade_probability(ax, grid, z.reshape(GRID, GRID), classes)
    else:
        _shade_regions(ax, grid, z.reshape(GRID, GRID, n_classes), classes)
    draw_data(ax, view.flat, y, classes, low, high)
    xlabel, ylabel = map(style.plain, view.names)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=xlabel, ylabel=ylabel, title=style.plain(title or ""))
    return ax


# -- the plane ---------------------------------------------------------------------------------------


class _View(NamedTuple):
    """Where points lie in a plane (N, 2), the way back from it, and the names of its axes."""

    flat: np.ndarray
    lift: Callable[[np.ndarray], np.ndarray]
    names: Sequence[str]


def can_be_drawn(net: MLP, plane: Any = None) -> bool:
    """Whether a network has a boundary in a plane."""
    try:
        return _check_classifier(net, plane) > 0
    except InputError:
        return False


def _check_classifier(net: MLP, plane: Any) -> int:
    """The number of classes; InputError for a network without a boundary in a plane."""
    loss = net.loss_function
    if not (loss.couples_outputs or (loss.is_classification and net.n_outputs == 1)):
        raise InputError(f"a decision boundary is drawn for a classifier; got {net}")
    if net.n_inputs == 1:
        raise InputError(f"a decision boundary is drawn in a plane, of two inputs or more; got {net}")
    if net.n_inputs != 2 and plane is None:
        raise InputError(
            f"a decision boundary is drawn in a plane: of {net.n_inputs} inputs, plane=(i, j) chooses two, and "
            f"plane='pca' those directions in which they vary most; got {net}"
        )
    return net.n_outputs if loss.couples_outputs else 2


def _view(x: np.ndarray, plane: Any, names: Sequence[str]) -> _View:
    if plane is None:
        return _View(x, lambda points: points, names)
    if isinstance(plane, str) and plane == "pca":
        return _principal(x)
    n_inputs = x.shape[1]
    try:
        features = [operator.index(i) for i in plane]
    except TypeError:
        features = []
    if len(features) != 2 or len({i % n_inputs for i in features if -n_inputs <= i < n_inputs}) != 2:
        raise InputError(f"plane must be two different features of {n_inputs}, such as (0, 1), or 'pca'; got {plane!r}")
    mean = x.mean(axis=0, dtype=np.float64)

    def lift(points: np.ndarray) -> np.ndarray:
        lifted = np.tile(mean, (len(points), 1))
        lifted[:, features] = points
        return lifted

    return _View(x[:, features], lift, [names[i] for i in features])


def _principal(x: np.ndarray) -> _View:
    """The plane of the two first principal components of standardized features."""
    standardize = Standardize.fit(x)
    u = standardize.apply(x, np.float64)
    values, vectors = np.linalg.eigh(u.T @ u)
    axes = vectors[:, ::-1][:, :2].T
    axes *= np.sign(axes[[0, 1], np.abs(axes).argmax(axis=1)])[:, None]  # the largest part of each is positive
    shares = values[::-1][:2] / (values.sum() or 1.0)
    names = [f"principal component {i + 1}, {share:.0%} of the variance" for i, share in enumerate(shares)]
    return _View(u @ axes.T, lambda points: points @ axes * standardize.scale + standardize.mean, names)


def region(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the part that is drawn, a little beyond the data."""
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    margin = np.where(spread > np.maximum(1e-100, 1e-9 * size), 0.06 * spread, np.maximum(1.0, 1e-3 * size))
    return low - margin, high + margin


# -- what the network answers ------------------------------------------------------------------------


def _shade_probability(ax: Any, grid: np.ndarray, z: np.ndarray, classes: Sequence[Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("blue-white-orange", ["#6BAED6", "#F7F7F7", "#FDC15C"])
    probability = 0.5 * (1 + np.tanh(z / 2))
    shading = _image(ax, grid, probability, cmap=shades, vmin=0, vmax=1, interpolation="bilinear", zorder=0)
    ax.figure.colorbar(shading, ax=ax, label=f"probability of {classes[1]}", ticks=[0, 0.25, 0.5, 0.75, 1])
    if z.min() < 0 < z.max():
        ax.contour(grid[..., 0], grid[..., 1], z, levels=[0], colors="black", linewidths=1.6, zorder=3)
    else:
        only = f"no boundary here: every point\nis taken for {classes[int(z.min() > 0)]}"
        place = {"transform": ax.transAxes, "ha": "center", "va": "bottom", "zorder": 4, "clip_on": True}
        ax.text(0.5, 0.02, only, color="black", fontsize="small", path_effects=style.outlined(), **place)


def _shade_regions(ax: Any, grid: np.ndarray, z: np.ndarray, classes: Sequence[str]) -> None:
    from matplotlib.colors import to_rgb

    colors = np.array([to_rgb(style.COLORS[code % len(style.COLORS)]) for code in range(z.shape[-1])])
    winners = z.argmax(axis=-1)
    _image(ax, grid, 0.3 * colors[winners] + 0.7, interpolation="nearest", zorder=0)
    for code in range(z.shape[-1]):
        # Positive where the class wins, and smooth across the boundary, unlike the winner itself.
        lead = z[..., code] - np.delete(z, code, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(grid[..., 0], grid[..., 1], lead, levels=[0], colors="black", linewidths=1.2, zorder=3)
    if len(classes) > style.MAX_LEGEND:
        _name_regions(ax, grid, winners, classes)


def _name_regions(ax: Any, grid: np.ndarray, winners: np.ndarray, classes: Sequence[str]) -> None:
    """The name of each class that wins somewhere, deep inside its region."""
    look = {"ha": "center", "va": "center", "fontsize": "small", "color": "black", "zorder": 4, "clip_on": True}
    for code in np.unique(winners):
        place = grid[_deepest(winners == code)]
        ax.text(*place, classes[code], path_effects=style.outlined(), **look)


def _deepest(inside: np.ndarray) -> tuple[int, int]:
    """Row and column of a point as far from the edge of a region as any, the one nearest to the middle of these."""
    left = inside
    while left.any():
        deep = np.pad(left, 1)
        inside, left = left, left & deep[:-2, 1:-1] & deep[2:, 1:-1] & deep[1:-1, :-2] & deep[1:-1, 2:]
    places = np.argwhere(inside)
    row, column = places[np.square(places - places.mean(axis=0)).sum(axis=1).argmin()]
    return int(row), int(column)


def _image(ax: Any, grid: np.ndarray, values: np.ndarray, **options: Any) -> Any:
    """An image whose pixels have their middles at the points of a grid."""
    first, last = grid[0, 0], grid[-1, -1]
    half = (last - first) / (2 * (np.array(values.shape[1::-1]) - 1))
    (left, bottom), (right, top) = first - half, last + half
    return ax.imshow(values, extent=(left, right, bottom, top), origin="lower", aspect="auto", **options)


# -- the data ----------------------------------------------------------------------------------------


def draw_data(
    ax: Any, flat: np.ndarray, y: np.ndarray, classes: Sequence[Any], low: np.ndarray, high: np.ndarray
) -> None:
    """Points (N, 2) by their class codes y, or as density, and a legend with the number of each class."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    counts = np.bincount(y, minlength=len(classes))
    colors = [style.COLORS[code % len(style.COLORS)] for code in range(len(classes))]
    labels = [f"{label} ({count:,})" for label, count in zip(classes, counts, strict=False)]
    if len(flat) > MAX_POINTS:
        _draw_density(ax, flat, y, colors, low, high)
        dark = [tuple(_DARKER * np.array(to_rgb(color))) for color in colors]
        handles = [Patch(color=color, label=label) for color, label in zip(dark, labels, strict=True)]
    else:
        size = float(np.clip(4000 / len(flat), 7, 28))
        handles = []
        for code, (color, label) in enumerate(zip(colors, labels, strict=True)):
            look = {"c": color, "marker": style.marker(code), "s": size}
            edges = {"edgecolors": "black", "linewidths": 0.3, "zorder": 2}
            handles.append(ax.scatter(flat[y == code, 0], flat[y == code, 1], label=label, **look, **edges))
    if len(classes) <= style.MAX_LEGEND:
        style.legend_below(ax, handles, markerscale=1.5)
        for handle in ax.get_legend().legend_handles:
            handle.set_edgecolor(style.ink())  # black ones are seen in dark styles, too


def _draw_density(
    ax: Any, flat: np.ndarray, y: np.ndarray, colors: Sequence[str], low: np.ndarray, high: np.ndarray
) -> None:
    """Cells in the color of the class that has most points there, stronger with their logarithm."""
    from matplotlib.colors import to_rgb

    counts = density(flat, y, len(colors), low, high)
    most, there = counts.argmax(axis=0), counts.sum(axis=0)
    cells = np.empty((_CELLS, _CELLS, 4))
    cells[..., :3] = _DARKER * np.array([to_rgb(color) for color in colors])[most]
    cells[..., 3] = 0.9 * np.where(there > 0, 0.35 + 0.65 * np.log1p(there) / np.log1p(there.max()), 0)
    extent = (low[0], high[0], low[1], high[1])
    ax.imshow(cells, extent=extent, origin="lower", aspect="auto", interpolation="nearest", zorder=2)


def density(flat: np.ndarray, y: np.ndarray, n_classes: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How many points of each class lie in each cell between low and high, (n_classes, cells, cells), rows upwards."""
    column, row = (((flat - low) * (_CELLS / (high - low))).astype(np.int32)).T
    cell = (y * _CELLS + row) * _CELLS + column
    return np.bincount(cell, minlength=n_classes * _CELLS**2).reshape(n_classes, _CELLS, _CELLS)
