"""Pictures of what is inside: weights, activations, and how gradients flow."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import reference
from ..engine import inputs
from ..errors import InputError
from ..model.activations import Activation
from ..model.network import MLP
from ..model.parameters import Parameters, check_params
from . import boundary, style

_MAX_LINES = 400
_MAX_IMAGES = 64
_MAX_VALUES = 200_000
_SATURATED = 0.05  # of the range, from either end


def weights(
    net: MLP, params: Parameters, *, image_shape: tuple[int, int] | None = None, x: Any = None, ax: Any = None,
    title: str | None = None,
) -> Any:  # fmt: skip
    """The first layer's weights: hidden units as lines in the plane of two inputs, or as images.

    Two inputs: of each unit the line w x + b = 0, where it switches, as thick as its weights in the next layer are
    large; orange where their sum is positive, blue and dashed where it is negative. x (N, 2) sets the region.
    image_shape : (height, width) of the inputs; the first 64 units, each scaled by its largest weight.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> ax = fastbp.plot.weights(net, params)
    """
    if image_shape is None and net.n_inputs != 2:
        raise InputError(f"weights are drawn for two inputs, or for images with image_shape=(height, width); got {net}")
    check_params(net, params)
    if image_shape is not None:
        return _weight_images(params, image_shape, ax, title)
    ax = style.new_axes(5.6, 5.2) if ax is None else ax
    x = np.array([[-1.2, -1.2], [1.2, 1.2]]) if x is None else style.points(x, 2)
    low, high = boundary.region(x)
    w = params.weights[0].T.astype(np.float64)
    b = params.biases[0].astype(np.float64) if net.bias else np.zeros(len(w))
    further = params.weights[1] if len(net.layers) > 1 else np.ones((len(w), 1))
    sign, size = further.sum(axis=1), np.linalg.norm(further, axis=1)
    for unit in np.argsort(-size)[:_MAX_LINES]:
        segment = _segment(w[unit], b[unit], low, high)
        if segment is not None:
            way = {"color": style.ORANGE} if sign[unit] > 0 else {"color": style.blue(), "linestyle": "--"}
            ax.plot(*segment, linewidth=0.3 + 2.0 * size[unit] / (size.max() or 1.0), alpha=0.7, **way)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x1", ylabel="x2", aspect="equal")
    default = f"where each of the {len(w)} units of the first layer switches"
    ax.set_title(style.plain(title or default), fontsize="medium")
    return ax


def _segment(w: np.ndarray, b: float, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The line w x + b = 0 long enough to cross the box; None for a unit without weights."""
    norm = math.hypot(*w)
    if norm == 0:
        return None
    center, reach = (low + high) / 2, math.hypot(*(high - low))
    nearest = center - w * ((w @ center + b) / norm**2)
    along = np.array([-w[1], w[0]]) / norm * reach
    ends = np.stack([nearest - along, nearest + along])
    return ends[:, 0], ends[:, 1]


def _weight_images(params: Parameters, shape: Any, ax: Any, title: str | None) -> Any:
    w = params.weights[0]
    try:
        height, width = map(operator.index, shape)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or height * width != len(w):
        raise InputError(f"image_shape must be (height, width) of {len(w)} inputs; got {shape}")
    n = min(_MAX_IMAGES, w.shape[1])
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    mosaic = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for unit in range(n):
        top, left = unit // columns * (height + 1) + 1, unit % columns * (width + 1) + 1
        image = w[:, unit].reshape(height, width)
        mosaic[top : top + height, left : left + width] = image / style.extent(image)
    ax = style.new_axes(6.0, 6.0 * rows / columns + 0.4) if ax is None else ax
    colors = style.diverging().with_extremes(bad="#888888")
    ax.imshow(mosaic, cmap=colors, vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    of_all = f"{n} of {w.shape[1]}" if n < w.shape[1] else f"{n}"
    ax.set_title(style.plain(title or f"weights of {of_all} units of the first layer"), fontsize="medium")
    return ax


def activation_histograms(
    net: MLP, params: Parameters, x: Any, *, ax: Any = None, bins: int = 50, title: str | None = None
) -> Any:
    """How the values of each hidden layer are spread: the share of them in each bin; a saturated layer piles up.

    The legend tells how many lie within a twentieth of the range from either end of a sigmoid or tanh, or are zero
    after a relu, and how many are not finite, which no bin holds. Of more than 200,000 values a layer, rows are left
    out evenly.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> ax = fastbp.plot.activation_histograms(net, params, x)
    """
    if not net.activations:
        raise InputError(f"activations are those of hidden layers; got {net}")
    check_params(net, params)
    x, bins = style.points(x, net.n_inputs), inputs.count("bins", bins)
    step = max(1, math.ceil(len(x) * max(net.layer_sizes[1:-1]) / _MAX_VALUES))
    with np.errstate(over="ignore", invalid="ignore"):
        layers = reference.forward_pass(net, params, x[::step])
    ax = style.new_axes(6.4, 4.2) if ax is None else ax
    for k, (activation, look) in enumerate(zip(net.activations, style.line_styles(len(net.activations)), strict=True)):
        a = layers[k + 1].a_in.ravel()
        counts, edges = np.histogram(a[np.isfinite(a)], bins=bins, range=activation.record.bounds)
        name = "h" if len(net.activations) == 1 else f"h{k + 1}"  # as in a graph
        label = f"{name}, {style.plain(activation)}{_note(activation, a)}"
        ax.stairs(counts / a.size, edges, linewidth=1.6, label=label, **look)
    ax.set(xlabel="value after the activation", ylabel="share", title=style.plain(title or ""))
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    style.legend_below(ax, ax.patches)
    return ax


def _note(activation: Activation, a: np.ndarray) -> str:
    finite = np.mean(np.isfinite(a))
    if finite < 1:
        return f": {1 - finite:.0%} not finite"
    if activation.record.bounds is not None:
        low, high = activation.record.bounds
        edge = _SATURATED * (high - low)
        return f": {np.mean((a < low + edge) | (a > high - edge)):.0%} saturated"
    return f": {np.mean(a == 0):.0%} zero" if activation.record.is_rectifier else ""


def gradient_flow(
    net: MLP, snapshots: Mapping[int, Parameters], x: Any, y: Any, *, ax: Any = None, title: str | None = None
) -> Any:
    """The size of the gradient in each layer over the steps: where it vanishes on the way down, lines drift apart.

    snapshots : parameters by step, as `fastbp.train(..., snapshots=)` keeps them. Drawn is the root mean square of
    dL/dW_l over the weights of layer l, for the mean loss on x, y, on a logarithmic axis.

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> result = fastbp.train(net, params, x, y, steps=10, snapshots=[1, 5, 10])
    >>> ax = fastbp.plot.gradient_flow(net, result.snapshots, x, y)
    """
    if not isinstance(snapshots, Mapping):
        raise InputError(
            f"snapshots must be parameters by step, such as result.snapshots; got {type(snapshots).__name__}"
        )
    if not snapshots:
        raise InputError("gradient_flow needs parameters at some steps, such as train(..., snapshots=[1, 10, 100])")
    steps = sorted(snapshots)
    sizes = np.array([gradient_sizes(net, snapshots[step], x, y) for step in steps])
    ax = style.new_axes(6.4, 4.2) if ax is None else ax
    style.legend_below(ax, draw_flow(ax, steps, sizes))
    ax.set_title(style.plain(title or ""))
    return ax


def draw_flow(ax: Any, steps: Sequence[int], sizes: np.ndarray) -> list[Any]:
    """A line for each column of sizes; the lines."""
    lines = []
    for k, look in enumerate(style.line_styles(sizes.shape[1])):
        lines += ax.plot(steps, sizes[:, k], marker="o", markersize=3, label=f"W{k + 1}", **look)
    if (sizes > 0).any():
        ax.set_yscale("log")
    if steps[-1] > 20 * max(1, steps[0]):
        ax.set_xscale("symlog" if steps[0] == 0 else "log")
    ax.set(xlabel="step", ylabel="root mean square of dL/dW")
    ax.grid(alpha=0.3)
    return lines


def gradient_sizes(net: MLP, params: Parameters, x: Any, y: Any) -> list[float]:
    """The root mean square of dL/dW_l of each layer, for the mean loss."""
    _, gradient = net.value_and_grad(params, x, y)
    return [float(np.sqrt(np.mean(np.square(w, dtype=np.float64)))) for w in gradient.weights]
