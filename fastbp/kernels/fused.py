"""The fused loop: block after block forward, loss and backward while the block is in cache; then a visible reduction.

Axes of a batch: row < block < chunk < slot. A block's gradient is added to its chunk's sums in the working dtype, a
chunk's to its slot's totals in float64, and slots are merged along a binary tree. Who computes a slot changes no bit.
"""

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types

from .._jit import Entry, entry, intrinsic, kernel, prange
from . import lanes, outputs, tiles
from .across import first, total
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
    MODE,
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
from .simd import load, pointer, register_size, splat
from .tiles import record


class Call(NamedTuple):
    """The memory of a call, as pointers."""

    plan: Any  # int64: the layout of the batch and what to compute, see `fields`
    constants: Any  # float64: scale, penalties, parameters of the loss and the activations
    vector: Any  # parameters, (n_parameters,)
    x: Any  # inputs, (N n_inputs,)
    y: Any  # targets, (N n_outputs,), unless there are labels
    labels: Any  # int64 (N,)
    sample_weight: Any  # (N,), if there are any
    memory: Any  # a region for each worker, with its copy of the packed weights; `base` is where it starts
    totals: Any  # float64, for each slot its gradient and its loss, (N_SLOTS, n_parameters + 1)
    out: Any  # the gradient (n_parameters,), losses (N,) or outputs (N n_outputs,)


@kernel
def pack(call, base):
    """Put the weights into the form the kernels read."""
    if call.plan[FAMILY] == LANES:
        lanes.pack_weights(call.plan, call.vector, call.memory, base)
    else:
        tiles.pack_weights(call.plan, call.vector, call.memory, base)


@kernel
def gives_outputs(plan):
    """Whether the call wants outputs, not losses."""
    return plan[MODE] == RESPONSE or plan[MODE] == LOGITS


@kernel
def forward_and_loss(call, base, row, n_rows):
    """One block as far as its losses, or its outputs written to `out`; returns a status."""
    plan, constants, memory = call.plan, call.constants, call.memory
    in_lanes = plan[FAMILY] == LANES
    if in_lanes:
        status = lanes.forward_rows(plan, constants, call.x, memory, base, row, n_rows)
    else:
        status = tiles.forward_rows(plan, constants, call.x, memory, base, row, n_rows)
    if gives_outputs(plan):
        if in_lanes:
            lanes.answer(plan, memory, base, call.out, row, n_rows)
        else:
            tiles.answer(plan, memory, base, call.out, row, n_rows)
    elif in_lanes:
        status |= outputs.losses_of_block(
            plan, constants, call.y, call.labels, call.sample_weight, memory, base, row, n_rows
        )
    else:
        status |= tiles.losses_of_block(
            plan, constants, call.y, call.labels, call.sample_weight, memory, base, row, n_rows
        )
    return status


@kernel
def add_losses(call, base, totals_at, row, n_rows):
    """The block's losses into the slot's total, or each into `out`."""
    losses_at = base + call.plan[LOSSES_AT]
    sums = splat(call.memory, 0.0)
    for i in range(0, n_rows, register_size(call.memory)):
        sums = sums + first(load(call.memory, losses_at + i), n_rows - i)
    call.totals[totals_at + call.plan[N_PARAMETERS]] += total(sums)
    if call.plan[MODE] == LOSS_EACH:
        for i in range(n_rows):
            call.out[row + i] = call.memory[losses_at + i]


@kernel
def blocks(call, base, first, last):
    """Blocks first to last - 1 in order by one worker, resuming from an earlier call's sums; returns a status."""
    plan = call.plan
    status = 0
    for block in range(first, last):
        row = block * plan[BLOCK_ROWS]
        n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - row)
        status |= forward_and_loss(call, base, row, n_rows)
        if status != 0:
            return status
        if gives_outputs(plan):
            continue
        slot = block // plan[SLOT_BLOCKS]
        in_slot = block - slot * plan[SLOT_BLOCKS]
        totals_at = slot * (plan[N_PARAMETERS] + 1)
        if in_slot == 0:
            zero(call.totals, totals_at, plan[N_PARAMETERS] + 1)
        add_losses(call, base, totals_at, row, n_rows)
        if plan[MODE] == GRADIENT:
            gradient(call, base, totals_at, block, in_slot, n_rows)
    return status


@kernel
def smaller(a, b):
    """min(a, b) of two whole numbers; Numba's own takes longer to compile than most kernels."""
    return a if a < b else b


@kernel
def zero(a, at, n):
    """a[at : at + n] = 0."""
    for i in range(at, at + n):
        a[i] = 0


@kernel
def gradient(call, base, totals_at, block, in_slot, n_rows):
    """Backward through the block into the chunk's sums, which go to the slot's totals with the chunk's last block."""
    plan, memory = call.plan, call.memory
    if in_slot % plan[CHUNK_BLOCKS] == 0:
        zero(memory, base + plan[SUMS_AT], plan[SUMS_SIZE])
    is_last = in_slot + 1 == plan[SLOT_BLOCKS] or block + 1 == plan[N_BLOCKS]
    folds = is_last or (in_slot + 1) % plan[CHUNK_BLOCKS] == 0
    if plan[FAMILY] == LANES:
        lanes.gradient_of_block(plan, memory, base)
        if folds:
            lanes.fold(plan, call.vector, memory, base, call.totals, totals_at)
    else:
        tiles.gradient_of_block(plan, memory, base, n_rows)
        if folds:
            tiles.fold(plan, memory, base, call.totals, totals_at)


@kernel
def reduce(call):
    """Merge the slots along a binary tree over their numbers, into slot 0, and write the gradient to `out`."""
    plan, totals = call.plan, call.totals
    if gives_outputs(plan):
        return
    n = plan[N_PARAMETERS]
    first = 0 if plan[MODE] == GRADIENT else n
    apart = 1
    while apart < plan[N_SLOTS]:
        for slot in range(0, plan[N_SLOTS] - apart, 2 * apart):
            to, source = slot * (n + 1), (slot + apart) * (n + 1)
            for i in range(first, n + 1):
                totals[to + i] += totals[source + i]
        apart *= 2
    if plan[MODE] == GRADIENT:
        finish(call)


@kernel
def finish(call):
    """out = scale total + l1 sign(W) + l2 W; biases have no penalty."""
    plan, constants, totals, out = call.plan, call.constants, call.totals, call.out
    for i in range(plan[N_PARAMETERS]):
        out[i] = totals[i] * constants[SCALE]
    if constants[L1] == 0 and constants[L2] == 0:
        return
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        start = plan[at + WEIGHTS]
        for i in range(start, start + plan[at + N_IN] * plan[at + N_OUT]):
            w = call.vector[i]
            out[i] = totals[i] * constants[SCALE] + constants[L1] * np.sign(w) + constants[L2] * w


# -- entries: arrays become pointers here ----------------------------------------------------------------------------


@kernel
def call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out):
    """The arguments that all entries share, as pointers."""
    return Call(
        pointer(plan), pointer(constants), pointer(vector), pointer(x), pointer(y), pointer(labels),
        pointer(sample_weight), pointer(memory), pointer(totals), pointer(out),
    )  # fmt: skip


def work(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, worker, n_workers, first, count):
    """`count` of a worker's blocks, from its block `first` on; returns a status.

    Its blocks are those of a run of whole slots. All other entries call this one by its address, so that the bulk of
    the code is compiled once.
    """
    call = Call(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out)
    base = worker * plan[WORKER_SIZE]
    if first == 0:
        pack(call, base)
    start = plan[N_SLOTS] * worker // n_workers * plan[SLOT_BLOCKS]
    stop = smaller(plan[N_SLOTS] * (worker + 1) // n_workers * plan[SLOT_BLOCKS], plan[N_BLOCKS])
    return blocks(call, base, start + first, smaller(start + first + count, stop))


@intrinsic(twin=lambda address, call, *numbers: address(*call, *numbers))
def call_at(typing, address, call, worker, n_workers, first, count):
    """`work` of one dtype, at its address."""

    def emit(context, builder, sig, arguments):
        where, pointers, *numbers = arguments
        operands = [builder.extract_value(pointers, i) for i in range(len(call.types))] + numbers
        function = ir.FunctionType(ir.IntType(64), [operand.type for operand in operands])
        return builder.call(builder.inttoptr(where, function.as_pointer()), operands)

    return types.int64(types.int64, call, *(types.int64,) * 4), emit


@kernel
def steps(call, address, first, count):
    """Blocks first to first + count - 1 on the calling thread; the last of them is followed by the reduction."""
    status = call_at(address, call, 0, 1, first, count)
    if status == 0 and first + count >= call.plan[N_BLOCKS]:
        reduce(call)
    return status


def serial(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, address, first, count):
    """A launch on the calling thread: `count` blocks from block `first` on; returns a status.

    With `first` behind the last block, it is the reduction of blocks that workers have done.
    """
    call = call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out)
    return steps(call, address, first, count)


def descend(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, address, rate, losses):
    """len(losses) steps of gradient descent on the calling thread, vector -= rate gradient; returns a status.

    losses[t] is the loss before step t, scaled like the gradient and without penalties.
    """
    call = call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out)
    for t in range(losses.size):
        status = steps(call, address, 0, call.plan[N_BLOCKS])
        if status != 0:
            return status
        losses[t] = call.totals[call.plan[N_PARAMETERS]] * call.constants[SCALE]
        for i in range(call.plan[N_PARAMETERS]):
            call.vector[i] -= rate * call.out[i]
    return 0


def parallel(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out, status, address, n_workers,
             first, count):  # fmt: skip
    """A launch on threads: `count` blocks of each of n_workers workers; status[worker] says what was wrong."""
    for worker in prange(n_workers):
        call = call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, out)
        status[worker] |= call_at(address, call, np.intp(worker), n_workers, first, count)


class Entries(NamedTuple):
    """The compiled functions of one dtype."""

    work: Entry
    serial: Entry
    descend: Entry
    parallel: Entry


@functools.cache
def entries(dtype: np.dtype) -> Entries:
    """The kernels for float32 or float64; compiled or loaded when first called. A new network compiles nothing."""
    real, n = numba.from_dtype(dtype), types.int64

    def array(element):
        return types.Array(element, 1, "C")

    elements = (n, types.float64, real, real, real, n, real, real, types.float64, real)
    pointers, arrays = (types.CPointer(e) for e in elements), tuple(array(e) for e in elements)
    return Entries(
        work=entry(n(*pointers, n, n, n, n), by_address=True)(work),
        serial=entry(n(*arrays, n, n, n))(serial),
        descend=entry(n(*arrays, n, types.float64, array(types.float64)))(descend),
        parallel=entry(types.void(*arrays, array(n), n, n, n, n), parallel=True)(parallel),
    )
