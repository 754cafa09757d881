"""Two pure functions that decide how a batch is computed.

`layout(network, n_rows, dtype, cpu)` decides everything that can touch a bit: the family of kernels, blocks, chunks and
slots. It never sees threads. `schedule(layout, n_threads)` decides who computes what, and changes no bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import memory
from .kernels import fields as f
from .network import MLP

MAX_CHUNK_ROWS = 8192  # float32 sums over more rows lose digits
MAX_SLOTS = 64
SLOT_BLOCKS = 8  # beside which a slot's own cost, to be added to and merged, is small; twice as many of a large slot
LARGE_SLOT = 2**18  # bytes: a few of them leave the caches of a core
MIN_SLOTS = 8  # or blocks, wherever the batch has as many rows: something to share out
TOTALS_BYTES = 2**25  # bound on all slots together, unless MIN_SLOTS need more
SUMS_BYTES = 2**20  # sums of one worker that stay in the caches of its core
LANES_MAX_INPUTS = 16
BLOCK_ROWS = 128
SMALLEST_BLOCK = 32
STRETCH_BYTES = 2**23  # of the blocks that are kept, to be found again in the caches
STRETCH_MIN_BLOCKS = 4  # even if they take more
UNIT, SMALLEST_UNIT = 128, 32  # rows and columns of a unit of a weight gradient
UNITS_PER_WORKER = 4
SLICE_BYTES = 2**19  # of the first layer's weights or sums, for sparse inputs: they stay in a core's cache
SPARSE_COST = 4  # an operation of theirs against one of a matrix product
MOST_IDLE = 0.1  # of the workers' time, where slots are shared out
FAMILIES = ("lanes", "tiles")
REASONS = (
    "samples in the vector lanes, for one hidden layer with few inputs and outputs",
    "features in the vector lanes, matrix products by tiles of registers",
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
    slot_blocks: int
    n_slots: int
    operations_per_block: float
    region_bytes: int  # of a block
    sums_bytes: int  # of one worker
    panel_columns: int
    fields: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Schedule:
    """A program for n_workers workers: steps of STEP_SIZE numbers, named in `fields`.

    All workers finish a step before the next one begins. A step takes at most 50 ms, so that Ctrl-C is seen.
    """

    n_workers: int
    reason: str
    steps: tuple[tuple[int, ...], ...]
    n_stretch: int  # blocks that are kept for workers to share, 0 where each has whole slots
    calls: tuple[tuple[int, int], ...]  # on one thread: which steps go together
    repeats: int  # how many times the program runs in 50 ms
    n_elements: int  # of the memory of a call
    n_totals: int  # every slot's gradient and the sums of losses
    fields: np.ndarray = field(repr=False, compare=False)  # the layout's, completed


@functools.lru_cache(maxsize=256)
def layout(net: MLP, n_rows: int, dtype: np.dtype, cpu: Any, stored: int = 0, drops: bool = False) -> Layout:
    """The layout of `n_rows` samples of a network; `cpu` gives `vector_bytes`, and `wide` and `narrow`, the tiles.

    stored : for sparse inputs, about how many numbers a row has; touches no bit. drops : if values are dropped out.
    """
    lanes = cpu.vector_bytes // dtype.itemsize
    table = np.zeros(f.record(len(net.layers)), np.int64)
    memory.describe_layers(net, table)
    if _fits_lanes(net, lanes) and not (stored or drops):
        family, block_rows = f.LANES, 4 * lanes
        memory.lanes_region(net, table, block_rows, lanes)
    else:
        family, block_rows = f.TILES, _block_rows(n_rows)
        tiles = memory.Tiles(lanes, cpu.wide, cpu.narrow)
        memory.tiles_memory(net, table, block_rows, tiles, SLICE_BYTES // dtype.itemsize if stored else 0)
    n_blocks = -(-n_rows // block_rows)
    sums_bytes = int(table[f.SUMS_SIZE]) * dtype.itemsize
    slot_blocks = _slot_blocks(net, n_blocks, 1 if family == f.TILES else MIN_SLOTS, net.n_parameters * dtype.itemsize)
    chunk_blocks = min(slot_blocks, max(1, MAX_CHUNK_ROWS // block_rows))
    n_slots = -(-n_blocks // slot_blocks)
    header = {
        f.FAMILY: family,
        f.N_ROWS: n_rows,
        f.BLOCK_ROWS: block_rows,
        f.N_BLOCKS: n_blocks,
        f.CHUNK_BLOCKS: chunk_blocks,
        f.SLOT_BLOCKS: slot_blocks,
        f.N_SLOTS: n_slots,
        f.N_LAYERS: len(net.layers),
        f.N_INPUTS: net.n_inputs,
        f.N_OUTPUTS: net.n_outputs,
        f.N_PARAMETERS: net.n_parameters,
        f.BIAS: int(net.bias),
        f.LOSS: net.loss_function.code,
        f.IS_SPARSE: int(stored > 0),
    }
    for name, value in header.items():
        table[name] = value
    return Layout(
        family=FAMILIES[family],
        reason=REASONS[family],
        block_rows=block_rows,
        n_blocks=n_blocks,
        chunk_blocks=chunk_blocks,
        slot_blocks=slot_blocks,
        n_slots=n_slots,
        operations_per_block=_operations(net, stored) * block_rows,
        region_bytes=int(table[f.REGION_SIZE]) * dtype.itemsize,
        sums_bytes=sums_bytes,
        panel_columns=cpu.wide[1] * lanes,
        fields=table,
    )


def schedule(batch: Layout, n_threads: int) -> Schedule:
    """Serial where a hand-over would cost more than it gains, else a worker a thread.

    Workers take whole slots; or, where these do not share out evenly, their sums leave the caches or inputs are sparse,
    parts of a stretch of the batch together: blocks first, whose values are kept, then units of the weight gradients.
    """
    table, work = batch.fields.copy(), batch.n_blocks * batch.operations_per_block
    n_workers = 1 if work < SERIAL_BELOW else n_threads
    has_slots = _slots_serve(batch, n_workers)
    n_workers = min(n_workers, batch.n_slots if has_slots else batch.n_blocks)
    sharing = "each takes whole slots" if has_slots else "each takes blocks, then units of the weight gradients"
    reason = "one: too little to hand over to others" if n_threads > 1 else "one"
    n_stretch = 0
    if not has_slots:
        table[f.STRETCH_BLOCKS] = n_stretch = _stretch_blocks(batch, n_workers)
        _cut_units(table, batch.panel_columns, n_workers)
    if batch.family == "tiles":  # in front of the regions
        table[f.REGIONS_AT] = table[f.SUMS_AT] + (n_workers if has_slots else 1) * table[f.SUMS_SIZE]
    table[f.INPUT_DELTAS_AT] = table[f.REGIONS_AT] + max(n_workers, n_stretch) * table[f.REGION_SIZE]
    steps = tuple(_slots_steps(batch, n_workers) if has_slots else _stretches_steps(batch, table, n_workers))
    repeats = int(LAUNCH / work)
    return Schedule(
        n_workers=n_workers,
        reason=reason if n_workers == 1 else f"{n_workers} of {n_threads}, {sharing}",
        steps=steps,
        n_stretch=n_stretch,
        calls=((0, len(steps)),) if repeats else tuple((i, i + 1) for i in range(len(steps))),
        repeats=max(1, repeats),
        n_elements=int(table[f.INPUT_DELTAS_AT] + n_workers * table[f.INPUT_DELTAS_SIZE]),
        n_totals=int(batch.n_slots * table[f.N_PARAMETERS] + batch.n_blocks),
        fields=table,
    )


def _slots_serve(batch: Layout, n_workers: int) -> bool:
    """Whether workers take whole slots: always with samples in the lanes, else if that keeps cores and caches busy."""
    a_worker = -(-batch.n_slots // n_workers)
    is_even = batch.n_slots >= (1 - MOST_IDLE) * a_worker * n_workers
    is_dense = not batch.fields[f.IS_SPARSE]
    return batch.family == "lanes" or (is_even and is_dense and batch.sums_bytes <= SUMS_BYTES)


def _slots_steps(batch: Layout, n_workers: int) -> Iterator[tuple[int, ...]]:
    """Blocks by workers that have whole slots, then the reduction."""
    if batch.family == "tiles":
        yield _pack(batch)
    yield from _windows(f.BLOCKS, 0, -(-batch.n_slots // n_workers) * batch.slot_blocks, batch.operations_per_block)
    yield _reduce(batch, True)


def _stretches_steps(batch: Layout, table: np.ndarray, n_workers: int) -> Iterator[tuple[int, ...]]:
    """For every stretch its blocks and then the units of its weight gradients."""
    yield _pack(batch)
    n_units = int(table[f.N_UNITS])
    for start in range(0, batch.n_blocks, int(table[f.STRETCH_BLOCKS])):
        n_blocks = min(int(table[f.STRETCH_BLOCKS]), batch.n_blocks - start)
        if table[f.IS_SPARSE]:
            yield from _windows(f.INPUTS, start, -(-n_blocks // n_workers), batch.operations_per_block)
        yield from _windows(f.BLOCKS, start, -(-n_blocks // n_workers), batch.operations_per_block)
        per_unit = n_blocks * batch.operations_per_block / n_units
        yield from _windows(f.UNITS, start, -(-n_units // n_workers), per_unit)
    yield _reduce(batch, batch.n_slots > 1)


def _pack(batch: Layout) -> tuple[int, ...]:
    return f.PACK, 0, 0, 1, int(batch.fields[f.N_PARAMETERS] > SERIAL_REDUCTION)


def _reduce(batch: Layout, has_slots: bool) -> tuple[int, ...]:
    is_large = has_slots and batch.n_slots * batch.fields[f.N_PARAMETERS] > SERIAL_REDUCTION
    return f.REDUCE, 0, 0, 1, int(is_large)


def _windows(phase: int, stretch: int, n_items: int, operations: float) -> Iterator[tuple[int, ...]]:
    """Steps for n_items of each worker, none of them longer than LAUNCH."""
    most = max(1, int(LAUNCH / operations))
    for first in range(0, n_items, most):
        yield phase, stretch, first, min(most, n_items - first), 1


def _stretch_blocks(batch: Layout, n_workers: int) -> int:
    """Blocks to keep: what is found again in a cache, a few for each worker, the same number for all."""
    in_cache = STRETCH_BYTES // batch.region_bytes
    blocks = max(STRETCH_MIN_BLOCKS, in_cache, n_workers) // n_workers * n_workers
    return min(blocks, batch.n_blocks)


def _cut_units(table: np.ndarray, panel: int, n_workers: int) -> None:
    """Cut each layer's sums into units: large ones, for what they read, yet enough to share out evenly."""
    size = UNIT
    while True:
        table[f.N_UNITS] = 0
        for i in range(table[f.N_LAYERS]):
            at = f.record(i)
            table[at + f.FIRST_UNIT] = table[f.N_UNITS]
            table[at + f.UNIT_M], table[at + f.UNIT_N] = size, max(1, size // panel) * panel
            if i == 0 and table[f.IS_SPARSE]:
                table[at + f.UNIT_M] = max(1, table[f.SLICE] * size // UNIT)
                table[at + f.UNIT_N] = table[at + f.SUMS_PADDED]
            high, broad = table[at + f.SUMS_M] / table[at + f.UNIT_M], table[at + f.SUMS_PADDED] / table[at + f.UNIT_N]
            table[f.N_UNITS] += math.ceil(high) * math.ceil(broad)
        size //= 2
        if n_workers == 1 or table[f.N_UNITS] >= UNITS_PER_WORKER * n_workers or size < SMALLEST_UNIT:
            return


def _slot_blocks(net: MLP, n_blocks: int, fewest: int, weight_bytes: int) -> int:
    """Blocks a slot: enough slots to share out, yet few where the cost of each, adding up and merging, would show."""
    if fewest == 1 and weight_bytes > SUMS_BYTES:
        return n_blocks
    slot_bytes = 8 * net.n_parameters
    worth_it = n_blocks // (SLOT_BLOCKS if slot_bytes <= LARGE_SLOT else 2 * SLOT_BLOCKS)
    most = min(MAX_SLOTS, max(fewest, min(TOTALS_BYTES // slot_bytes, worth_it)))
    if fewest == 1:
        most = 1 << most.bit_length() - 1  # what most numbers of threads can share out
    slot_blocks = -(-n_blocks // most)
    rounded_to_too_few = -(-n_blocks // slot_blocks) < fewest <= n_blocks
    return n_blocks // fewest if rounded_to_too_few else slot_blocks


def _fits_lanes(net: MLP, lanes: int) -> bool:
    if net.loss_function.is_custom or any(activation.is_custom for activation in net.activations):
        return False
    return len(net.layers) == 2 and net.n_inputs <= LANES_MAX_INPUTS and net.n_outputs <= memory.most_few(lanes)


def _block_rows(n_rows: int) -> int:
    eighth = -(-n_rows // MIN_SLOTS)
    return min(BLOCK_ROWS, max(SMALLEST_BLOCK, memory.rounded_up(eighth, 16)))


def _operations(net: MLP, stored: int) -> float:
    """Operations a row: two for each weight forward, for its gradient and behind the first layer for the input's."""
    first = (stored * SPARSE_COST or net.n_inputs) * net.layers[0].n_out
    products = 4 * first + sum(6 * layer.n_in * layer.n_out for layer in net.layers[1:])
    return products + 30 * sum(layer.n_out for layer in net.layers)
