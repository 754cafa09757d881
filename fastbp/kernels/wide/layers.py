"""Blocks through a network of any depth and width: features in the lanes, matrix products by microtiles.

A block passes forward layer by layer, a_l = activation(a_{l-1} W_l + b_l), keeping a_l and the slope a'(z_l). Backward,
the slopes turn into what the layer below needs:

    dZ_L = dL/dz      (the loss kernels write it over z_L)
    dZ_{l-1} = (dZ_l W_l^T) * slope_{l-1}
    dW_l += A_{l-1}^T dZ_l,   db_l += sum dZ_l

Relu is an epilogue of products, and leaves no slopes: the signs of its values tell them. Few outputs are computed in
`narrow_output`, sums of weight gradients in `sums`. Rows of a microtile after the block's last one hold whatever was
left there, and are never looked at.
"""

from ...compiler.jit import kernel
from ..math.custom import call_custom
from ..math.elementwise import (
    activate,
    apply_link,
    cross_entropy_of_labels,
    cross_entropy_of_targets,
    load_rows,
    load_sample_weights,
    loss_of_rows,
    prefetch_rows,
    targets_allowed,
    weigh_rows,
)
from ..simd.addresses import int64s_at
from ..simd.registers import register_size
from ..structures import BAD_INPUT, BAD_TARGET, GRADIENT, RESPONSE, Rows, last_layer, layer_of
from .dropout import drop
from .gemm import MASK, RECTIFY, SCALE, STORE, Panels, Product, block_product, pack_columns
from .narrow_output import deltas_of_narrow, forward_narrow, losses_narrow, write_outputs_narrow

PREFETCH_DISTANCE = 3  # rows that are loaded from all over x are asked for so many ahead
FAR_BELOW = -1e30  # padding of the logits that softmax must not see


# -- weights ---------------------------------------------------------------------------------------------------------


@kernel
def layer_of_packed(plan, number):
    """The number of the layer that a register of packed columns belongs to."""
    layer = plan.n_layers - 1
    while layer_of(plan, layer).first_packed > number:
        layer -= 1
    return layer


@kernel
def pack_weights(call, first, last):
    """The registers first to last - 1 of the packed columns: of each layer those of W, with biases, then of W'."""
    plan, vector, memory = call.plan, call.vector, call.memory
    for number in range(first, last):
        n = layer_of_packed(plan, number)
        layer = layer_of(plan, n)
        j = (number - layer.first_packed) * register_size(memory)
        if j < layer.padded_out:
            pack_biases(call, layer, n == plan.n_layers - 1, j)
            if layer.has_narrow_output or (n == 0 and plan.is_sparse):
                continue
            panels = Panels(layer.panels_offset, layer.n_in, layer.padded_out, layer.wide_out)
            pack_columns(memory, panels, vector, layer.weights_offset, layer.n_out, j, False)
        elif plan.wants_input_gradient or layer.has_narrow_output or (plan.mode == GRADIENT and n > 0):
            j -= layer.padded_out
            pack_columns(memory, transposed_panels(layer), vector, layer.weights_offset, layer.n_in, j, True)
            for i in range(plan.zeros_offset + j, plan.zeros_offset + j + register_size(memory)):
                memory[i] = 0


@kernel
def transposed_panels(layer):
    """W^T of a layer, packed."""
    return Panels(layer.transposed_offset, layer.n_out, layer.padded_in, layer.wide_in)


@kernel
def pack_biases(call, layer, is_last, j):
    """A register of biases, zero where there are none; what lies after the last output is not seen by softmax."""
    plan, vector, memory = call.plan, call.vector, call.memory
    padding = FAR_BELOW if is_last and plan.couples_outputs else 0.0
    for i in range(j, j + register_size(memory)):
        bias = padding
        if i < layer.n_out:
            bias = vector[layer.biases_offset + i] if plan.has_bias else 0.0
        memory[layer.packed_biases_offset + i] = bias


# -- one block -------------------------------------------------------------------------------------------------------


@kernel
def values_of(layer, block):
    """A layer's values of the block."""
    return Rows(block.region_offset + layer.values_offset, layer.stride, block.n_rows, layer.n_out)


@kernel
def slopes_of(layer, block):
    """A layer's slopes of the block, or what was written over them."""
    return Rows(block.region_offset + layer.slopes_offset, layer.stride, block.n_rows, layer.n_out)


@kernel
def inputs_of_network(plan, block):
    """The network's inputs of the block."""
    return Rows(block.region_offset + plan.inputs_offset, plan.inputs_stride, block.n_rows, plan.n_inputs)


@kernel
def inputs_of(plan, block, n):
    """The inputs of a layer: the network's, or the values of the layer below."""
    return inputs_of_network(plan, block) if n == 0 else values_of(layer_of(plan, n - 1), block)


@kernel
def forward_layers(call, block):
    """z_L of the block, from its inputs; every hidden layer's values and slopes are left in the region.

    On the way the next block's inputs are asked for, a part with each layer. With sparse inputs z_1 is there already.
    """
    plan, memory = call.plan, call.memory
    for n in range(plan.n_layers):
        layer = layer_of(plan, n)
        if not (plan.is_sparse or plan.rows_address):
            prefetch_rows(call.x, *part_of_next(plan, block.row, plan.n_inputs, n))
        is_rectified = is_rectifier(plan, n) and (n > 0 or not plan.is_sparse)
        if layer.has_narrow_output:
            forward_narrow(call, block)
        elif n > 0 or not plan.is_sparse:
            z, epilogue = values_of(layer, block), one_of(is_rectified, RECTIFY, STORE)
            panels = Panels(layer.panels_offset, layer.n_in, layer.padded_out, layer.wide_out)
            biases_at = layer.packed_biases_offset
            block_product(memory, Product(z, inputs_of(plan, block, n), panels, biases_at, epilogue, z.offset))
        if n < plan.n_layers - 1 and not is_rectified:
            activate_layer(call, block, n)


@kernel
def activate_layer(call, block, n):
    """z -> a(z) of a hidden layer, with slopes where they are needed; then what is dropped out."""
    plan, memory, layer = call.plan, call.memory, layer_of(call.plan, n)
    values, slopes = values_of(layer, block), slopes_of(layer, block)
    if layer.activation_address:
        address, stride = layer.activation_address, layer.stride
        call_custom(address, memory, values.offset, slopes.offset, block.n_rows, layer.n_out, stride)
    else:
        has_slopes = (plan.mode == GRADIENT or plan.wants_input_gradient) and not is_rectifier(plan, n)
        activate(layer.activation, layer.activation_parameter, memory, values, slopes.offset, has_slopes)
    if layer.dropped:
        drop(plan, layer.dropped, n + 1, memory, values, block.row)
        drop(plan, layer.dropped, n + 1, memory, slopes, block.row)


@kernel
def is_rectifier(plan, n):
    """Whether a layer's activation is the epilogue relu; its values, none dropped out, tell the slopes."""
    layer = layer_of(plan, n)
    return n < plan.n_layers - 1 and layer.is_rectifier and not layer.dropped


@kernel
def one_of(condition, a, b):
    """Whole number a or b; a conditional of two constants has no type that a structure could have."""
    return a if condition else b


@kernel
def part_of_next(plan, row, n, layer):
    """Of the rows of n numbers after the block that starts at `row`, the part to ask for with a layer."""
    start, size = (row + plan.block_rows) * n, plan.block_rows * n
    return start + size * layer // plan.n_layers, start + size * (layer + 1) // plan.n_layers


@kernel
def deltas_below(plan, memory, block, n):
    """dZ_{l-1} of the block over the slopes of layer l - 1."""
    layer, below = layer_of(plan, n), layer_of(plan, n - 1)
    to, values_at = slopes_of(below, block), block.region_offset + below.values_offset
    is_rectified = is_rectifier(plan, n - 1)
    if layer.has_narrow_output:
        deltas_of_narrow(plan, memory, block, to, values_at, is_rectified)
        return
    deltas = slopes_of(layer, block)
    block_product(
        memory,
        Product(to, deltas, transposed_panels(layer), plan.zeros_offset, one_of(is_rectified, MASK, SCALE), values_at),
    )


@kernel
def input_gradient_wide(call, block, deltas_at):
    """dL/dx = scale dZ_1 W_1^T of the block, to d_x (N, n_inputs)."""
    plan, memory, d_x = call.plan, call.memory, call.d_x
    layer, n, stride = layer_of(plan, 0), plan.n_inputs, plan.inputs_stride
    to = Rows(deltas_at, stride, block.n_rows, n)
    panels, zeros_at = transposed_panels(layer), plan.zeros_offset
    block_product(memory, Product(to, slopes_of(layer, block), panels, zeros_at, STORE, deltas_at))
    for m in range(block.n_rows):
        for k in range(n):
            d_x[(block.row + m) * n + k] = memory[deltas_at + m * stride + k] * plan.scale


@kernel
def deltas_of_block(plan, memory, block):
    """Backward through the block as far as every layer's dZ."""
    for back in range(plan.n_layers - 1):
        deltas_below(plan, memory, block, plan.n_layers - 1 - back)


@kernel
def losses_wide(call, block):
    """z_L -> w dL/dz_L in place, the rows' losses beside it; returns a status."""
    plan, memory, layer, region = call.plan, call.memory, last_layer(call.plan), block.region_offset
    if layer.has_narrow_output:
        return losses_narrow(call, block)
    z, n = values_of(layer, block), plan.n_outputs
    losses_at, targets_at = region + plan.losses_offset, region + plan.targets_offset
    if plan.has_labels:
        if not cross_entropy_of_labels(memory, z, call.labels, block.row, losses_at):
            return BAD_TARGET
    else:
        targets = Rows(targets_at, z.stride, z.n_rows, z.n)
        finite = load_rows(memory, targets, call.y, block.row * n)
        if not (finite and targets_allowed(plan, memory, targets)):
            return BAD_TARGET
        if plan.couples_outputs:
            cross_entropy_of_targets(memory, z, targets_at, losses_at)
        else:
            if plan.loss_address:
                call_custom(plan.loss_address, memory, z.offset, targets_at, z.n_rows, n, z.stride)
            loss_of_rows(plan.loss, plan.loss_parameter, memory, z, targets_at, losses_at)
    if plan.has_sample_weight:
        weights_at = region + plan.sample_weights_offset
        load_sample_weights(memory, weights_at, call.sample_weight, block.row, z.n_rows, z.n_rows, True)
        weigh_rows(memory, z, losses_at, weights_at)
    return 0


@kernel
def forward_wide(call, block):
    """Load the block's rows and pass them forward; returns a status."""
    plan, memory = call.plan, call.memory
    inputs = inputs_of_network(plan, block)
    if plan.rows_address:
        if not load_selected_rows(call, block):
            return BAD_INPUT
    elif not (plan.is_sparse or load_rows(memory, inputs, call.x, block.row * plan.n_inputs)):
        return BAD_INPUT
    if plan.dropped_inputs:
        drop(plan, plan.dropped_inputs, 0, memory, inputs, block.row)
    forward_layers(call, block)
    return 0


@kernel
def load_selected_rows(call, block):
    """Load those rows of x that the batch has; False if a number is not finite."""
    plan, x, n, finite = call.plan, call.x, call.plan.n_inputs, True
    rows, at, end = int64s_at(plan.rows_address, plan.n_rows), block.region_offset + plan.inputs_offset, block.n_rows
    end += block.row
    for m in range(block.row, end):
        if m + PREFETCH_DISTANCE < end:
            prefetch_rows(x, rows[m + PREFETCH_DISTANCE] * n, (rows[m + PREFETCH_DISTANCE] + 1) * n)
        finite &= load_rows(call.memory, Rows(at, plan.inputs_stride, 1, n), x, rows[m] * n)
        at += plan.inputs_stride
    return finite


@kernel
def write_outputs_wide(call, block):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    plan, memory, out, layer = call.plan, call.memory, call.out, last_layer(call.plan)
    if layer.has_narrow_output:
        write_outputs_narrow(call, block)
        return
    z, n = values_of(layer, block), plan.n_outputs
    if plan.mode == RESPONSE:
        apply_link(plan, memory, z)
    for m in range(z.n_rows):
        for k in range(n):
            out[(block.row + m) * n + k] = memory[z.offset + m * z.stride + k]
