"""The computation graph of a network on given data: every node with its number, its gradient, and the rule between.

>>> import numpy as np, fastbp
>>> net = fastbp.MLP((2, 3, 1), bias=False)
>>> g = fastbp.graph.trace(net, net.init(0, dtype=np.float64), np.array([[0.5, -1.0]]), np.array([1.0]))
>>> list(g.nodes)
['x', 'W1', 'z1', 'h', 'W2', 'z2', 'y_hat', 'y', 'L']
>>> g.nodes["W2"].rule
'dL/dW2 = h^T dL/dz2'

Values come from `fastbp.reference`, formula by formula, and are held against what the kernels compute of the same data.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import reference
from ..errors import InputError
from ..model.activations import Activation
from ..model.losses import Loss
from ..model.network import MLP
from ..model.parameters import Parameters
from . import formulas, text

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Node:
    """A node: what it is computed from, its value, and how the gradient comes to it from the node that takes it.

    kind : "data", "parameter", "value" or "loss". operation : the formula of `value`, "" where it is given.
    inputs : names of the nodes it is computed from. taken_by : the one that takes it, None for the loss.
    rule : "dL/dh = dL/dz2 W2^T"; grad = dL/dnode, the shape of `value`, None for the targets.
    local_formula : of the derivative of `taken_by` in this node.
    """

    name: str
    kind: str
    operation: str
    inputs: tuple[str, ...]
    taken_by: str | None
    rule: str
    local_formula: str
    value: Array = field(repr=False)
    grad: Array | None = field(repr=False)
    upstream: Array | None = field(repr=False)
    _local: Array | Callable[[], Array] | None = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @functools.cached_property
    def local(self) -> Array | None:
        """The local derivative as a number: a matrix the upstream gradient is multiplied by, or factors of each value.

        None for the loss and the targets. Of a softmax (N, K, K), the Jacobian of each sample.
        """
        with np.errstate(all="ignore"):
            return self._local() if callable(self._local) else self._local


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, in the order of the forward pass; `backward` names them in the order of the backward pass.

    Everything as it was when it was traced: what becomes of params, x and y later changes nothing.
    scale : (N,) what the loss of each sample is multiplied by, scale_formula its formula, "" for 1.
    difference : between the gradients here and those of the kernels, relative to their norm; NaN if they overflow.
    """

    net: MLP
    n_samples: int
    scale: Array = field(repr=False)
    scale_formula: str
    nodes: dict[str, Node] = field(repr=False)
    backward: tuple[str, ...]
    difference: float

    @property
    def edges(self) -> list[tuple[str, str]]:
        """(source, target) pairs."""
        return [(name, node.name) for node in self.nodes.values() for name in node.inputs]

    @property
    def definitions(self) -> list[str]:
        """Of functions in the formulas that are not common knowledge, such as "Phi(z) = (1 + erf(z / sqrt(2))) / 2"."""
        return formulas.definitions((*self.net.activations, self.net.loss_function))

    def __getitem__(self, name: str) -> Node:
        """The node of that name; InputError names those there are."""
        if name not in self.nodes:
            raise InputError(f"the graph has no node {name!r}; its nodes are {', '.join(self.nodes)}")
        return self.nodes[name]

    def table(self) -> str:
        """Text, one line a node: operation, shape, value, rule, gradient."""
        return text.table(self)

    def explain(self, name: str, *, sample: int = 0) -> str:
        """How dL/dname comes about, step by step, with the numbers of one sample filled in."""
        return text.explain(self, name, sample)

    def latex(self) -> str:
        """All formulas, forward and backward, and what defines their functions, as an align* environment."""
        return text.latex(self)

    def to_dot(self) -> str:
        """The graph in Graphviz's language, left to right."""
        return text.dot(self)

    def to_json(self, *, max_values: int = 1000) -> str:
        """All of it as JSON; of arrays with more values than max_values only shape, smallest, largest and norm.

        Numbers that JSON does not know, NaN and the infinities, are null.
        """
        return text.json_of(self, max_values)


def trace(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean"
) -> Graph:  # fmt: skip
    """The computation graph of L = sum_i s_i sum_k l(y_ik, y_hat_ik) on x and y, every node with value and gradient.

    x, y, sample_weight, reduction : as in `MLP.value_and_grad`. Nodes: x, W1, b1, z1, h, W2, b2, z2, y_hat, y, L; with
    several hidden layers h1, h2, ...; without biases no b. Where a sigmoid or softmax saturates, dL/dy_hat may be
    infinite; the gradient of the logits is computed without it, as s (y_hat - y).
    Source: CS231n, discussion section "Backpropagation", 14 April 2023.

    >>> net = fastbp.MLP((2, 2, 1))
    >>> graph = fastbp.graph.trace(net, net.init(0), [[0.5, -1.0]], [1])
    >>> graph["W1"].value.shape
    (2, 2)
    """
    if not isinstance(net, MLP):
        raise InputError(f"net must be a fastbp.MLP; got {type(net).__name__}")
    _, gradient = net.value_and_grad(params, x, y, sample_weight=sample_weight, reduction=reduction)
    with np.errstate(all="ignore"):  # what overflows is seen in the numbers
        return _Tracer(net, params.copy(), x, y, sample_weight, reduction).graph(gradient)


class _Tracer:
    """Makes the nodes from the loss backwards, then puts them in order."""

    def __init__(self, net: MLP, params: Parameters, x: Any, y: Any, weight: Any, reduction: str) -> None:
        self.net, self.params = net, params
        is_sparse = hasattr(x, "toarray")
        self.x = x.toarray().astype(params.dtype, copy=False) if is_sparse else np.array(x, params.dtype)
        self.y = reference.targets(net, y, (len(self.x), net.n_outputs)).astype(params.dtype)
        self.scale = reference.sample_scale(weight, reduction, self.y)[:, None]
        given = {"mean": "w / sum(w)", "sum": "w"} if weight is not None else {"mean": "1 / N", "sum": ""}
        self.scale_formula = given[reduction]
        self.nodes: dict[str, Node] = {}

    def graph(self, gradient: Parameters) -> Graph:
        """All nodes; `gradient` is that of the kernels."""
        net, n_layers = self.net, len(self.net.layers)
        layers = reference.forward_pass(net, self.params, self.x)
        self._loss(layers[-1].z, f"z{n_layers}")
        for k in reversed(range(n_layers)):
            self._affine(k, layers[k].a_in)
            if k:
                self._activation(k, layers[k - 1])
        backward = tuple(self.nodes)
        own = np.concatenate([self.nodes[name].grad.ravel() for name in self._parameters()])
        return Graph(
            net, len(self.x), self.scale[:, 0], self.scale_formula,
            {name: self.nodes[name] for name in self._forward()}, tuple(n for n in backward if n != "y"),
            _difference(own, gradient.vector),
        )  # fmt: skip

    def _parameters(self) -> list[str]:
        kinds = "Wb" if self.net.bias else "W"
        return [f"{kind}{k + 1}" for k in range(len(self.net.layers)) for kind in kinds]

    def _forward(self) -> list[str]:
        names = []
        for k in range(len(self.net.layers)):
            names += [self._into(k), f"W{k + 1}", *([f"b{k + 1}"] if self.net.bias else []), f"z{k + 1}"]
        return [*names, "y_hat", "y", "L"]

    def _into(self, k: int) -> str:
        """The node that layer k multiplies."""
        if k == 0:
            return "x"
        return "h" if len(self.net.activations) == 1 else f"h{k}"

    def _add(
        self, name: str, kind: str, value: Array, grad: Array | None, *, operation: str = "",
        inputs: tuple[str, ...] = (), to: str | None = None, rule: str = "", local_formula: str = "",
        local: Array | Callable[[], Array] | None = None,
    ) -> None:  # fmt: skip
        upstream = None if to is None or grad is None else self.nodes[to].grad
        self.nodes[name] = Node(
            name, kind, operation, inputs, to, rule, local_formula, value, grad, upstream, local
        )  # fmt: skip

    def _loss(self, z: Array, z_name: str) -> None:
        """L, y, y_hat and the logits."""
        loss, s = self.net.loss_function, "s" if self.scale_formula else ""
        link = loss.record.link
        each, derivative = reference.sample_losses(self.net, self.y, z)
        formula = formulas.of_loss(loss, z_name)
        of_response = formulas.scaled(formula.derivative, s)
        y_hat = link.evaluate(z)
        delta = derivative() * self.scale
        by_textbook = loss.record.in_response
        of_y_hat = (by_textbook(self.y, y_hat, z) if by_textbook else derivative()) * self.scale
        index = "i" if self.net.n_outputs == 1 else "ik"
        self._add(
            "L", "loss", (each * self.scale[:, 0]).sum(), np.ones((), z.dtype),
            operation=f"sum_{index} {formulas.factor(formulas.scaled(formula.value, s))}", inputs=("y_hat", "y"),
            rule="dL/dL = 1",
        )  # fmt: skip
        self._add("y", "data", self.y, None, to="L")
        self._add(
            "y_hat", "value", y_hat, of_y_hat, operation=formula.link, inputs=(z_name,), to="L",
            rule=f"dL/dy_hat = {of_response}", local_formula=of_response, local=of_y_hat,
        )  # fmt: skip
        if link.is_identity:
            rule = f"dL/d{z_name} = dL/dy_hat"
        else:
            by_link = (
                f"dL/dy_hat {formula.link_derivative}"
                if link.couples_outputs
                else f"{formula.link_derivative} * dL/dy_hat"
            )
            rule = f"dL/d{z_name} = {by_link} = " + formulas.scaled(formula.both, s)
        self._add(
            z_name, "value", z, delta, operation=self._sum_formula(len(self.net.layers) - 1),
            inputs=self._sum_inputs(len(self.net.layers) - 1), to="y_hat", rule=rule,
            local_formula=formula.link_derivative, local=functools.partial(_link_derivative, loss, z, y_hat),
        )  # fmt: skip

    def _affine(self, k: int, a: Array) -> None:
        """Weights, biases and inputs of layer k, whose z has its gradient."""
        z, into, weights = f"z{k + 1}", self._into(k), f"W{k + 1}"
        delta, w = self.nodes[z].grad, self.params.weights[k]
        self._add(
            weights, "parameter", w, a.T @ delta, to=z, rule=f"dL/d{weights} = {into}^T dL/d{z}",
            local_formula=f"{into}^T", local=a.T,
        )  # fmt: skip
        if self.net.bias:
            biases = f"b{k + 1}"
            self._add(
                biases, "parameter", self.params.biases[k], delta.sum(axis=0), to=z,
                rule=f"dL/d{biases} = sum_i dL/d{z}", local_formula="1", local=np.ones(w.shape[1], w.dtype),
            )  # fmt: skip
        how = {"to": z, "rule": f"dL/d{into} = dL/d{z} {weights}^T", "local_formula": f"{weights}^T"}
        if k == 0:
            self._add("x", "data", a, delta @ w.T, local=w.T, **how)
            return
        value, _ = formulas.of_activation(self.net.activations[k - 1], f"z{k}", into)
        self._add(into, "value", a, delta @ w.T, operation=value, inputs=(f"z{k}",), local=w.T, **how)

    def _activation(self, k: int, layer: reference.Layer) -> None:
        """The sums of layer k - 1, whose activation's output has its gradient."""
        z, h = f"z{k}", self._into(k)
        activation = self.net.activations[k - 1]
        _, derivative = formulas.of_activation(activation, z, h)
        self._add(
            z, "value", layer.z, self.nodes[h].grad * layer.slope(), operation=self._sum_formula(k - 1),
            inputs=self._sum_inputs(k - 1), to=h, rule=f"dL/d{z} = {formulas.factor(derivative)} * dL/d{h}",
            local_formula=derivative, local=functools.partial(_slope, activation, layer.z),
        )  # fmt: skip

    def _sum_formula(self, k: int) -> str:
        return f"{self._into(k)} W{k + 1}" + (f" + b{k + 1}" if self.net.bias else "")

    def _sum_inputs(self, k: int) -> tuple[str, ...]:
        return (self._into(k), f"W{k + 1}", *([f"b{k + 1}"] if self.net.bias else []))


def _difference(own: Array, wanted: Array) -> float:
    """|own - wanted| / |wanted|; |own| if nothing is wanted."""
    largest = np.abs(wanted).max() or 1.0  # whose square may overflow
    own, wanted = own / largest, wanted / largest
    return float(np.linalg.norm(own - wanted) / (np.linalg.norm(wanted) or 1.0))


# Functions of this module, so that a graph can be pickled.
def _slope(activation: Activation, z: Array) -> Array:
    return activation.evaluate(z)[1]()


def _link_derivative(loss: Loss, z: Array, y_hat: Array) -> Array:
    return loss.record.link.derivative(z, y_hat)
