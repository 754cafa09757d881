"""A step of training, beside its gradient: the rows of the batch, the loss that is recorded, the optimizer's step.

Step t, counted from 0, takes batch t % n_batches of epoch t // n_batches. A step's program is SELECT, PREPARE, then the
phases of the gradient, then EVALUATE and UPDATE_PARAMETERS.
"""

import math

import numpy as np

from ...compiler.jit import kernel
from ..math.random import mixed
from ..simd.addresses import int32s_at, int64s_at, numbers_at
from ..structures import (
    BAD_LOSS,
    BAD_UPDATE,
    EVALUATE,
    GIVEN,
    KEYED,
    PREFETCHED,
    PREPARE,
    SELECT,
    SEQUENTIAL,
    SMALL,
    block_losses_offset,
    call_of,
    optimizer_at,
    plan_at,
    record_at,
    training_at,
    update_at,
)
from .order import SHARDS, key_of_epoch, rows_of_epoch
from .update import clip_factor, update


@kernel
def plan_of_step(training):
    """The plan of the step that is being made: an epoch's last batch may be shorter."""
    is_last = (training.step + 1) % training.n_batches == 0
    return plan_at(training.last_plan_address if is_last else training.plan_address, 0)


# -- rows --------------------------------------------------------------------------------------------------------------


@kernel
def select_rows(training, first, last, worker):
    """The rows of the places first to last - 1 of the step's batch."""
    n, step = training.n_rows, training.step
    epoch, position = step // training.n_batches, step % training.n_batches * training.batch_size
    rows = int64s_at(training.rows_address, training.batch_size)
    if training.order == KEYED:
        key = key_of_epoch(training.seed, epoch)
        scratch = int64s_at(training.shuffle_address + worker * SHARDS * 8, SHARDS)
        rows_of_epoch(rows, first, n, key, position + first, position + last, scratch)
    elif training.order == SEQUENTIAL:
        for i in range(first, last):
            rows[i] = position + i
    elif training.order == GIVEN or training.order == PREFETCHED:
        order = int64s_at(training.order_address, training.n_order)
        start = epoch * n + position
        if training.order == PREFETCHED:
            start = (step - training.first_prefetched) * training.batch_size
        for i in range(first, last):
            rows[i] = order[(start + i) % training.n_order]
    if training.subset_address:
        subset = int64s_at(training.subset_address, n)
        for i in range(first, last):
            rows[i] = subset[rows[i]]


@kernel
def gather(to, source, rows, n, first, last):
    """to[first:last] = source[rows[first:last]], rows of n numbers."""
    for i in range(first, last):
        for k in range(n):
            to[i * n + k] = source[rows[i] * n + k]


@kernel
def gather_batch(call, training, first, last):
    """Targets, labels and weights of the batch's rows, and inputs where the network does not read them row by row."""
    plan, n = call.plan, training.n_source
    rows = int64s_at(training.rows_address, training.batch_size)
    if plan.is_sparse:
        gather_sparse(call, training, rows)
    elif plan.family == SMALL:
        source = numbers_at(training.x_address, n * plan.n_inputs, call.vector)
        gather(call.x, source, rows, plan.n_inputs, first, last)
    if plan.has_labels:
        gather(call.labels, int64s_at(training.labels_address, n), rows, 1, first, last)
    else:
        source = numbers_at(training.y_address, n * plan.n_outputs, call.vector)
        gather(call.y, source, rows, plan.n_outputs, first, last)
    if plan.has_sample_weight:
        source = numbers_at(training.sample_weight_address, n, call.vector)
        gather(call.sample_weight, source, rows, 1, first, last)


@kernel
def gather_sparse(call, training, rows):
    """The batch's rows of sparse inputs, one after another."""
    plan, n, n_stored = call.plan, training.n_source, training.n_stored
    source_starts = int64s_at(training.starts_address, n + 1)
    source_columns = int32s_at(training.indices_address, n_stored)
    source = numbers_at(training.x_address, n_stored, call.vector)
    starts, columns = int64s_at(plan.starts_address, plan.n_rows + 1), int32s_at(plan.indices_address, plan.n_stored)
    at = 0
    for m in range(plan.n_rows):
        starts[m] = at
        for i in range(source_starts[rows[m]], source_starts[rows[m] + 1]):
            columns[at] = source_columns[i]
            call.x[at] = source[i]
            at += 1
    starts[plan.n_rows] = at


# -- before and after the gradient -------------------------------------------------------------------------------------


@kernel
def prepare_step(call, training):
    """What a gradient needs beside its rows: the factor of a mean, what is dropped out; records the weight."""
    plan, weight = call.plan, 0.0
    if plan.has_sample_weight:
        for i in range(plan.n_rows):
            weight += call.sample_weight[i]
    else:
        weight = np.float64(plan.n_rows)
    plan.scale = 1.0
    if training.is_mean:
        plan.scale = 1.0 / weight if weight > 0 else 0.0
    plan.drop_key = np.int64(mixed(mixed(np.uint64(training.seed), 1), training.step))
    record_at(training.record_address, 0).weight = weight


@kernel
def record_loss(call, training):
    """Records the loss with its penalty, and what the gradient is multiplied by to be clipped; returns a status."""
    plan, record = call.plan, record_at(training.record_address, 0)
    constants = update_at(training.update_address, 0)
    record.data_loss = call.accumulators[block_losses_offset(plan)] * plan.scale
    record.penalty = plan.penalty
    constants.clip_factor = clip_factor(call.out, plan.n_parameters, constants.clip_norm)
    return 0 if math.isfinite(record.data_loss) and math.isfinite(record.penalty) else BAD_LOSS


def training_part(like, plan_address, kind, wave, worker, n_workers, first, count):
    """A worker's part of a phase of training; returns a status."""
    plan = plan_at(plan_address, 0)
    call, training = call_of(plan, like), training_at(plan.training_address, 0)
    if kind == SELECT:
        start, stop = plan.n_rows * worker // n_workers, plan.n_rows * (worker + 1) // n_workers
        select_rows(training, start, stop, worker)
        gather_batch(call, training, start, stop)
        return 0
    if kind == PREPARE:
        prepare_step(call, training)
        return 0
    if kind == EVALUATE:
        return record_loss(call, training)
    n, optimizer = plan.n_parameters, optimizer_at(training.optimizer_address, 0)
    start, stop = n * worker // n_workers, n * (worker + 1) // n_workers
    constants = update_at(training.update_address, 0)
    return 0 if update(optimizer, constants, call.vector, call.out, start, stop) else BAD_UPDATE
