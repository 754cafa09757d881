"""Blocks on their way: forward, loss and backward, of a worker's slots or of its part of a stretch.

Axes of a batch: row < block < chunk < slot. A block's gradient is added to its chunk's sums in the working dtype, a
chunk's to its slot's totals in float64. Who computes a slot changes no bit.
"""

from .._jit import kernel
from . import lanes, outputs, sparse, sums, tiles
from .across import first, total
from .elementwise import bring_nearer
from .fields import (
    BAD_INPUT,
    BLOCK_ROWS,
    FAMILY,
    GRADIENT,
    HAS_LABELS,
    INPUT_DELTAS_AT,
    INPUT_DELTAS_SIZE,
    IS_SPARSE,
    LANES,
    LOGITS,
    LOSS_EACH,
    LOSSES_AT,
    MODE,
    N_BLOCKS,
    N_LAYERS,
    N_OUTPUTS,
    N_PARAMETERS,
    N_ROWS,
    N_SLICES,
    N_SLOTS,
    N_STRIPS,
    REGION_SIZE,
    REGIONS_AT,
    RESPONSE,
    SLOT_BLOCKS,
    STRETCH_BLOCKS,
    SUMS_AT,
    SUMS_SIZE,
    VALUES_AT,
    WANTS_INPUTS,
)
from .gemm import smaller
from .simd import load, register_size, splat


@kernel
def gives_outputs(plan):
    """Whether the call wants outputs, not losses."""
    return plan[MODE] == RESPONSE or plan[MODE] == LOGITS


@kernel
def forward_and_loss(call, base, packed, row, n_rows):
    """One block as far as its losses, or its outputs written to `out`; returns a status."""
    plan, constants, memory = call.plan, call.constants, call.memory
    in_lanes = plan[FAMILY] == LANES
    if in_lanes:
        status = lanes.forward_rows(plan, constants, call.x, memory, base, row, n_rows)
    else:
        status = tiles.forward_rows(plan, constants, call.x, memory, base, packed, row, n_rows)
    if gives_outputs(plan):
        if in_lanes:
            outputs.answer(plan, memory, base + plan[lanes.OUTPUT + VALUES_AT], call.out, row, n_rows)
        else:
            tiles.answer(plan, memory, base, call.out, row, n_rows)
    elif in_lanes:
        status |= lanes.losses_of_block(
            plan, constants, call.y, call.labels, call.sample_weight, memory, base, row, n_rows
        )
    else:
        status |= tiles.losses_of_block(
            plan, constants, call.y, call.labels, call.sample_weight, memory, base, row, n_rows
        )
    return status


@kernel
def add_losses(call, base, block, row, n_rows):
    """The sum of the block's losses, and each into `out` where wanted."""
    losses_at = base + call.plan[LOSSES_AT]
    added = splat(call.memory, 0.0)
    for i in range(0, n_rows, register_size(call.memory)):
        added = added + first(load(call.memory, losses_at + i), n_rows - i)
    call.totals[loss_sums_at(call.plan) + block] = total(added)
    if call.plan[MODE] == LOSS_EACH:
        for i in range(n_rows):
            call.out[row + i] = call.memory[losses_at + i]


@kernel
def blocks_of_slots(call, worker, n_workers, first, count):
    """A worker's blocks with all that they need, resuming from an earlier launch's sums; returns a status.

    The blocks of a worker are those of a run of whole slots.
    """
    plan = call.plan
    base = plan[REGIONS_AT] + worker * plan[REGION_SIZE]
    in_lanes = plan[FAMILY] == LANES
    packed, sums_base = (base, base) if in_lanes else (0, worker * plan[SUMS_SIZE])
    if in_lanes and first == 0:
        lanes.pack_weights(plan, call.vector, call.memory, base)
    start = plan[N_SLOTS] * worker // n_workers * plan[SLOT_BLOCKS]
    stop = smaller(plan[N_SLOTS] * (worker + 1) // n_workers * plan[SLOT_BLOCKS], plan[N_BLOCKS])
    for block in range(start + first, smaller(start + first + count, stop)):
        row = block * plan[BLOCK_ROWS]
        n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - row)
        status = forward_and_loss(call, base, packed, row, n_rows)
        if status != 0:
            return status
        if gives_outputs(plan):
            continue
        add_losses(call, base, block, row, n_rows)
        if plan[MODE] == GRADIENT:
            gradient(call, base, sums_base, block, n_rows)
        if plan[WANTS_INPUTS]:
            input_gradient(call, base, packed, worker, row, n_rows, plan[MODE] == GRADIENT)
    return 0


@kernel
def input_gradient(call, base, packed, worker, row, n_rows, has_deltas):
    """dL/dx of a block, after its losses; `has_deltas` if every layer's dZ is there."""
    plan, memory = call.plan, call.memory
    if plan[FAMILY] == LANES:
        lanes.input_gradient(plan, call.constants, memory, base, call.d_x, row, n_rows)
        return
    if not has_deltas:
        tiles.deltas_of_block(plan, memory, base, packed, n_rows)
    deltas_at = plan[INPUT_DELTAS_AT] + worker * plan[INPUT_DELTAS_SIZE]
    tiles.input_gradient(plan, call.constants, memory, base, packed, deltas_at, call.d_x, row, n_rows)


@kernel
def gradient(call, base, sums_base, block, n_rows):
    """Backward through the block into the chunk's sums, which go to the slot's totals with the chunk's last block."""
    plan, memory = call.plan, call.memory
    if sums.starts_chunk(plan, block):
        sums.zero(memory, sums_base + plan[SUMS_AT], plan[SUMS_SIZE])
    if plan[FAMILY] == LANES:
        lanes.gradient_of_block(plan, memory, base)
        if sums.ends_chunk(plan, block):
            if sums.is_first_chunk(plan, block):
                sums.zero(call.totals, sums.totals_of(plan, block), plan[N_PARAMETERS])
            lanes.fold(plan, call.vector, memory, base, call.totals, sums.totals_of(plan, block))
    else:
        for back in range(plan[N_LAYERS]):
            layer = plan[N_LAYERS] - 1 - back
            if not plan[HAS_LABELS]:
                bring_nearer(call.y, *tiles.part_of_next(plan, block * plan[BLOCK_ROWS], plan[N_OUTPUTS], back))
            sums.add_block(plan, memory, base, sums_base, layer, n_rows)
            if layer > 0:
                tiles.deltas_below(plan, memory, base, 0, layer, n_rows)
        if sums.ends_chunk(plan, block) and not sums.is_only_chunk(plan):
            sums.fold(plan, memory, sums_base, call.totals, block)


@kernel
def loss_sums_at(plan):
    """Where the blocks' sums of losses start in the totals: behind the slots."""
    return plan[N_SLOTS] * plan[N_PARAMETERS]


# -- stretches: what workers share -----------------------------------------------------------------------------------


@kernel
def pack_for_all(call, worker, n_workers):
    """A worker's part of the packed weights that all share."""
    plan = call.plan
    first, last = plan[N_STRIPS] * worker // n_workers, plan[N_STRIPS] * (worker + 1) // n_workers
    tiles.pack_weights(plan, call.vector, call.memory, 0, first, last)


@kernel
def end_of_stretch(plan, start):
    """Behind the last block of the stretch that starts at a block."""
    return smaller(start + plan[STRETCH_BLOCKS], plan[N_BLOCKS])


@kernel
def sparse_inputs_of_stretch(call, stretch, worker, n_workers, first, count):
    """z_1 of a worker's blocks of the stretch that starts at a block, from sparse inputs; returns a status."""
    plan, memory = call.plan, call.memory
    n_blocks = end_of_stretch(plan, stretch) - stretch
    start = n_blocks * worker // n_workers + first
    stop = smaller(start + count, n_blocks * (worker + 1) // n_workers)
    for step in range(-sparse.TOGETHER, plan[N_SLICES], sparse.TOGETHER):
        for k in range(start, stop):
            row = (stretch + k) * plan[BLOCK_ROWS]
            n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - row)
            base = plan[REGIONS_AT] + k * plan[REGION_SIZE]
            if step >= 0:
                sparse.add_products(plan, call.vector, call.x, memory, base, row, n_rows, step)
            elif not sparse.begin_block(plan, call.x, memory, base, 0, row, n_rows):
                return BAD_INPUT
    return 0


@kernel
def blocks_of_stretch(call, stretch, worker, n_workers, first, count):
    """A worker's blocks of the stretch that starts at a block, as far as every layer's dZ; returns a status."""
    plan = call.plan
    n_blocks = end_of_stretch(plan, stretch) - stretch
    start = n_blocks * worker // n_workers + first
    for k in range(start, smaller(start + count, n_blocks * (worker + 1) // n_workers)):
        row = (stretch + k) * plan[BLOCK_ROWS]
        n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - row)
        is_kept = plan[MODE] == GRADIENT or plan[IS_SPARSE]
        region = k if is_kept else worker  # whose values nobody needs any more can be written over
        base = plan[REGIONS_AT] + region * plan[REGION_SIZE]
        status = forward_and_loss(call, base, 0, row, n_rows)
        if status != 0:
            return status
        if not gives_outputs(plan):
            add_losses(call, base, stretch + k, row, n_rows)
        if plan[MODE] == GRADIENT:
            tiles.deltas_of_block(plan, call.memory, base, 0, n_rows)
        if plan[WANTS_INPUTS]:
            input_gradient(call, base, 0, worker, row, n_rows, plan[MODE] == GRADIENT)
    return 0
