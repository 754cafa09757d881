"""Where everything of a call lies in its memory: offsets, written to a plan's structures."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.simd.vector import GROUP_REGISTERS
from ..model.network import MLP

MOST_SLICES = 64  # of sparse inputs: where each starts is noted for every row


def most_narrow_outputs(lanes: int) -> int:
    """The most outputs that are faster with samples in the lanes: more fill enough of a microtile."""
    return max(1, lanes // 2)


def rounded_up(n: int, multiple: int) -> int:
    """The smallest multiple that is not below n."""
    return math.ceil(n / multiple) * multiple


class Memory:
    """Offsets in a region, each at the start of a register."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.size = lanes, 0

    def reserve(self, n: int) -> int:
        """Where n numbers start that nothing else lies over."""
        offset = self.size
        self.size += rounded_up(n, self.lanes)
        return offset


class Microtiles:
    """The sizes of wide and narrow microtiles, (rows, registers)."""

    def __init__(self, lanes: int, wide: tuple[int, int], narrow: tuple[int, int]) -> None:
        self.lanes = lanes
        self.wide_rows, self.wide_columns = wide[0], wide[1] * lanes
        self.narrow_rows, self.narrow_columns = narrow[0], narrow[1] * lanes

    def rows(self, n: int) -> int:
        """n rounded up to whole microtiles of either kind."""
        return rounded_up(n, math.lcm(self.wide_rows, self.narrow_rows))

    def columns(self, n: int) -> tuple[int, int]:
        """n rounded up to whole microtiles, and how many of those columns are in wide ones."""
        wide = n // self.wide_columns * self.wide_columns
        rest = rounded_up(n - wide, self.narrow_columns)
        return (wide + rest, wide) if rest < self.wide_columns else (wide + self.wide_columns,) * 2

    def cost(self, n_m: int, n_n: int) -> int:
        """Elements of all microtiles of a matrix (n_m, n_n)."""
        padded, wide = self.columns(n_n)
        return rounded_up(n_m, self.wide_rows) * wide + rounded_up(n_m, self.narrow_rows) * (padded - wide)


def describe_layers(net: MLP, layers: np.recarray) -> None:
    """Sizes of the layers, their places in the parameter vector, their activations."""
    for i, (described, layer) in enumerate(zip(layers, net.layers, strict=True)):
        described.n_in, described.n_out = layer.n_in, layer.n_out
        described.weights_offset, described.biases_offset = layer.weights.start, layer.biases.start
        if i < len(net.activations):
            own = net.activations[i]
            described.activation, described.activation_parameter = own.code, own.parameter
            described.is_rectifier, described.is_logistic = own.record.is_rectifier, own.record.is_logistic


def small_memory(net: MLP, header: np.record, layers: np.recarray, group: int, lanes: int) -> None:
    """The region of a worker: packed weights, the values of a block, sums."""
    memory, n_in, n_out = Memory(lanes), net.n_inputs, net.n_outputs
    hidden, output = layers
    hidden.padded_out = n_units = rounded_up(net.layers[0].n_out, 2)
    hidden.panels_offset = memory.reserve(n_units * (n_in + 1 + n_out))
    output.packed_biases_offset = memory.reserve(n_out)
    header.inputs_offset = memory.reserve(n_in * group)
    hidden.values_offset = memory.reserve(n_units * group)
    output.values_offset = memory.reserve(n_out * group)
    header.targets_offset = memory.reserve(n_out * group)
    header.sample_weights_offset = memory.reserve(group)
    header.losses_offset = memory.reserve(group)
    n_sums = n_out + n_units * (n_in + n_out + int(net.bias))  # dL/db2, then those of each unit, a register each
    header.sums_size = rounded_up(n_sums * lanes, group)
    header.sums_offset = memory.reserve(int(header.sums_size))
    # Last, because sigmoids need none: what they use stays together, and in the first-level cache.
    hidden.slopes_offset = memory.reserve(n_units * group)
    header.region_size = memory.size


def wide_memory(
    net: MLP, header: np.record, layers: np.recarray, block_rows: int, tiles: Microtiles, slice_size: int
) -> None:  # fmt: skip
    """The packed weights, after them the sums of one worker, and the region of a block.

    slice_size : for sparse inputs, how many numbers of the first layer's weights to take at a time, else 0.
    """
    memory = Memory(tiles.lanes)
    _pack(net, header, layers, tiles, memory, slice_size > 0)
    header.sums_offset = memory.size
    for layer in layers:
        layer.weight_sums_offset = memory.reserve(int(layer.sums_height * layer.sums_padded))
        layer.bias_sums_offset = memory.reserve(int(layer.padded_out))
    header.sums_size = memory.size - header.sums_offset
    _lay_out_region(net, header, layers, Memory(tiles.lanes), block_rows, tiles, slice_size)


def _pack(
    net: MLP, header: np.record, layers: np.recarray, tiles: Microtiles, packed: Memory, is_sparse: bool
) -> None:  # fmt: skip
    """The packed weights, how many registers of columns they have, and the form of the sums."""
    for i, layer in enumerate(layers):
        n_in, n_out = int(layer.n_in), int(layer.n_out)
        layer.padded_in, layer.wide_in = tiles.columns(n_in)
        layer.padded_out, layer.wide_out = tiles.columns(n_out)
        is_narrow = 0 < i == len(layers) - 1 and n_out <= most_narrow_outputs(tiles.lanes)
        reads_weights = i == 0 and is_sparse  # as they are, not packed
        if is_narrow:
            layer.has_narrow_output, layer.wide_in = 1, 0
        elif not reads_weights:
            layer.panels_offset = packed.reserve(int(layer.padded_out) * n_in)
        layer.packed_biases_offset = packed.reserve(int(layer.padded_out))
        layer.first_packed = header.n_packed
        header.n_packed += (layer.padded_out + layer.padded_in) // tiles.lanes
        if i > 0:  # the first layer's is for dL/dx only, and comes last
            layer.transposed_offset = packed.reserve(int(layer.padded_in) * n_out)
        if is_narrow or (tiles.cost(n_out, n_in) < tiles.cost(n_in, n_out) and not reads_weights):
            n_m, n_n, strides = n_out, n_in, (1, n_out)
        else:
            n_m, n_n, strides = n_in, n_out, (n_out, 1)
        layer.sums_rows, layer.sums_columns, layer.sums_height = n_m, n_n, tiles.rows(n_m)
        layer.sums_padded, layer.sums_wide = tiles.columns(n_n)
        layer.is_one_panel = reads_weights
        if is_narrow:
            layer.sums_height, layer.sums_wide = n_out, 0
        if reads_weights and n_out > (group := GROUP_REGISTERS * tiles.lanes):
            layer.sums_padded = rounded_up(n_out, group)
        layer.sums_row_stride, layer.sums_column_stride = strides
    first = layers[0]
    first.transposed_offset = packed.reserve(int(first.padded_in * first.n_out))
    header.zeros_offset = packed.reserve(int(layers.padded_in.max()))


def _lay_out_region(
    net: MLP, header: np.record, layers: np.recarray, memory: Memory, rows: int, tiles: Microtiles, slice_size: int
) -> None:  # fmt: skip
    """A block's inputs, values, slopes, targets, weights and losses, and which of them make each layer's sums."""
    # One register more than needed, so that rows do not fall on the same cache sets.
    header.inputs_stride = tiles.rows(int(layers[0].padded_in)) + tiles.lanes
    rows, last = tiles.rows(rows), len(layers) - 1
    groups = rounded_up(rows, GROUP_REGISTERS * tiles.lanes)
    if slice_size:
        header.slice_columns = max(slice_size // layers[0].sums_padded, -(-net.n_inputs // MOST_SLICES))
        header.n_slices = -(-net.n_inputs // header.slice_columns)
        header.bounds_offset = memory.reserve(rows * int(header.n_slices + 1))
    else:
        header.inputs_offset = memory.reserve(rows * int(header.inputs_stride))
    for i, layer in enumerate(layers):
        layer.stride = layer.padded_out + tiles.lanes
        size = int(groups * layer.n_out if layer.has_narrow_output else rows * layer.stride)
        layer.values_offset = layer.slopes_offset = memory.reserve(size)
        if i < last:
            layer.slopes_offset = memory.reserve(rows * int(layer.stride))
    header.targets_offset = memory.reserve(size)
    header.sample_weights_offset, header.losses_offset = memory.reserve(groups), memory.reserve(groups)
    inputs = header.inputs_offset, header.inputs_stride
    for layer in layers:
        deltas = layer.slopes_offset, layer.stride
        is_transposed = layer.has_narrow_output or layer.sums_rows != layer.n_in
        left, right = (deltas, inputs) if is_transposed else (inputs, deltas)
        (layer.left_offset, layer.left_stride), (layer.right_offset, layer.right_stride) = left, right
        inputs = layer.values_offset, layer.stride
    header.input_deltas_size = rows * header.inputs_stride
    header.region_size = memory.size
