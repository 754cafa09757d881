"""The compiled functions that Python calls: a worker's part of a step, programs of steps, and one step on threads."""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from .._jit import Entry, entry, kernel, prange
from . import sparse
from .blocks import blocks_of_slots, blocks_of_stretch, pack_for_all, sparse_inputs_of_stretch
from .calls import Call, call_at
from .fields import (
    BLOCKS,
    COUNT,
    FIRST,
    GRADIENT,
    INPUTS,
    MODE,
    PACK,
    PHASE,
    SPARSE_ADDRESS,
    STEP_SIZE,
    STRETCH,
    STRETCH_BLOCKS,
    UNITS,
)
from .reduction import reduce, units_of_stretch
from .simd import pointer


@kernel
def call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out):
    """The arguments that all entries share, as pointers."""
    return Call(
        pointer(plan), pointer(constants), pointer(vector), pointer(x), pointer(y), pointer(labels),
        pointer(sample_weight), pointer(memory), pointer(totals), pointer(d_x), pointer(out),
    )  # fmt: skip


def work(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out, phase, stretch, worker,
         n_workers, first, count):  # fmt: skip
    """A worker's part of a step: `count` of its items from its item `first` on; returns a status.

    All other entries call this one by its address, so that the bulk of the code is compiled once.
    """
    call = Call(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out)
    if phase == BLOCKS:
        if plan[STRETCH_BLOCKS] > 0:
            return blocks_of_stretch(call, stretch, worker, n_workers, first, count)
        return blocks_of_slots(call, worker, n_workers, first, count)
    if phase == INPUTS:
        return call_at(plan[SPARSE_ADDRESS], call, phase, stretch, worker, n_workers, first, count)
    if phase == PACK:
        pack_for_all(call, worker, n_workers)
    elif phase == UNITS:
        if plan[MODE] == GRADIENT:
            units_of_stretch(call, stretch, worker, n_workers, first, count)
    else:
        reduce(call, worker, n_workers)
    return 0


def sparse_work(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out, phase, block, worker,
                n_workers, first, count):  # fmt: skip
    """What a step does with sparse inputs, compiled when they first come; returns a status.

    INPUTS : as `work`. UNITS : the block in the region that starts at `worker`, the rows first to first + count - 1 of
    the first layer's sums.
    """
    call = Call(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out)
    if phase == INPUTS:
        return sparse_inputs_of_stretch(call, block, worker, n_workers, first, count)
    sparse.add_rows(plan, x, memory, worker, block, first, count)
    return 0


@kernel
def run(call, address, program, first, last):
    """The steps first to last - 1 of a program on the calling thread; returns a status."""
    for at in range(first * STEP_SIZE, last * STEP_SIZE, STEP_SIZE):
        status = call_at(
            address, call, program[at + PHASE], program[at + STRETCH], 0, 1, program[at + FIRST], program[at + COUNT]
        )
        if status != 0:
            return status
    return 0


def serial(
    plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out, address, program, first, last
):
    """The steps first to last - 1 of a program on the calling thread; returns a status."""
    call = call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out)
    return run(call, address, pointer(program), first, last)


def parallel(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out, status, address, n_workers,
             phase, stretch, first, count):  # fmt: skip
    """A step of a program on threads; status[worker] says what was wrong."""
    for worker in prange(n_workers):
        call = call_of(plan, constants, vector, x, y, labels, sample_weight, memory, totals, d_x, out)
        status[worker] |= call_at(address, call, phase, stretch, np.intp(worker), n_workers, first, count)


class Entries(NamedTuple):
    """The compiled functions of one dtype."""

    work: Entry
    sparse_work: Entry
    serial: Entry
    parallel: Entry


@functools.cache
def entries(dtype: np.dtype) -> Entries:
    """The kernels for float32 or float64; compiled or loaded when first called. A new network compiles nothing."""
    real, n = numba.from_dtype(dtype), types.int64

    def array(element):
        return types.Array(element, 1, "C")

    elements = (n, types.float64, real, real, real, n, real, real, types.float64, real, real)
    pointers, arrays = (types.CPointer(e) for e in elements), tuple(array(e) for e in elements)
    by_address = entry(n(*pointers, n, n, n, n, n, n), by_address=True)
    return Entries(
        work=by_address(work),
        sparse_work=by_address(sparse_work),
        serial=entry(n(*arrays, n, array(n), n, n))(serial),
        parallel=entry(types.void(*arrays, array(n), n, n, n, n, n, n), parallel=True)(parallel),
    )
