"""The executor: runs the phases of a program, on the calling thread or shared out to workers.

A plan has a program, an array of phases. A phase names the code that does it, by its address, and which items each
worker has of it; all workers finish a phase before the next one begins. One gradient, one step of training and many
steps are the same executor with other programs. Three pieces of code do phases, each compiled when it is first needed:
`gradient_part`, `sparse_part` and, from `kernels.training`, `training_part`.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from ...compiler.jit import Entry, entry, kernel, prange
from ..simd.addresses import address_of
from ..simd.registers import pointer
from ..structures import BLOCKS, GRADIENT, INPUTS, PACK, REDUCE, UNITS, call_at, call_of, phase_at, plan_at, training_at
from ..structures import RECORD as RECORD_OF_STEP
from ..structures import UPDATE as UPDATE_OF_STEP
from ..training.steps import plan_of_step, training_part
from ..wide.sparse import add_sparse_rows
from .blocks import block_of, blocks_of_accumulators, blocks_of_wave, pack_for_all, sparse_inputs_of_wave
from .reduction import reduce, units_of_wave

STATUSES = 32  # above all bits of a status
UPDATE_BYTES, RECORD_BYTES = UPDATE_OF_STEP.itemsize, RECORD_OF_STEP.itemsize


# -- code of phases --------------------------------------------------------------------------------------------------


def gradient_part(like, plan_address, kind, wave, worker, n_workers, first, count):
    """A worker's part of a phase of the gradient: `count` of its items from its item `first` on; returns a status."""
    call = call_of(plan_at(plan_address, 0), like)
    if kind == BLOCKS:
        if call.plan.wave_blocks > 0:
            return blocks_of_wave(call, wave, worker, n_workers, first, count)
        return blocks_of_accumulators(call, worker, n_workers, first, count)
    if kind == PACK:
        pack_for_all(call, worker, n_workers)
    elif kind == UNITS:
        if call.plan.mode == GRADIENT:
            units_of_wave(call, wave, worker, n_workers, first, count)
    elif kind == REDUCE:
        reduce(call, worker, n_workers)
    return 0


def sparse_part(like, plan_address, kind, wave, worker, n_workers, first, count):
    """The same for sparse inputs; returns a status.

    INPUTS : z_1 of a worker's blocks. UNITS : the block `wave` in the region number `worker`, the rows first to
    first + count - 1 of the first layer's sums.
    """
    plan = plan_at(plan_address, 0)
    call = call_of(plan, like)
    if kind == INPUTS:
        return sparse_inputs_of_wave(call, wave, worker, n_workers, first, count)
    add_sparse_rows(call, block_of(plan, wave, worker, 0), first, count)
    return 0


# -- entries ---------------------------------------------------------------------------------------------------------


def start(plan_address, vector, x, y, labels, sample_weight, d_x, out):
    """Write to a plan where the arrays of a call are, and run as many phases as it says; returns a status."""
    plan = plan_at(plan_address, 0)
    plan.vector_address, plan.x_address, plan.y_address = address_of(vector), address_of(x), address_of(y)
    plan.labels_address, plan.sample_weight_address = address_of(labels), address_of(sample_weight)
    plan.d_x_address, plan.out_address = address_of(d_x), address_of(out)
    return run_phases(pointer(vector), plan, 0, plan.n_started)


@kernel
def run_phases(like, plan, first, last):
    """The phases first to last - 1 of a program on the calling thread; returns a status."""
    for number in range(first, last):
        phase = phase_at(plan.phases_address, number)
        status = call_at(phase.code_address, like, plan.address, phase.kind, phase.wave, 0, 1, phase.first, phase.count)
        if status != 0:
            return status
    return 0


def serial(vector, plan_address, first, last):
    """The phases first to last - 1 of a program on the calling thread; returns a status."""
    return run_phases(pointer(vector), plan_at(plan_address, 0), first, last)


def parallel(vector, plan_address, number, n_workers, status):
    """A phase of a program on threads; status[worker] says what was wrong."""
    for worker in prange(n_workers):
        phase = phase_at(plan_at(plan_address, 0).phases_address, number)
        status[worker] |= call_at(
            phase.code_address, pointer(vector), plan_address, phase.kind, phase.wave, np.intp(worker), n_workers,
            phase.first, phase.count,
        )  # fmt: skip


def steps(vector, training_address, count):
    """Steps of training on the calling thread, each a whole program.

    Returns STATUSES times the number of steps that were made, and the status of the one that was not, if one was not.
    """
    training = training_at(training_address, 0)
    for k in range(count):
        plan = plan_of_step(training)
        status = run_phases(pointer(vector), plan, 0, plan.n_phases)
        if status != 0:
            return k * STATUSES + status
        training.step += 1
        training.update_address += UPDATE_BYTES
        training.record_address += RECORD_BYTES
    return count * STATUSES


class Entries(NamedTuple):
    """The compiled functions of one dtype."""

    gradient_part: Entry
    sparse_part: Entry
    training_part: Entry
    start: Entry
    serial: Entry
    parallel: Entry
    steps: Entry


@functools.cache
def entries(dtype: np.dtype) -> Entries:
    """The kernels for float32 or float64; compiled or loaded when first called. A new network compiles nothing."""
    real, n = numba.from_dtype(dtype), types.int64
    numbers, integers = types.Array(real, 1, "C"), types.Array(n, 1, "C")
    part = entry(n(types.CPointer(real), *(n,) * 7), by_address=True)
    return Entries(
        gradient_part=part(gradient_part),
        sparse_part=part(sparse_part),
        training_part=part(training_part),
        start=entry(n(n, *(numbers,) * 3, integers, *(numbers,) * 3))(start),
        serial=entry(n(numbers, n, n, n))(serial),
        parallel=entry(types.void(numbers, n, n, n, integers), parallel=True)(parallel),
        steps=entry(n(numbers, n, n))(steps),
    )
