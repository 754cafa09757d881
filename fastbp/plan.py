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

from .kernels import fields as f
from .network import MLP

MAX_CHUNK_ROWS = 8192  # float32 sums over more rows lose digits
MAX_SLOTS = 64
SLOT_BLOCKS_WORTH_IT = 8  # blocks beside which a slot's own cost is small
MIN_SLOTS = 8  # wherever the batch has as many blocks, so that many threads find work
TOTALS_BYTES = 2**25  # bound on all slots together, unless MIN_SLOTS need more
LANES_MAX_INPUTS = 16
BLOCK_ROWS = 128
SMALLEST_BLOCK = 32
TILES_MIN_BLOCKS = 64  # fewer are not worth slots of their own
STRETCH_BYTES = 2**23  # of the blocks that PANELS keeps, to be found again in the caches
STRETCH_MIN_BLOCKS = 8  # even if they take more
UNIT, SMALLEST_UNIT = 128, 32  # rows and columns of a unit of a weight gradient
UNITS_PER_WORKER = 4
FAMILIES = ("lanes", "tiles", "panels")
REASONS = (
    "samples in the vector lanes, for one hidden layer with few inputs and outputs",
    "features in the vector lanes; a worker takes one block after another, gradients included",
    "features in the vector lanes; each part of a weight gradient has one worker, for so many weights or so few rows",
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
    region_bytes: int  # without dL/dx
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
    calls: tuple[tuple[int, int], ...]  # on one thread: which steps go together
    repeats: int  # how many times the program runs in 50 ms
    n_elements: int  # of the memory of a call
    n_totals: int  # every slot's gradient and the sums of losses
    fields: np.ndarray = field(repr=False, compare=False)  # the layout's, completed


@functools.lru_cache(maxsize=256)
def layout(net: MLP, n_rows: int, dtype: np.dtype, cpu: Any) -> Layout:
    """The layout of `n_rows` samples of a network; `cpu` gives `vector_bytes`, and `wide` and `narrow`, the tiles."""
    lanes = cpu.vector_bytes // dtype.itemsize
    table = np.zeros(f.record(len(net.layers)), np.int64)
    _describe_layers(net, table)
    region = _Memory(lanes)
    if _fits_lanes(net, lanes):
        family, block_rows = f.LANES, 4 * lanes
        _lanes_region(net, table, region, block_rows, lanes)
    else:
        block_rows = _block_rows(n_rows)
        family, region = _tiles_memory(net, n_rows, table, _Tiles(lanes, cpu.wide, cpu.narrow), block_rows)
    n_blocks = -(-n_rows // block_rows)
    slot_blocks = n_blocks if family == f.PANELS else _slot_blocks(net, n_blocks)
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
        f.N_LOSSES: chunk_blocks if family == f.PANELS else n_slots,
        f.N_LAYERS: len(net.layers),
        f.N_INPUTS: net.n_inputs,
        f.N_OUTPUTS: net.n_outputs,
        f.N_PARAMETERS: net.n_parameters,
        f.BIAS: int(net.bias),
        f.LOSS: net.loss_function.code,
        f.REGION_SIZE: region.size,
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
        operations_per_block=_operations(net) * block_rows,
        region_bytes=int(table[f.INPUT_DELTAS_AT] or region.size) * dtype.itemsize,
        panel_columns=cpu.wide[1] * lanes,
        fields=table,
    )


def schedule(batch: Layout, n_threads: int) -> Schedule:
    """Serial where a hand-over would cost more than it gains, else a worker a thread."""
    has_panels, table = batch.family == "panels", batch.fields.copy()
    n_workers = min(n_threads, min(batch.chunk_blocks, batch.n_blocks) if has_panels else batch.n_slots)
    reason = f"{n_workers} of {n_threads} threads"
    work = batch.n_blocks * batch.operations_per_block
    if n_workers == 1 or work < SERIAL_BELOW:
        n_workers, reason = 1, "one thread, or too little work to hand over to more"
    n_regions = n_workers
    if has_panels:
        table[f.STRETCH_BLOCKS] = stretch = _stretch_blocks(batch, n_workers)
        n_regions = max(n_workers, stretch)
        _cut_units(table, batch.panel_columns, n_workers)
    steps = tuple(_panels_steps(batch, table, n_workers) if has_panels else _slots_steps(batch, n_workers))
    repeats = int(LAUNCH / work)
    return Schedule(
        n_workers=n_workers,
        reason=reason,
        steps=steps,
        calls=((0, len(steps)),) if repeats else tuple((i, i + 1) for i in range(len(steps))),
        repeats=max(1, repeats),
        n_elements=int(table[f.REGIONS_AT] + n_regions * table[f.REGION_SIZE]),
        n_totals=int(batch.n_slots * table[f.N_PARAMETERS] + table[f.N_LOSSES]),
        fields=table,
    )


def _slots_steps(batch: Layout, n_workers: int) -> Iterator[tuple[int, ...]]:
    """Blocks by workers that have whole slots, then the reduction."""
    yield from _windows(f.BLOCKS, 0, -(-batch.n_slots // n_workers) * batch.slot_blocks, batch.operations_per_block)
    yield f.REDUCE, 0, 0, 1, int(batch.n_slots * batch.fields[f.N_PARAMETERS] > SERIAL_REDUCTION)


def _panels_steps(batch: Layout, table: np.ndarray, n_workers: int) -> Iterator[tuple[int, ...]]:
    """For every stretch its blocks and then the units of its weight gradients."""
    yield f.PACK, 0, 0, 1, int(table[f.N_PARAMETERS] > SERIAL_REDUCTION)
    n_units, start = int(table[f.N_UNITS]), 0
    while start < batch.n_blocks:
        end_of_chunk = start - start % batch.chunk_blocks + batch.chunk_blocks
        stop = min(start + int(table[f.STRETCH_BLOCKS]), end_of_chunk, batch.n_blocks)
        n_blocks = stop - start
        yield from _windows(f.BLOCKS, start, -(-n_blocks // n_workers), batch.operations_per_block)
        per_unit = n_blocks * batch.operations_per_block / n_units
        yield from _windows(f.UNITS, start, -(-n_units // n_workers), per_unit)
        start = stop
    yield f.REDUCE, 0, 0, 1, 0


def _windows(phase: int, stretch: int, n_items: int, operations: float) -> Iterator[tuple[int, ...]]:
    """Steps for n_items of each worker, none of them longer than LAUNCH."""
    most = max(1, int(LAUNCH / operations))
    for first in range(0, n_items, most):
        yield phase, stretch, first, min(most, n_items - first), 1


def _stretch_blocks(batch: Layout, n_workers: int) -> int:
    """Blocks to keep: what is found again in a cache, a few for each worker, the same number for all."""
    in_cache = STRETCH_BYTES // batch.region_bytes
    blocks = max(STRETCH_MIN_BLOCKS, in_cache, n_workers) // n_workers * n_workers
    return min(blocks, batch.chunk_blocks)


def _cut_units(table: np.ndarray, panel: int, n_workers: int) -> None:
    """Cut each layer's sums into units: large ones, for what they read, yet enough to share out evenly."""
    size = UNIT
    while True:
        table[f.UNIT_M], table[f.UNIT_N], table[f.N_UNITS] = size, max(1, size // panel) * panel, 0
        for i in range(table[f.N_LAYERS]):
            at = f.record(i)
            table[at + f.FIRST_UNIT] = table[f.N_UNITS]
            high, broad = table[at + f.SUMS_M] / table[f.UNIT_M], table[at + f.SUMS_PADDED] / table[f.UNIT_N]
            table[f.N_UNITS] += math.ceil(high) * math.ceil(broad)
        size //= 2
        if n_workers == 1 or table[f.N_UNITS] >= UNITS_PER_WORKER * n_workers or size < SMALLEST_UNIT:
            return


def _slot_blocks(net: MLP, n_blocks: int) -> int:
    """Blocks a slot: enough slots to share out, yet few where the cost of each, adding up and merging, would show."""
    by_memory = TOTALS_BYTES // (8 * (net.n_parameters + 1))
    most = min(MAX_SLOTS, max(MIN_SLOTS, min(by_memory, n_blocks // SLOT_BLOCKS_WORTH_IT)))
    slot_blocks = -(-n_blocks // most)
    rounded_to_too_few = -(-n_blocks // slot_blocks) < MIN_SLOTS <= n_blocks
    return n_blocks // MIN_SLOTS if rounded_to_too_few else slot_blocks


def _fits_lanes(net: MLP, lanes: int) -> bool:
    most_outputs = max(1, lanes // 2)  # more fill enough of a tile
    if net.loss_function.is_custom or any(activation.is_custom for activation in net.activations):
        return False
    return len(net.layers) == 2 and net.n_inputs <= LANES_MAX_INPUTS and net.n_outputs <= most_outputs


def _block_rows(n_rows: int) -> int:
    eighth = -(-n_rows // MIN_SLOTS)
    return min(BLOCK_ROWS, max(SMALLEST_BLOCK, _round_up(eighth, 16)))


def _operations(net: MLP) -> float:
    """Operations a row: two for each weight forward, for its gradient and behind the first layer for the input's."""
    products = sum(2 * (3 if i else 2) * layer.n_in * layer.n_out for i, layer in enumerate(net.layers))
    return products + 30 * sum(layer.n_out for layer in net.layers)


def _round_up(n: int, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


# -- memory ----------------------------------------------------------------------------------------------------------


class _Memory:
    """Offsets in a region, each at the start of a register."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.size = lanes, 0

    def take(self, n: int) -> int:
        at = self.size
        self.size += _round_up(n, self.lanes)
        return at


class _Tiles:
    """The sizes of wide and narrow tiles, (rows, registers)."""

    def __init__(self, lanes: int, wide: tuple[int, int], narrow: tuple[int, int]) -> None:
        self.lanes = lanes
        self.wide_rows, self.wide_columns = wide[0], wide[1] * lanes
        self.narrow_rows, self.narrow_columns = narrow[0], narrow[1] * lanes

    def rows(self, n: int) -> int:
        """n rounded up to whole tiles of either kind."""
        return _round_up(n, math.lcm(self.wide_rows, self.narrow_rows))

    def columns(self, n: int) -> tuple[int, int]:
        """n rounded up to whole tiles, and how many of those columns are in wide ones."""
        wide = n // self.wide_columns * self.wide_columns
        rest = _round_up(n - wide, self.narrow_columns)
        return (wide + rest, wide) if rest < self.wide_columns else (wide + self.wide_columns,) * 2

    def cost(self, n_m: int, n_n: int) -> int:
        """Elements of all tiles of a matrix (n_m, n_n)."""
        padded, wide = self.columns(n_n)
        return _round_up(n_m, self.wide_rows) * wide + _round_up(n_m, self.narrow_rows) * (padded - wide)


def _describe_layers(net: MLP, table: np.ndarray) -> None:
    for i, layer in enumerate(net.layers):
        at = f.record(i)
        table[at + f.N_IN], table[at + f.N_OUT] = layer.n_in, layer.n_out
        table[at + f.WEIGHTS], table[at + f.BIASES] = layer.weights.start, layer.biases.start
        table[at + f.ACTIVATION] = net.activations[i].code if i < len(net.activations) else 0


def _lanes_region(net: MLP, table: np.ndarray, memory: _Memory, strip: int, lanes: int) -> None:
    hidden, output, n_in, n_out = f.record(0), f.record(1), net.n_inputs, net.n_outputs
    n_units = _round_up(net.layers[0].n_out, 2)
    table[hidden + f.PADDED] = n_units
    table[hidden + f.PANELS_AT] = memory.take(n_units * (n_in + 1 + n_out))
    table[output + f.BIASES_AT] = memory.take(n_out)
    table[f.INPUTS_AT] = memory.take(n_in * strip)
    table[hidden + f.VALUES_AT] = memory.take(n_units * strip)
    for name in (output + f.VALUES_AT, f.TARGETS_AT):
        table[name] = memory.take(n_out * strip)
    for name in (f.WEIGHTS_AT, f.LOSSES_AT):
        table[name] = memory.take(strip)
    n_sums = n_out + n_units * (n_in + n_out + int(net.bias))  # dL/db2, then those of each unit, a register each
    table[f.SUMS_SIZE] = _round_up(n_sums * lanes, strip)
    table[f.SUMS_AT] = memory.take(table[f.SUMS_SIZE])
    # Last, because sigmoids need none: what they use stays together, and in the first-level cache.
    table[hidden + f.SLOPES_AT] = memory.take(n_units * strip)


def _describe_panels(net: MLP, table: np.ndarray, tiles: _Tiles, packed: _Memory) -> None:
    """The packed weights, how many strips they have, and the form of the sums."""
    for i, layer in enumerate(net.layers):
        at, n_in, n_out = f.record(i), layer.n_in, layer.n_out
        table[at + f.PADDED_IN], table[at + f.WIDE_IN] = tiles.columns(n_in)
        table[at + f.PADDED], table[at + f.WIDE] = tiles.columns(n_out)
        table[at + f.PANELS_AT] = packed.take(table[at + f.PADDED] * n_in)
        table[at + f.BIASES_AT] = packed.take(table[at + f.PADDED])
        table[at + f.FIRST_STRIP] = table[f.N_STRIPS]
        n_columns = table[at + f.PADDED]
        if i > 0:  # the first layer's is for dL/dx only, and comes last
            table[at + f.TRANSPOSED_AT] = packed.take(table[at + f.PADDED_IN] * n_out)
        n_columns += table[at + f.PADDED_IN]
        table[f.N_STRIPS] += n_columns // tiles.lanes
        if tiles.cost(n_out, n_in) < tiles.cost(n_in, n_out):
            n_m, n_n, steps = n_out, n_in, (1, n_out)
        else:
            n_m, n_n, steps = n_in, n_out, (n_out, 1)
        table[at + f.SUMS_M], table[at + f.SUMS_N], table[at + f.SUMS_HEIGHT] = n_m, n_n, tiles.rows(n_m)
        table[at + f.SUMS_PADDED], table[at + f.SUMS_WIDE] = tiles.columns(n_n)
        table[at + f.SUMS_STEP_M], table[at + f.SUMS_STEP_N] = steps
    first = f.record(0)
    table[first + f.TRANSPOSED_AT] = packed.take(table[first + f.PADDED_IN] * table[first + f.N_OUT])
    table[f.ZEROS_AT] = packed.take(max(table[f.record(i) + f.PADDED_IN] for i in range(len(net.layers))))


def _tiles_memory(net: MLP, n_rows: int, table: np.ndarray, tiles: _Tiles, block_rows: int) -> tuple[int, _Memory]:
    """The family, and the region of a block: what all share with PANELS is part of it with TILES."""
    memory = _Memory(tiles.lanes)
    _describe_panels(net, table, tiles, memory)
    few_slots = n_rows <= block_rows * (TILES_MIN_BLOCKS - 1) or MAX_SLOTS * 8 * net.n_parameters > TOTALS_BYTES
    family = f.PANELS if few_slots else f.TILES
    table[f.SUMS_AT] = memory.size
    for i in range(len(net.layers)):
        at = f.record(i)
        table[at + f.WEIGHT_SUMS_AT] = memory.take(table[at + f.SUMS_HEIGHT] * table[at + f.SUMS_PADDED])
        table[at + f.BIAS_SUMS_AT] = memory.take(table[at + f.PADDED])
    table[f.SUMS_SIZE] = memory.size - table[f.SUMS_AT]
    if family == f.PANELS:
        table[f.REGIONS_AT] = memory.size
        memory = _Memory(tiles.lanes)
    _tiles_region(net, table, memory, block_rows, tiles)
    return family, memory


def _tiles_region(net: MLP, table: np.ndarray, memory: _Memory, rows: int, tiles: _Tiles) -> None:
    """A block's inputs, values, slopes, targets, weights and losses, and which of them make each layer's sums."""
    # One register more than needed, so that rows do not fall on the same cache sets.
    table[f.INPUTS_STEP] = step = tiles.rows(int(table[f.record(0) + f.PADDED_IN])) + tiles.lanes
    rows, last = tiles.rows(rows), len(net.layers) - 1
    table[f.INPUTS_AT] = memory.take(rows * step)
    for i in range(len(net.layers)):
        at = f.record(i)
        table[at + f.STEP] = step = table[at + f.PADDED] + tiles.lanes
        table[at + f.VALUES_AT] = table[at + f.SLOPES_AT] = memory.take(rows * step)
        if i < last:
            table[at + f.SLOPES_AT] = memory.take(rows * step)
    table[f.TARGETS_AT] = memory.take(rows * step)
    table[f.WEIGHTS_AT], table[f.LOSSES_AT] = memory.take(rows), memory.take(rows)
    for i, layer in enumerate(net.layers):
        at, below = f.record(i), f.record(i - 1)
        inputs = (table[f.INPUTS_AT], table[f.INPUTS_STEP]) if i == 0 else table[[below + f.VALUES_AT, below + f.STEP]]
        deltas = table[[at + f.SLOPES_AT, at + f.STEP]]
        left, right = (inputs, deltas) if table[at + f.SUMS_M] == layer.n_in else (deltas, inputs)
        table[[at + f.LEFT_AT, at + f.LEFT_STEP]], table[[at + f.RIGHT_AT, at + f.RIGHT_STEP]] = left, right
    table[f.INPUT_DELTAS_AT] = memory.take(rows * table[f.INPUTS_STEP])
