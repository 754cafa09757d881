"""What the methods of a network do: the user's arrays, checked, and a plan go to the fused kernels.

All functions take (net, params, x, ...); arguments, results and errors are documented at the methods of `fastbp.MLP`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiler import threads
from ..errors import InputError
from ..kernels import structures as k
from ..kernels.program import executor
from ..model import losses
from ..model.network import MLP
from ..model.parameters import Parameters, check_dtype
from . import csr, inputs
from .csr import CSR
from .workspace import Want, Workspace, pool

Pullback = Callable[[Any], tuple[Parameters, np.ndarray]]

_NO_LABELS = np.empty(0, np.int64)
_WITHOUT_TARGETS = object()  # not None, which may be a user's y


# -- what a network's methods do -------------------------------------------------------------------------------------


def forward(
    net: MLP, params: Parameters, x: Any, *, out: np.ndarray | None = None, n_threads: int | None = None,
    workspace: Workspace | None = None,
) -> np.ndarray:  # fmt: skip
    """`MLP.forward`: y_pred."""
    call = Data(net, params, x)
    out = call.output(out, (len(call.x), net.n_outputs))
    _run(net, call, Want(k.RESPONSE, net.loss_function.code), out.reshape(-1), n_threads, workspace)
    return out


def logits(
    net: MLP, params: Parameters, x: Any, *, out: np.ndarray | None = None, n_threads: int | None = None,
    workspace: Workspace | None = None,
) -> np.ndarray:  # fmt: skip
    """`MLP.logits`: z_L."""
    call = Data(net, params, x)
    out = call.output(out, (len(call.x), net.n_outputs))
    _run(net, call, Want(k.LOGITS, net.loss_function.code), out.reshape(-1), n_threads, workspace)
    return out


def predict(
    net: MLP, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
) -> np.ndarray:
    """`MLP.predict`: labels or means."""
    labels = net.loss_function.record.link.labels
    if labels is None:
        return forward(net, params, x, n_threads=n_threads, workspace=workspace)
    return labels(logits(net, params, x, n_threads=n_threads, workspace=workspace), 0.0)


def loss(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean",
    l1: float = 0.0, l2: float = 0.0, n_threads: int | None = None, workspace: Workspace | None = None,
) -> float | np.ndarray:  # fmt: skip
    """`MLP.loss`: the objective, or each sample's term."""
    inputs.check_reduction(reduction)
    call = Data(net, params, x, y, sample_weight)
    if reduction == "none":
        if l1 or l2:
            raise InputError("penalties belong to the whole objective; reduction='none' needs l1=0 and l2=0")
        each = np.empty(len(call.x), call.vector.dtype)
        _run(net, call, Want(k.LOSS_EACH, net.loss_function.code), each, n_threads, workspace)
        return each
    want = Want(k.LOSS_SUM, net.loss_function.code, call.scale(reduction), *_penalties(l1, l2))
    return _run(net, call, want, None, n_threads, workspace)


def value_and_grad(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean",
    l1: float = 0.0, l2: float = 0.0, out: Parameters | None = None, n_threads: int | None = None,
    workspace: Workspace | None = None,
) -> tuple[float, Parameters]:  # fmt: skip
    """`MLP.value_and_grad`: the objective and its gradient in the parameters."""
    inputs.check_reduction(reduction, ("mean", "sum"))
    call = Data(net, params, x, y, sample_weight)
    if out is None:
        out = Parameters(net, np.empty_like(call.vector))
    elif isinstance(out, Parameters):
        call.output(out.vector, call.vector.shape)
    else:
        raise InputError(f"out must be fastbp.Parameters, such as params.copy(); got {type(out).__name__}")
    want = Want(k.GRADIENT, net.loss_function.code, call.scale(reduction), *_penalties(l1, l2))
    return _run(net, call, want, out.vector, n_threads, workspace), out


def input_grad(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean",
    out: np.ndarray | None = None, n_threads: int | None = None, workspace: Workspace | None = None,
) -> np.ndarray:  # fmt: skip
    """`MLP.input_grad`: the gradient of the objective in the inputs."""
    inputs.check_reduction(reduction, ("mean", "sum"))
    call = Data(net, params, x, y, sample_weight)
    out = call.output(out, call.x.shape)
    want = Want(k.LOSS_SUM, net.loss_function.code, call.scale(reduction))
    _run(net, call, want, None, n_threads, workspace, d_x=out)
    return out


def vjp(
    net: MLP, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
) -> tuple[np.ndarray, Pullback]:
    """`MLP.vjp`: y_pred and its pullback."""
    params = params.copy() if isinstance(params, Parameters) else params
    x = csr.as_inputs(x, net.n_inputs, _vector_of(net, params).dtype)
    y_pred = forward(net, params, x, n_threads=n_threads, workspace=workspace)
    link = net.loss_function.record.link

    def pull(d_y: Any) -> tuple[Parameters, np.ndarray]:
        d_y = np.asarray(d_y, y_pred.dtype)
        if d_y.shape not in (y_pred.shape, y_pred.shape[:1] if net.n_outputs == 1 else None):
            raise InputError(f"d_y must have the shape {y_pred.shape} of y_pred; got {d_y.shape}")
        d_z = link.pull(d_y.reshape(y_pred.shape), y_pred)
        d_x = np.empty(x.shape, params.dtype)
        return pullback(net, params, x, d_z, d_x=d_x, n_threads=n_threads, workspace=workspace), d_x

    return y_pred, pull


def pullback(
    net: MLP, params: Parameters, x: Any, d_z: Any, *, out: Parameters | None = None, d_x: np.ndarray | None = None,
    n_threads: int | None = None, workspace: Workspace | None = None,
) -> Parameters:  # fmt: skip
    """The gradient of sum_ik d_z_ik z_ik in all parameters: what dL/dz = d_z (N, n_outputs) becomes further down.

    d_x (N, n_inputs) takes the gradient in x.
    """
    linear = MLP(net.layer_sizes, activation=net.activations, loss=losses.squared_error(), bias=net.bias)
    call = Data(linear, params, x, d_z)
    out = Parameters(net, np.empty_like(call.vector)) if out is None else out
    _run(linear, call, Want(k.GRADIENT, losses.PULLBACK), out.vector, n_threads, workspace, d_x)
    return out


def warmup(dtype: Any = np.float32) -> None:
    """Compile the kernels of float32 or float64 ahead, or load them from the cache, so that no later call has to.

    InputError for another dtype.

    >>> fastbp.warmup(np.float64)
    """
    for entry in executor.entries(check_dtype(dtype)):
        entry.compile()


# -- one call --------------------------------------------------------------------------------------------------------


class Data:
    """The arrays of a call, checked and in canonical form."""

    __slots__ = ("flat", "nothing", "sample_weight", "stored", "vector", "x", "y")

    def __init__(
        self, net: MLP, params: Parameters, x: Any, y: Any = _WITHOUT_TARGETS, sample_weight: Any = None
    ) -> None:  # fmt: skip
        self.vector = vector = _vector_of(net, params)
        dtype = vector.dtype
        self.x = x = csr.as_inputs(x, net.n_inputs, dtype)
        self.stored = x.stored_per_row if type(x) is CSR else 0
        self.nothing = empty = vector[:0]
        self.y = y = empty if y is _WITHOUT_TARGETS else inputs.as_targets(y, net, len(x), dtype)
        self.sample_weight = empty
        if sample_weight is not None:
            self.sample_weight = inputs.as_sample_weight(sample_weight, len(x), dtype)
        has_labels = y.dtype != dtype
        targets, labels = (empty, y) if has_labels else (y.reshape(-1), _NO_LABELS)
        self.flat = (x.values if self.stored else x.reshape(-1), targets, labels, self.sample_weight)

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """All arrays, none of which `out` may overlap."""
        return self.vector, *self.flat

    def output(self, out: Any, shape: tuple[int, ...]) -> np.ndarray:
        """`out`, once it is known to fit, or a new array of that shape."""
        if out is None:
            return np.empty(shape, self.vector.dtype)
        return inputs.as_out(out, shape, self.vector.dtype, self.inputs)

    def scale(self, reduction: str) -> float:
        """What the sum over samples is multiplied by."""
        if reduction == "sum":
            return 1.0
        weight = len(self.x) if self.sample_weight.size == 0 else float(self.sample_weight.sum(dtype=np.float64))
        return 1.0 / weight


def _vector_of(net: MLP, params: Parameters) -> np.ndarray:
    if not isinstance(params, Parameters):
        raise InputError(f"params must be fastbp.Parameters, as net.init() returns; got {type(params).__name__}")
    if params.net is not net and params.net.layers != net.layers:
        raise InputError(f"params belong to another network: wanted those of {net}; got those of {params.net}")
    return inputs.unlocked(params.vector)


def _run(
    net: MLP, call: Data, want: Want, out: np.ndarray | None, n_threads: Any, workspace: Workspace | None,
    d_x: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Run the kernels; returns the objective. d_x (N, n_inputs) takes dL/dx."""
    n, nothing = threads.resolve_threads(n_threads), call.nothing
    with (workspace or pool()).acquire(net, len(call.x), call.vector.dtype, n, call.stored) as batch:
        status = batch.start(
            call.vector, call, want, nothing if out is None else out, nothing if d_x is None else d_x.reshape(-1)
        )
        if batch.launches_after_start and not status:
            status = batch.run(call.vector, launches=batch.launches_after_start)
        if status:
            raise data_error(net, call, status)
        return batch.objective(want)


def data_error(net: MLP, call: Any, status: int) -> InputError:
    """The error that names what the kernels found."""
    if status & k.BAD_INPUT:
        return call.x.error() if call.stored else inputs.not_finite_error("x", call.x)
    if call.y.dtype == np.int64:
        return inputs.bad_label_error(call.y, net.n_outputs)
    return inputs.target_value_error(call.y, net)


def _penalties(l1: float, l2: float) -> tuple[float, float]:
    return (inputs.check_penalty("l1", l1), inputs.check_penalty("l2", l2)) if l1 or l2 else (0.0, 0.0)
