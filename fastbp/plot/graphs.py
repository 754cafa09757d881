"""The picture of a computation graph, left to right as in the lecture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph import formulas
from ..graph import text as graph_text
from ..graph.tracing import Graph, Node
from . import style

_COLUMN, _ROW = 2.25, 1.5  # inches between nodes
_RADIUS = 0.3
_LONGEST = 34  # characters of a formula below its node
_DIGITS, _WIDEST = 3, 21  # of numbers, one less where they take more characters than an edge has space for
_SMALL, _SMALLEST = 9.5, 3.0  # points
_LINE = 0.25  # inches from line to line


def computation_graph(graph: Graph, *, ax: Any = None, title: str | None = None) -> Any:
    """Nodes as circles, on each edge the value that goes forward above and the gradient that comes back below.

    Data and parameters stand below and above the chain x, z1, h, ..., L; at each node its formula and its shape. Of an
    array with more than three numbers the smallest and the largest. Values are blue, gradients orange and slanted, so
    that they differ in gray, too. On smaller Axes letters are smaller.

    >>> net = fastbp.MLP((2, 2, 1))
    >>> graph = fastbp.graph.trace(net, net.init(0), [[0.5, -1.0]], [1])
    >>> ax = fastbp.plot.computation_graph(graph)
    """
    places = _places(graph)
    n_columns = 1 + max(column for column, _ in places.values())
    height = 2 * _ROW + 1.8 + _LINE * len(graph.definitions)
    given, ax = ax, style.new_axes(_COLUMN * n_columns, height) if ax is None else ax
    at = {name: (_COLUMN * column, _ROW * row) for name, (column, row) in places.items()}
    for node in graph.nodes.values():
        _draw_node(ax, node, *at[node.name])
        if node.taken_by is not None:
            _draw_edge(ax, node, at[node.name], at[node.taken_by])
    bottom = -_ROW - 1.0 - _LINE * len(graph.definitions)
    ax.set(xlim=(-0.8, _COLUMN * (n_columns - 1) + 0.9), ylim=(bottom, _ROW + 0.6), aspect="equal")
    ax.set_axis_off()
    _legend(ax, graph)
    ax.set_title(style.plain(f"{title or graph.net}: {graph_text.agreement(graph)}"), fontsize=11)
    for text in ax.texts:
        text.set_in_layout(False)
    if given is not None:
        _shrink(ax)
    return ax


def _places(graph: Graph) -> dict[str, tuple[float, float]]:
    """Column and row of each node: the chain in row 0, weights below, biases and targets above, to the left."""
    places, column = {}, -1
    for node in graph.nodes.values():
        if node.kind in ("value", "loss") or node.name == "x":
            column += 1
            places[node.name] = (column, 0)
    for node in graph.nodes.values():
        if node.kind == "parameter":
            places[node.name] = (places[node.taken_by][0] - 0.45, -1 if node.name[0] == "W" else 1)
    places["y"] = (places["L"][0] - 0.45, 1)
    return places


def _shrink(ax: Any) -> None:
    """Letters and lines in the proportion of the Axes, as their figure lays them out, to their inches."""
    figure = ax.figure.figure
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)
    inches = ax.get_position(original=True).transformed(ax.figure.transSubfigure).size / figure.dpi
    scale = float(min(1.0, *(inches / [np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])))
    for text in (ax.title, *ax.texts):
        text.set_fontsize(max(_SMALLEST, scale * text.get_fontsize()))
    for patch in ax.patches:
        patch.set_linewidth(scale * patch.get_linewidth())
        if hasattr(patch, "set_mutation_scale"):
            patch.set_mutation_scale(scale * patch.get_mutation_scale())


def _draw_node(ax: Any, node: Node, x: float, y: float) -> None:
    from matplotlib.patches import Circle

    ink, paper = style.ink(), style.paper()
    dash = ":" if node.kind in ("data", "parameter") else "-"
    ax.add_patch(Circle((x, y), _RADIUS, facecolor=paper, edgecolor=ink, linewidth=1.6, linestyle=dash, zorder=3))
    ax.text(x, y, f"${formulas.symbol(node.name)}$", ha="center", va="center", fontsize=15, zorder=4)
    below, small = y - _RADIUS - 0.08, {"fontsize": _SMALL, "zorder": 4}
    if node.kind == "loss":  # there is space on the left, and nothing goes on to the right
        formula = f"${formulas.latex(f'{node.name} = {node.operation}')}$"
        ax.text(x + _RADIUS, below - 0.5, formula, ha="right", va="top", **small)
        _numbers(ax, node, x + _RADIUS + 0.08, y, "left")
        return
    shape = graph_text.shape_of(node)
    if y > 0:
        ax.text(x, y + _RADIUS + 0.06, shape, ha="center", va="bottom", **small)
    elif y < 0 or not node.operation:
        ax.text(x, below, shape, ha="center", va="top", **small)
    else:  # right of the arrow from the weights
        formula = f"${formulas.latex(node.operation)}$\n" if len(node.operation) < _LONGEST else ""
        ax.text(x - 0.05, below, f"{formula}{shape}", va="top", linespacing=1.4, **small)


def _draw_edge(ax: Any, node: Node, start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.patches import FancyArrowPatch

    (x0, y0), (x1, y1) = start, end
    part = _RADIUS / math.hypot(x1 - x0, y1 - y0)  # of the way is inside a circle
    ends = [(x0 + share * (x1 - x0), y0 + share * (y1 - y0)) for share in (part, 1 - part)]
    arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(*ends, color=style.ink(), linewidth=1.0, zorder=1, **arrow))
    if y0 == y1:
        _numbers(ax, node, (x0 + x1) / 2, y0, "center")
    else:
        _numbers(ax, node, x0 - _RADIUS - 0.06, y0, "right")


def _numbers(ax: Any, node: Node, x: float, y: float, side: str) -> None:
    """The value, and the gradient below it."""
    gap, common = 0.06 if side == "center" else 0.02, {"fontsize": _SMALL, "zorder": 5, "ha": side}
    ax.text(x, y + gap, _shown(node.value), color=style.blue(), va="bottom", **common)
    if node.grad is not None:
        gradient = {"color": style.VERMILION, "fontstyle": "italic", "va": "top"}
        ax.text(x, y - gap, _shown(node.grad), **gradient, **common)


def _shown(numbers: Any) -> str:
    text = graph_text.summary(numbers, _DIGITS)
    return text if len(text) <= _WIDEST else graph_text.summary(numbers, _DIGITS - 1)


def _legend(ax: Any, graph: Graph) -> None:
    samples = graph_text.samples(graph)
    x, y = -0.7, -_ROW - 0.9
    ax.text(x, y, "values, forward", color=style.blue(), fontsize=_SMALL)
    ax.text(x + 1.4, y, "gradients dL/d., backward", color=style.VERMILION, fontsize=_SMALL, fontstyle="italic")
    ax.text(x + 3.6, y, f"{samples}; a .. b: from the smallest to the largest", fontsize=_SMALL)
    for k, definition in enumerate(graph.definitions):
        ax.text(x, y - _LINE * (k + 1), f"${formulas.latex(definition)}$", fontsize=_SMALL)
