"""What becomes of the sums: units of weight gradients over a stretch, and slots merged into the gradient.

Slots are merged along a binary tree over their numbers; out = scale total + l1 sign(W) + l2 W.
"""

import numpy as np

from .._jit import kernel
from . import sums, tiles
from .blocks import end_of_stretch, gives_outputs, loss_sums_at
from .fields import (
    BIAS,
    BIASES,
    FIRST_UNIT,
    GRADIENT,
    L1,
    L2,
    MODE,
    N_BLOCKS,
    N_IN,
    N_LAYERS,
    N_OUT,
    N_PARAMETERS,
    N_SLOTS,
    N_UNITS,
    SCALE,
    STRETCH_BLOCKS,
    SUMS_M,
    SUMS_N,
    SUMS_STEP_M,
    SUMS_STEP_N,
    UNIT_M,
    UNIT_N,
    WEIGHTS,
)
from .gemm import larger, smaller
from .tiles import record


@kernel
def units_of_stretch(call, stretch, worker, n_workers, first, count):
    """A worker's units of the weight gradients over the stretch that starts at a block; the last one finishes them."""
    plan = call.plan
    stop = end_of_stretch(plan, stretch)
    start = plan[N_UNITS] * worker // n_workers + first
    for unit in range(start, smaller(start + count, plan[N_UNITS] * (worker + 1) // n_workers)):
        layer = tiles.layer_of(plan, FIRST_UNIT, unit)
        sums.add_unit(plan, call.memory, stretch, stop, layer, unit, call.totals)
        if stop == plan[N_BLOCKS] and plan[N_SLOTS] == 1:
            finish_unit(call, layer, unit)


@kernel
def finish_unit(call, layer, unit):
    """Write a unit's part of the gradient to `out`."""
    plan = call.plan
    at = record(layer)
    m, j = sums.unit_row(plan, layer, unit), sums.unit_column(plan, layer, unit)
    n_n = smaller(plan[at + UNIT_N], plan[at + SUMS_N] - j)
    for i in range(m, smaller(m + plan[at + UNIT_M], plan[at + SUMS_M])):
        start = plan[at + WEIGHTS] + i * plan[at + SUMS_STEP_M] + j * plan[at + SUMS_STEP_N]
        finish(call, start, plan[at + SUMS_STEP_N], n_n, True)
    if plan[BIAS] and unit == plan[at + FIRST_UNIT]:
        finish(call, plan[at + BIASES], 1, plan[at + N_OUT], False)


@kernel
def merge(totals, at, step, n, first, last):
    """Merge n sums, `step` apart, along a binary tree over their numbers; of each the elements first to last - 1."""
    apart = 1
    while apart < n:
        for k in range(0, n - apart, 2 * apart):
            to, source = at + k * step, at + (k + apart) * step
            for i in range(first, last):
                totals[to + i] += totals[source + i]
        apart *= 2


@kernel
def reduce(call, worker, n_workers):
    """Merge the slots into the first one, and write a worker's part of the gradient to `out`."""
    plan, n = call.plan, call.plan[N_PARAMETERS]
    if gives_outputs(plan):
        return
    if worker == 0:
        merge(call.totals, loss_sums_at(plan), 1, plan[N_BLOCKS], 0, 1)
    has_finished_units = plan[STRETCH_BLOCKS] > 0 and plan[N_SLOTS] == 1
    if plan[MODE] != GRADIENT or has_finished_units:
        return
    first, last = n * worker // n_workers, n * (worker + 1) // n_workers
    merge(call.totals, 0, n, plan[N_SLOTS], first, last)
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        finish_part(call, plan[at + WEIGHTS], plan[at + N_IN] * plan[at + N_OUT], True, first, last)
        if plan[BIAS]:
            finish_part(call, plan[at + BIASES], plan[at + N_OUT], False, first, last)


@kernel
def finish_part(call, at, n, is_weight, first, last):
    """Finish those of n elements that lie between first and last."""
    start = larger(at, first)
    finish(call, start, 1, smaller(at + n, last) - start, is_weight)


@kernel
def finish(call, at, step, n, is_weight):
    """out = scale total + l1 sign(W) + l2 W, for n elements; biases have no penalty."""
    totals, out, scale = call.totals, call.out, call.constants[SCALE]
    l1, l2 = call.constants[L1], call.constants[L2]
    if is_weight and (l1 != 0 or l2 != 0):
        for i in range(n):
            w = call.vector[at + i * step]
            out[at + i * step] = totals[at + i * step] * scale + l1 * np.sign(w) + l2 * w
    else:
        for i in range(n):
            out[at + i * step] = totals[at + i * step] * scale
