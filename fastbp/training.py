"""Gradient descent: W -= learning_rate dL/dW, on the whole data set or on mini-batches of it.

A step takes one batch; an epoch takes every row once, and its last batch may be smaller than the others.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import arrays, csr
from .backprop import Workspace, value_and_grad
from .errors import DivergenceError, InputError
from .network import MLP
from .parameters import Parameters


class Progress(NamedTuple):
    """One step that was made. step, epoch : counted from 1. loss : the mean over the step's batch, before the step.

    n_rows : in the batch. samples_per_second : since the first step, time that the caller took in between left out.
    """

    step: int
    epoch: int
    loss: float
    n_rows: int
    samples_per_second: float


def gradient_descent(
    net: MLP,
    params: Parameters,
    x: Any,
    y: Any,
    *,
    learning_rate: float,
    n_steps: int,
    batch_size: int | None = None,
    seed: int = 0,
    n_threads: int | None = None,
) -> Iterator[Progress]:
    """Make n_steps steps on the mean loss, writing `params` in place, and yield `Progress` after each.

    x, y : as in `MLP.value_and_grad`. batch_size : rows a step, all of them by default and where there are no more.
    The order of rows in an epoch is a pure function of (seed, epoch), so the same arguments give the same bits on any
    number of threads. InputError for arguments that make no sense. DivergenceError when the loss or a parameter is no
    longer finite; `params` are then the last ones whose loss was.
    """
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise InputError(f"learning_rate must be a positive number; got {learning_rate}")
    for name, number in (("n_steps", n_steps), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise InputError(f"{name} must be a positive integer; got {number}")
    x = csr.as_inputs(x, net.n_inputs, params.dtype)
    y = arrays.as_targets(y, net, len(x), params.dtype)
    batches = itertools.islice(_batches(len(x), batch_size or len(x), seed), n_steps)
    return _descend(net, params, x, y, batches, learning_rate, n_threads)


def steps_in(epochs: int, n_rows: int, batch_size: int | None = None) -> int:
    """How many steps that many epochs have."""
    return epochs * math.ceil(n_rows / (batch_size or n_rows))


def _descend(
    net: MLP,
    params: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    batches: Iterator[tuple[int, Any]],
    learning_rate: float,
    n_threads: int | None,
) -> Iterator[Progress]:
    workspace, gradient, sound = Workspace(), params.copy(), params.copy()
    rows_done, seconds = 0, 0.0
    for step, (epoch, rows) in enumerate(batches, start=1):
        start = time.perf_counter()
        x_batch, y_batch = x[rows], y[rows]
        loss, _ = value_and_grad(net, params, x_batch, y_batch, out=gradient, n_threads=n_threads, workspace=workspace)
        if math.isfinite(loss):
            sound.vector[...] = params.vector
            with np.errstate(over="ignore", invalid="ignore"):
                gradient.vector *= learning_rate
                params.vector -= gradient.vector
        if not (math.isfinite(loss) and np.isfinite(params.vector).all()):
            params.vector[...] = sound.vector
            raise DivergenceError(
                f"the descent diverged at step {step}, loss {loss:.4g}: the learning rate {learning_rate:g} is most "
                f"likely too large; try {learning_rate / 10:g}"
            )
        rows_done += len(x_batch)
        seconds += time.perf_counter() - start
        yield Progress(step, epoch, loss, len(x_batch), rows_done / seconds)


def _batches(n_rows: int, batch_size: int, seed: int) -> Iterator[tuple[int, Any]]:
    """(epoch, rows of a batch) for ever. A full batch is a slice, so that nothing is copied."""
    for epoch in itertools.count(1):
        if batch_size >= n_rows:
            yield epoch, slice(None)
            continue
        order = np.random.default_rng((seed, epoch)).permutation(n_rows)
        for start in range(0, n_rows, batch_size):
            yield epoch, order[start : start + batch_size]
