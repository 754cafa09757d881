"""What becomes of the sums: units of weight gradients over a stretch, and slots merged into the gradient.

Slots are merged along a binary tree over their numbers; out = scale total + l1 sign(W) + l2 W.
"""

import numpy as np

from .._jit import kernel
from . import sums, tiles
from .blocks import end_of_stretch, gives_outputs, loss_sums_at
from .fields import (
    BIAS,
    BIAS_SUMS_AT,
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
    SUMS_HEIGHT,
    SUMS_M,
    SUMS_N,
    SUMS_PADDED,
    SUMS_STEP_M,
    SUMS_STEP_N,
    UNIT_M,
    UNIT_N,
    WEIGHT_SUMS_AT,
    WEIGHTS,
)
from .gemm import larger, record, smaller
from .simd import load, register_size, store


@kernel
def units_of_stretch(call, stretch, worker, n_workers, first, count):
    """A worker's units of the weight gradients over the stretch that starts at a block; the last one finishes them."""
    plan = call.plan
    stop = end_of_stretch(plan, stretch)
    start = plan[N_UNITS] * worker // n_workers + first
    for unit in range(start, smaller(start + count, plan[N_UNITS] * (worker + 1) // n_workers)):
        layer = tiles.layer_of(plan, FIRST_UNIT, unit)
        sums.add_unit(call, stretch, stop, layer, unit)
        if stop == plan[N_BLOCKS] and plan[N_SLOTS] == 1:
            finish_unit(call, layer, unit)


@kernel
def finish_unit(call, layer, unit):
    """Write a unit's part of the gradient to `out`, from the totals or, where they are all there is, from the sums."""
    plan = call.plan
    at = record(layer)
    m, j = sums.unit_row(plan, layer, unit), sums.unit_column(plan, layer, unit)
    n_m = smaller(plan[at + UNIT_M], plan[at + SUMS_M] - m)
    has_biases = plan[BIAS] and unit == plan[at + FIRST_UNIT]
    if sums.is_only_chunk(plan):
        finish_sums(call, layer, m, n_m, j, smaller(j + plan[at + UNIT_N], plan[at + SUMS_PADDED]), has_biases)
        return
    n_n = smaller(plan[at + UNIT_N], plan[at + SUMS_N] - j)
    for i in range(m, m + n_m):
        start = plan[at + WEIGHTS] + i * plan[at + SUMS_STEP_M] + j * plan[at + SUMS_STEP_N]
        finish(call, call.totals, start, plan[at + SUMS_STEP_N], start, plan[at + SUMS_STEP_N], n_n, True)
    if has_biases:
        finish(call, call.totals, plan[at + BIASES], 1, plan[at + BIASES], 1, plan[at + N_OUT], False)


@kernel
def finish_sums(call, layer, m, n_m, first, last, has_biases):
    """Write sums to `out`: n_m rows from row m on, the columns first to last - 1, and the biases."""
    plan = call.plan
    at = record(layer)
    j = first
    while j < last:
        width = sums.panel_width(plan, call.memory, layer, j)
        panel_at = plan[at + WEIGHT_SUMS_AT] + j * plan[at + SUMS_HEIGHT]
        start, n = plan[at + WEIGHTS] + j * plan[at + SUMS_STEP_N], smaller(width, plan[at + SUMS_N] - j)
        for i in range(m, m + n_m):
            to = start + i * plan[at + SUMS_STEP_M]
            finish(call, call.memory, panel_at + i * width, 1, to, plan[at + SUMS_STEP_N], n, True)
        j += width
    if has_biases:
        finish(call, call.memory, plan[at + BIAS_SUMS_AT], 1, plan[at + BIASES], 1, plan[at + N_OUT], False)


@kernel
def merge(totals, at, step, n, first, last):
    """Merge n sums, `step` apart, along a binary tree over their numbers; of each the elements first to last - 1."""
    apart = 1
    while apart < n:
        for k in range(0, n - apart, 2 * apart):
            add_totals(totals, at + k * step + first, at + (k + apart) * step + first, last - first)
        apart *= 2


@kernel
def add_totals(totals, to, source, n):
    """Add n totals to others; written in vectors, as the compiler cannot tell that they lie apart."""
    size = register_size(totals)
    for i in range(n // size):
        place = to + i * size
        store(totals, place, load(totals, place) + load(totals, source + i * size))
    for i in range(n // size * size, n):
        totals[to + i] += totals[source + i]


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
    if sums.is_only_chunk(plan):
        for layer in range(plan[N_LAYERS]):
            at = record(layer)
            finish_sums(call, layer, 0, plan[at + SUMS_M], 0, plan[at + SUMS_PADDED], plan[BIAS])
        return
    first, last = n * worker // n_workers, n * (worker + 1) // n_workers
    merge(call.totals, 0, n, plan[N_SLOTS], first, last)
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        finish_totals(call, plan[at + WEIGHTS], plan[at + N_IN] * plan[at + N_OUT], True, first, last)
        if plan[BIAS]:
            finish_totals(call, plan[at + BIASES], plan[at + N_OUT], False, first, last)


@kernel
def finish_totals(call, at, n, is_weight, first, last):
    """Write those of n totals to `out` that lie between first and last."""
    start = larger(at, first)
    finish(call, call.totals, start, 1, start, 1, smaller(at + n, last) - start, is_weight)


@kernel
def finish(call, source, source_at, source_step, at, step, n, is_weight):
    """out = scale total + l1 sign(W) + l2 W, for n elements; biases have no penalty."""
    out, scale = call.out, call.constants[SCALE]
    l1, l2 = call.constants[L1], call.constants[L2]
    if is_weight and (l1 != 0 or l2 != 0):
        for i in range(n):
            w = call.vector[at + i * step]
            out[at + i * step] = source[source_at + i * source_step] * scale + l1 * np.sign(w) + l2 * w
    elif source_step == 1 and step == 1:  # of which the compiler makes vectors
        for i in range(n):
            out[at + i] = source[source_at + i] * scale
    else:
        for i in range(n):
            out[at + i * step] = source[source_at + i * source_step] * scale
