"""Many steps of training in one call: rows of the batch, loss and gradient, the optimiser's step.

A `descent` is a table of int64, read by the names below: what all steps share, and for the two sizes of batches, the
usual one and the last of an epoch, what a call of `fused` needs. Step t, counted from 0, takes batch t % N_BATCHES of
epoch t // N_BATCHES. Everything is found by its address; whoever writes the table keeps the arrays alive.
"""

import functools
import math
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from .._jit import Entry, entry, kernel, prange
from . import fused
from .addresses import float64s_at, int64s_at, numbers_at
from .blocks import loss_sums_at
from .calls import Call, call_at
from .fields import (
    DROP_KEY,
    FAMILY,
    HAS_LABELS,
    HAS_WEIGHTS,
    HEADER,
    L1,
    L2,
    LANES,
    N_IN,
    N_INPUTS,
    N_LAYERS,
    N_OUT,
    N_OUTPUTS,
    N_PARAMETERS,
    N_ROWS,
    RECORD,
    REDUCE,
    SCALE,
    STEP_SIZE,
    WEIGHTS,
)
from .gemm import record
from .order import SHARDS, key_of_epoch, mixed, rows_of_epoch
from .simd import pointer
from .update import CLIP, FACTOR, OPTIMISER, ROW, clip_factor, update

# -- a descent ---------------------------------------------------------------------------------------------------------
(
    N_DATA,  # rows of an epoch
    BATCH,  # rows of a batch, but for an epoch's last
    N_BATCHES,  # of an epoch
    SEED,
    ORDER,  # WHOLE, KEYED, SEQUENTIAL, GIVEN or FED
    ORDER_AT,  # the given order: rows of one epoch after the other, and from the start again; or of what is fed
    N_ORDER,
    FIRST_FED,  # the step whose batch comes first in what is fed
    SUBSET_AT,  # the rows that are trained on among those of the data, 0 for all
    N_SOURCE,  # rows of the data
    ROWS,  # room for the rows of a batch
    SLOTS,  # room for the rows of a round
    X,  # all inputs, targets, labels and sample weights, of which steps take their rows
    Y,
    LABELS,
    SAMPLE_WEIGHTS,
    BATCH_X,  # those of a batch; the same as above where it has all rows
    BATCH_Y,
    BATCH_LABELS,
    BATCH_WEIGHTS,
    GRADIENT,
    OPTIMISER_AT,
    WORK,  # address of `fused.work`
    IS_MEAN,  # whether losses and gradients are divided by the sum of weights
    FIRST_SIZE,  # the records of the two sizes of batches start here
) = range(25)
(
    PLAN,
    CONSTANTS,
    MEMORY,
    N_MEMORY,
    TOTALS,
    N_TOTALS,
    PROGRAM,
    N_STEPS,
    SIZE,
) = range(9)
DESCENT = FIRST_SIZE + 2 * SIZE

WHOLE, KEYED, SEQUENTIAL, GIVEN, FED = range(5)

# -- what a step leaves ------------------------------------------------------------------------------------------------
DATA_LOSS, PENALTY, WEIGHT, N_NOTES = range(4)

# -- what was wrong, beside the bits of `fields` -----------------------------------------------------------------------
BAD_LOSS, BAD_UPDATE = 4, 8


@kernel
def size_of(table, t):
    """Where the record of step t's size of batch starts."""
    is_short = (t + 1) % table[N_BATCHES] == 0 and table[N_DATA] % table[BATCH] != 0
    return FIRST_SIZE + (SIZE if is_short else 0)


@kernel
def plan_of(table, size):
    """The plan of a size of batch; its length is that of two layers at least, for what is no pointer."""
    return int64s_at(table[size + PLAN], HEADER + 2 * RECORD)


@kernel
def call_of(table, size, vector):
    """The arguments of a gradient of a size of batch."""
    plan = plan_of(table, size)
    n, n_in, n_out = table[N_SOURCE], plan[N_INPUTS], plan[N_OUTPUTS]
    has_labels, weights = plan[HAS_LABELS], n * plan[HAS_WEIGHTS]
    return Call(
        int64s_at(table[size + PLAN], HEADER + plan[N_LAYERS] * RECORD),
        float64s_at(table[size + CONSTANTS], L2 + 2 + plan[N_LAYERS]),
        vector,
        numbers_at(table[BATCH_X], n * n_in, vector),
        numbers_at(table[BATCH_Y], 0 if has_labels else n * n_out, vector),
        int64s_at(table[BATCH_LABELS], n * has_labels),
        numbers_at(table[BATCH_WEIGHTS], weights, vector),
        numbers_at(table[size + MEMORY], table[size + N_MEMORY], vector),
        float64s_at(table[size + TOTALS], table[size + N_TOTALS]),
        numbers_at(table[BATCH_X], 0, vector),
        numbers_at(table[GRADIENT], plan[N_PARAMETERS], vector),
    )


# -- before the gradient -----------------------------------------------------------------------------------------------


@kernel
def choose(table, t, first, last, worker):
    """The rows of the places first to last - 1 of step t's batch."""
    epoch, position = t // table[N_BATCHES], t % table[N_BATCHES] * table[BATCH]
    rows = int64s_at(table[ROWS], table[BATCH])
    if table[ORDER] == KEYED:
        key = key_of_epoch(table[SEED], epoch)
        slots = int64s_at(table[SLOTS] + worker * SHARDS * 8, SHARDS)
        rows_of_epoch(rows, first, table[N_DATA], key, position + first, position + last, slots)
    elif table[ORDER] == SEQUENTIAL:
        for i in range(first, last):
            rows[i] = position + i
    else:
        order = int64s_at(table[ORDER_AT], table[N_ORDER])
        start = epoch * table[N_DATA] + position
        if table[ORDER] == FED:
            start = (t - table[FIRST_FED]) * table[BATCH]
        for i in range(first, last):
            rows[i] = order[(start + i) % table[N_ORDER]]
    if table[SUBSET_AT]:
        subset = int64s_at(table[SUBSET_AT], table[N_DATA])
        for i in range(first, last):
            rows[i] = subset[rows[i]]


@kernel
def gather(table, size, vector, first, last):
    """Targets, labels and weights of the batch's rows, and inputs where samples are in the lanes."""
    plan, n = plan_of(table, size), table[N_SOURCE]
    rows = int64s_at(table[ROWS], table[BATCH])
    if plan[FAMILY] == LANES:
        n_in = plan[N_INPUTS]
        take(
            numbers_at(table[BATCH_X], n * n_in, vector),
            numbers_at(table[X], n * n_in, vector),
            rows,
            n_in,
            first,
            last,
        )
    if plan[HAS_LABELS]:
        labels, chosen = int64s_at(table[LABELS], n), int64s_at(table[BATCH_LABELS], n)
        for i in range(first, last):
            chosen[i] = labels[rows[i]]
    else:
        n_out = plan[N_OUTPUTS]
        targets = numbers_at(table[Y], n * n_out, vector)
        take(numbers_at(table[BATCH_Y], n * n_out, vector), targets, rows, n_out, first, last)
    if plan[HAS_WEIGHTS]:
        weights = numbers_at(table[SAMPLE_WEIGHTS], n, vector)
        take(numbers_at(table[BATCH_WEIGHTS], n, vector), weights, rows, 1, first, last)


@kernel
def take(to, source, rows, n, first, last):
    """to[first:last] = source[rows[first:last]], rows of n numbers."""
    for i in range(first, last):
        for k in range(n):
            to[i * n + k] = source[rows[i] * n + k]


@kernel
def begin(table, size, vector, t, notes, at):
    """What a gradient needs beside its rows: the factor of a mean, what is dropped out; notes weight and penalty."""
    plan, weight = plan_of(table, size), 0.0
    constants = float64s_at(table[size + CONSTANTS], L2 + 1)
    if plan[HAS_WEIGHTS]:
        weights = numbers_at(table[BATCH_WEIGHTS], plan[N_ROWS], vector)
        for i in range(plan[N_ROWS]):
            weight += weights[i]
    else:
        weight = np.float64(plan[N_ROWS])
    constants[SCALE] = 1.0
    if table[IS_MEAN]:
        constants[SCALE] = 1.0 / weight if weight > 0 else 0.0
    plan[DROP_KEY] = np.int64(mixed(mixed(np.uint64(table[SEED]), 1), t))
    notes[at + WEIGHT], notes[at + PENALTY] = weight, 0.0
    if constants[L1] != 0 or constants[L2] != 0:
        whole_plan = int64s_at(table[size + PLAN], HEADER + RECORD * plan[N_LAYERS])
        notes[at + PENALTY] = penalty(whole_plan, constants, vector)


@kernel
def penalty(plan, constants, vector):
    """l1 sum|W| + l2/2 sum W^2."""
    absolute, square = 0.0, 0.0
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        for i in range(plan[at + WEIGHTS], plan[at + WEIGHTS] + plan[at + N_IN] * plan[at + N_OUT]):
            w = np.float64(vector[i])
            absolute += abs(w)
            square += w * w
    return constants[L1] * absolute + constants[L2] / 2 * square


# -- after it ----------------------------------------------------------------------------------------------------------


@kernel
def judge(call, row, row_at, notes, at):
    """Notes the loss, and what the gradient is multiplied by to be clipped; returns a status."""
    loss = call.totals[loss_sums_at(call.plan)] * call.constants[SCALE]
    notes[at + DATA_LOSS] = loss
    row[row_at + FACTOR] = clip_factor(call.out, call.plan[N_PARAMETERS], row[row_at + CLIP])
    return 0 if math.isfinite(loss) and math.isfinite(notes[at + PENALTY]) else BAD_LOSS


@kernel
def step_of(table, vector, gradient, row, row_at, first, last):
    """The optimiser's step for the parameters first to last - 1; returns a status."""
    optimiser = int64s_at(table[OPTIMISER_AT], OPTIMISER)
    return 0 if update(optimiser, row, row_at, vector, gradient, first, last) else BAD_UPDATE


# -- entries -----------------------------------------------------------------------------------------------------------


@kernel
def begin_step(table, size, vector, t, notes, at, chooses):
    """All that comes before the gradient, on one thread."""
    plan = plan_of(table, size)
    if chooses and table[ORDER] != WHOLE:
        choose(table, t, 0, plan[N_ROWS], 0)
        gather(table, size, vector, 0, plan[N_ROWS])
    begin(table, size, vector, t, notes, at)


def steps(table, vector, constants, notes, first):
    """len(notes) / N_NOTES steps from step `first` on, on the calling thread.

    Returns STATUSES times the number of steps that were made, and the status of the one that was not, if one was not.
    """
    table_at, to, rows, noted = pointer(table), pointer(vector), pointer(constants), pointer(notes)
    n = notes.size // N_NOTES
    for k in range(n):
        size = size_of(table_at, first + k)
        call = call_of(table_at, size, to)
        begin_step(table_at, size, to, first + k, noted, k * N_NOTES, True)
        program = int64s_at(table_at[size + PROGRAM], table_at[size + N_STEPS] * STEP_SIZE)
        status = fused.run(call, table_at[WORK], program, 0, table_at[size + N_STEPS])
        if status == 0:
            status = judge(call, rows, k * ROW, noted, k * N_NOTES)
        if status == 0:
            status = step_of(table_at, to, call.out, rows, k * ROW, 0, call.plan[N_PARAMETERS])
        if status != 0:
            return k * STATUSES + status
    return n * STATUSES


def before(table, vector, notes, k, t, chooses):
    """What comes before the gradient of step t, whose notes are the k-th; rows only if it `chooses`."""
    table_at = pointer(table)
    size = size_of(table_at, t)
    begin_step(table_at, size, pointer(vector), t, pointer(notes), k * N_NOTES, chooses)


def after(table, vector, constants, notes, k, t, updates):
    """What comes after it; the optimiser's step only if it `updates`. Returns a status."""
    table_at, to, rows = pointer(table), pointer(vector), pointer(constants)
    call = call_of(table_at, size_of(table_at, t), to)
    status = judge(call, rows, k * ROW, pointer(notes), k * N_NOTES)
    if status == 0 and updates:
        status = step_of(table_at, to, call.out, rows, k * ROW, 0, call.plan[N_PARAMETERS])
    return status


@kernel
def part_of_step(table, size, vector, phase, stretch, worker, n_workers, first, count):
    """A worker's part of a step: those of `fused.work`, and what comes before and after. Returns a status.

    CHOOSE : the rows of step `first`. UPDATE : with the constants at the address `first`.
    """
    call = call_of(table, size, vector)
    if phase < CHOOSE:
        return call_at(table[WORK], call, phase, stretch, worker, n_workers, first, count)
    if phase == CHOOSE:
        n = call.plan[N_ROWS]
        start, stop = n * worker // n_workers, n * (worker + 1) // n_workers
        choose(table, first, start, stop, worker)
        gather(table, size, vector, start, stop)
        return 0
    n = call.plan[N_PARAMETERS]
    row = float64s_at(first, ROW)
    return step_of(table, vector, call.out, row, 0, n * worker // n_workers, n * (worker + 1) // n_workers)


def team(table, vector, status, size, n_workers, phase, stretch, first, count):
    """A phase of a step on threads; status[worker] says what was wrong."""
    for worker in prange(n_workers):
        status[worker] |= part_of_step(
            pointer(table), size, pointer(vector), phase, stretch, np.intp(worker), n_workers, first, count
        )


CHOOSE, UPDATE = range(REDUCE + 1, REDUCE + 3)  # phases beside those of a gradient
STATUSES = 16


class Entries(NamedTuple):
    """The compiled functions of one dtype."""

    steps: Entry
    before: Entry
    after: Entry
    team: Entry


@functools.cache
def entries(dtype):
    """The kernels for float32 or float64; compiled or loaded when first called."""
    real, n = numba.from_dtype(dtype), types.int64
    numbers, table, floats = (types.Array(kind, 1, "C") for kind in (real, n, types.float64))
    return Entries(
        steps=entry(n(table, numbers, floats, floats, n))(steps),
        before=entry(types.void(table, numbers, floats, n, n, n))(before),
        after=entry(n(table, numbers, floats, floats, n, n, n))(after),
        team=entry(types.void(table, numbers, table, n, n, n, n, n, n), parallel=True)(team),
    )
