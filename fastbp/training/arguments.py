"""The options of a training, checked and in the form that its loop takes; what each means says `fastbp.train`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import optim
from ..data.splitting import n_held_out, split
from ..engine import csr, inputs
from ..engine.inputs import count, number
from ..errors import InputError
from ..metrics import targets_like
from ..model.network import MLP
from ..model.parameters import Parameters
from .prefetch import CheckedDataset

SMALLEST_BATCH, MOST_STEPS_AN_EPOCH = 32, 1000
_ROWS_AT_A_TIME = 65_536


def as_batch_size(batch_size: Any, n_rows: int) -> int:
    """The rows of a step, of n_rows to train on: the one place that knows what "auto" means."""
    if batch_size is None:
        return n_rows
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise InputError(f'batch_size must be a number of rows, "auto" or None; got {batch_size!r}')
        return max(SMALLEST_BATCH, math.ceil(n_rows / MOST_STEPS_AN_EPOCH))
    return count("batch_size", batch_size)


def n_trained(n_rows: int, validation: Any) -> int:
    """How many of the rows are trained on, if `validation` is the share of them that is held out, or data, or None."""
    return n_rows - n_held_out(n_rows, validation) if _is_share(validation) else n_rows


def as_seed(seed: Any) -> int:
    """The seed, an int from 0 to 2^63 - 1."""
    number = count("seed", seed, 0)
    if number >= 2**63:
        raise InputError(f"seed must be below 2^63; got {seed}")
    return number


def as_steps(snapshots: Any) -> set[int]:
    """The steps after which parameters are kept."""
    if not inputs.is_series(snapshots):
        raise InputError(f"snapshots must be a list of steps, such as [5, 20, 100]; got {snapshots!r}")
    return {count("each of snapshots, a step,", step, 0) for step in snapshots}


def as_order(order: Any, n_rows: int) -> Any:
    """ "shuffled", "sequential", or row numbers as int64 (n_epochs n_rows,), of n_rows to train on."""
    if isinstance(order, str):
        if order not in ("shuffled", "sequential"):
            raise InputError(f'order must be "shuffled", "sequential" or row numbers; got {order!r}')
        return order
    rows = inputs.as_ndarray("order", order)
    if rows.dtype.kind not in "iu" or rows.size == 0 or rows.size % n_rows:
        raise InputError(
            f"order must hold whole epochs of row numbers, {n_rows} each; got {rows.dtype}, shape {rows.shape}"
        )
    if rows.min() < 0 or rows.max() >= n_rows:
        raise InputError(f"order must hold row numbers from 0 to {n_rows - 1}; got {rows.min()} to {rows.max()}")
    return np.ascontiguousarray(rows.ravel(), np.int64)


def as_dropout(net: MLP, dropout: Any, input_dropout: float, x: Any) -> tuple[float, ...]:
    """The shares that are dropped of the inputs and of each hidden layer; () if none is."""
    n_hidden = len(net.layers) - 1
    is_list = isinstance(dropout, list | tuple) or getattr(dropout, "ndim", 0) > 0
    shares = [number("dropout", share, 0, below=1) for share in (dropout if is_list else [dropout])]
    if is_list and len(shares) != n_hidden:
        raise InputError(f"dropout must be one number or one for each of {n_hidden} hidden layers; got {len(shares)}")
    shares = shares if is_list else shares * n_hidden
    of_inputs = number("input_dropout", input_dropout, 0, below=1)
    if of_inputs and hasattr(x, "nnz"):
        raise InputError("input_dropout needs dense inputs; got sparse x. Use x.toarray(), or dropout of hidden layers")
    return (of_inputs, *shares) if of_inputs or any(shares) else ()


def as_state(optimizer: Any, opt_state: Any, params: Parameters) -> optim.OptimizerState:
    """A new state of the optimizer, or a copy of opt_state, if it is one of this optimizer for such parameters."""
    optimizer = optim.as_optimizer(optimizer)
    if opt_state is None:
        return optimizer.init(params)
    if not isinstance(opt_state, optim.OptimizerState):
        raise InputError(f"opt_state must be that of a TrainResult; got {type(opt_state).__name__}")
    state = opt_state.copy()
    state.check(optimizer, params.vector, np.empty_like(params.vector))
    return state


Part = tuple[Any, np.ndarray, np.ndarray | None]  # x, y, weights


def check_values(net: MLP, x: Any, y: np.ndarray) -> None:
    """InputError for the first value that the network cannot take, by its row: also in rows that no step would see."""
    error = x.first_error() if isinstance(x, csr.CSR) else None
    if not isinstance(x, csr.CSR) and inputs.first_bad_row(x) is not None:
        error = inputs.not_finite_error("x", x)
    error = error or inputs.target_value_error(y, net)
    if error is not None:
        raise error


def as_parts(
    net: MLP, data: Part, class_weight: Any, validation: Any, seed: int, dtype: np.dtype
) -> tuple[np.ndarray | None, np.ndarray | None, Part | None]:  # fmt: skip
    """(weights of all rows, rows to train on or None for all, part to validate on), class weights multiplied in.

    Class weights are those of the rows to train on, for both parts.
    """
    _, y, weights = data
    rows, held_out = as_validation(net, data, validation, seed, dtype)
    if class_weight is not None:
        of_class = as_class_weight(net, y if rows is None else y[rows], class_weight, dtype)
        weights = _weighted(net, y, weights, of_class, dtype)
        held_out = held_out and (*held_out[:2], _weighted(net, *held_out[1:], of_class, dtype))
    _check_sum("rows to train on", weights if rows is None or weights is None else weights[rows])
    if held_out is not None:
        _check_sum("validation rows", held_out[2])
    return weights, rows, held_out


def as_class_weight(net: MLP, y: np.ndarray, class_weight: Any, dtype: np.dtype) -> np.ndarray:
    """The weight of each class of the network, (n_classes,) float64; y : the rows to train on."""
    labels, n_classes = targets_like(y, net), max(2, net.n_outputs)
    if not net.loss_function.is_classification or labels.ndim != 1:
        raise InputError(f"class_weight needs one label a sample; {net} has none")
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(labels, minlength=n_classes)
        return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)
    if not isinstance(class_weight, Mapping):
        raise InputError(f'class_weight must be {{label: weight}} or "balanced"; got {class_weight!r}')
    of_class = np.ones(n_classes)
    for label, weight in class_weight.items():
        if label not in range(n_classes):
            raise InputError(
                f"class_weight names {label!r}, which is no class; those of {net} are 0 to {n_classes - 1}"
            )
        of_class[int(label)] = number(f"class_weight of class {label!r}", weight, 0)
        if of_class[int(label)] > float(np.finfo(dtype).max):
            raise InputError(f"class_weight of class {label!r} must fit {dtype}; got {weight!r}")
    return of_class


def _weighted(net: MLP, y: np.ndarray, weights: np.ndarray | None, of_class: np.ndarray, dtype: Any) -> np.ndarray:
    of_sample = of_class[targets_like(y, net)] * (1.0 if weights is None else weights)
    return inputs.as_numbers("sample_weight times class_weight", of_sample, dtype)


def as_validation(
    net: MLP, data: Part, validation: Any, seed: int, dtype: np.dtype
) -> tuple[np.ndarray | None, Part | None]:  # fmt: skip
    """(rows to train on or None for all, part to validate on or None)."""
    x, y, weights = data
    if not _is_share(validation):
        return None, _as_given(net, validation, dtype)
    labels = targets_like(y, net) if net.loss_function.is_classification else None
    train_rows, rows = split_rows(labels, len(x), _as_share(validation, len(x)), seed)
    return train_rows, (x[rows], y[rows], None if weights is None else weights[rows])


def as_held_out(net: MLP, source: CheckedDataset, validation: Any, seed: int) -> tuple[np.ndarray | None, Part | None]:
    """The same for a data set, whose held-out rows are read into memory."""
    if not _is_share(validation):
        held_out = _as_given(net, validation, source.dtype)
        rows = None
    else:
        share, labels = _as_share(validation, source.n_rows), None
        if net.loss_function.is_classification:
            blocks = range(0, source.n_rows, _ROWS_AT_A_TIME)
            read = ((i, source.dataset.read(i, min(i + _ROWS_AT_A_TIME, source.n_rows))) for i in blocks)
            labels = np.concatenate([targets_like(source.convert(i, parts)[1], net) for i, parts in read])
        rows, held_out_rows = split_rows(labels, source.n_rows, share, seed)
        parts = source.rows(held_out_rows)
        error = source.error(held_out_rows, parts)
        if error is not None:
            raise error
        held_out = (*parts, None)[:3]
    if held_out is not None:
        _check_sum("validation rows", held_out[2])
    return rows, held_out


def _as_given(net: MLP, validation: Any, dtype: np.dtype) -> Part | None:
    """Validation data of the user's own, checked as the data to train on are."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        came = f"{len(validation)} of them" if isinstance(validation, tuple | list) else repr(validation)
        raise InputError(
            "validation must be (x, y), (x, y, sample_weight) or a share of the rows, such as 0.1; got "
            f"{textwrap.shorten(came, 80)}"
        )
    try:
        x = csr.as_inputs(validation[0], net.n_inputs, dtype)
        y = inputs.as_targets(validation[1], net, len(x), dtype)
        given = validation[2] if len(validation) == 3 else None
        weights = None if given is None else inputs.as_sample_weight(given, len(x), dtype)
        check_values(net, x, y)
    except InputError as error:
        raise InputError(f"validation: {error}") from error
    return x, y, weights


def _is_share(validation: Any) -> bool:
    return isinstance(validation, int | float | np.number) and not isinstance(validation, bool)


def _as_share(validation: Any, n_rows: int) -> float:
    if n_rows < 2:
        raise InputError(f"validation={validation!r} needs at least 2 rows, to train on and to hold out; got {n_rows}")
    return number("validation, a share of the rows,", validation, above=0, below=1)


def _check_sum(part: str, weights: np.ndarray | None) -> None:
    if weights is None:
        return
    with np.errstate(over="ignore"):
        total = float(np.add.reduce(weights, dtype=np.float64))
    if not 0 < total < math.inf:
        raise InputError(
            f"the weights of the {part} must have a positive, finite sum; got {total:g} over {len(weights)} rows, each "
            "its sample_weight times that of its class"
        )


def split_rows(
    labels: np.ndarray | None, n: int, share: float, seed: int, draw: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those to hold out, exactly the share of them; the classes split alike if that can be.

    labels : (N,), or anything else for rows without classes. draw : which of the splits that a seed makes; 0 is not
    one, with which weights are drawn.
    """
    can_stratify = False
    if labels is not None and labels.ndim == 1 and 0 < share < 1 < n:
        can_stratify = len(np.unique(labels)) + n_held_out(n, share) <= n  # every class keeps a row to train on
    return split(n, share, np.random.default_rng((seed, draw)), labels if can_stratify else None)
