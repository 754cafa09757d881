"""Forward pass, loss and gradient on arrays of yours: through the door and the plan to the fused kernels.

All functions take (net, params, x, ...). `params.dtype` decides the precision; x is cast to it, and may be sparse, of
any format of scipy.sparse: the first layer's work then follows the numbers stored (`fastbp.csr`). `n_threads` is the
number of threads (default: `fastbp.set_num_threads`, FASTBP_NUM_THREADS, Numba's setting); results have the same bits
for any number. A `workspace` keeps scratch memory between calls and serves one call at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _threads, arrays, csr
from .csr import CSR
from .errors import InputError
from .kernels import fields, fused
from .kernels.elementwise import PULLBACK
from .network import MLP
from .parameters import Parameters, check_dtype
from .workspace import Batch, Workspace, pool

_NO_LABELS = np.empty(0, np.int64)
_WITHOUT_TARGETS = object()  # not None, which may be a user's y


# -- public functions ------------------------------------------------------------------------------------------------


def forward(net: MLP, params: Parameters, x: Any, *, out=None, n_threads=None, workspace=None) -> np.ndarray:
    """y_pred = link(z_L): probabilities or means.

    x : (N, n_inputs), anything array-like. Returns (N, n_outputs) in params.dtype, written to `out` where given.
    Row i has the bits of `forward(x[i : i + 1])[0]`.
    """
    return _outputs(net, params, x, fields.RESPONSE, out, n_threads, workspace)


def logits(net: MLP, params: Parameters, x: Any, *, out=None, n_threads=None, workspace=None) -> np.ndarray:
    """z_L, the outputs before the link, (N, n_outputs); see `forward`."""
    return _outputs(net, params, x, fields.LOGITS, out, n_threads, workspace)


def predict(net: MLP, params: Parameters, x: Any, *, n_threads=None, workspace=None) -> np.ndarray:
    """Labels for the cross entropies, means otherwise.

    cross_entropy: int64 (N,), the class with the largest logit, the first of equals. binary_cross_entropy: int64,
    1 where z > 0, (N,) for one output and (N, n_outputs) for several. Other losses: `forward`.
    """
    if not net.loss_function.is_classification:
        return forward(net, params, x, n_threads=n_threads, workspace=workspace)
    z = logits(net, params, x, n_threads=n_threads, workspace=workspace)
    if net.loss_function.link == "softmax":
        return z.argmax(axis=1)
    labels = (z > 0).astype(np.int64)
    return labels[:, 0] if net.n_outputs == 1 else labels


def loss(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight=None, reduction="mean", l1=0.0, l2=0.0,
    n_threads=None, workspace=None,
) -> Any:  # fmt: skip
    """sum_i w_i sum_k l(y_ik, z_ik) / sum_i w_i + l1 sum|W| + l2/2 sum W^2.

    reduction : "mean" as above, "sum" without the division, "none" the N terms w_i sum_k l, without penalties.
    y : (N, n_outputs), (N,) for one output, or integer labels (N,) for cross_entropy.
    """
    arrays.check_reduction(reduction)
    n_rows_out = None
    call = Data(net, params, x, y, sample_weight)
    if reduction == "none":
        if l1 or l2:
            raise InputError("penalties belong to the whole objective; reduction='none' needs l1=0 and l2=0")
        n_rows_out = np.empty(len(call.x), call.vector.dtype)
    mode = fields.LOSS_SUM if n_rows_out is None else fields.LOSS_EACH
    total = _run(net, call, mode, n_rows_out, (), n_threads, workspace)
    if n_rows_out is not None:
        return n_rows_out
    return total * call.scale(reduction) + _penalty(net, call.vector, l1, l2)


def value_and_grad(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight=None, reduction="mean", l1=0.0, l2=0.0,
    out=None, n_threads=None, workspace=None,
) -> tuple[float, Parameters]:  # fmt: skip
    """The objective as in `loss`, and its gradient in all parameters.

    reduction : "mean" or "sum". `out` takes the gradient (Parameters of the same network and dtype); without it each
    call returns a fresh one. The result has the same bits for any number of threads.
    """
    arrays.check_reduction(reduction, ("mean", "sum"))
    call = Data(net, params, x, y, sample_weight)
    if out is None:
        out = Parameters(net, np.empty_like(call.vector))
    else:
        if not isinstance(out, Parameters):
            raise InputError(f"out must be fastbp.Parameters, such as params.copy(); got {type(out).__name__}")
        arrays.as_out(out.vector, call.vector.shape, call.vector.dtype, call.inputs)
    scale = call.scale(reduction)
    penalties = (arrays.check_penalty("l1", l1), arrays.check_penalty("l2", l2)) if l1 or l2 else (0.0, 0.0)
    total = _run(net, call, fields.GRADIENT, out.vector, (scale, *penalties), n_threads, workspace)
    return total * scale + (_penalty(net, call.vector, l1, l2) if l1 or l2 else 0.0), out


def input_grad(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight=None, reduction="mean", out=None, n_threads=None,
    workspace=None,
) -> np.ndarray:  # fmt: skip
    """dL/dx of the objective in `loss`, (N, n_inputs) in params.dtype, written to `out` where given.

    reduction : "mean" or "sum". Row i is w_i dl_i/dx_i, divided by sum(w) for a mean; penalties do not depend on x.
    """
    arrays.check_reduction(reduction, ("mean", "sum"))
    call = Data(net, params, x, y, sample_weight)
    if out is None:
        out = np.empty(call.x.shape, call.vector.dtype)
    else:
        arrays.as_out(out, call.x.shape, call.vector.dtype, call.inputs)
    _run(net, call, fields.LOSS_SUM, None, (call.scale(reduction),), n_threads, workspace, d_x=out)
    return out


Pullback = Callable[[Any], tuple[Parameters, np.ndarray]]


def vjp(
    net: MLP, params: Parameters, x: Any, *, n_threads=None, workspace=None
) -> tuple[np.ndarray, Pullback]:  # fmt: skip
    """y_pred = forward(params, x), and its pullback: vectors times the Jacobians of y_pred in parameters and inputs.

        pullback(d_y) -> (gradient, d_x),   gradient = sum_ik d_y_ik dy_ik/dparams,   d_x_i = sum_k d_y_ik dy_ik/dx_i

    d_y : (N, n_outputs), or (N,) for one output: dL/dy_pred of any L. gradient : Parameters; d_x : (N, n_inputs).

    The pullback may be called many times, and later; params are kept as they are now, x must not be changed until then.
    """
    params = params.copy() if isinstance(params, Parameters) else params
    x = csr.as_inputs(x, net.n_inputs, _vector_of(net, params).dtype)
    y_pred = forward(net, params, x, n_threads=n_threads, workspace=workspace)
    link = net.loss_function.link

    def pull(d_y: Any) -> tuple[Parameters, np.ndarray]:
        d_y = np.asarray(d_y, y_pred.dtype)
        if d_y.shape not in (y_pred.shape, y_pred.shape[:1] if net.n_outputs == 1 else None):
            raise InputError(f"d_y must have the shape {y_pred.shape} of y_pred; got {d_y.shape}")
        d_z = d_y.reshape(y_pred.shape)
        if link == "sigmoid":
            d_z = d_z * y_pred * (1 - y_pred)
        elif link == "softmax":
            d_z = y_pred * (d_z - (d_z * y_pred).sum(axis=1, keepdims=True))
        elif link == "exp":
            d_z = d_z * y_pred
        d_x = np.empty(x.shape, params.dtype)
        return pullback(net, params, x, d_z, d_x=d_x, n_threads=n_threads, workspace=workspace), d_x

    return y_pred, pull


def pullback(
    net: MLP, params: Parameters, x: Any, d_z: Any, *, out: Parameters | None = None, d_x: np.ndarray | None = None,
    n_threads=None, workspace=None,
) -> Parameters:  # fmt: skip
    """The gradient of sum_ik d_z_ik z_ik in all parameters: what dL/dz = d_z (N, n_outputs) becomes further down.

    d_x (N, n_inputs) takes the gradient in x.
    """
    linear = MLP(net.layer_sizes, activation=net.activations, loss="squared_error", bias=net.bias)
    call = Data(linear, params, x, d_z)
    out = Parameters(net, np.empty_like(call.vector)) if out is None else out
    _run(linear, call, fields.GRADIENT, out.vector, (), n_threads, workspace, PULLBACK, d_x)
    return out


def warmup(dtype: Any = np.float32) -> None:
    """Compile the kernels of float32 or float64 ahead, or load them from the cache, so that no later call has to."""
    for entry in fused.entries(check_dtype(dtype)):
        entry.compile()


# -- one call --------------------------------------------------------------------------------------------------------


class Data:
    """The arrays of a call, as the door let them in."""

    __slots__ = ("flat", "nothing", "sample_weight", "stored", "vector", "x", "y")

    def __init__(
        self, net: MLP, params: Parameters, x: Any, y: Any = _WITHOUT_TARGETS, sample_weight: Any = None
    ) -> None:  # fmt: skip
        self.vector = vector = _vector_of(net, params)
        dtype = vector.dtype
        self.x = x = csr.as_inputs(x, net.n_inputs, dtype)
        self.stored = x.stored_per_row if type(x) is CSR else 0
        self.nothing = empty = vector[:0]
        self.y = y = empty if y is _WITHOUT_TARGETS else arrays.as_targets(y, net, len(x), dtype)
        self.sample_weight = empty
        if sample_weight is not None:
            self.sample_weight = arrays.as_sample_weight(sample_weight, len(x), dtype)
        has_labels = y.dtype != dtype
        targets, labels = (empty, y) if has_labels else (y.reshape(-1), _NO_LABELS)
        self.flat = (x.values if self.stored else x.reshape(-1), targets, labels, self.sample_weight)

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """All arrays, none of which `out` may overlap."""
        return self.vector, *self.flat

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
    return arrays.unlocked(params.vector)


def _outputs(net: MLP, params: Parameters, x: Any, mode: int, out: Any, n_threads: Any, workspace: Any) -> np.ndarray:
    call = Data(net, params, x)
    shape = (len(call.x), net.n_outputs)
    if out is None:
        out = np.empty(shape, call.vector.dtype)
    else:
        arrays.as_out(out, shape, call.vector.dtype, call.inputs)
    _run(net, call, mode, out.reshape(-1), (), n_threads, workspace)
    return out


def _run(
    net: MLP, call: Data, mode: int, out: np.ndarray | None, constants: tuple[float, ...], n_threads: Any,
    workspace: Workspace | None, loss_code: int | None = None, d_x: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Run the kernels; returns the summed loss.

    constants : scale, l1 and l2. loss_code replaces the network's. d_x (N, n_inputs) takes dL/dx.
    """
    threads = _threads.resolve_threads(n_threads)
    with (workspace or pool()).taken(net, len(call.x), call.vector.dtype, threads, call.stored) as batch:
        code = net.loss_function.code if loss_code is None else loss_code
        nothing = call.nothing
        arguments = batch.arguments(
            call, code, mode, nothing if out is None else out, nothing if d_x is None else d_x.reshape(-1), *constants
        )
        status = run_program(batch, arguments)
        if status:
            raise data_error(net, call, status)
        return float(batch.totals[batch.loss_at])


STOPPED = 16  # beside the statuses of kernels


Share = Callable[[Sequence[int]], int]


def run_program(
    batch: Batch, arguments: tuple[np.ndarray, ...], is_stopped: Callable[[], bool] | None = None,
    share: Share | None = None,
) -> int:  # fmt: skip
    """Run a prepared batch's program up to the first step that found something wrong; returns a status.

    is_stopped : asked after each step of 50 ms; once it says so, the status is STOPPED. share : brings a step to all
    workers, and returns a status; by default it hands them the arguments.
    """
    if batch.schedule.n_workers == 1:
        return _serial(batch, arguments, is_stopped)
    share = share or functools.partial(batch.share, batch.entries.parallel, arguments, batch.address)
    return _parallel(batch, arguments, is_stopped, share)


def _serial(batch: Batch, arguments: tuple[np.ndarray, ...], is_stopped: Callable[[], bool] | None) -> int:
    status = 0
    for first, last in batch.schedule.calls:
        status = batch.entries.serial(*arguments, batch.address, batch.program, first, last)
        if status:
            break
        if is_stopped is not None and is_stopped():
            return STOPPED
    return status


def _parallel(
    batch: Batch, arguments: tuple[np.ndarray, ...], is_stopped: Callable[[], bool] | None, share: Share
) -> int:  # fmt: skip
    is_gradient = batch.fields[fields.MODE] == fields.GRADIENT
    for i, (*step, is_shared) in enumerate(batch.schedule.steps):
        if step[fields.PHASE] == fields.UNITS and not is_gradient:
            continue
        if is_shared:
            status = share(step)
        else:
            status = batch.entries.serial(*arguments, batch.address, batch.program, i, i + 1)
        if status:
            return status
        if is_stopped is not None and is_stopped():
            return STOPPED
    return 0


def data_error(net: MLP, call: Any, status: int) -> InputError:
    """The error that names what the kernels found."""
    if status & fields.BAD_INPUT:
        return call.x.error() if call.stored else arrays.not_finite_error("x", call.x)
    if call.y.dtype == np.int64:
        return arrays.bad_label_error(call.y, net.n_outputs)
    return arrays.target_value_error(call.y, net)


def _penalty(net: MLP, vector: np.ndarray, l1: float, l2: float) -> float:
    arrays.check_penalty("l1", l1)
    arrays.check_penalty("l2", l2)
    if not (l1 or l2):
        return 0.0
    weights = np.concatenate([vector[layer.weights] for layer in net.layers]).astype(np.float64)
    return float(l1 * np.abs(weights).sum() + l2 / 2 * np.square(weights).sum())
