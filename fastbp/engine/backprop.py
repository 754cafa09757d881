"""Forward pass, loss and gradient on arrays of yours: through the door and the plan to the fused kernels.

All functions take (net, params, x, ...). `params.dtype` decides the precision; x is cast to it, and may be sparse, of
any format of scipy.sparse: the first layer's work follows the numbers stored (`fastbp.engine.csr`). `n_threads` is the
number of threads (default: `fastbp.set_num_threads`, FASTBP_NUM_THREADS, Numba's setting); results have the same bits
for any number. A `workspace` keeps scratch memory between calls and serves one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiler import threads as _threads
from ..errors import InputError
from ..kernels import structures as k
from ..kernels.program import executor
from ..model import losses
from ..model.network import MLP
from ..model.parameters import Parameters, check_dtype
from . import csr
from . import inputs as arrays
from .csr import CSR
from .workspace import Want, Workspace, pool

_NO_LABELS = np.empty(0, np.int64)
_WITHOUT_TARGETS = object()  # not None, which may be a user's y


# -- public functions ------------------------------------------------------------------------------------------------


def forward(net: MLP, params: Parameters, x: Any, *, out=None, n_threads=None, workspace=None) -> np.ndarray:
    """y_pred = link(z_L): probabilities or means.

    x : (N, n_inputs), anything array-like. Returns (N, n_outputs) in params.dtype, written to `out` where given.
    Row i has the bits of `forward(x[i : i + 1])[0]`.
    """
    return _outputs(net, params, x, k.RESPONSE, out, n_threads, workspace)


def logits(net: MLP, params: Parameters, x: Any, *, out=None, n_threads=None, workspace=None) -> np.ndarray:
    """z_L, the outputs before the link, (N, n_outputs); see `forward`."""
    return _outputs(net, params, x, k.LOGITS, out, n_threads, workspace)


def predict(net: MLP, params: Parameters, x: Any, *, n_threads=None, workspace=None) -> np.ndarray:
    """Labels for the cross entropies, means otherwise.

    cross_entropy: int64 (N,), the class with the largest logit, the first of equals. binary_cross_entropy: int64,
    1 where z > 0, (N,) for one output and (N, n_outputs) for several. Other losses: `forward`.
    """
    labels = net.loss_function.record.link.labels
    if labels is None:
        return forward(net, params, x, n_threads=n_threads, workspace=workspace)
    return labels(logits(net, params, x, n_threads=n_threads, workspace=workspace), 0.0)


def loss(
    net: MLP, params: Parameters, x: Any, y: Any, *, sample_weight=None, reduction="mean", l1=0.0, l2=0.0,
    n_threads=None, workspace=None,
) -> Any:  # fmt: skip
    """sum_i w_i sum_k l(y_ik, z_ik) / sum_i w_i + l1 sum|W| + l2/2 sum W^2.

    reduction : "mean" as above, "sum" without the division, "none" the N terms w_i sum_k l, without penalties.
    y : (N, n_outputs), (N,) for one output, or integer labels (N,) for cross_entropy.
    """
    arrays.check_reduction(reduction)
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
    want = Want(k.GRADIENT, net.loss_function.code, call.scale(reduction), *_penalties(l1, l2))
    return _run(net, call, want, out.vector, n_threads, workspace), out


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
    want = Want(k.LOSS_SUM, net.loss_function.code, call.scale(reduction))
    _run(net, call, want, None, n_threads, workspace, d_x=out)
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
    n_threads=None, workspace=None,
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
    """Compile the kernels of float32 or float64 ahead, or load them from the cache, so that no later call has to."""
    for entry in executor.entries(check_dtype(dtype)):
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
    _run(net, call, Want(mode, net.loss_function.code), out.reshape(-1), n_threads, workspace)
    return out


def _run(
    net: MLP, call: Data, want: Want, out: np.ndarray | None, n_threads: Any, workspace: Workspace | None,
    d_x: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Run the kernels; returns the objective. d_x (N, n_inputs) takes dL/dx."""
    threads, nothing = _threads.resolve_threads(n_threads), call.nothing
    with (workspace or pool()).acquire(net, len(call.x), call.vector.dtype, threads, call.stored) as batch:
        batch.bind(
            call.vector, call, want, nothing if out is None else out, nothing if d_x is None else d_x.reshape(-1)
        )
        status = batch.run(call.vector)
        if status:
            raise data_error(net, call, status)
        return batch.objective(want)


def data_error(net: MLP, call: Any, status: int) -> InputError:
    """The error that names what the kernels found."""
    if status & k.BAD_INPUT:
        return call.x.error() if call.stored else arrays.not_finite_error("x", call.x)
    if call.y.dtype == np.int64:
        return arrays.bad_label_error(call.y, net.n_outputs)
    return arrays.target_value_error(call.y, net)


def _penalties(l1: float, l2: float) -> tuple[float, float]:
    return (arrays.check_penalty("l1", l1), arrays.check_penalty("l2", l2)) if l1 or l2 else (0.0, 0.0)
