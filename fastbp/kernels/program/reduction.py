"""What becomes of the sums: units of weight gradients over a wave, and accumulators merged into the gradient.

Accumulators are merged along a binary tree over their numbers; out = scale total + l1 sign(W) + l2 W.
"""

import numpy as np

from ...compiler.jit import kernel
from ..math.integers import larger, smaller
from ..simd.registers import load, register_size, store
from ..structures import GRADIENT, block_losses_offset, layer_of
from ..wide import sums
from .blocks import end_of_wave, gives_outputs


@kernel
def units_of_wave(call, wave, worker, n_workers, first, count):
    """A worker's units of the weight gradients over the wave that starts at a block; the last wave finishes them."""
    plan = call.plan
    stop = end_of_wave(plan, wave)
    start = plan.n_units * worker // n_workers + first
    for unit in range(start, smaller(start + count, plan.n_units * (worker + 1) // n_workers)):
        n = sums.layer_of_unit(plan, unit)
        sums.add_unit(call, wave, stop, n, unit)
        if stop == plan.n_blocks and plan.n_accumulators == 1:
            finish_unit(call, layer_of(plan, n), unit)


@kernel
def finish_unit(call, layer, unit):
    """Write a unit's part of the gradient to `out`, from the accumulator or, where they are all, from the sums."""
    plan, accumulators, stride = call.plan, call.accumulators, layer.sums_column_stride
    part, has_biases = sums.part_of_unit(layer, unit), plan.has_bias and unit == layer.first_unit
    if sums.is_only_chunk(plan):
        finish_sums(call, layer, part, has_biases)
        return
    n_n = smaller(layer.unit_columns, layer.sums_columns - part.first)
    for i in range(part.row, part.row + part.n_rows):
        start = layer.weights_offset + i * layer.sums_row_stride + part.first * stride
        finish_weights(call, accumulators, start, stride, start, stride, n_n)
    if has_biases:
        finish_biases(call, accumulators, layer.biases_offset, layer.biases_offset, layer.n_out)


@kernel
def finish_sums(call, layer, part, has_biases):
    """Write a part of the sums to `out`, and perhaps the biases."""
    plan, memory, stride = call.plan, call.memory, layer.sums_column_stride
    j = part.first
    while j < part.last:
        panel = sums.panel_at(plan, memory, layer, 0, j)
        for i in range(part.row, part.row + part.n_rows):
            to = layer.weights_offset + i * layer.sums_row_stride + j * stride
            finish_weights(call, memory, panel.offset + i * panel.width, 1, to, stride, panel.n)
        j += panel.width
    if has_biases:
        finish_biases(call, memory, layer.bias_sums_offset, layer.biases_offset, layer.n_out)


@kernel
def merge(accumulators, stride, n, first, last):
    """Merge n accumulators along a binary tree over their numbers: of each the elements first to last - 1."""
    apart = 1
    while apart < n:
        for k in range(0, n - apart, 2 * apart):
            add_to_accumulator(accumulators, k * stride + first, (k + apart) * stride + first, last - first)
        apart *= 2


@kernel
def add_to_accumulator(accumulators, to, source, n):
    """Add n numbers to others; written in vectors, as the compiler cannot tell that they lie apart."""
    size = register_size(accumulators)
    for i in range(n // size):
        place = to + i * size
        store(accumulators, place, load(accumulators, place) + load(accumulators, source + i * size))
    for i in range(n // size * size, n):
        accumulators[to + i] += accumulators[source + i]


@kernel
def reduce(call, worker, n_workers):
    """Merge the accumulators into the first one, and write a worker's part of the gradient to `out`."""
    plan, n = call.plan, call.plan.n_parameters
    if gives_outputs(plan):
        return
    if worker == 0:
        losses_at = block_losses_offset(plan)
        merge(call.accumulators, 1, plan.n_blocks, losses_at, losses_at + 1)
        plan.penalty = penalty(plan, call.vector)
    has_finished_units = plan.wave_blocks > 0 and plan.n_accumulators == 1
    if plan.mode != GRADIENT or has_finished_units:
        return
    if sums.is_only_chunk(plan):
        for number in range(plan.n_layers):
            layer = layer_of(plan, number)
            finish_sums(call, layer, sums.all_sums(layer), plan.has_bias)
        return
    first, last = n * worker // n_workers, n * (worker + 1) // n_workers
    merge(call.accumulators, n, plan.n_accumulators, first, last)
    for number in range(plan.n_layers):
        layer = layer_of(plan, number)
        start, end = larger(layer.weights_offset, first), layer.weights_offset + layer.n_in * layer.n_out
        finish_weights(call, call.accumulators, start, 1, start, 1, smaller(end, last) - start)
        if plan.has_bias:
            start, end = larger(layer.biases_offset, first), layer.biases_offset + layer.n_out
            finish_biases(call, call.accumulators, start, start, smaller(end, last) - start)


@kernel
def penalty(plan, vector):
    """l1 sum|W| + l2/2 sum W^2."""
    absolute, square = 0.0, 0.0
    if plan.l1 == 0 and plan.l2 == 0:
        return 0.0
    for number in range(plan.n_layers):
        layer = layer_of(plan, number)
        for i in range(layer.weights_offset, layer.weights_offset + layer.n_in * layer.n_out):
            w = np.float64(vector[i])
            absolute += abs(w)
            square += w * w
    return plan.l1 * absolute + plan.l2 / 2 * square


@kernel
def finish_weights(call, source, source_at, source_stride, at, stride, n):
    """out = scale total + l1 sign(W) + l2 W, for n weights."""
    plan, out = call.plan, call.out
    scale, l1, l2 = plan.scale, plan.l1, plan.l2
    if l1 != 0 or l2 != 0:
        for i in range(n):
            w = call.vector[at + i * stride]
            out[at + i * stride] = source[source_at + i * source_stride] * scale + l1 * np.sign(w) + l2 * w
    elif source_stride == 1 and stride == 1:  # of which the compiler makes vectors
        for i in range(n):
            out[at + i] = source[source_at + i] * scale
    else:
        for i in range(n):
            out[at + i * stride] = source[source_at + i * source_stride] * scale


@kernel
def finish_biases(call, source, source_at, at, n):
    """out = scale total, for n biases, which have no penalty."""
    out, scale = call.out, call.plan.scale
    for i in range(n):
        out[at + i] = source[source_at + i] * scale
