"""Forward, loss and gradient of user arrays: through the door and the plan to the fused kernels.

All functions take (net, params, x, ...). `params.dtype` decides the precision; x is cast to it. `n_threads` is the
number of threads (default: `fastbp.set_num_threads`, FASTBP_NUM_THREADS, Numba's setting); results have the same bits
for any number. A `workspace` keeps scratch memory between calls and serves one call at a time.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
from typing import Any, NamedTuple

import numpy as np

from . import _jit, arrays
from .errors import InputError, StateError
from .kernels import fields, fused
from .kernels.elementwise import PULLBACK
from .kernels.tile import NARROW, WIDE
from .network import MLP
from .parameters import Parameters, check_dtype
from .plan import Layout, Schedule, layout, schedule

_KEPT = 8  # prepared batches a workspace holds; a validation set and a ragged last batch beside the usual one
_ALIGNMENT = 64
_NO_LABELS = np.empty(0, np.int64)


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
    call = _Data(net, params, x, y, sample_weight)
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
    call = _Data(net, params, x, y, sample_weight)
    if out is None:
        out = Parameters(net, np.empty_like(call.vector))
    else:
        if not isinstance(out, Parameters):
            raise InputError(f"out must be fastbp.Parameters, such as params.copy(); got {type(out).__name__}")
        inputs = (call.vector, call.x, call.y, call.sample_weight)
        arrays.as_out(out.vector, call.vector.shape, call.vector.dtype, inputs)
    scale = call.scale(reduction)
    penalties = (arrays.check_penalty("l1", l1), arrays.check_penalty("l2", l2)) if l1 or l2 else (0.0, 0.0)
    total = _run(net, call, fields.GRADIENT, out.vector, (scale, *penalties), n_threads, workspace)
    return total * scale + (_penalty(net, call.vector, l1, l2) if l1 or l2 else 0.0), out


def pullback(net: MLP, params: Parameters, x: Any, d_z: Any, *, out: Parameters | None = None) -> Parameters:
    """The gradient of sum_ik d_z_ik z_ik in all parameters: what dL/dz = d_z (N, n_outputs) becomes further down."""
    linear = MLP(net.layer_sizes, activation=net.activations, loss="squared_error", bias=net.bias)
    call = _Data(linear, params, x, d_z)
    out = Parameters(net, np.empty_like(call.vector)) if out is None else out
    _run(linear, call, fields.GRADIENT, out.vector, (), None, None, loss_code=PULLBACK)
    return out


def warmup(dtype: Any = np.float32) -> None:
    """Compile the kernels of float32 or float64 ahead, or load them from the cache, so that no later call has to."""
    for entry in fused.entries(check_dtype(dtype)):
        entry.compile()


def wants_threads(net: MLP, n_rows: int, dtype: np.dtype) -> bool:
    """Whether a batch of n_rows is large enough to be shared out to threads."""
    return schedule(layout(net, n_rows, dtype, _machine()), _jit.resolve_threads(None)).n_workers > 1


def descend(
    net: MLP, params: Parameters, x: Any, y: Any, *, learning_rate: float, n_steps: int, reduction="mean",
    gradient: Parameters, workspace=None,
) -> np.ndarray:  # fmt: skip
    """n_steps of full-batch gradient descent inside compiled calls, W -= learning_rate gradient, on one thread.

    Writes params in place and leaves the last step's gradient in `gradient`. Returns the loss before each step, float64
    (n_steps,). For batches too small to be worth threads; the calls end within 50 ms, so that Ctrl-C is seen.
    """
    call = _Data(net, params, x, y, None)
    losses = np.empty(n_steps)
    with (workspace or _pool()).taken(net, len(call.x), call.vector.dtype, 1) as batch:
        code = net.loss_function.code
        arguments = batch.arguments(call, code, fields.GRADIENT, gradient.vector, call.scale(reduction))
        per_call = batch.schedule.repeats
        for start in range(0, n_steps, per_call):
            status = batch.entries.descend(
                *arguments,
                batch.address,
                batch.program,
                float(learning_rate),
                losses[start : start + per_call],
            )
            if status:
                raise _data_error(net, call, status)
    return losses


# -- scratch memory --------------------------------------------------------------------------------------------------


class Workspace:
    """Scratch memory kept between calls, for the last few shapes of batch; serves one call at a time."""

    def __init__(self) -> None:
        self._batches: dict[Any, _Batch] = {}
        self._in_use = threading.Lock()

    def taken(self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int) -> _Batch:
        """A prepared batch, to be used as a context; StateError if another call is using this workspace."""
        if not self._in_use.acquire(blocking=False):
            raise StateError("this Workspace is in use by another call; give each thread a Workspace of its own")
        try:
            key = (net, n_rows, dtype, n_threads)
            batch = self._batches.get(key)
            if batch is None:
                if len(self._batches) == _KEPT:
                    self._batches.pop(next(iter(self._batches)))
                batch = self._batches[key] = _Batch(net, n_rows, dtype, n_threads, self._in_use)
            return batch
        except BaseException:
            self._in_use.release()
            raise


class _Batch:
    """What a call needs beside the user's arrays, for one network, number of rows, dtype and number of threads."""

    def __init__(self, net: MLP, n_rows: int, dtype: np.dtype, n_threads: int, in_use: threading.Lock) -> None:
        self.layout: Layout = layout(net, n_rows, dtype, _machine())
        self.schedule: Schedule = schedule(self.layout, n_threads)
        self.entries = fused.entries(dtype)
        self.address = self.entries.work.address()
        self.fields = self.schedule.fields.copy()
        self.constants = np.array([1.0, 0.0, 0.0, net.loss_function.parameter, *(a.parameter for a in net.activations)])
        self.memory = _aligned(self.schedule.n_elements, dtype)
        self.totals = np.empty(self.schedule.n_totals)
        self.program = np.array(self.schedule.steps, np.int64).reshape(-1)
        self.loss_at = self.layout.n_slots * net.n_parameters
        self.status = np.zeros(self.schedule.n_workers, np.int64)
        self._wanted: tuple[Any, ...] = ()
        self._in_use = in_use

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._in_use.release()

    def arguments(
        self, call: _Data, loss_code: int, mode: int, out: np.ndarray, scale: float = 1.0, l1: float = 0.0,
        l2: float = 0.0,
    ) -> tuple[np.ndarray, ...]:  # fmt: skip
        """The arguments that all entries share."""
        wanted = (loss_code, mode, call.y.dtype == np.int64, call.sample_weight.size > 0, scale, l1, l2)
        if wanted != self._wanted:
            self._wanted = wanted
            self.fields[fields.LOSS] = loss_code
            self.fields[fields.MODE : fields.HEADER] = wanted[1:4]
            self.constants[: fields.LOSS_PARAMETER] = wanted[4:]
        return (self.fields, self.constants, call.vector, *call.flat, self.memory, self.totals, out)


class _Threads(threading.local):
    """One pool of scratch memory a thread, for calls without a workspace: the one hidden state."""

    def __init__(self) -> None:
        self.workspace = Workspace()


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(_threads, "workspace", Workspace()))


def _pool() -> Workspace:
    return _threads.workspace


def _aligned(n: int, dtype: np.dtype) -> np.ndarray:
    room = np.empty(n * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n * dtype.itemsize].view(dtype)


class _Machine(NamedTuple):
    """What a layout may know of the CPU."""

    vector_bytes: int
    wide: tuple[int, int]
    narrow: tuple[int, int]


@functools.cache
def _machine() -> _Machine:
    return _Machine(_jit.cpu().vector_bytes, WIDE, NARROW)


# -- one call --------------------------------------------------------------------------------------------------------


class _Data:
    """The arrays of a call, as the door let them in."""

    __slots__ = ("flat", "sample_weight", "vector", "x", "y")

    def __init__(self, net: MLP, params: Parameters, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.vector = vector = _vector_of(net, params)
        dtype = vector.dtype
        self.x = x = arrays.as_inputs(x, net.n_inputs, dtype)
        empty = vector[:0]
        self.y = y = empty if y is None else arrays.as_targets(y, net, len(x), dtype)
        self.sample_weight = empty
        if sample_weight is not None:
            self.sample_weight = arrays.as_sample_weight(sample_weight, len(x), dtype)
        has_labels = y.dtype != dtype
        targets, labels = (empty, y) if has_labels else (y.reshape(-1), _NO_LABELS)
        self.flat = (x.reshape(-1), targets, labels, self.sample_weight)

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
    return params.vector


def _outputs(net: MLP, params: Parameters, x: Any, mode: int, out: Any, n_threads: Any, workspace: Any) -> np.ndarray:
    call = _Data(net, params, x)
    shape = (len(call.x), net.n_outputs)
    if out is None:
        out = np.empty(shape, call.vector.dtype)
    else:
        arrays.as_out(out, shape, call.vector.dtype, (call.vector, call.x))
    _run(net, call, mode, out.reshape(-1), (), n_threads, workspace)
    return out


def _run(
    net: MLP, call: _Data, mode: int, out: np.ndarray | None, constants: tuple[float, ...], n_threads: Any,
    workspace: Workspace | None, loss_code: int | None = None,
) -> float:  # fmt: skip
    """Run the kernels; returns the summed loss. `constants` are scale, l1 and l2; loss_code replaces the network's."""
    threads = _jit.resolve_threads(n_threads)
    with (workspace or _pool()).taken(net, len(call.x), call.vector.dtype, threads) as batch:
        code = net.loss_function.code if loss_code is None else loss_code
        arguments = batch.arguments(call, code, mode, call.vector[:0] if out is None else out, *constants)
        status = (_serial if batch.schedule.n_workers == 1 else _parallel)(batch, arguments)
        if status:
            raise _data_error(net, call, status)
        return float(batch.totals[batch.loss_at])


def _serial(batch: _Batch, arguments: tuple[np.ndarray, ...]) -> int:
    plan, status = batch.schedule, 0
    for first, last in plan.calls:
        status |= batch.entries.serial(*arguments, batch.address, batch.program, first, last)
    return status


def _parallel(batch: _Batch, arguments: tuple[np.ndarray, ...]) -> int:
    plan, status = batch.schedule, batch.status
    status[:] = 0
    is_gradient = batch.fields[fields.MODE] == fields.GRADIENT
    for i, (*step, is_shared) in enumerate(plan.steps):
        if step[fields.PHASE] == fields.UNITS and not is_gradient:
            continue
        if is_shared:
            _jit.launch(
                batch.entries.parallel, plan.n_workers, *arguments, status, batch.address, plan.n_workers, *step
            )
        else:
            batch.entries.serial(*arguments, batch.address, batch.program, i, i + 1)
    return functools.reduce(operator.or_, status.tolist())


def _data_error(net: MLP, call: _Data, status: int) -> InputError:
    """The error that names what the kernels found."""
    if status & fields.BAD_INPUT:
        return arrays.not_finite_error("x", call.x)
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
