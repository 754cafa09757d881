"""One block through a network with few inputs, one hidden layer and one output: samples in the lanes.

A block is one strip of samples, with a feature to a row:  x[k, s],  h[j, s],  s = 0 .. strip - 1. Each hidden unit's
weights lie together, (b1_j, W1_0j, ..., W2_j), and act on all samples at once:

    z_j = b1_j + sum_k W1_kj x_k,   h_j = activation(z_j),   z = b2 + sum_j W2_j h_j
    dW2_j = sum_s d_s h_js,   dW1_kj = W2_j sum_s (d_s x_ks) h'_js,   db1_j = W2_j sum_s d_s h'_js,   d = w dL/dz

The factor W2_j is left to the end, so the sums need 2 + n_inputs products a hidden unit. A sigmoid's weights are packed
times -log2(e), which leaves h = 1 / (1 + 2^z), and its slope is h (1 - h): nothing but h is kept.
"""

import numpy as np

from .._jit import inlined, kernel
from . import scalar
from .across import add_products, all_finite, register_totals
from .elementwise import SIGMOID, activation, load_sample_weights, loss, respond, targets_allowed
from .fields import (
    ACTIVATION,
    ACTIVATION_PARAMETERS,
    BAD_INPUT,
    BAD_TARGET,
    BIAS,
    BIASES,
    BIASES_AT,
    HAS_WEIGHTS,
    INPUTS_AT,
    LOSS,
    LOSS_PARAMETER,
    LOSSES_AT,
    MODE,
    N_INPUTS,
    N_OUT,
    PADDED,
    PANELS_AT,
    RESPONSE,
    SLOPES_AT,
    SUMS_AT,
    SUMS_SIZE,
    TARGETS_AT,
    VALUES_AT,
    WEIGHTS,
    WEIGHTS_AT,
    record,
)
from .simd import fma, like, load, load_even, load_odd, load_strip, register_size, splat_strip, store, strip_size

HIDDEN, OUTPUT = record(0), record(1)


@kernel
def pack_weights(plan, vector, memory, base):
    """Each hidden unit's weights side by side; units added to make their number even are all zero."""
    n_in, n_hidden = plan[N_INPUTS], plan[HIDDEN + N_OUT]
    factor = -scalar.LOG2_E if plan[HIDDEN + ACTIVATION] == SIGMOID else 1.0
    w1, w2, at = plan[HIDDEN + WEIGHTS], plan[OUTPUT + WEIGHTS], base + plan[HIDDEN + PANELS_AT]
    for j in range(plan[HIDDEN + PADDED]):
        real = j < n_hidden
        memory[at] = vector[plan[HIDDEN + BIASES] + j] * factor if real and plan[BIAS] else 0.0
        for k in range(n_in):
            memory[at + 1 + k] = vector[w1 + k * n_hidden + j] * factor if real else 0.0
        memory[at + 1 + n_in] = vector[w2 + j] if real else 0.0
        at += n_in + 2
    memory[base + plan[OUTPUT + BIASES_AT]] = vector[plan[OUTPUT + BIASES]] if plan[BIAS] else 0.0


@kernel
def load_inputs(plan, x, memory, base, row, n_rows):
    """Transpose the block's rows into strips, zeros behind the last row; False if a number is not finite."""
    n_in, at = plan[N_INPUTS], base + plan[INPUTS_AT]
    strip = strip_size(memory)
    if n_in == 2 and n_rows == strip:
        # In registers: a vector loaded from memory that was just written number by number would have to wait for it.
        x_0, x_1 = load_even(x, 2 * row), load_odd(x, 2 * row)
        store(memory, at, x_0)
        store(memory, at + strip, x_1)
        return all_finite(x_0) and all_finite(x_1)
    finite = True
    for k in range(n_in):
        load_column(memory, at, x, row * n_in + k, n_in, n_rows)
        finite = finite and all_finite(load_strip(memory, at))
        at += strip
    return finite


@kernel
def load_column(memory, at, source, source_at, step, n_rows):
    """A strip of n_rows numbers, `step` apart in the source, and zeros."""
    strip = strip_size(memory)
    if step == 1 and n_rows == strip:
        store(memory, at, load_strip(source, source_at))
        return
    for s in range(n_rows):
        memory[at + s] = source[source_at + s * step]
    for s in range(n_rows, strip):
        memory[at + s] = 0


@inlined
def preactivation(memory, unit, x_at, n_in):
    """z_j of the block, for the unit whose weights start at `unit`."""
    z_j = splat_strip(memory, memory[unit])
    if n_in == 2:  # the lecture's, without a loop: fewer instructions where two processes share a core
        z_j = fma(memory[unit + 1], load_strip(memory, x_at), z_j)
        return fma(memory[unit + 2], load_strip(memory, x_at + strip_size(memory)), z_j)
    for k in range(n_in):
        z_j = fma(memory[unit + 1 + k], load_strip(memory, x_at + k * strip_size(memory)), z_j)
    return z_j


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
    power = scalar.exp2(preactivation(memory, unit, x_at, n_in))
    z_j = preactivation(memory, unit + step, x_at, n_in)
    for _ in range(2, n_units):
        z = add_unit(memory, unit, n_in, h_at, power, z)
        power = scalar.exp2(z_j)
        z_j = preactivation(memory, unit + 2 * step, x_at, n_in)
        unit += step
        h_at += strip
    z = add_unit(memory, unit, n_in, h_at, power, z)
    z = add_unit(memory, unit + step, n_in, h_at + strip, scalar.exp2(z_j), z)
    store(memory, base + plan[OUTPUT + VALUES_AT], z)


@kernel
def forward_any(plan, constants, memory, base):
    """h, its slopes and the output z of the block, for any activation."""
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
        unit += n_in + 2
        h_at += strip
        slopes_at += strip
    store(memory, base + plan[OUTPUT + VALUES_AT], z)


@kernel
def forward_rows(plan, constants, x, memory, base, row, n_rows):
    """Load the block and pass it forward; returns a status."""
    finite = load_inputs(plan, x, memory, base, row, n_rows)
    if plan[HIDDEN + ACTIVATION] == SIGMOID:
        forward_sigmoid(plan, memory, base)
    else:
        forward_any(plan, constants, memory, base)
    return 0 if finite else BAD_INPUT


@kernel
def losses_of_block(plan, constants, y, sample_weight, memory, base, row, n_rows):
    """z -> w dl/dz in place, 0 behind the last row; the samples' losses beside it; returns a status."""
    strip = strip_size(memory)
    z_at, targets_at = base + plan[OUTPUT + VALUES_AT], base + plan[TARGETS_AT]
    losses_at, weights_at = base + plan[LOSSES_AT], base + plan[WEIGHTS_AT]
    load_column(memory, targets_at, y, row, 1, n_rows)
    targets = load_strip(memory, targets_at)
    if not (all_finite(targets) and targets_allowed(plan[LOSS], memory, targets_at, strip, 1, strip)):
        return BAD_TARGET
    losses, d_z = loss(plan[LOSS], load_strip(memory, z_at), targets, constants[LOSS_PARAMETER])
    if plan[HAS_WEIGHTS] or n_rows < strip:
        load_sample_weights(memory, weights_at, sample_weight, row, n_rows, strip, plan[HAS_WEIGHTS])
        weights = load_strip(memory, weights_at)
        losses, d_z = losses * weights, d_z * weights
    store(memory, losses_at, losses)
    store(memory, z_at, d_z)
    return 0


@kernel
def gradient_of_block(plan, memory, base):
    """Add the block's gradient to the chunk's sums; the lecture's two inputs and sigmoid have unrolled loops."""
    is_sigmoid = plan[HIDDEN + ACTIVATION] == SIGMOID
    if plan[N_INPUTS] == 2 and is_sigmoid:
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
    store(memory, at, add_products(load(memory, at), d, like(d, 1.0)))
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
def add_to(memory, at, a, b):
    """The register at `at` += the products of two strips."""
    store(memory, at, add_products(load(memory, at), a, b))


@kernel
def fold(plan, vector, memory, base, totals, totals_at):
    """Add the chunk's sums to the slot's totals, in float64. Each sum is a register, whose lanes are added up first."""
    n_in, n_hidden, size = plan[N_INPUTS], plan[HIDDEN + N_OUT], register_size(memory)
    w1, b1 = totals_at + plan[HIDDEN + WEIGHTS], totals_at + plan[HIDDEN + BIASES]
    w2, b2 = totals_at + plan[OUTPUT + WEIGHTS], totals_at + plan[OUTPUT + BIASES]
    at = base + plan[SUMS_AT]
    for i in range(0, plan[SUMS_SIZE], strip_size(memory)):
        store(memory, at + i // size, register_totals(memory, at + i))
    if plan[BIAS]:
        totals[b2] += memory[at]
    at += 1
    for j in range(n_hidden):
        factor = np.float64(vector[plan[OUTPUT + WEIGHTS] + j])
        totals[w2 + j] += memory[at]
        for k in range(n_in):
            totals[w1 + k * n_hidden + j] += factor * memory[at + 1 + k]
        if plan[BIAS]:
            totals[b1 + j] += factor * memory[at + 1 + n_in]
        at += n_in + 1 + plan[BIAS]


@kernel
def answer(plan, memory, base, out, row, n_rows):
    """Write the block's responses or logits to out, (N,)."""
    at, strip = base + plan[OUTPUT + VALUES_AT], strip_size(memory)
    if plan[MODE] == RESPONSE:
        respond(plan[LOSS], memory, at, strip, 1, strip)
    for s in range(n_rows):
        out[row + s] = memory[at + s]
