"""One block through a network with few inputs, one hidden layer and few outputs: samples in the lanes.

A block is one vector group of samples, with a feature to a row:  x[k, s],  h[j, s],  s = 0 .. group - 1. Each hidden
unit's weights lie together, (b1_j, W1_0j, ..., W2_j), and act on all samples at once:

    z_j = b1_j + sum_k W1_kj x_k,   h_j = activation(z_j),   z = b2 + sum_j W2_j h_j
    dW2_j = sum_s d_s h_js,   dW1_kj = W2_j sum_s (d_s x_ks) h'_js,   db1_j = W2_j sum_s d_s h'_js,   d = w dL/dz

The factor W2_j is left to the end, so the sums need 2 + n_inputs products a hidden unit. A sigmoid's weights are packed
times -log2(e), which leaves h = 1 / (1 + 2^z), and its slope is h (1 - h): nothing but h is kept. That is for one
output; what several need is in `outputs`.
"""

import numpy as np

from ...compiler.jit import inlined, kernel
from ..math import scalar
from ..math.elementwise import activation
from ..math.power import exp2
from ..simd.across import register_totals
from ..simd.registers import fma, group_size, load_group, register_size, splat_group, store
from ..structures import BAD_INPUT, layer_of
from .outputs import Group, gradient_of_outputs, losses_of_group, other_outputs, write_group_outputs
from .samples import add_all, add_to, load_inputs, preactivation


@kernel
def is_single_sigmoid(plan):
    """Whether the sigmoid's own kernels serve: for one output, like the lecture's network."""
    return layer_of(plan, 0).is_logistic and plan.n_outputs == 1


@kernel
def pack_units(call, region):
    """Each hidden unit's weights side by side; units added to make their number even are all zero."""
    plan, vector, memory = call.plan, call.vector, call.memory
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, n_hidden, n_out, bias = plan.n_inputs, hidden.n_out, plan.n_outputs, plan.has_bias
    factor = -scalar.LOG2_E if is_single_sigmoid(plan) else 1.0
    w1, w2, at = hidden.weights_offset, output.weights_offset, region + hidden.panels_offset
    for j in range(hidden.padded_out):
        real = j < n_hidden
        memory[at] = vector[hidden.biases_offset + j] * factor if real and bias else 0.0
        for k in range(n_in):
            memory[at + 1 + k] = vector[w1 + k * n_hidden + j] * factor if real else 0.0
        at += 1 + n_in
        for k in range(n_out):
            memory[at + k] = vector[w2 + j * n_out + k] if real else 0.0
        at += n_out
    for k in range(n_out):
        memory[region + output.packed_biases_offset + k] = vector[output.biases_offset + k] if bias else 0.0


@inlined
def add_hidden_unit(memory, unit, n_in, h_at, power, z):
    """z + W2_j h_j, where h_j = 1 / (1 + power) is kept."""
    h = 1.0 / (power + 1.0)
    store(memory, h_at, h)
    return fma(memory[unit + 1 + n_in], h, z)


@kernel
def forward_sigmoid(plan, memory, region):
    """h and the output z of the block, for a sigmoid, whose weights are packed times -log2(e).

    Three units are on their way at a time, so that none waits: z_j of one, the power of the one before it, the quotient
    of the one before that.
    """
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, n_units, group = plan.n_inputs, hidden.padded_out, group_size(memory)
    x_at, h_at = region + plan.inputs_offset, region + hidden.values_offset
    unit, stride = region + hidden.panels_offset, n_in + 2
    z = splat_group(memory, memory[region + output.packed_biases_offset])
    power = exp2(preactivation(memory, unit, x_at, n_in))
    z_j = preactivation(memory, unit + stride, x_at, n_in)
    for _ in range(2, n_units):
        z = add_hidden_unit(memory, unit, n_in, h_at, power, z)
        power = exp2(z_j)
        z_j = preactivation(memory, unit + 2 * stride, x_at, n_in)
        unit += stride
        h_at += group
    z = add_hidden_unit(memory, unit, n_in, h_at, power, z)
    z = add_hidden_unit(memory, unit + stride, n_in, h_at + group, exp2(z_j), z)
    store(memory, region + output.values_offset, z)


@kernel
def forward_any(plan, memory, region):
    """h, its slopes and the first output z of the block, for any activation."""
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, group, code, parameter = plan.n_inputs, group_size(memory), hidden.activation, hidden.activation_parameter
    x_at, h_at = region + plan.inputs_offset, region + hidden.values_offset
    unit, slopes_at = region + hidden.panels_offset, region + hidden.slopes_offset
    z = splat_group(memory, memory[region + output.packed_biases_offset])
    for _ in range(hidden.padded_out):
        z_j = preactivation(memory, unit, x_at, n_in)
        h, slope = activation(code, z_j, parameter)
        store(memory, h_at, h)
        store(memory, slopes_at, slope)
        z = fma(memory[unit + 1 + n_in], h, z)
        unit += n_in + 1 + plan.n_outputs
        h_at += group
        slopes_at += group
    store(memory, region + output.values_offset, z)


@kernel
def forward_small(call, block):
    """Load the block and pass it forward; returns a status."""
    plan, memory, region = call.plan, call.memory, block.region_offset
    finite = load_inputs(call, block)
    if is_single_sigmoid(plan):
        forward_sigmoid(plan, memory, region)
    else:
        forward_any(plan, memory, region)
        other_outputs(plan, memory, region)
    return 0 if finite else BAD_INPUT


@kernel
def losses_small(call, block):
    """z -> w dl/dz in place, 0 after the last row; the samples' losses beside it; returns a status."""
    plan, region = call.plan, block.region_offset
    outputs = Group(
        region + layer_of(plan, 1).values_offset, region + plan.targets_offset, region + plan.losses_offset,
        region + plan.sample_weights_offset, block.row, block.n_rows,
    )  # fmt: skip
    return losses_of_group(call, outputs)


@kernel
def write_outputs_small(call, block):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    write_group_outputs(call, block.region_offset + layer_of(call.plan, 1).values_offset, block.row, block.n_rows)


@kernel
def gradient_small(plan, memory, region):
    """Add the block's gradient to the chunk's sums; the lecture's two inputs and sigmoid have unrolled loops."""
    is_sigmoid = is_single_sigmoid(plan)
    if plan.n_outputs > 1:
        gradient_of_outputs(plan, memory, region)
    elif plan.n_inputs == 2 and is_sigmoid:
        gradient_of_output(plan, memory, region, 2, True)
    else:
        gradient_of_output(plan, memory, region, plan.n_inputs, is_sigmoid)


@inlined
def gradient_of_output(plan, memory, region, n_in, is_sigmoid):
    """The block's sums for one output, two hidden units at a time, so that d and d x are loaded once for both."""
    hidden = layer_of(plan, 0)
    group, size, bias = group_size(memory), register_size(memory), plan.has_bias
    x_at = region + plan.inputs_offset
    h_at, slopes_at = region + hidden.values_offset, region + hidden.slopes_offset
    d = load_group(memory, region + layer_of(plan, 1).values_offset)
    for k in range(n_in):
        store(memory, x_at + k * group, load_group(memory, x_at + k * group) * d)
    at, unit_sums = region + plan.sums_offset, (n_in + 1 + bias) * size
    add_all(memory, at, d)
    at += size
    for _ in range(0, hidden.padded_out, 2):
        next_at = at + unit_sums
        h, next_h = load_group(memory, h_at), load_group(memory, h_at + group)
        add_to(memory, at, d, h)
        add_to(memory, next_at, d, next_h)
        if is_sigmoid:
            slope, next_slope = fma(-h, h, h), fma(-next_h, next_h, next_h)
        else:
            slope, next_slope = load_group(memory, slopes_at), load_group(memory, slopes_at + group)
        for k in range(n_in):
            d_x = load_group(memory, x_at + k * group)
            add_to(memory, at + (1 + k) * size, d_x, slope)
            add_to(memory, next_at + (1 + k) * size, d_x, next_slope)
        if bias:
            add_to(memory, at + (1 + n_in) * size, d, slope)
            add_to(memory, next_at + (1 + n_in) * size, d, next_slope)
        at += 2 * unit_sums
        h_at += 2 * group
        slopes_at += 2 * group


@kernel
def input_gradient_small(call, block):
    """dL/dx_k = scale sum_j delta_j W1_kj of the block, delta_j = (sum_i W2_ji d_i) h'_j, to d_x (N, n_inputs).

    The deltas are written over the slopes, dL/dx over the inputs.
    """
    plan, memory, d_x, region = call.plan, call.memory, call.d_x, block.region_offset
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, n_out, group = plan.n_inputs, plan.n_outputs, group_size(memory)
    units, unit_size, x_at = region + hidden.panels_offset, n_in + 1 + n_out, region + plan.inputs_offset
    h_at, deltas_at, d_at = region + hidden.values_offset, region + hidden.slopes_offset, region + output.values_offset
    single = is_single_sigmoid(plan)
    for j in range(hidden.padded_out):
        g, h = splat_group(memory, 0.0), load_group(memory, h_at + j * group)
        for i in range(n_out):
            g = fma(memory[units + j * unit_size + 1 + n_in + i], load_group(memory, d_at + i * group), g)
        slope = fma(-h, h, h) if single else load_group(memory, deltas_at + j * group)
        store(memory, deltas_at + j * group, g * slope)
    # A single sigmoid's W1 is packed times -log2(e).
    scale = plan.scale * (-scalar.LN_2 if single else 1.0)
    for k in range(n_in):
        d_x_k = splat_group(memory, 0.0)
        for j in range(hidden.padded_out):
            d_x_k = fma(memory[units + j * unit_size + 1 + k], load_group(memory, deltas_at + j * group), d_x_k)
        store(memory, x_at + k * group, d_x_k)
        for s in range(block.n_rows):
            d_x[(block.row + s) * n_in + k] = memory[x_at + k * group + s] * scale


@kernel
def fold_small(call, region, to):
    """Add the chunk's sums to an accumulator, in float64. Each sum is a register, whose lanes are added up first."""
    plan, vector, memory, accumulators = call.plan, call.vector, call.memory, call.accumulators
    hidden, output, size = layer_of(plan, 0), layer_of(plan, 1), register_size(memory)
    n_in, n_hidden, n_out, bias = plan.n_inputs, hidden.n_out, plan.n_outputs, plan.has_bias
    w1, b1 = to + hidden.weights_offset, to + hidden.biases_offset
    w2, b2 = to + output.weights_offset, to + output.biases_offset
    at = region + plan.sums_offset
    for i in range(0, plan.sums_size, group_size(memory)):
        store(memory, at + i // size, register_totals(load_group(memory, at + i)))
    for k in range(n_out):
        if bias:
            accumulators[b2 + k] += memory[at + k]
    at += n_out
    for j in range(n_hidden):
        for k in range(n_out):
            accumulators[w2 + j * n_out + k] += memory[at + k]
        at += n_out
        # One output's factor W2_j was left to the end.
        factor = np.float64(vector[output.weights_offset + j]) if n_out == 1 else 1.0
        for k in range(n_in):
            accumulators[w1 + k * n_hidden + j] += factor * memory[at + k]
        if bias:
            accumulators[b1 + j] += factor * memory[at + n_in]
        at += n_in + bias
