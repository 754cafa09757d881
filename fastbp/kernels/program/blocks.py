"""Blocks on their way: forward, loss and backward, of a worker's accumulators or of its part of a wave.

Axes of a batch: row < block < chunk < accumulator. A block's gradient is added to its chunk's sums in the working
dtype, a chunk's to its accumulator in float64. Who computes an accumulator changes no bit.

A worker that has whole accumulators does everything to one block after another. Where workers share a wave of blocks,
the blocks are kept after dZ, and then the weight gradients are shared out by units: some rows and columns of one
layer's dW, summed over the whole wave by one worker.
"""

from ...compiler.jit import kernel
from ..math.elementwise import prefetch_rows
from ..math.integers import smaller
from ..simd.across import first as first_lanes
from ..simd.across import total
from ..simd.registers import load, register_size, splat
from ..small.network import (
    fold_small,
    forward_small,
    gradient_small,
    input_gradient_small,
    losses_small,
    pack_units,
    write_outputs_small,
)
from ..structures import BAD_INPUT, GRADIENT, LOGITS, LOSS_EACH, RESPONSE, SMALL, Block, block_losses_offset
from ..wide import sums
from ..wide.layers import (
    deltas_below,
    deltas_of_block,
    forward_wide,
    input_gradient_wide,
    losses_wide,
    pack_weights,
    part_of_next,
    write_outputs_wide,
)
from ..wide.sparse import TOGETHER, add_sparse_products, scan_block


@kernel
def gives_outputs(plan):
    """Whether the call wants outputs, not losses."""
    return plan.mode == RESPONSE or plan.mode == LOGITS


@kernel
def block_of(plan, number, region, sums_offset):
    """A block by its number, in a region by its own."""
    row = number * plan.block_rows
    n_rows = smaller(plan.block_rows, plan.n_rows - row)
    return Block(plan.regions_offset + region * plan.region_size, sums_offset, row, n_rows)


@kernel
def forward_and_loss(call, block):
    """One block as far as its losses, or its outputs written to `out`; returns a status."""
    plan = call.plan
    is_small = plan.family == SMALL
    status = forward_small(call, block) if is_small else forward_wide(call, block)
    if gives_outputs(plan):
        if is_small:
            write_outputs_small(call, block)
        else:
            write_outputs_wide(call, block)
    else:
        status |= losses_small(call, block) if is_small else losses_wide(call, block)
    return status


@kernel
def add_losses(call, block, number):
    """The sum of the block's losses, and each into `out` where wanted."""
    plan, memory, losses_at = call.plan, call.memory, block.region_offset + call.plan.losses_offset
    added = splat(memory, 0.0)
    for i in range(0, block.n_rows, register_size(memory)):
        added = added + first_lanes(load(memory, losses_at + i), block.n_rows - i)
    call.accumulators[block_losses_offset(plan) + number] = total(added)
    if plan.mode == LOSS_EACH:
        for i in range(block.n_rows):
            call.out[block.row + i] = memory[losses_at + i]


@kernel
def input_gradient(call, block, worker):
    """dL/dx of a block, after its losses and, where they are wanted, its weight gradients."""
    plan = call.plan
    if plan.family == SMALL:
        input_gradient_small(call, block)
        return
    if plan.mode != GRADIENT:  # which has left every layer's dZ
        deltas_of_block(plan, call.memory, block)
    input_gradient_wide(call, block, plan.input_deltas_offset + worker * plan.input_deltas_size)


# -- whole accumulators ----------------------------------------------------------------------------------------------


@kernel
def blocks_of_accumulators(call, worker, n_workers, first, count):
    """A worker's blocks with all that they need, resuming from an earlier launch's sums; returns a status.

    The blocks of a worker are those of a run of whole accumulators.
    """
    plan = call.plan
    is_small = plan.family == SMALL
    region_offset = plan.regions_offset + worker * plan.region_size
    if is_small and first == 0:
        pack_units(call, region_offset)
    start = plan.n_accumulators * worker // n_workers * plan.accumulator_blocks
    stop = smaller(plan.n_accumulators * (worker + 1) // n_workers * plan.accumulator_blocks, plan.n_blocks)
    for number in range(start + first, smaller(start + first + count, stop)):
        block = block_of(plan, number, worker, region_offset if is_small else worker * plan.sums_size)
        status = forward_and_loss(call, block)
        if status != 0:
            return status
        if gives_outputs(plan):
            continue
        add_losses(call, block, number)
        if plan.mode == GRADIENT:
            add_gradient(call, block, number)
        if plan.wants_input_gradient:
            input_gradient(call, block, worker)
    return 0


@kernel
def add_gradient(call, block, number):
    """Backward through the block into the chunk's sums, which go to the accumulator with the chunk's last block."""
    plan, memory = call.plan, call.memory
    if sums.starts_chunk(plan, number):
        sums.zero(memory, block.sums_offset + plan.sums_offset, plan.sums_size)
    if plan.family == SMALL:
        gradient_small(plan, memory, block.region_offset)
        if sums.ends_chunk(plan, number):
            if sums.is_first_chunk(plan, number):
                sums.zero(call.accumulators, sums.accumulator_of(plan, number), plan.n_parameters)
            fold_small(call, block.region_offset, sums.accumulator_of(plan, number))
        return
    for back in range(plan.n_layers):
        n = plan.n_layers - 1 - back
        if not plan.has_labels:
            prefetch_rows(call.y, *part_of_next(plan, block.row, plan.n_outputs, back))
        sums.add_block(plan, memory, block, n)
        if n > 0:
            deltas_below(plan, memory, block, n)
    if sums.ends_chunk(plan, number) and not sums.is_only_chunk(plan):
        sums.fold(call, block.sums_offset, number)


# -- waves: what workers share ---------------------------------------------------------------------------------------


@kernel
def pack_for_all(call, worker, n_workers):
    """A worker's part of the packed weights that all share."""
    plan = call.plan
    pack_weights(call, plan.n_packed * worker // n_workers, plan.n_packed * (worker + 1) // n_workers)


@kernel
def end_of_wave(plan, start):
    """The end of the wave that starts at a block."""
    return smaller(start + plan.wave_blocks, plan.n_blocks)


@kernel
def sparse_inputs_of_wave(call, wave, worker, n_workers, first, count):
    """z_1 of a worker's blocks of the wave that starts at a block, from sparse inputs; returns a status."""
    plan = call.plan
    n_blocks = end_of_wave(plan, wave) - wave
    start = n_blocks * worker // n_workers + first
    stop = smaller(start + count, n_blocks * (worker + 1) // n_workers)
    for first_slice in range(-TOGETHER, plan.n_slices, TOGETHER):
        for k in range(start, stop):
            block = block_of(plan, wave + k, k, 0)
            if first_slice >= 0:
                add_sparse_products(call, block, first_slice)
            elif not scan_block(call, block):
                return BAD_INPUT
    return 0


@kernel
def blocks_of_wave(call, wave, worker, n_workers, first, count):
    """A worker's blocks of the wave that starts at a block, as far as every layer's dZ; returns a status."""
    plan = call.plan
    n_blocks = end_of_wave(plan, wave) - wave
    start = n_blocks * worker // n_workers + first
    for k in range(start, smaller(start + count, n_blocks * (worker + 1) // n_workers)):
        is_kept = plan.mode == GRADIENT or plan.is_sparse
        block = block_of(plan, wave + k, k if is_kept else worker, 0)  # the worker's own region may be written over
        status = forward_and_loss(call, block)
        if status != 0:
            return status
        if not gives_outputs(plan):
            add_losses(call, block, wave + k)
        if plan.mode == GRADIENT:
            deltas_of_block(plan, call.memory, block)
        if plan.wants_input_gradient:
            input_gradient(call, block, worker)
    return 0
