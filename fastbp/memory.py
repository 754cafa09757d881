"""Where everything of a call lies in its memory: the offsets that `fields` names, in numbers of the working dtype."""

from __future__ import annotations

import math

import numpy as np

from .kernels import fields as f
from .network import MLP

STRIP_REGISTERS = 4  # that kernels take together, as in `kernels.vector`
MOST_SLICES = 64  # of sparse inputs: where each starts is noted for every row


def most_few(lanes: int) -> int:
    """The most outputs that are faster with samples in the lanes: more fill enough of a tile."""
    return max(1, lanes // 2)


def rounded_up(n: int, multiple: int) -> int:
    """The smallest multiple that is not below n."""
    return math.ceil(n / multiple) * multiple


class Memory:
    """Offsets in a region, each at the start of a register."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.size = lanes, 0

    def take(self, n: int) -> int:
        at = self.size
        self.size += rounded_up(n, self.lanes)
        return at


class Tiles:
    """The sizes of wide and narrow tiles, (rows, registers)."""

    def __init__(self, lanes: int, wide: tuple[int, int], narrow: tuple[int, int]) -> None:
        self.lanes = lanes
        self.wide_rows, self.wide_columns = wide[0], wide[1] * lanes
        self.narrow_rows, self.narrow_columns = narrow[0], narrow[1] * lanes

    def rows(self, n: int) -> int:
        """n rounded up to whole tiles of either kind."""
        return rounded_up(n, math.lcm(self.wide_rows, self.narrow_rows))

    def columns(self, n: int) -> tuple[int, int]:
        """n rounded up to whole tiles, and how many of those columns are in wide ones."""
        wide = n // self.wide_columns * self.wide_columns
        rest = rounded_up(n - wide, self.narrow_columns)
        return (wide + rest, wide) if rest < self.wide_columns else (wide + self.wide_columns,) * 2

    def cost(self, n_m: int, n_n: int) -> int:
        """Elements of all tiles of a matrix (n_m, n_n)."""
        padded, wide = self.columns(n_n)
        return rounded_up(n_m, self.wide_rows) * wide + rounded_up(n_m, self.narrow_rows) * (padded - wide)


def describe_layers(net: MLP, table: np.ndarray) -> None:
    """Sizes of the layers, their places in the parameter vector, their activations."""
    for i, layer in enumerate(net.layers):
        at = f.record(i)
        table[at + f.N_IN], table[at + f.N_OUT] = layer.n_in, layer.n_out
        table[at + f.WEIGHTS], table[at + f.BIASES] = layer.weights.start, layer.biases.start
        table[at + f.ACTIVATION] = net.activations[i].code if i < len(net.activations) else 0


def lanes_region(net: MLP, table: np.ndarray, strip: int, lanes: int) -> None:
    """The region of a worker: packed weights, the values of a block, sums."""
    memory = Memory(lanes)
    hidden, output, n_in, n_out = f.record(0), f.record(1), net.n_inputs, net.n_outputs
    n_units = rounded_up(net.layers[0].n_out, 2)
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
    table[f.SUMS_SIZE] = rounded_up(n_sums * lanes, strip)
    table[f.SUMS_AT] = memory.take(table[f.SUMS_SIZE])
    # Last, because sigmoids need none: what they use stays together, and in the first-level cache.
    table[hidden + f.SLOPES_AT] = memory.take(n_units * strip)
    table[f.REGION_SIZE] = memory.size


def _describe_panels(net: MLP, table: np.ndarray, tiles: Tiles, packed: Memory, is_sparse: bool) -> None:
    """The packed weights, how many strips they have, and the form of the sums."""
    for i, layer in enumerate(net.layers):
        at, n_in, n_out = f.record(i), layer.n_in, layer.n_out
        table[at + f.PADDED_IN], table[at + f.WIDE_IN] = tiles.columns(n_in)
        table[at + f.PADDED], table[at + f.WIDE] = tiles.columns(n_out)
        is_few = 0 < i == len(net.layers) - 1 and n_out <= most_few(tiles.lanes)
        if is_few:
            table[at + f.IS_FEW], table[at + f.WIDE_IN] = 1, 0
        elif i > 0 or not is_sparse:  # which read W itself
            table[at + f.PANELS_AT] = packed.take(table[at + f.PADDED] * n_in)
        table[at + f.BIASES_AT] = packed.take(table[at + f.PADDED])
        table[at + f.FIRST_STRIP] = table[f.N_STRIPS]
        table[f.N_STRIPS] += (table[at + f.PADDED] + table[at + f.PADDED_IN]) // tiles.lanes
        if i > 0:  # the first layer's is for dL/dx only, and comes last
            table[at + f.TRANSPOSED_AT] = packed.take(table[at + f.PADDED_IN] * n_out)
        if is_few or (tiles.cost(n_out, n_in) < tiles.cost(n_in, n_out) and (i > 0 or not is_sparse)):
            n_m, n_n, steps = n_out, n_in, (1, n_out)
        else:
            n_m, n_n, steps = n_in, n_out, (n_out, 1)
        table[at + f.SUMS_M], table[at + f.SUMS_N], table[at + f.SUMS_HEIGHT] = n_m, n_n, tiles.rows(n_m)
        table[at + f.SUMS_PADDED], table[at + f.SUMS_WIDE] = tiles.columns(n_n)
        if is_few:
            table[at + f.SUMS_HEIGHT], table[at + f.SUMS_WIDE] = n_out, 0
        if i == 0 and is_sparse and n_out > (strip := STRIP_REGISTERS * tiles.lanes):
            table[at + f.SUMS_PADDED] = rounded_up(n_out, strip)
        table[at + f.SUMS_STEP_M], table[at + f.SUMS_STEP_N] = steps
    first = f.record(0)
    table[first + f.TRANSPOSED_AT] = packed.take(table[first + f.PADDED_IN] * table[first + f.N_OUT])
    table[f.ZEROS_AT] = packed.take(max(table[f.record(i) + f.PADDED_IN] for i in range(len(net.layers))))


def tiles_memory(net: MLP, table: np.ndarray, block_rows: int, tiles: Tiles, slice_size: int) -> None:
    """The packed weights, the sums of one worker behind them, and the region of a block.

    slice_size : for sparse inputs, how many numbers of the first layer's weights to take at a time, else 0.
    """
    memory = Memory(tiles.lanes)
    _describe_panels(net, table, tiles, memory, slice_size > 0)
    table[f.SUMS_AT] = memory.size
    for i in range(len(net.layers)):
        at = f.record(i)
        table[at + f.WEIGHT_SUMS_AT] = memory.take(table[at + f.SUMS_HEIGHT] * table[at + f.SUMS_PADDED])
        table[at + f.BIAS_SUMS_AT] = memory.take(table[at + f.PADDED])
    table[f.SUMS_SIZE] = memory.size - table[f.SUMS_AT]
    _tiles_region(net, table, Memory(tiles.lanes), block_rows, tiles, slice_size)


def _tiles_region(net: MLP, table: np.ndarray, memory: Memory, rows: int, tiles: Tiles, slice_size: int) -> None:
    """A block's inputs, values, slopes, targets, weights and losses, and which of them make each layer's sums."""
    # One register more than needed, so that rows do not fall on the same cache sets.
    table[f.INPUTS_STEP] = step = tiles.rows(int(table[f.record(0) + f.PADDED_IN])) + tiles.lanes
    rows, last = tiles.rows(rows), len(net.layers) - 1
    strips = rounded_up(rows, STRIP_REGISTERS * tiles.lanes)
    if slice_size:
        first = f.record(0)
        table[f.SLICE] = max(slice_size // table[first + f.SUMS_PADDED], -(-net.n_inputs // MOST_SLICES))
        table[f.N_SLICES] = -(-net.n_inputs // table[f.SLICE])
        table[f.BOUNDS_AT] = memory.take(rows * (table[f.N_SLICES] + 1))
    else:
        table[f.INPUTS_AT] = memory.take(rows * step)
    for i in range(len(net.layers)):
        at = f.record(i)
        table[at + f.STEP] = step = table[at + f.PADDED] + tiles.lanes
        size = strips * table[at + f.N_OUT] if table[at + f.IS_FEW] else rows * step
        table[at + f.VALUES_AT] = table[at + f.SLOPES_AT] = memory.take(size)
        if i < last:
            table[at + f.SLOPES_AT] = memory.take(rows * step)
    table[f.TARGETS_AT] = memory.take(size)
    table[f.WEIGHTS_AT], table[f.LOSSES_AT] = memory.take(strips), memory.take(strips)
    for i, layer in enumerate(net.layers):
        at, below = f.record(i), f.record(i - 1)
        inputs = (table[f.INPUTS_AT], table[f.INPUTS_STEP]) if i == 0 else table[[below + f.VALUES_AT, below + f.STEP]]
        deltas = table[[at + f.SLOPES_AT, at + f.STEP]]
        is_transposed = table[at + f.IS_FEW] or table[at + f.SUMS_M] != layer.n_in
        left, right = (deltas, inputs) if is_transposed else (inputs, deltas)
        table[[at + f.LEFT_AT, at + f.LEFT_STEP]], table[[at + f.RIGHT_AT, at + f.RIGHT_STEP]] = left, right
    table[f.INPUT_DELTAS_SIZE] = rows * table[f.INPUTS_STEP]
    table[f.REGION_SIZE] = memory.size
