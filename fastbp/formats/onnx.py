"""Models as ONNX graphs, for onnxruntime and other engines. Needs the onnx package: pip install "fastbp[onnx]".

    x       (N, n_inputs)   in the precision of the parameters; with a task float64, in the features' own units
    y_pred  (N, n_outputs)  what `net.forward` gives; with a target that is a number float64, in its units
    label   (N,) int64      for classes, what `net.predict` gives; (N, n_outputs) for several yes-or-no outputs

N is free. With a task the graph standardizes x in float64, as `fastbp predict` does: a feature such as a year or a time
would lose its digits in float32. Opset 17 alone is used, so gelu, which came later, is put together from Erf and Tanh.
The model's metadata_props hold, as JSON: "network", and of a task "features", "target" and "classes".
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np

from .. import __version__
from ..data.task import Task
from ..errors import InputError
from ..model.network import MLP
from ..model.parameters import Parameters
from ..model.records import Expression

OPSET = 17
_IR_VERSION = 8  # that of opset 17: a later one would shut out the engines of its time
_MAX_BYTES = 2**31 - 2**24  # a protocol buffer ends at 2 GiB
_ROWS = "N"


def content(net: MLP, params: Parameters, task: Task | None) -> bytes:
    """The bytes of the file. InputError without the onnx package, or for parameters too large for one file."""
    onnx = _onnx()
    if params.vector.nbytes > _MAX_BYTES:
        raise InputError(
            f"an ONNX file holds at most 2 GiB; the parameters take {params.vector.nbytes:,} bytes. "
            "Export float32 parameters (params.astype), or to .safetensors"
        )
    graph = _Graph(onnx, params.dtype)
    z = _logits(graph, net, params, task)
    _answers(graph, net, task, z)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "fastbp", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastbp",
        producer_version=__version__,
        doc_string=str(net),
    )
    properties: dict[str, Any] = {"network": net.to_dict()}
    if task is not None:
        properties |= {"features": list(task.features), "target": task.target}
        properties |= {} if task.classes is None else {"classes": task.classes.tolist()}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in properties.items()})
    return model.SerializeToString(deterministic=True)


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise InputError(
            'writing .onnx needs the onnx package, which is not installed: pip install "fastbp[onnx]"'
        ) from None
    return onnx


class _Graph:
    """Nodes in the order of the calculation, constants, inputs and outputs. A value is known by its name."""

    def __init__(self, onnx: ModuleType, dtype: np.dtype) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._of_number: dict[float, str] = {}

    def node(self, op: str, *inputs: str | float, name: str | None = None, **attributes: Any) -> str:
        """The value of an operation on values and numbers."""
        name = name or f"{op.lower()}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self._number(value) for value in inputs]
        self.nodes.append(self.onnx.helper.make_node(op, names, [name], name=f"make_{name}", **attributes))
        return name

    def expression(self, tree: Expression, z: str, p: float) -> str:
        """The value that operators make of the value z and the parameter p."""
        if not isinstance(tree, tuple):
            return {"z": z, "p": p}.get(tree, tree)
        op, *operands = tree
        attributes = operands.pop() if isinstance(operands[-1], dict) else {}
        inputs = [self.expression(operand, z, p) for operand in operands]
        if op == "Cast":
            return self.cast(*inputs, attributes["to"])
        return self.node(op, *inputs, **{name: p if value == "p" else value for name, value in attributes.items()})

    def constant(self, name: str, array: np.ndarray) -> str:
        """A constant array."""
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, value: str, dtype: Any, **options: Any) -> str:
        """The value in another dtype."""
        return self.node("Cast", value, to=self._type(dtype), **options)

    def describe(self, where: list[Any], name: str, dtype: Any, shape: list[Any], text: str) -> None:
        """List a value among the inputs or outputs."""
        where.append(self.onnx.helper.make_tensor_value_info(name, self._type(dtype), shape, doc_string=text))

    def _number(self, value: float) -> str:
        if value not in self._of_number:
            self._of_number[value] = self.constant(f"number_{len(self._of_number)}", np.array(value, self.dtype))
        return self._of_number[value]

    def _type(self, dtype: Any) -> int:
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    @property
    def is_single(self) -> bool:
        """Whether operations with float32 attributes serve, which onnxruntime often has for float32 alone."""
        return self.dtype == np.float32


def _logits(graph: _Graph, net: MLP, params: Parameters, task: Task | None) -> str:
    """From x to z_L."""
    a = "x"
    if task is None:
        graph.describe(graph.inputs, a, params.dtype, [_ROWS, net.n_inputs], "rows of features")
    else:
        graph.describe(graph.inputs, a, np.float64, [_ROWS, net.n_inputs], "rows of features in their own units")
        a = graph.node("Sub", a, graph.constant("mean", task.inputs.mean))
        a = graph.node("Div", a, graph.constant("scale", task.inputs.scale))
        if graph.is_single:
            a = graph.cast(a, params.dtype)
    for i, weights in enumerate(params.weights):
        operands = [graph.constant(f"layers.{i}.weight", weights)]
        if net.bias:
            operands.append(graph.constant(f"layers.{i}.bias", params.biases[i]))
        a = graph.node("Gemm", a, *operands)
        if i < len(net.activations):
            activation = net.activations[i]
            record = activation.record
            operators = record.onnx if graph.is_single else record.onnx_float64 or record.onnx
            a = graph.expression(operators, a, activation.parameter)
    return a


def _answers(graph: _Graph, net: MLP, task: Task | None, z: str) -> None:
    """From z_L to y_pred and label."""
    link, one_of_several = net.loss_function.record.link, net.loss_function.couples_outputs
    if net.loss_function.is_classification:
        graph.node(link.onnx, z, name="y_pred")
        graph.describe(graph.outputs, "y_pred", graph.dtype, [_ROWS, net.n_outputs], "probabilities")
        if one_of_several:
            graph.node("ArgMax", z, axis=1, keepdims=0, name="label")
        elif net.n_outputs == 1:
            labels = graph.cast(graph.node("Greater", z, 0.0), np.int64)
            graph.node("Squeeze", labels, graph.constant("columns", np.array([1])), name="label")
        else:
            graph.cast(graph.node("Greater", z, 0.0), np.int64, name="label")
        shape = [_ROWS] if one_of_several or net.n_outputs == 1 else [_ROWS, net.n_outputs]
        graph.describe(graph.outputs, "label", np.int64, shape, "position of the class")
        return
    if task is None:
        graph.node(link.onnx, z, name="y_pred")
        graph.describe(graph.outputs, "y_pred", graph.dtype, [_ROWS, net.n_outputs], "means")
        return
    response = graph.cast(graph.node(link.onnx, z), np.float64)
    scaled = graph.node("Mul", response, graph.constant("target_scale", task.outputs.scale))
    graph.node("Add", scaled, graph.constant("target_mean", task.outputs.mean), name="y_pred")
    graph.describe(graph.outputs, "y_pred", np.float64, [_ROWS, net.n_outputs], "numbers in the units of the target")
