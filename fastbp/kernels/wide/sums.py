"""Sums of weight gradients: of a block, of a unit of them over a wave, and how they reach the accumulators in float64.

The sums of a layer are those of dW = A^T dZ, or of its transpose dW' = dZ^T A where that takes fewer microtiles: a
product left^T right with rows m and columns n in panels, as in `gemm`. Which it is, stands in the layer.
"""

from typing import Any, NamedTuple

from ...compiler.jit import kernel
from ..math.integers import smaller
from ..simd.microtile import n_columns, narrow, wide
from ..structures import UNITS, WIDE, Block, Rows, call_at, layer_of
from .gemm import Panels, Part, add_bias_gradient, add_weight_gradient
from .layers import slopes_of
from .narrow_output import add_narrow_biases, add_narrow_weights


class Panel(NamedTuple):
    """A panel of a layer's sums: where it starts in memory, its columns, and how many of them are no padding."""

    offset: Any
    width: Any
    n: Any


@kernel
def panel_at(plan, memory, layer, sums_offset, j):
    """The panel of sums that starts at column j; the next one starts at j + width."""
    width = n_columns(wide(memory)) if j < layer.sums_wide else n_columns(narrow(memory))
    if layer.is_one_panel:
        width = layer.sums_padded
    offset = sums_offset + layer.weight_sums_offset + j * layer.sums_height
    return Panel(offset, width, smaller(width, layer.sums_columns - j))


@kernel
def all_sums(layer):
    """All of a layer's sums, as a part."""
    return Part(0, layer.sums_rows, 0, layer.sums_padded)


@kernel
def add_block(plan, memory, block, n):
    """Add a block's dW and db of layer n to the chunk's sums."""
    layer = layer_of(plan, n)
    add_part(plan, memory, block, layer, all_sums(layer))
    if plan.has_bias:
        add_biases(plan, memory, block, layer)


@kernel
def add_part(plan, memory, block, layer, part):
    """Add a block's part to the sums."""
    if layer.has_narrow_output:  # rows too few to be parted
        add_narrow_weights(plan, memory, block, part.first, part.last)
        return
    offset, region = block.sums_offset + layer.weight_sums_offset, block.region_offset
    sums = Panels(offset, layer.sums_height, layer.sums_padded, layer.sums_wide)
    left = Rows(region + layer.left_offset, layer.left_stride, block.n_rows, layer.sums_rows)
    right = Rows(region + layer.right_offset, layer.right_stride, block.n_rows, layer.sums_columns)
    add_weight_gradient(memory, sums, left, right, part)


@kernel
def add_biases(plan, memory, block, layer):
    """Add a block's db of one layer to the sums."""
    if layer.has_narrow_output:
        add_narrow_biases(plan, memory, block)
        return
    d = slopes_of(layer, block)
    d = Rows(d.offset, d.stride, d.n_rows, layer.padded_out)
    add_bias_gradient(memory, block.sums_offset + layer.bias_sums_offset, d)


# -- to the accumulators ---------------------------------------------------------------------------------------------


@kernel
def starts_chunk(plan, block):
    """Whether a block is the first one of its chunk."""
    return block % plan.accumulator_blocks % plan.chunk_blocks == 0


@kernel
def ends_chunk(plan, block):
    """Whether a block is the last one of its chunk, be it of its accumulator or of the batch."""
    return starts_chunk(plan, block + 1) or block + 1 == plan.n_blocks


@kernel
def is_first_chunk(plan, block):
    """Whether the block's accumulator starts with its chunk."""
    return block % plan.accumulator_blocks < plan.chunk_blocks


@kernel
def is_only_chunk(plan):
    """Whether the batch is one chunk, with features in the lanes: its sums are the gradient."""
    return plan.family == WIDE and plan.chunk_blocks >= plan.n_blocks


@kernel
def accumulator_of(plan, block):
    """Where the block's accumulator starts."""
    return block // plan.accumulator_blocks * plan.n_parameters


@kernel
def fold(call, sums_offset, block):
    """Add the sums of the chunk that ends with a block to its accumulator; the first chunk's are its start."""
    plan = call.plan
    for n in range(plan.n_layers):
        layer = layer_of(plan, n)
        fold_part(call, sums_offset, layer, all_sums(layer), block)
        if plan.has_bias:
            fold_biases(call, sums_offset, layer, block)


@kernel
def fold_part(call, sums_offset, layer, part, block):
    """Add a part of the sums to the block's accumulator, without padding."""
    plan, memory, accumulators = call.plan, call.memory, call.accumulators
    start, is_first = accumulator_of(plan, block) + layer.weights_offset, is_first_chunk(plan, block)
    j = part.first
    while j < part.last:
        panel = panel_at(plan, memory, layer, sums_offset, j)
        to = start + j * layer.sums_column_stride
        for i in range(part.row, part.row + part.n_rows):
            row_at, row_to = panel.offset + i * panel.width, to + i * layer.sums_row_stride
            add_row(memory, row_at, panel.n, accumulators, row_to, layer.sums_column_stride, is_first)
        j += panel.width


@kernel
def fold_biases(call, sums_offset, layer, block):
    """Add the sums of a layer's biases to the block's accumulator."""
    plan, memory, accumulators = call.plan, call.memory, call.accumulators
    to, sums_at = accumulator_of(plan, block) + layer.biases_offset, sums_offset + layer.bias_sums_offset
    add_row(memory, sums_at, layer.n_out, accumulators, to, 1, is_first_chunk(plan, block))


@kernel
def add_row(memory, sums_at, n, accumulators, at, stride, is_first):
    """Add n sums to an accumulator, whose numbers lie `stride` apart, or start from them."""
    if is_first:
        for k in range(n):
            accumulators[at + k * stride] = memory[sums_at + k]
    elif stride == 1:  # of which the compiler makes vectors
        for k in range(n):
            accumulators[at + k] += memory[sums_at + k]
    else:
        for k in range(n):
            accumulators[at + k * stride] += memory[sums_at + k]


# -- units: parts of a layer's sums, where workers share a wave ------------------------------------------------------


@kernel
def part_of_unit(layer, unit):
    """The part of the sums that a unit has: units of the same columns follow each other."""
    high, number = (layer.sums_rows + layer.unit_rows - 1) // layer.unit_rows, unit - layer.first_unit
    row, first = number % high * layer.unit_rows, number // high * layer.unit_columns
    n_rows = smaller(layer.unit_rows, layer.sums_rows - row)
    return Part(row, n_rows, first, smaller(first + layer.unit_columns, layer.sums_padded))


@kernel
def layer_of_unit(plan, unit):
    """The number of the layer that a unit belongs to."""
    n = plan.n_layers - 1
    while layer_of(plan, n).first_unit > unit:
        n -= 1
    return n


@kernel
def add_unit(call, start, stop, n, unit):
    """Add the blocks start to stop - 1 to a unit of the chunk's sums, and a whole chunk's to its accumulator.

    The first unit of a layer has the biases.
    """
    plan, memory, layer = call.plan, call.memory, layer_of(call.plan, n)
    part, has_biases = part_of_unit(layer, unit), plan.has_bias and unit == layer.first_unit
    for number in range(start, stop):
        row = number * plan.block_rows
        region, n_rows = number - start, smaller(plan.block_rows, plan.n_rows - row)
        block = Block(plan.regions_offset + region * plan.region_size, 0, row, n_rows)
        if starts_chunk(plan, number):
            zero_part(plan, memory, layer, part)
            if has_biases:
                zero(memory, layer.bias_sums_offset, layer.padded_out)
        if n == 0 and plan.is_sparse:
            call_at(plan.sparse_address, call.vector, plan.address, UNITS, number, region, 1, part.row, part.n_rows)
        else:
            add_part(plan, memory, block, layer, part)
        if has_biases:
            add_biases(plan, memory, block, layer)
        if ends_chunk(plan, number) and not is_only_chunk(plan):
            fold_part(call, 0, layer, part, number)
            if has_biases:
                fold_biases(call, 0, layer, number)


@kernel
def zero_part(plan, memory, layer, part):
    """Set a part of the sums to 0."""
    j = part.first
    while j < part.last:
        panel = panel_at(plan, memory, layer, 0, j)
        zero(memory, panel.offset + part.row * panel.width, part.n_rows * panel.width)
        j += panel.width


@kernel
def zero(a, at, n):
    """a[at : at + n] = 0."""
    for i in range(at, at + n):
        a[i] = 0
