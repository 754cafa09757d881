"""Two pure functions that decide how a batch is computed.

`layout(network, n_rows, dtype, cpu)` decides everything that can touch a bit: the family of kernels, blocks, chunks and
accumulators. It never sees threads. `schedule(layout, n_threads)` decides who computes what, and changes no bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..kernels import structures as k
from ..model.losses import Loss
from ..model.network import MLP
from . import offsets

MAX_CHUNK_ROWS = 8192  # float32 sums over more rows lose digits
MAX_ACCUMULATORS = 64
# Blocks of an accumulator, beside which its own cost, to be added to and merged, is small; twice as many of a large.
ACCUMULATOR_BLOCKS = 8
LARGE_ACCUMULATOR = 2**18  # bytes: a few of them leave the caches of a core
MIN_ACCUMULATORS = 8  # or blocks, wherever the batch has as many rows: something to share out
ACCUMULATORS_BYTES = 2**25  # bound on all of them together, unless MIN_ACCUMULATORS need more
SUMS_BYTES = 2**20  # sums of one worker that stay in the caches of its core
SMALL_MAX_INPUTS = 16
BLOCK_ROWS = 128
SMALLEST_BLOCK = 32
WAVE_BYTES = 2**23  # of the blocks that are kept, to be found again in the caches
WAVE_MIN_BLOCKS = 4  # even if they take more
UNIT, SMALLEST_UNIT = 128, 32  # rows and columns of a unit of a weight gradient
UNITS_PER_WORKER = 4
SLICE_BYTES = 2**19  # of the first layer's weights or sums, for sparse inputs: they stay in a core's cache
SPARSE_COST = 4  # an operation of theirs against one of a matrix product
MOST_IDLE = 0.1  # of the workers' time, where accumulators are shared out
FAMILIES = ("small", "wide")
REASONS = (
    "samples in the vector lanes, for one hidden layer with few inputs and outputs",
    "features in the vector lanes, matrix products by microtiles of registers",
)

# The schedule's measures, in operations as counted by `_operations`.
SERIAL_BELOW = 3e6  # a hand-over to threads costs some microseconds twice
SERIAL_REDUCTION = 50_000  # numbers to pack or to add up
LAUNCH = 2.5e9  # less than 50 ms on one thread of a slow machine: Ctrl-C is seen between launches


@dataclass(frozen=True)
class Layout:
    """How the rows of a batch are cut, and where everything lies in memory; the bits follow from it."""

    family: str
    reason: str
    block_rows: int
    n_blocks: int
    chunk_blocks: int
    accumulator_blocks: int
    n_accumulators: int
    operations_per_block: float
    region_bytes: int  # of a block
    sums_bytes: int  # of one worker
    panel_columns: int
    header: np.recarray = field(repr=False, compare=False)  # one HEADER of `kernels.structures`
    layers: np.recarray = field(repr=False, compare=False)  # a LAYER for each layer


class Phase(NamedTuple):
    """A phase of a program: for each worker the items first to first + count - 1. Codes as in `kernels.structures`."""

    kind: int
    wave: int = 0
    first: int = 0
    count: int = 1
    is_shared: bool = False


class Launch(NamedTuple):
    """Phases of a program that are run in one call: one that workers share, or several on the calling thread."""

    first: int
    last: int
    is_shared: bool


@dataclass(frozen=True)
class Schedule:
    """A program for n_workers workers: phases, of which all workers finish one before the next one begins.

    A launch takes at most 50 ms, so that Ctrl-C is seen.
    """

    n_workers: int
    reason: str
    phases: tuple[Phase, ...]
    n_wave: int  # blocks that are kept for workers to share, 0 where each has whole accumulators
    is_short: bool  # whether the program takes less than 50 ms on one thread
    repeats: int  # how many times it runs in 50 ms
    n_memory: int  # elements of the memory of a call
    n_accumulated: int  # every accumulator's gradient and the losses of the blocks
    header: np.recarray = field(repr=False, compare=False)  # the layout's, completed
    layers: np.recarray = field(repr=False, compare=False)


@functools.lru_cache(maxsize=256)
def layout(net: MLP, n_rows: int, dtype: np.dtype, cpu: Any, stored: int = 0, drops: bool = False) -> Layout:
    """The layout of `n_rows` samples of a network; `cpu` gives `vector_bytes`, and `wide` and `narrow`, the microtiles.

    stored : for sparse inputs, about how many numbers a row has; touches no bit. drops : if values are dropped out.
    """
    lanes = cpu.vector_bytes // dtype.itemsize
    headers, layers = k.records(k.HEADER), k.records(k.LAYER, len(net.layers))
    header = headers[0]
    offsets.describe_layers(net, layers)
    if _is_small(net, lanes) and not (stored or drops):
        family, block_rows = k.SMALL, 4 * lanes
        offsets.small_memory(net, header, layers, block_rows, lanes)
    else:
        family, block_rows = k.WIDE, _block_rows(n_rows)
        tiles = offsets.Microtiles(lanes, cpu.wide, cpu.narrow)
        offsets.wide_memory(net, header, layers, block_rows, tiles, SLICE_BYTES // dtype.itemsize if stored else 0)
    n_blocks = -(-n_rows // block_rows)
    fewest = 1 if family == k.WIDE else MIN_ACCUMULATORS
    accumulator_blocks = _accumulator_blocks(net, n_blocks, fewest, net.n_parameters * dtype.itemsize)
    header.family, header.n_rows, header.block_rows, header.n_blocks = family, n_rows, block_rows, n_blocks
    header.chunk_blocks = min(accumulator_blocks, max(1, MAX_CHUNK_ROWS // block_rows))
    header.accumulator_blocks, header.n_accumulators = accumulator_blocks, -(-n_blocks // accumulator_blocks)
    header.n_layers, header.n_inputs, header.n_outputs = len(net.layers), net.n_inputs, net.n_outputs
    header.n_parameters, header.has_bias = net.n_parameters, net.bias
    _describe_loss(net.loss_function, header)
    header.is_sparse = stored > 0
    return Layout(
        family=FAMILIES[family],
        reason=REASONS[family],
        block_rows=block_rows,
        n_blocks=n_blocks,
        chunk_blocks=int(header.chunk_blocks),
        accumulator_blocks=accumulator_blocks,
        n_accumulators=int(header.n_accumulators),
        operations_per_block=_operations(net, stored) * block_rows,
        region_bytes=int(header.region_size) * dtype.itemsize,
        sums_bytes=int(header.sums_size) * dtype.itemsize,
        panel_columns=cpu.wide[1] * lanes,
        header=headers,
        layers=layers,
    )


def schedule(batch: Layout, n_threads: int) -> Schedule:
    """Serial where a hand-over would cost more than it gains, else a worker a thread.

    Workers take whole accumulators; or, where these do not share out evenly, their sums leave the caches or inputs are
    sparse, parts of a wave of blocks together: blocks first, whose values are kept, then units of the weight gradients.
    """
    headers, layers, work = batch.header.copy(), batch.layers.copy(), batch.n_blocks * batch.operations_per_block
    header = headers[0]
    n_workers = 1 if work < SERIAL_BELOW else n_threads
    has_accumulators = _accumulators_serve(batch, n_workers)
    n_workers = min(n_workers, batch.n_accumulators if has_accumulators else batch.n_blocks)
    sharing = "whole accumulators" if has_accumulators else "blocks, then units of the weight gradients"
    reason = "one: too little to hand over to others" if n_threads > 1 else "one"
    n_wave = 0
    if not has_accumulators:
        header.wave_blocks = n_wave = _wave_blocks(batch, n_workers)
        header.n_units = _cut_units(layers, int(header.slice_columns), batch.panel_columns, n_workers)
    if batch.family == "wide":  # in front of the regions
        header.regions_offset = header.sums_offset + (n_workers if has_accumulators else 1) * header.sums_size
    header.input_deltas_offset = header.regions_offset + max(n_workers, n_wave) * header.region_size
    phases = _accumulators_phases(batch, n_workers) if has_accumulators else _waves_phases(batch, header, n_workers)
    repeats = int(LAUNCH / work)
    header.n_memory = header.input_deltas_offset + n_workers * header.input_deltas_size
    header.n_accumulated = batch.n_accumulators * header.n_parameters + batch.n_blocks
    return Schedule(
        n_workers=n_workers,
        reason=reason if n_workers == 1 else f"{n_workers} of {n_threads}, each takes {sharing}",
        phases=tuple(phases),
        n_wave=n_wave,
        is_short=repeats > 0,
        repeats=max(1, repeats),
        n_memory=int(header.n_memory),
        n_accumulated=int(header.n_accumulated),
        header=headers,
        layers=layers,
    )


def launches(phases: tuple[Phase, ...], n_workers: int, is_short: bool) -> tuple[Launch, ...]:
    """The calls that run a program: on one thread all at once if it is short, or each phase by itself."""
    if n_workers == 1 and is_short:
        return (Launch(0, len(phases), False),)
    parts: list[Launch] = []
    for number, phase in enumerate(phases):
        is_shared = n_workers > 1 and phase.is_shared
        if n_workers > 1 and parts and not (is_shared or parts[-1].is_shared):
            parts[-1] = parts[-1]._replace(last=number + 1)  # too little for threads, so little for one, too
        else:
            parts.append(Launch(number, number + 1, is_shared))
    return tuple(parts)


def _accumulators_serve(batch: Layout, n_workers: int) -> bool:
    """Whether workers take whole accumulators: always with samples in the lanes, else if cores and caches stay busy."""
    a_worker = -(-batch.n_accumulators // n_workers)
    is_even = batch.n_accumulators >= (1 - MOST_IDLE) * a_worker * n_workers
    is_dense = not batch.header.is_sparse[0]
    return batch.family == "small" or (is_even and is_dense and batch.sums_bytes <= SUMS_BYTES)


def _accumulators_phases(batch: Layout, n_workers: int) -> Iterator[Phase]:
    """Blocks by workers that have whole accumulators, then the reduction."""
    if batch.family == "wide":
        yield _pack(batch)
    n_blocks = -(-batch.n_accumulators // n_workers) * batch.accumulator_blocks
    yield from _windows(k.BLOCKS, 0, n_blocks, batch.operations_per_block)
    yield _reduce(batch, True)


def _waves_phases(batch: Layout, header: np.record, n_workers: int) -> Iterator[Phase]:
    """For every wave its blocks and then the units of its weight gradients."""
    yield _pack(batch)
    n_units, wave_blocks = int(header.n_units), int(header.wave_blocks)
    for start in range(0, batch.n_blocks, wave_blocks):
        n_blocks = min(wave_blocks, batch.n_blocks - start)
        if header.is_sparse:
            yield from _windows(k.INPUTS, start, -(-n_blocks // n_workers), batch.operations_per_block)
        yield from _windows(k.BLOCKS, start, -(-n_blocks // n_workers), batch.operations_per_block)
        per_unit = n_blocks * batch.operations_per_block / n_units
        yield from _windows(k.UNITS, start, -(-n_units // n_workers), per_unit)
    yield _reduce(batch, batch.n_accumulators > 1)


def _pack(batch: Layout) -> Phase:
    return Phase(k.PACK, is_shared=bool(batch.header.n_parameters[0] > SERIAL_REDUCTION))


def _reduce(batch: Layout, has_accumulators: bool) -> Phase:
    is_large = has_accumulators and batch.n_accumulators * batch.header.n_parameters[0] > SERIAL_REDUCTION
    return Phase(k.REDUCE, is_shared=bool(is_large))


def _windows(kind: int, wave: int, n_items: int, operations: float) -> Iterator[Phase]:
    """Phases for n_items of each worker, none of them longer than LAUNCH."""
    most = max(1, int(LAUNCH / operations))
    for first in range(0, n_items, most):
        yield Phase(kind, wave, first, min(most, n_items - first), True)


def _wave_blocks(batch: Layout, n_workers: int) -> int:
    """Blocks to keep: what is found again in a cache, a few for each worker, the same number for all."""
    in_cache = WAVE_BYTES // batch.region_bytes
    blocks = max(WAVE_MIN_BLOCKS, in_cache, n_workers) // n_workers * n_workers
    return min(blocks, batch.n_blocks)


def _cut_units(layers: np.recarray, slice_columns: int, panel: int, n_workers: int) -> int:
    """Cut each layer's sums into units: large ones, for what they read, yet enough to share out; returns how many.

    slice_columns : of sparse inputs, else 0.
    """
    size = UNIT
    while True:
        n_units = 0
        for i, layer in enumerate(layers):
            layer.first_unit, layer.unit_rows, layer.unit_columns = n_units, size, max(1, size // panel) * panel
            if i == 0 and slice_columns:
                layer.unit_rows, layer.unit_columns = max(1, slice_columns * size // UNIT), layer.sums_padded
            high, broad = layer.sums_rows / layer.unit_rows, layer.sums_padded / layer.unit_columns
            n_units += math.ceil(high) * math.ceil(broad)
        size //= 2
        if n_workers == 1 or n_units >= UNITS_PER_WORKER * n_workers or size < SMALLEST_UNIT:
            return n_units


def _accumulator_blocks(net: MLP, n_blocks: int, fewest: int, weight_bytes: int) -> int:
    """Blocks of an accumulator: enough accumulators to share out, yet few where the cost of each would show."""
    if fewest == 1 and weight_bytes > SUMS_BYTES:
        return n_blocks
    accumulator_bytes = 8 * net.n_parameters
    is_large = accumulator_bytes > LARGE_ACCUMULATOR
    worth_it = n_blocks // (2 * ACCUMULATOR_BLOCKS if is_large else ACCUMULATOR_BLOCKS)
    most = min(MAX_ACCUMULATORS, max(fewest, min(ACCUMULATORS_BYTES // accumulator_bytes, worth_it)))
    if fewest == 1:
        most = 1 << most.bit_length() - 1  # what most numbers of threads can share out
    blocks = -(-n_blocks // most)
    rounded_to_too_few = -(-n_blocks // blocks) < fewest <= n_blocks
    return n_blocks // fewest if rounded_to_too_few else blocks


def _describe_loss(loss: Loss, header: np.record) -> None:
    """What kernels know of the loss: its code and, from its record, its link and which targets it takes."""
    targets, link = loss.record.targets, loss.record.link
    header.loss, header.loss_parameter = loss.code, loss.parameter
    header.link, header.is_link_identity, header.couples_outputs = (
        loss.link_code,
        link.is_identity,
        link.couples_outputs,
    )
    header.target_low, header.target_high = targets.low, targets.high
    header.has_target_bounds = math.isfinite(targets.low) or math.isfinite(targets.high)


def _is_small(net: MLP, lanes: int) -> bool:
    if net.loss_function.is_custom or any(activation.is_custom for activation in net.activations):
        return False
    is_shallow = len(net.layers) == 2 and net.n_inputs <= SMALL_MAX_INPUTS
    return is_shallow and net.n_outputs <= offsets.most_narrow_outputs(lanes)


def _block_rows(n_rows: int) -> int:
    eighth = -(-n_rows // MIN_ACCUMULATORS)
    return min(BLOCK_ROWS, max(SMALLEST_BLOCK, offsets.rounded_up(eighth, 16)))


def _operations(net: MLP, stored: int) -> float:
    """Operations a row: two for each weight forward, for its gradient and after the first layer for the input's."""
    first = (stored * SPARSE_COST or net.n_inputs) * net.layers[0].n_out
    products = 4 * first + sum(6 * layer.n_in * layer.n_out for layer in net.layers[1:])
    return products + 30 * sum(layer.n_out for layer in net.layers)
