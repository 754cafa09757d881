"""The last layer where its outputs are few, one say: samples in the lanes, after hidden layers with features in them.

A microtile of columns for one output would be empty but for one; here a vector group of samples is full. The groups of
a block follow each other, each with the rows z_j of its samples, group_size apart, which `small.outputs` turns into
losses:

    z_j[m] = b_j + sum_k A[m, k] W[k, j]         one chain with k ascending, as everywhere, of microtiles of A^T
    dA[m, k] = sum_j dZ_j[m] W[k, j],   dW[k, j] += sum_m A[m, k] dZ_j[m],   db_j += sum_m dZ_j[m]

W is packed by registers of inputs k, with one row each for the outputs j; so are its sums. Lanes after a block's last
row hold what was left there, and are never looked at.
"""

from ...compiler.jit import kernel
from ..math.integers import smaller
from ..simd.across import first, total
from ..simd.microtile import n_rows as n_rows_of
from ..simd.microtile import narrow, tile_fma_rows, tile_load, tile_transpose
from ..simd.registers import fma, group_size, load, register_size, splat, splat_group, store, where_positive
from ..small.outputs import Group, losses_of_group, write_group_outputs
from ..structures import Rows, last_layer


@kernel
def place(memory, m, j, n_out):
    """Where output j of row m of the block lies among the outputs or targets."""
    group = group_size(memory)
    return (m // group * n_out + j) * group + m % group


@kernel
def inputs_of_narrow(layer, block):
    """The values of the layer below."""
    return Rows(block.region_offset + layer.right_offset, layer.right_stride, block.n_rows, layer.n_in)


@kernel
def forward_narrow(call, block):
    """z of the block."""
    plan, memory, layer = call.plan, call.memory, last_layer(call.plan)
    n_out, size, n_rows = plan.n_outputs, register_size(memory), block.n_rows
    a, z_at = inputs_of_narrow(layer, block), block.region_offset + layer.values_offset
    clear_padding(memory, a)
    for m in range(0, n_rows, group_size(memory)):
        for j in range(n_out):
            bias = memory[layer.packed_biases_offset + j]
            store(memory, z_at + place(memory, m, j, n_out), splat_group(memory, bias))
    for k in range(0, layer.padded_in, size):
        w_at = layer.transposed_offset + k * n_out
        for m in range(0, n_rows, n_rows_of(narrow(memory))):
            tile = tile_transpose(tile_load(narrow(memory), memory, a.offset + m * a.stride + k, a.stride))
            for j in range(n_out):
                tile_fma_rows(memory, z_at + place(memory, m, j, n_out), tile, memory, w_at + j * size)


@kernel
def clear_padding(memory, a):
    """0 after the numbers of each row, as far as the register goes: NaN, where a layer below has overflowed."""
    last = a.n // register_size(memory) * register_size(memory)
    if last < a.n:
        for m in range(a.n_rows):
            place_of_last = a.offset + m * a.stride + last
            store(memory, place_of_last, first(load(memory, place_of_last), a.n - last))


@kernel
def losses_narrow(call, block):
    """z -> w dL/dz in place, the rows' losses beside it; returns a status."""
    plan, memory, region = call.plan, call.memory, block.region_offset
    z_at, group = region + last_layer(plan).values_offset, group_size(memory)
    for m in range(0, block.n_rows, group):
        shift = m * plan.n_outputs
        outputs = Group(
            z_at + shift, region + plan.targets_offset + shift, region + plan.losses_offset + m,
            region + plan.sample_weights_offset + m, block.row + m, smaller(group, block.n_rows - m),
        )  # fmt: skip
        status = losses_of_group(call, outputs)
        if status != 0:
            return status
    return 0


@kernel
def write_outputs_narrow(call, block):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    z_at, group = block.region_offset + last_layer(call.plan).values_offset, group_size(call.memory)
    for m in range(0, block.n_rows, group):
        write_group_outputs(call, z_at + m * call.plan.n_outputs, block.row + m, smaller(group, block.n_rows - m))


@kernel
def deltas_of_narrow(plan, memory, block, to, values_at, is_masked):
    """dZ of the layer below, to Rows: dA where values > 0, if it is masked by them, or times the slopes there."""
    layer, n_out, size = last_layer(plan), plan.n_outputs, register_size(memory)
    d_at = block.region_offset + layer.values_offset
    for k in range(0, layer.padded_in, size):
        w_at = layer.transposed_offset + k * n_out
        w = load(memory, w_at)
        for m in range(block.n_rows):
            here, delta = m * to.stride + k, w * memory[d_at + place(memory, m, 0, n_out)]
            for j in range(1, n_out):
                delta = fma(memory[d_at + place(memory, m, j, n_out)], load(memory, w_at + j * size), delta)
            if is_masked:
                delta = where_positive(load(memory, values_at + here), delta, 0.0)
            else:
                delta = delta * load(memory, to.offset + here)
            store(memory, to.offset + here, delta)


@kernel
def add_narrow_weights(plan, memory, block, first_k, last_k):
    """Add the block's dW to the chunk's sums, for the inputs first_k to last_k - 1."""
    layer, n_out, size = last_layer(plan), plan.n_outputs, register_size(memory)
    a, d_at = inputs_of_narrow(layer, block), block.region_offset + layer.values_offset
    for k in range(first_k, last_k, size):
        for j in range(n_out):
            to = block.sums_offset + layer.weight_sums_offset + k * n_out + j * size
            added = load(memory, to)
            for m in range(0, block.n_rows, group_size(memory)):
                n = smaller(group_size(memory), block.n_rows - m)
                place_of_d = d_at + place(memory, m, j, n_out)
                added = added + weighted_rows(memory, a.offset + m * a.stride + k, a.stride, place_of_d, n)
            store(memory, to, added)


@kernel
def weighted_rows(memory, a_at, a_stride, d_at, n):
    """sum_m A[m, :] d[m] of n rows in one register, by four chains so that none waits for the other."""
    s, t, u, v = splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0)
    for _ in range(n // 4):
        s = fma(load(memory, a_at), memory[d_at], s)
        t = fma(load(memory, a_at + a_stride), memory[d_at + 1], t)
        u = fma(load(memory, a_at + 2 * a_stride), memory[d_at + 2], u)
        v = fma(load(memory, a_at + 3 * a_stride), memory[d_at + 3], v)
        a_at += 4 * a_stride
        d_at += 4
    for _ in range(n % 4):
        s = fma(load(memory, a_at), memory[d_at], s)
        a_at += a_stride
        d_at += 1
    return (s + t) + (u + v)


@kernel
def add_narrow_biases(plan, memory, block):
    """Add the block's db to the chunk's sums."""
    layer, n_out = last_layer(plan), plan.n_outputs
    d_at, sums_at = block.region_offset + layer.values_offset, block.sums_offset + layer.bias_sums_offset
    for j in range(n_out):
        added = splat(memory, 0.0)
        for m in range(0, block.n_rows, register_size(memory)):
            added = added + first(load(memory, d_at + place(memory, m, j, n_out)), block.n_rows - m)
        memory[sums_at + j] += total(added)
