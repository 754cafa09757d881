"""The fused loop: block after block forward, loss and backward while the block is in cache; then a visible reduction.

Axes of a batch: row < block < chunk < slot. A block's gradient is added to its chunk's sums in the working dtype, a
chunk's to its slot's totals in float64, and slots are merged along a binary tree. Who computes a slot changes no bit.

Arguments that go through all functions:

    plan, constants      the layout of the batch (`fields`); scale, penalties and parameters of activations and the loss
    vector               parameters, (n_parameters,)
    x, y, labels         inputs (N n_inputs,); targets (N n_outputs,) or labels (N,), the other one empty
    sample_weight        (N,) or empty
    memory               a region for each worker, with its copy of the packed weights; `base` is where it starts
    totals               float64, for each slot its gradient and its loss: (N_SLOTS (n_parameters + 1),)
    out                  the gradient (n_parameters,), losses (N,) or outputs (N n_outputs,)
    mode                 GRADIENT, LOSS_SUM, LOSS_EACH, RESPONSE or LOGITS
    status               int64, for each worker what was wrong with its rows
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from .._jit import Entry, entry, kernel, prange
from . import lanes, tiles
from .fields import (
    BLOCK_ROWS,
    CHUNK_BLOCKS,
    FAMILY,
    GRADIENT,
    L1,
    L2,
    LANES,
    LOGITS,
    LOSS_EACH,
    LOSSES_AT,
    N_BLOCKS,
    N_IN,
    N_LAYERS,
    N_OUT,
    N_PARAMETERS,
    N_ROWS,
    N_SLOTS,
    RESPONSE,
    SCALE,
    SLOT_BLOCKS,
    SUMS_AT,
    SUMS_SIZE,
    WEIGHTS,
    WORKER_SIZE,
)
from .tiles import record


@kernel
def pack(plan, vector, memory, base, mode):
    """Put the weights into the form the kernels read."""
    if plan[FAMILY] == LANES:
        lanes.pack_weights(plan, vector, memory, base)
    else:
        tiles.pack_weights(plan, vector, memory, base, mode)


@kernel
def forward_and_loss(plan, constants, x, y, labels, sample_weight, memory, base, out, mode, row, n_rows):
    """One block as far as its losses, or its outputs written to `out`; returns a status."""
    in_lanes = plan[FAMILY] == LANES
    if in_lanes:
        status = lanes.forward_rows(plan, constants, x, memory, base, row, n_rows)
    else:
        status = tiles.forward_rows(plan, constants, x, memory, base, row, n_rows)
    if mode in (RESPONSE, LOGITS):
        if in_lanes:
            lanes.answer(plan, memory, base, out, mode, row, n_rows)
        else:
            tiles.answer(plan, memory, base, out, mode, row, n_rows)
    elif in_lanes:
        status |= lanes.losses_of_block(plan, constants, y, sample_weight, memory, base, row, n_rows)
    else:
        status |= tiles.losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows)
    return status


@kernel
def add_losses(plan, memory, base, totals, loss_at, out, mode, row, n_rows):
    """The block's losses into the slot's total, or each into `out`."""
    losses_at = base + plan[LOSSES_AT]
    loss = 0.0
    for i in range(n_rows):
        loss += memory[losses_at + i]
        if mode == LOSS_EACH:
            out[row + i] = memory[losses_at + i]
    totals[loss_at] += loss


@kernel
def blocks(plan, constants, vector, x, y, labels, sample_weight, memory, base, totals, out, mode, first, last):
    """Blocks first to last - 1 in order by one worker, resuming from an earlier call's sums; returns a status."""
    status = 0
    for block in range(first, last):
        row = block * plan[BLOCK_ROWS]
        n_rows = min(plan[BLOCK_ROWS], plan[N_ROWS] - row)
        status |= forward_and_loss(plan, constants, x, y, labels, sample_weight, memory, base, out, mode, row, n_rows)
        if status != 0:
            return status
        if mode in (RESPONSE, LOGITS):
            continue
        slot, in_slot = divmod(block, plan[SLOT_BLOCKS])
        totals_at = slot * (plan[N_PARAMETERS] + 1)
        if in_slot == 0:
            zero(totals, totals_at, plan[N_PARAMETERS] + 1)
        add_losses(plan, memory, base, totals, totals_at + plan[N_PARAMETERS], out, mode, row, n_rows)
        if mode == GRADIENT:
            gradient(plan, vector, memory, base, totals, totals_at, block, in_slot, n_rows)
    return status


@kernel
def zero(a, at, n):
    """a[at : at + n] = 0."""
    for i in range(at, at + n):
        a[i] = 0


@kernel
def gradient(plan, vector, memory, base, totals, totals_at, block, in_slot, n_rows):
    """Backward through the block into the chunk's sums, which go to the slot's totals with the chunk's last block."""
    if in_slot % plan[CHUNK_BLOCKS] == 0:
        zero(memory, base + plan[SUMS_AT], plan[SUMS_SIZE])
    is_last = in_slot + 1 == plan[SLOT_BLOCKS] or block + 1 == plan[N_BLOCKS]
    folds = is_last or (in_slot + 1) % plan[CHUNK_BLOCKS] == 0
    if plan[FAMILY] == LANES:
        lanes.gradient_of_block(plan, memory, base)
        if folds:
            lanes.fold(plan, vector, memory, base, totals, totals_at)
    else:
        tiles.gradient_of_block(plan, memory, base, n_rows)
        if folds:
            tiles.fold(plan, vector, memory, base, totals, totals_at)


@kernel
def reduce(plan, constants, vector, totals, out, mode):
    """Merge the slots along a binary tree over their numbers, into slot 0, and write the gradient to `out`."""
    n = plan[N_PARAMETERS]
    first = 0 if mode == GRADIENT else n
    apart = 1
    while apart < plan[N_SLOTS] and mode not in (RESPONSE, LOGITS):
        for slot in range(0, plan[N_SLOTS] - apart, 2 * apart):
            to, source = slot * (n + 1), (slot + apart) * (n + 1)
            for i in range(first, n + 1):
                totals[to + i] += totals[source + i]
        apart *= 2
    if mode == GRADIENT:
        finish(plan, constants, vector, totals, out)


@kernel
def finish(plan, constants, vector, totals, out):
    """out = scale total + l1 sign(W) + l2 W; biases have no penalty."""
    for i in range(plan[N_PARAMETERS]):
        out[i] = totals[i] * constants[SCALE]
    if constants[L1] == 0 and constants[L2] == 0:
        return
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        start = plan[at + WEIGHTS]
        stop = start + plan[at + N_IN] * plan[at + N_OUT]
        for i in range(start, stop):
            w = vector[i]
            out[i] = totals[i] * constants[SCALE] + constants[L1] * np.sign(w) + constants[L2] * w


# -- entries ---------------------------------------------------------------------------------------------------------


@kernel
def steps(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, mode, first, count):
    """Blocks first to first + count - 1 on the calling thread; the last of them is followed by the reduction."""
    if first == 0:
        pack(plan, vector, memory, 0, mode)
    last = min(first + count, plan[N_BLOCKS])
    status = blocks(plan, constants, vector, x, y, labels, sample_weight, memory, 0, totals, out, mode, first, last)
    if status == 0 and last == plan[N_BLOCKS]:
        reduce(plan, constants, vector, totals, out, mode)
    return status


def serial(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, mode, first, count):
    """A launch on the calling thread; returns a status."""
    return steps(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, mode, first, count)


def descend(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, rate, losses):
    """len(losses) steps of gradient descent on the calling thread, vector -= rate gradient; returns a status.

    losses[t] is the loss before step t, scaled like the gradient and without penalties.
    """
    n_blocks = plan[N_BLOCKS]
    for t in range(losses.size):
        status = steps(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, GRADIENT, 0, n_blocks)
        if status != 0:
            return status
        losses[t] = totals[plan[N_PARAMETERS]] * constants[SCALE]
        for i in range(vector.size):
            vector[i] -= rate * out[i]
    return 0


@kernel
def work(worker, n_workers, first, count, plan, constants, vector, x, y, labels, sample_weight, memory, totals, out,
         mode, status):  # fmt: skip
    """`count` of a worker's blocks, from its block `first` on. Its blocks are those of a run of whole slots."""
    base = worker * plan[WORKER_SIZE]
    if first == 0:
        pack(plan, vector, memory, base, mode)
    start = plan[N_SLOTS] * worker // n_workers * plan[SLOT_BLOCKS]
    stop = min(plan[N_SLOTS] * (worker + 1) // n_workers * plan[SLOT_BLOCKS], plan[N_BLOCKS])
    status[worker] |= blocks(
        plan, constants, vector, x, y, labels, sample_weight, memory, base, totals, out, mode,
        start + first, min(start + first + count, stop),
    )  # fmt: skip


def parallel(n_workers, first, count, plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, mode,
             status):  # fmt: skip
    """A launch: `count` blocks of each of n_workers workers."""
    for worker in prange(n_workers):
        work(worker, n_workers, first, count, plan, constants, vector, x, y, labels, sample_weight, memory, totals,
             out, mode, status)  # fmt: skip


def reduction(plan, constants, vector, totals, out, mode):
    """The reduction of a call whose blocks are done."""
    reduce(plan, constants, vector, totals, out, mode)


class Entries(NamedTuple):
    """The compiled functions of one dtype."""

    serial: Entry
    descend: Entry
    parallel: Entry
    reduction: Entry


@functools.cache
def entries(dtype: np.dtype) -> Entries:
    """The kernels for float32 or float64; compiled or loaded when first called. A new network compiles nothing."""
    real = numba.from_dtype(dtype)

    def array(element):
        return types.Array(element, 1, "C")

    integers, reals, doubles, n = array(types.int64), array(real), array(types.float64), types.int64
    common = (integers, doubles, reals, reals, reals, integers, reals, reals, doubles, reals)
    return Entries(
        serial=entry(n(*common, n, n, n))(serial),
        descend=entry(n(*common, types.float64, doubles))(descend),
        parallel=entry(types.void(n, n, n, *common, n, integers), parallel=True)(parallel),
        reduction=entry(types.void(integers, doubles, reals, doubles, reals, n))(reduction),
    )
