"""One block through a network with few inputs, one hidden layer and few outputs: samples in the lanes.

A block is one strip of samples, with a feature to a row:  x[k, s],  h[j, s],  s = 0 .. strip - 1. Each hidden unit's
weights lie together, (b1_j, W1_0j, ..., W2_j), and act on all samples at once:

    z_j = b1_j + sum_k W1_kj x_k,   h_j = activation(z_j),   z = b2 + sum_j W2_j h_j
    dW2_j = sum_s d_s h_js,   dW1_kj = W2_j sum_s (d_s x_ks) h'_js,   db1_j = W2_j sum_s d_s h'_js,   d = w dL/dz

The factor W2_j is left to the end, so the sums need 2 + n_inputs products a hidden unit. A sigmoid's weights are packed
times -log2(e), which leaves h = 1 / (1 + 2^z), and its slope is h (1 - h): nothing but h is kept. That is for one
output; what several need is in `outputs`.
"""

import numpy as np

from .._jit import inlined, kernel
from . import outputs, scalar
from .across import register_totals
from .elementwise import SIGMOID, activation
from .fields import (
    ACTIVATION,
    ACTIVATION_PARAMETERS,
    BAD_INPUT,
    BIAS,
    BIASES,
    BIASES_AT,
    INPUTS_AT,
    LOSSES_AT,
    N_INPUTS,
    N_OUT,
    N_OUTPUTS,
    PADDED,
    PANELS_AT,
    SCALE,
    SLOPES_AT,
    SUMS_AT,
    SUMS_SIZE,
    TARGETS_AT,
    VALUES_AT,
    WEIGHTS,
    WEIGHTS_AT,
)
from .power import exp2
from .simd import fma, load_strip, register_size, splat_strip, store, strip_size
from .strips import HIDDEN, OUTPUT, add_all, add_to, load_inputs, preactivation


@kernel
def is_single_sigmoid(plan):
    """Whether the sigmoid's own kernels serve: for one output, like the lecture's network."""
    return plan[HIDDEN + ACTIVATION] == SIGMOID and plan[N_OUTPUTS] == 1


@kernel
def pack_weights(plan, vector, memory, base):
    """Each hidden unit's weights side by side; units added to make their number even are all zero."""
    n_in, n_hidden, n_out = plan[N_INPUTS], plan[HIDDEN + N_OUT], plan[N_OUTPUTS]
    factor = -scalar.LOG2_E if is_single_sigmoid(plan) else 1.0
    w1, w2, at = plan[HIDDEN + WEIGHTS], plan[OUTPUT + WEIGHTS], base + plan[HIDDEN + PANELS_AT]
    for j in range(plan[HIDDEN + PADDED]):
        real = j < n_hidden
        memory[at] = vector[plan[HIDDEN + BIASES] + j] * factor if real and plan[BIAS] else 0.0
        for k in range(n_in):
            memory[at + 1 + k] = vector[w1 + k * n_hidden + j] * factor if real else 0.0
        at += 1 + n_in
        for k in range(n_out):
            memory[at + k] = vector[w2 + j * n_out + k] if real else 0.0
        at += n_out
    for k in range(n_out):
        memory[base + plan[OUTPUT + BIASES_AT] + k] = vector[plan[OUTPUT + BIASES] + k] if plan[BIAS] else 0.0


@inlined
def add_unit(memory, unit, n_in, h_at, power, z):
    """z + W2_j h_j, where h_j = 1 / (1 + power) is kept."""
    h = 1.0 / (power + 1.0)
    store(memory, h_at, h)
    return fma(memory[unit + 1 + n_in], h, z)


@kernel
def forward_sigmoid(plan, memory, base):
    """h and the output z of the block, for a sigmoid, whose weights are packed times -log2(e).

    Three units are on their way at a time, so that none waits: z_j of one, the power of the one before it, the quotient
    of the one before that.
    """
    n_in, n_units, strip = plan[N_INPUTS], plan[HIDDEN + PADDED], strip_size(memory)
    x_at, h_at = base + plan[INPUTS_AT], base + plan[HIDDEN + VALUES_AT]
    unit, step = base + plan[HIDDEN + PANELS_AT], n_in + 2
    z = splat_strip(memory, memory[base + plan[OUTPUT + BIASES_AT]])
    power = exp2(preactivation(memory, unit, x_at, n_in))
    z_j = preactivation(memory, unit + step, x_at, n_in)
    for _ in range(2, n_units):
        z = add_unit(memory, unit, n_in, h_at, power, z)
        power = exp2(z_j)
        z_j = preactivation(memory, unit + 2 * step, x_at, n_in)
        unit += step
        h_at += strip
    z = add_unit(memory, unit, n_in, h_at, power, z)
    z = add_unit(memory, unit + step, n_in, h_at + strip, exp2(z_j), z)
    store(memory, base + plan[OUTPUT + VALUES_AT], z)


@kernel
def forward_any(plan, constants, memory, base):
    """h, its slopes and the first output z of the block, for any activation."""
    n_in, strip, n_units = plan[N_INPUTS], strip_size(memory), plan[HIDDEN + PADDED]
    x_at, h_at = base + plan[INPUTS_AT], base + plan[HIDDEN + VALUES_AT]
    unit = base + plan[HIDDEN + PANELS_AT]
    slopes_at, parameter = base + plan[HIDDEN + SLOPES_AT], constants[ACTIVATION_PARAMETERS]
    z = splat_strip(memory, memory[base + plan[OUTPUT + BIASES_AT]])
    for _ in range(n_units):
        z_j = preactivation(memory, unit, x_at, n_in)
        h, slope = activation(plan[HIDDEN + ACTIVATION], z_j, parameter)
        store(memory, h_at, h)
        store(memory, slopes_at, slope)
        z = fma(memory[unit + 1 + n_in], h, z)
        unit += n_in + 1 + plan[N_OUTPUTS]
        h_at += strip
        slopes_at += strip
    store(memory, base + plan[OUTPUT + VALUES_AT], z)


@kernel
def forward_rows(plan, constants, x, memory, base, row, n_rows):
    """Load the block and pass it forward; returns a status."""
    finite = load_inputs(plan, x, memory, base, row, n_rows)
    if is_single_sigmoid(plan):
        forward_sigmoid(plan, memory, base)
    else:
        forward_any(plan, constants, memory, base)
        outputs.other_outputs(plan, memory, base)
    return 0 if finite else BAD_INPUT


@kernel
def losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows):
    """z -> w dl/dz in place, 0 behind the last row; the samples' losses beside it; returns a status."""
    return outputs.losses_of_strip(
        plan, constants, y, labels, sample_weight, memory, base + plan[OUTPUT + VALUES_AT],
        base + plan[TARGETS_AT], base + plan[LOSSES_AT], base + plan[WEIGHTS_AT], row, n_rows,
    )  # fmt: skip


@kernel
def gradient_of_block(plan, memory, base):
    """Add the block's gradient to the chunk's sums; the lecture's two inputs and sigmoid have unrolled loops."""
    is_sigmoid = is_single_sigmoid(plan)
    if plan[N_OUTPUTS] > 1:
        outputs.gradient_of_block(plan, memory, base)
    elif plan[N_INPUTS] == 2 and is_sigmoid:
        add_gradient(plan, memory, base, 2, True)
    else:
        add_gradient(plan, memory, base, plan[N_INPUTS], is_sigmoid)


@inlined
def add_gradient(plan, memory, base, n_in, is_sigmoid):
    """The block's sums, two hidden units at a time, so that d and d x are loaded once for both."""
    strip, size, bias = strip_size(memory), register_size(memory), plan[BIAS]
    x_at = base + plan[INPUTS_AT]
    h_at, slopes_at = base + plan[HIDDEN + VALUES_AT], base + plan[HIDDEN + SLOPES_AT]
    d = load_strip(memory, base + plan[OUTPUT + VALUES_AT])
    for k in range(n_in):
        store(memory, x_at + k * strip, load_strip(memory, x_at + k * strip) * d)
    at, unit_sums = base + plan[SUMS_AT], (n_in + 1 + bias) * size
    add_all(memory, at, d)
    at += size
    for _ in range(0, plan[HIDDEN + PADDED], 2):
        next_at = at + unit_sums
        h, next_h = load_strip(memory, h_at), load_strip(memory, h_at + strip)
        add_to(memory, at, d, h)
        add_to(memory, next_at, d, next_h)
        if is_sigmoid:
            slope, next_slope = fma(-h, h, h), fma(-next_h, next_h, next_h)
        else:
            slope, next_slope = load_strip(memory, slopes_at), load_strip(memory, slopes_at + strip)
        for k in range(n_in):
            d_x = load_strip(memory, x_at + k * strip)
            add_to(memory, at + (1 + k) * size, d_x, slope)
            add_to(memory, next_at + (1 + k) * size, d_x, next_slope)
        if bias:
            add_to(memory, at + (1 + n_in) * size, d, slope)
            add_to(memory, next_at + (1 + n_in) * size, d, next_slope)
        at += 2 * unit_sums
        h_at += 2 * strip
        slopes_at += 2 * strip


@kernel
def input_gradient(plan, constants, memory, base, d_x, row, n_rows):
    """dL/dx_k = scale sum_j delta_j W1_kj of the block, delta_j = (sum_i W2_ji d_i) h'_j, to d_x (N, n_inputs).

    The deltas are written over the slopes, dL/dx over the inputs.
    """
    n_in, n_out, strip = plan[N_INPUTS], plan[N_OUTPUTS], strip_size(memory)
    units, unit_size, x_at = base + plan[HIDDEN + PANELS_AT], n_in + 1 + n_out, base + plan[INPUTS_AT]
    h_at, deltas_at = base + plan[HIDDEN + VALUES_AT], base + plan[HIDDEN + SLOPES_AT]
    d_at = base + plan[OUTPUT + VALUES_AT]
    single = is_single_sigmoid(plan)
    for j in range(plan[HIDDEN + PADDED]):
        g, h = splat_strip(memory, 0.0), load_strip(memory, h_at + j * strip)
        for i in range(n_out):
            g = fma(memory[units + j * unit_size + 1 + n_in + i], load_strip(memory, d_at + i * strip), g)
        slope = fma(-h, h, h) if single else load_strip(memory, deltas_at + j * strip)
        store(memory, deltas_at + j * strip, g * slope)
    # A single sigmoid's W1 is packed times -log2(e).
    scale = constants[SCALE] * (-scalar.LN_2 if single else 1.0)
    for k in range(n_in):
        d_x_k = splat_strip(memory, 0.0)
        for j in range(plan[HIDDEN + PADDED]):
            d_x_k = fma(memory[units + j * unit_size + 1 + k], load_strip(memory, deltas_at + j * strip), d_x_k)
        store(memory, x_at + k * strip, d_x_k)
        for s in range(n_rows):
            d_x[(row + s) * n_in + k] = memory[x_at + k * strip + s] * scale


@kernel
def fold(plan, vector, memory, base, totals, totals_at):
    """Add the chunk's sums to the slot's totals, in float64. Each sum is a register, whose lanes are added up first."""
    n_in, n_hidden, n_out, size = plan[N_INPUTS], plan[HIDDEN + N_OUT], plan[N_OUTPUTS], register_size(memory)
    w1, b1 = totals_at + plan[HIDDEN + WEIGHTS], totals_at + plan[HIDDEN + BIASES]
    w2, b2 = totals_at + plan[OUTPUT + WEIGHTS], totals_at + plan[OUTPUT + BIASES]
    at = base + plan[SUMS_AT]
    for i in range(0, plan[SUMS_SIZE], strip_size(memory)):
        store(memory, at + i // size, register_totals(load_strip(memory, at + i)))
    for k in range(n_out):
        if plan[BIAS]:
            totals[b2 + k] += memory[at + k]
    at += n_out
    for j in range(n_hidden):
        for k in range(n_out):
            totals[w2 + j * n_out + k] += memory[at + k]
        at += n_out
        # One output's factor W2_j was left to the end.
        factor = np.float64(vector[plan[OUTPUT + WEIGHTS] + j]) if n_out == 1 else 1.0
        for k in range(n_in):
            totals[w1 + k * n_hidden + j] += factor * memory[at + k]
        if plan[BIAS]:
            totals[b1 + j] += factor * memory[at + n_in]
        at += n_in + plan[BIAS]
