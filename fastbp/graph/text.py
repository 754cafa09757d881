"""A computation graph as text: a table, a derivation with numbers, LaTeX, Graphviz, JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import reference
from ..errors import InputError
from . import formulas

if TYPE_CHECKING:
    from .tracing import Graph, Node

SHOWN = 3  # numbers that are shown one by one; of more a few of a row, or the smallest and the largest


# -- numbers -----------------------------------------------------------------------------------------------------------


def number(value: float, digits: int = 4) -> str:
    """So many significant digits; what is a little less than 1, or more than -1, as its distance from it."""
    value = float(value) + 0.0  # no -0
    text = f"{value:.{digits}g}"
    if text in ("1", "-1") and abs(value) < 1:
        return f"{text[:-1]}(1 - {1 - abs(value):.2g})"
    return text


def summary(array: Any, digits: int = 4) -> str:
    """A number, a few in brackets; or the smallest and the largest of many."""
    array = np.asarray(array)
    if array.size <= SHOWN:
        return row(array, digits)
    return f"{number(array.min(), digits)} .. {number(array.max(), digits)}"


def row(values: np.ndarray, digits: int = 4) -> str:
    """A number, or numbers in brackets, the middle of many left out."""
    values = np.asarray(values).reshape(-1)
    if values.size == 1:
        return number(values[0], digits)
    texts = [number(value, digits) for value in values]
    if len(texts) > SHOWN + 1:
        texts = [*texts[: SHOWN - 1], "...", texts[-1]]
    return f"[{' '.join(texts)}]"


def matrix(values: np.ndarray) -> str:
    """Rows in brackets, those in the middle left out."""
    rows = [row(line) if len(line) > 1 else f"[{row(line)}]" for line in values]
    if len(rows) > SHOWN + 1:
        rows = [*rows[: SHOWN - 1], "...", rows[-1]]
    return f"[{' '.join(rows)}]"


# -- the table ---------------------------------------------------------------------------------------------------------


def table(graph: Graph) -> str:
    """One line a node, in the order of the forward pass."""
    lines = [("node", "operation", "shape", "value", "chain rule", "gradient")]
    for node in graph.nodes.values():
        shape = shape_of(node)
        gradient = "" if node.grad is None else summary(node.grad)
        lines.append((node.name, node.operation or node.kind, shape, summary(node.value), node.rule, gradient))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*text, "", *_notes(graph)])


def shape_of(node: Node) -> str:
    """ "400 x 20"; "1" for the loss."""
    return " x ".join(map(str, node.shape)) or "1"


def samples(graph: Graph) -> str:
    """How many there are, and what s is."""
    many = "1 sample" if graph.n_samples == 1 else f"{graph.n_samples:,} samples"
    return many + (f", s = {graph.scale_formula}" if graph.scale_formula else "")


def _notes(graph: Graph) -> list[str]:
    about = f"{graph.net}; {samples(graph)}; a .. b: from the smallest to the largest"
    return [*graph.definitions, about, agreement(graph)]


def agreement(graph: Graph) -> str:
    """How near the gradients are to those of the kernels."""
    if graph.difference == 0:
        return "gradients are those of the compiled kernels, bit for bit"
    if not math.isfinite(graph.difference):
        return "gradients overflow, and cannot be held against those of the compiled kernels"
    return f"gradients are those of the compiled kernels, up to {graph.difference:.0e} of their norm"


# -- a derivation ------------------------------------------------------------------------------------------------------


def explain(graph: Graph, name: str, sample: int) -> str:
    """Forward, then from L back to the node: each rule, the numbers put in, and what comes out."""
    node, n = graph[name], graph.n_samples
    if not isinstance(sample, int | np.integer) or isinstance(sample, bool):
        raise InputError(f"sample must be a whole number, that of a row; got {sample!r}")
    if not -n <= sample < n:
        raise InputError(f"sample must be one of the {n:,} rows, 0 to {n - 1}; got {sample}")
    sample = int(sample) % n
    if node.kind == "data" and node.grad is None:
        return f"{name} = {row(node.value[sample])} is given: nothing is derived in it"
    with np.errstate(all="ignore"):
        names, gradients = _of_sample(graph, sample)
    lines = [f"sample {sample} of {n:,}: x = {names['x']}, y = {names['y']}", *graph.definitions, "", "forward"]
    for each in graph.nodes.values():
        if each.operation:
            lines += _step(f"{each.name} = {each.operation}", names, {}, names[each.name])
    if n > 1:
        lines[-1] += f", which is what this sample adds; the sum over all {n:,} is L = {number(graph['L'].value)}"
    lines += ["", "backward, from L"]
    for each in _path(graph, node):
        lines += _step(each.rule, names, gradients, gradients[each.name])
    if node.kind == "parameter" and n > 1:
        lines += ["", f"That is what this sample adds; the sum over all {n:,} is dL/d{name} = "]
        lines[-1] += matrix(node.grad) if node.grad.ndim == 2 else row(node.grad)
    return "\n".join(lines)


def _path(graph: Graph, node: Node) -> list[Node]:
    """From y_hat back to the node."""
    path = [node]
    while path[-1].taken_by is not None:
        path.append(graph.nodes[path[-1].taken_by])
    return path[::-1][1:] or [node]


def _step(rule: str, names: dict[str, str], gradients: dict[str, str], result: str) -> list[str]:
    """A formula, the same with the numbers of one sample, and the result."""
    left, right = rule.split(" = ", 1)
    pad = " " * (len(left) + 2)
    of_one = right.removeprefix("sum_i ").replace("sum_ik ", "sum_k ")
    steps = dict.fromkeys((right, formulas.replaced(of_one, names, gradients), result))
    return [f"  {left} = {right}", *(f"{pad} = {step}" for step in steps if step != right)]


def _of_sample(graph: Graph, sample: int) -> tuple[dict[str, str], dict[str, str]]:
    """Values and gradients of all nodes, and s, as text, those of one sample; of L what the sample adds to it."""
    names = {"s": number(graph.scale[sample])} if graph.scale_formula else {}
    gradients = {}
    for node in graph.nodes.values():
        if node.kind == "parameter":
            names[node.name] = matrix(node.value) if node.value.ndim == 2 else row(node.value)
            gradients[node.name] = _contribution(graph, node, sample)
        elif node.kind == "loss":
            names[node.name], gradients[node.name] = number(_share(graph, sample)), "1"
        else:
            names[node.name] = row(node.value[sample])
            gradients[node.name] = "" if node.grad is None else row(node.grad[sample])
    return names, gradients


def _contribution(graph: Graph, node: Node, sample: int) -> str:
    """What one sample adds to the gradient of weights or biases."""
    upstream = graph.nodes[node.taken_by].grad[sample]
    if node.value.ndim == 1:
        return row(upstream)
    into = graph.nodes[graph.nodes[node.taken_by].inputs[0]].value[sample]
    return matrix(np.outer(into, upstream))


def _share(graph: Graph, sample: int) -> float:
    """What one sample adds to the loss."""
    y, z = (graph.nodes[name].value[sample : sample + 1] for name in ("y", *graph.nodes["y_hat"].inputs))
    each, _ = reference.sample_losses(graph.net, y, z)
    return float(each[0] * graph.scale[sample])


# -- for other programs ------------------------------------------------------------------------------------------------


def latex(graph: Graph) -> str:
    """An align* environment: values in the order of the forward pass, gradients of the backward pass, definitions."""
    forward = [f"{node.name} = {node.operation}" for node in graph.nodes.values() if node.operation]
    backward = [graph.nodes[name].rule for name in graph.backward if name != "L"]
    lines = [formulas.latex(line).replace(" = ", " &= ", 1) for line in [*forward, *backward, *graph.definitions]]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


def dot(graph: Graph) -> str:
    """Boxes with the value above and the gradient below, for `dot -Tsvg`."""
    lines = ["digraph backpropagation {", "  rankdir=LR;", "  node [shape=box, fontname=monospace];"]
    if graph.definitions:
        lines.append(f"  label={_quoted(*graph.definitions)};")
    for node in graph.nodes.values():
        formula = f"{node.name} = {node.operation}" if node.operation else node.name
        gradient = [] if node.grad is None else [f"dL/d{node.name} {summary(node.grad)}"]
        lines.append(f"  {_quoted(node.name)} [label={_quoted(formula, summary(node.value), *gradient)}];")
    lines += [f"  {_quoted(source)} -> {_quoted(target)};" for source, target in graph.edges]
    return "\n".join([*lines, "}"])


def _quoted(*lines: str) -> str:
    """Lines as a string of Graphviz."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def json_of(graph: Graph, max_values: int) -> str:
    """An object with the network, nodes in the order of the forward pass, edges, and the order of the backward pass."""
    nodes = [
        {
            "name": node.name, "kind": node.kind, "operation": node.operation, "inputs": list(node.inputs),
            "rule": node.rule, "local_formula": node.local_formula, "shape": list(node.shape),
            "value": _plain(node.value, max_values), "grad": _plain(node.grad, max_values),
            "local": _plain(node.local, max_values), "upstream": _plain(node.upstream, max_values),
        }
        for node in graph.nodes.values()
    ]  # fmt: skip
    whole = {
        "net": str(graph.net), "samples": graph.n_samples, "s": graph.scale_formula,
        "definitions": graph.definitions, "nodes": nodes, "edges": graph.edges, "backward": graph.backward,
        "difference_to_kernels": _number(graph.difference),
    }  # fmt: skip
    return json.dumps(whole, indent=1, allow_nan=False)


def _plain(array: np.ndarray | None, max_values: int) -> Any:
    """Lists of numbers, those that JSON does not know as null; of many the extent."""
    if array is None:
        return None
    array = np.asarray(array)
    if array.size > max_values:
        return {
            "shape": list(array.shape), "min": _number(array.min()), "max": _number(array.max()),
            "norm": _number(np.linalg.norm(array)),
        }  # fmt: skip
    return _number(array) if array.ndim == 0 else [_plain(part, max_values) for part in array]


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
