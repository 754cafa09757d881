"""Two pure functions that decide how a batch is computed.

`layout(network, n_rows, dtype, cpu)` decides everything that can touch a bit: the family of kernels, blocks, chunks and
slots. It never sees threads. `schedule(layout, n_threads)` decides who computes what, and changes no bit.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .kernels import fields as f
from .network import MLP

MAX_CHUNK_ROWS = 8192  # float32 sums over more rows lose digits
MAX_SLOTS = 64
SLOT_BLOCKS_WORTH_IT = 16  # blocks beside which a slot's own cost is small
MIN_SLOTS = 8  # wherever the batch has as many blocks, so that many threads find work
TOTALS_BYTES = 2**24  # bound on all slots together, unless MIN_SLOTS need more
LANES_MAX_INPUTS = 16
TILES_BLOCK_ROWS = 128
TILES_SMALLEST_BLOCK = 32

# The schedule's measures, in operations as counted by `_operations`.
SERIAL_BELOW = 3e6  # a hand-over to threads costs some microseconds twice
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
    worker_size: int
    operations_per_block: float
    fields: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Schedule:
    """Which part each worker has: a run of whole slots, taken `blocks_per_launch` blocks at a time."""

    n_workers: int
    blocks_per_worker: int
    blocks_per_launch: int
    reason: str


@functools.lru_cache(maxsize=256)
def layout(net: MLP, n_rows: int, dtype: np.dtype, cpu: Any) -> Layout:
    """The layout of `n_rows` samples of a network; `cpu` gives `vector_bytes` and `tile` (rows, registers)."""
    lanes = cpu.vector_bytes // dtype.itemsize
    in_lanes, reason = _family(net, lanes)
    block_rows = 4 * lanes if in_lanes else _tiles_block_rows(n_rows)
    n_blocks = -(-n_rows // block_rows)
    slot_blocks = _slot_blocks(net, n_blocks)
    chunk_blocks = min(slot_blocks, max(1, MAX_CHUNK_ROWS // block_rows))
    n_slots = -(-n_blocks // slot_blocks)
    header = {
        f.FAMILY: f.LANES if in_lanes else f.TILES,
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
    }
    table = np.zeros(f.record(len(net.layers)), np.int64)
    for name, value in header.items():
        table[name] = value
    _describe_layers(net, table)
    memory = _Memory(lanes)
    (_lanes_memory if in_lanes else _tiles_memory)(net, table, memory, block_rows, lanes, cpu.tile)
    table[f.WORKER_SIZE] = memory.size
    return Layout(
        "lanes" if in_lanes else "tiles", reason, block_rows, n_blocks, chunk_blocks, slot_blocks, n_slots,
        memory.size, _operations(net) * block_rows, table,
    )  # fmt: skip


def schedule(batch: Layout, n_threads: int) -> Schedule:
    """Serial where a hand-over would cost more than it gains, else a worker a thread; launches end within 50 ms."""
    per_launch = max(1, int(LAUNCH / batch.operations_per_block))
    n_workers = min(n_threads, batch.n_slots)
    reason = f"{n_workers} of {n_threads} threads for {batch.n_slots} slots"
    if n_workers == 1 or batch.n_blocks * batch.operations_per_block < SERIAL_BELOW:
        n_workers, reason = 1, "one thread, or too little work to hand over to more"
    per_worker = -(-batch.n_slots // n_workers) * batch.slot_blocks
    return Schedule(n_workers, per_worker, min(per_launch, per_worker), reason)


def _slot_blocks(net: MLP, n_blocks: int) -> int:
    """Blocks a slot: enough slots to share out, yet few where the cost of each, adding up and merging, would show."""
    by_memory = TOTALS_BYTES // (8 * (net.n_parameters + 1))
    most = min(MAX_SLOTS, max(MIN_SLOTS, min(by_memory, n_blocks // SLOT_BLOCKS_WORTH_IT)))
    slot_blocks = -(-n_blocks // most)
    rounded_to_too_few = -(-n_blocks // slot_blocks) < MIN_SLOTS <= n_blocks
    return n_blocks // MIN_SLOTS if rounded_to_too_few else slot_blocks


def _family(net: MLP, lanes: int) -> tuple[bool, str]:
    most = max(1, lanes // 2)  # more fill enough of a tile
    if len(net.layers) == 2 and net.n_inputs <= LANES_MAX_INPUTS and net.n_outputs <= most:
        sizes = f"at most {LANES_MAX_INPUTS} inputs, at most {most} outputs"
        return True, f"one hidden layer, {sizes}: samples in the vector lanes"
    return False, "any depth and width: features in the vector lanes, products by register tiles"


def _tiles_block_rows(n_rows: int) -> int:
    eighth = -(-n_rows // MIN_SLOTS)
    return min(TILES_BLOCK_ROWS, max(TILES_SMALLEST_BLOCK, _round_up(eighth, 8)))


def _operations(net: MLP) -> float:
    """Operations a row: two for each weight forward, for its gradient and behind the first layer for the input's."""
    products = sum(2 * (3 if i else 2) * layer.n_in * layer.n_out for i, layer in enumerate(net.layers))
    return products + 30 * sum(layer.n_out for layer in net.layers)


def _round_up(n: int, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


class _Memory:
    """Offsets in a worker's region, each at the start of a register."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.size = lanes, 0

    def take(self, n: int) -> int:
        at = self.size
        self.size += _round_up(n, self.lanes)
        return at


def _describe_layers(net: MLP, table: np.ndarray) -> None:
    for i, layer in enumerate(net.layers):
        at = f.record(i)
        table[at + f.N_IN], table[at + f.N_OUT] = layer.n_in, layer.n_out
        table[at + f.WEIGHTS], table[at + f.BIASES] = layer.weights.start, layer.biases.start
        table[at + f.ACTIVATION] = net.activations[i].code if i < len(net.activations) else 0


def _lanes_memory(net: MLP, table: np.ndarray, memory: _Memory, strip: int, lanes: int, tile: tuple[int, int]) -> None:
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


def _tiles_memory(net: MLP, table: np.ndarray, memory: _Memory, rows: int, lanes: int, tile: tuple[int, int]) -> None:
    tile_rows, width = tile[0], tile[1] * lanes
    # One register more than needed, so that rows do not fall on the same cache sets.
    table[f.INPUTS_STEP] = step = _round_up(net.n_inputs, max(lanes, tile_rows)) + lanes
    rows = _round_up(rows, tile_rows)
    for i, layer in enumerate(net.layers):
        at, padded = f.record(i), _round_up(layer.n_out, width)
        table[at + f.PADDED] = padded
        table[at + f.PANELS_AT] = memory.take(padded * layer.n_in)
        table[at + f.BIASES_AT] = memory.take(padded)
        if i > 0:
            table[at + f.TRANSPOSED_AT] = memory.take(_round_up(layer.n_in, width) * layer.n_out)
    table[f.INPUTS_AT] = memory.take(rows * step)
    for i in range(len(net.layers)):
        at = f.record(i)
        table[at + f.STEP] = step = table[at + f.PADDED] + lanes
        table[at + f.VALUES_AT] = memory.take(rows * step)
        table[at + f.SLOPES_AT] = memory.take(rows * step) if i < len(net.layers) - 1 else 0
    table[f.TARGETS_AT] = memory.take(rows * step)
    table[f.WEIGHTS_AT], table[f.LOSSES_AT] = memory.take(rows), memory.take(rows)
    table[f.SUMS_AT] = memory.size
    for i, layer in enumerate(net.layers):
        at = f.record(i)
        table[at + f.WEIGHT_SUMS_AT] = memory.take(_round_up(layer.n_in, tile_rows) * table[at + f.PADDED])
        table[at + f.BIAS_SUMS_AT] = memory.take(table[at + f.PADDED])
    table[f.SUMS_SIZE] = memory.size - table[f.SUMS_AT]
