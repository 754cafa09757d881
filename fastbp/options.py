"""The options of a training, checked and in the form that its loop takes; what each means says `fastbp.train`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import arrays, csr, optim
from .data import n_held_out, split
from .errors import InputError
from .feeding import Source
from .metrics import targets_like
from .network import MLP
from .parameters import Parameters
from .schedules import count, number

SMALLEST_BATCH, MOST_STEPS_AN_EPOCH = 32, 1000
_ROWS_AT_A_TIME = 65_536


def as_batch_size(batch_size: Any, n_rows: int) -> int:
    if batch_size is None:
        return n_rows
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise InputError(f'batch_size must be a number of rows, "auto" or None; got {batch_size!r}')
        return max(SMALLEST_BATCH, math.ceil(n_rows / MOST_STEPS_AN_EPOCH))
    return count("batch_size", batch_size)


def as_seed(seed: Any) -> int:
    number = count("seed", seed, 0)
    if number >= 2**63:
        raise InputError(f"seed must be below 2^63; got {seed}")
    return number


def as_steps(snapshots: Any) -> set[int]:
    """The steps after which parameters are kept."""
    if np.ndim(snapshots if not isinstance(snapshots, set | range) else list(snapshots)) != 1:
        raise InputError(f"snapshots must be a list of steps, such as [5, 20, 100]; got {snapshots!r}")
    return {int(step) for step in snapshots}


def as_order(order: Any, n_rows: int) -> Any:
    if isinstance(order, str):
        if order not in ("shuffled", "sequential"):
            raise InputError(f'order must be "shuffled", "sequential" or row numbers; got {order!r}')
        return order
    rows = np.asarray(order)
    if rows.dtype.kind not in "iu" or rows.size == 0 or rows.size % n_rows:
        raise InputError(
            f"order must hold whole epochs of row numbers, {n_rows} each; got {rows.dtype}, shape {rows.shape}"
        )
    if rows.min() < 0 or rows.max() >= n_rows:
        raise InputError(f"order must hold row numbers from 0 to {n_rows - 1}; got {rows.min()} to {rows.max()}")
    return np.ascontiguousarray(rows.ravel(), np.int64)


def as_dropout(net: MLP, dropout: Any, input_dropout: float, x: Any) -> tuple[float, ...]:
    n_hidden = len(net.layers) - 1
    shares = [dropout] * n_hidden if np.ndim(dropout) == 0 else list(dropout)
    if len(shares) != n_hidden:
        raise InputError(f"dropout must be one number or one for each of {n_hidden} hidden layers; got {len(shares)}")
    shares = [number("dropout", share, 0, below=1) for share in shares]
    of_inputs = number("input_dropout", input_dropout, 0, below=1)
    if of_inputs and hasattr(x, "nnz"):
        raise InputError("input_dropout needs dense inputs; got sparse x. Use x.toarray(), or dropout of hidden layers")
    return (of_inputs, *shares) if of_inputs or any(shares) else ()


def as_state(optimizer: Any, opt_state: Any, params: Parameters) -> optim.OptimizerState:
    optimizer = optim.as_optimizer(optimizer)
    if opt_state is None:
        return optimizer.init(params)
    if not isinstance(opt_state, optim.OptimizerState):
        raise InputError(f"opt_state must be that of a TrainResult; got {type(opt_state).__name__}")
    state = opt_state.copy()
    state.check(optimizer, params.vector, np.empty_like(params.vector))
    return state


def as_weights(
    net: MLP, y: np.ndarray, sample_weight: Any, class_weight: Any, n: int, dtype: np.dtype
) -> np.ndarray | None:  # fmt: skip
    """Sample and class weights multiplied, or None."""
    weights = None if sample_weight is None else arrays.as_sample_weight(sample_weight, n, dtype)
    if class_weight is None:
        return weights
    labels = targets_like(y, net)
    if not net.loss_function.is_classification or labels.ndim != 1:
        raise InputError(f"class_weight needs one label a sample; {net} has none")
    values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if isinstance(class_weight, str) and class_weight == "balanced":
        of_class = n / (len(values) * counts)
    elif isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in values]
        if unknown:
            raise InputError(f"class_weight names {unknown[0]!r}, which is no label of y; they are {values.tolist()}")
        of_class = np.array([class_weight.get(int(label), 1.0) for label in values])
    else:
        raise InputError(f'class_weight must be {{label: weight}} or "balanced"; got {class_weight!r}')
    of_sample = of_class[codes] if weights is None else of_class[codes] * weights
    return arrays.as_sample_weight(of_sample, n, dtype)


def as_validation(
    net: MLP, x: Any, y: np.ndarray, weights: np.ndarray | None, validation: Any, seed: int, dtype: np.dtype
) -> tuple[np.ndarray | None, tuple[Any, np.ndarray, np.ndarray | None] | None]:
    """(rows to train on or None for all, (x, y, weights) to validate on or None)."""
    if validation is None:
        return None, None
    if isinstance(validation, int | float | np.number) and not isinstance(validation, bool):
        labels = targets_like(y, net) if net.loss_function.is_classification else None
        train_rows, rows = split_rows(labels, len(x), float(validation), seed)
        return train_rows, (x[rows], y[rows], None if weights is None else weights[rows])
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise InputError("validation must be (x, y), (x, y, sample_weight) or a share of the rows, such as 0.1")
    val_x = csr.as_inputs(validation[0], net.n_inputs, dtype)
    val_y = arrays.as_targets(validation[1], net, len(val_x), dtype)
    given = validation[2] if len(validation) == 3 else None
    return None, (val_x, val_y, None if given is None else arrays.as_sample_weight(given, len(val_x), dtype))


def as_held_out(
    net: MLP, source: Source, validation: Any, seed: int
) -> tuple[np.ndarray | None, tuple[Any, np.ndarray, np.ndarray | None] | None]:  # fmt: skip
    """The same for a data set, whose held-out rows are read into memory."""
    if not isinstance(validation, int | float | np.number) or isinstance(validation, bool):
        return as_validation(net, None, None, None, validation, seed, source.dtype)
    labels = None
    if net.loss_function.is_classification:
        blocks = range(0, source.n_rows, _ROWS_AT_A_TIME)
        read = (source.dataset.read(start, min(start + _ROWS_AT_A_TIME, source.n_rows)) for start in blocks)
        labels = np.concatenate([targets_like(source.convert(0, parts)[1], net) for parts in read])
    train_rows, rows = split_rows(labels, source.n_rows, float(validation), seed)
    x, y, *weights = source.rows(rows)
    return train_rows, (x, y, weights[0] if weights else None)


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
