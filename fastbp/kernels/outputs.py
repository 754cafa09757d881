"""Outputs with samples in the lanes: losses of a strip, answers, and what several outputs need on the way back.

z_k = b2_k + sum_j W2_jk h_j          softmax and losses lane by lane over the outputs k
g_j = sum_k W2_jk d_k,  delta_j = g_j h'_j,  d = w dL/dz
dW2_jk = sum_s d_ks h_js,  dW1_ij = sum_s delta_js x_is,  db1_j = sum_s delta_js
"""

from .._jit import kernel
from . import scalar
from .across import all_finite
from .custom import call_custom
from .elementwise import CROSS_ENTROPY, CUSTOM_LOSS, load_sample_weights, loss, respond, targets_allowed
from .fields import (
    BAD_TARGET,
    BIAS,
    BIASES_AT,
    HAS_LABELS,
    HAS_WEIGHTS,
    INPUTS_AT,
    LOSS,
    LOSS_ADDRESS,
    LOSS_PARAMETER,
    MODE,
    N_INPUTS,
    N_OUTPUTS,
    PADDED,
    PANELS_AT,
    RESPONSE,
    SLOPES_AT,
    SUMS_AT,
    VALUES_AT,
)
from .simd import (
    absolute,
    fma,
    like,
    load_strip,
    maximum,
    register_size,
    splat_strip,
    store,
    strip_size,
    where_positive,
)
from .strips import HIDDEN, OUTPUT, add_all, add_to, load_column


@kernel
def other_outputs(plan, memory, base):
    """The outputs z_1, z_2, ... of the block; z_0 was computed on the way."""
    n_in, n_out, strip = plan[N_INPUTS], plan[N_OUTPUTS], strip_size(memory)
    z_at, biases_at = base + plan[OUTPUT + VALUES_AT], base + plan[OUTPUT + BIASES_AT]
    h_at, unit, step = base + plan[HIDDEN + VALUES_AT], base + plan[HIDDEN + PANELS_AT], n_in + 1 + n_out
    for k in range(1, n_out):
        z = splat_strip(memory, memory[biases_at + k])
        for j in range(plan[HIDDEN + PADDED]):
            z = fma(memory[unit + j * step + 1 + n_in + k], load_strip(memory, h_at + j * strip), z)
        store(memory, z_at + k * strip, z)


@kernel
def softmax(memory, z_at, n_out):
    """z -> softmax(z) in place, lane by lane; returns logsumexp(z)."""
    strip = strip_size(memory)
    top = load_strip(memory, z_at)
    for k in range(1, n_out):
        top = maximum(top, load_strip(memory, z_at + k * strip))
    whole = like(top, 0.0)
    for k in range(n_out):
        power = scalar.exp(load_strip(memory, z_at + k * strip) - top)
        store(memory, z_at + k * strip, power)
        whole = whole + power
    for k in range(n_out):
        store(memory, z_at + k * strip, load_strip(memory, z_at + k * strip) / whole)
    return top + scalar.log(whole)


@kernel
def load_labels(memory, at, labels, row, n_rows, n_out):
    """The block's labels as numbers, 0 behind the last row; False for a bad one."""
    for s in range(n_rows):
        if labels[row + s] < 0 or labels[row + s] >= n_out:
            return False
        memory[at + s] = labels[row + s]
    for s in range(n_rows, strip_size(memory)):
        memory[at + s] = 0
    return True


@kernel
def cross_entropy_of_labels(memory, losses_at, z_at, labels_at, n_out):
    """z -> softmax(z) - onehot(label) in place, and logsumexp(z) - z_label."""
    strip, labels = strip_size(memory), load_strip(memory, labels_at)
    z_label = like(labels, 0.0)
    for k in range(n_out):
        z_label = z_label + where_positive(absolute(labels - k), 0.0, load_strip(memory, z_at + k * strip))
    store(memory, losses_at, softmax(memory, z_at, n_out) - z_label)
    for k in range(n_out):
        onehot = where_positive(absolute(labels - k), 0.0, 1.0)
        store(memory, z_at + k * strip, load_strip(memory, z_at + k * strip) - onehot)


@kernel
def cross_entropy_of_rows(memory, losses_at, z_at, targets_at, n_out):
    """z -> softmax(z) sum(y) - y in place, and sum_k y_k (logsumexp(z) - z_k), for targets y that sum to 1."""
    strip = strip_size(memory)
    products, target_sum = splat_strip(memory, 0.0), splat_strip(memory, 0.0)
    for k in range(n_out):
        y = load_strip(memory, targets_at + k * strip)
        products = fma(load_strip(memory, z_at + k * strip), y, products)
        target_sum = target_sum + y
    store(memory, losses_at, softmax(memory, z_at, n_out) * target_sum - products)
    for k in range(n_out):
        p, y = load_strip(memory, z_at + k * strip), load_strip(memory, targets_at + k * strip)
        store(memory, z_at + k * strip, fma(p, target_sum, -y))


@kernel
def loss_of_outputs(plan, constants, memory, losses_at, z_at, targets_at, n_rows):
    """z -> dl/dz in place, and the sum of the outputs' losses."""
    strip = strip_size(memory)
    total = splat_strip(memory, 0.0)
    if plan[LOSS] == CUSTOM_LOSS:
        call_custom(plan[LOSS_ADDRESS], memory, z_at, targets_at, plan[N_OUTPUTS], n_rows, strip)
    for k in range(plan[N_OUTPUTS]):
        z, y = load_strip(memory, z_at + k * strip), load_strip(memory, targets_at + k * strip)
        value, d_z = loss(plan[LOSS], z, y, constants[LOSS_PARAMETER])
        store(memory, z_at + k * strip, d_z)
        total = total + value
    store(memory, losses_at, total)


@kernel
def weighed(v, weights):
    """v times the weights; 0, whatever v is, where a weight of -1 says that there is no sample."""
    return where_positive(-weights, 0.0, v * weights)


@kernel
def losses_of_strip(
    plan, constants, y, labels, sample_weight, memory, z_at, targets_at, losses_at, weights_at, row, n_rows
):
    """z -> w dl/dz in place, 0 behind the last row; the samples' losses beside it; returns a status."""
    n_out, strip = plan[N_OUTPUTS], strip_size(memory)
    if plan[HAS_LABELS]:
        if not load_labels(memory, targets_at, labels, row, n_rows, n_out):
            return BAD_TARGET
        cross_entropy_of_labels(memory, losses_at, z_at, targets_at, n_out)
    else:
        finite = True
        for k in range(n_out):
            load_column(memory, targets_at + k * strip, y, row * n_out + k, n_out, n_rows)
            finite = finite and all_finite(load_strip(memory, targets_at + k * strip))
        if not (finite and targets_allowed(plan[LOSS], memory, targets_at, strip, n_out, strip)):
            return BAD_TARGET
        if plan[LOSS] == CROSS_ENTROPY:
            cross_entropy_of_rows(memory, losses_at, z_at, targets_at, n_out)
        else:
            loss_of_outputs(plan, constants, memory, losses_at, z_at, targets_at, n_rows)
    if plan[HAS_WEIGHTS] or n_rows < strip:
        load_sample_weights(memory, weights_at, sample_weight, row, n_rows, strip, plan[HAS_WEIGHTS])
        weights = load_strip(memory, weights_at)
        store(memory, losses_at, weighed(load_strip(memory, losses_at), weights))
        for k in range(n_out):
            store(memory, z_at + k * strip, weighed(load_strip(memory, z_at + k * strip), weights))
    return 0


@kernel
def answer(plan, memory, z_at, out, row, n_rows):
    """Write a strip's responses or logits to out, (N, n_outputs)."""
    strip, n_out = strip_size(memory), plan[N_OUTPUTS]
    if plan[MODE] == RESPONSE:
        if plan[LOSS] == CROSS_ENTROPY:
            softmax(memory, z_at, n_out)
        else:
            respond(plan[LOSS], memory, z_at, strip, n_out, strip)
    for k in range(n_out):
        for s in range(n_rows):
            out[(row + s) * n_out + k] = memory[z_at + k * strip + s]


@kernel
def gradient_of_block(plan, memory, base):
    """Add the block's gradient to the chunk's sums: db2, then dW2, dW1 and db1 of each hidden unit."""
    n_in, n_out, bias = plan[N_INPUTS], plan[N_OUTPUTS], plan[BIAS]
    strip, size = strip_size(memory), register_size(memory)
    x_at, d_at = base + plan[INPUTS_AT], base + plan[OUTPUT + VALUES_AT]
    h_at, slopes_at = base + plan[HIDDEN + VALUES_AT], base + plan[HIDDEN + SLOPES_AT]
    at, w2 = base + plan[SUMS_AT], base + plan[HIDDEN + PANELS_AT] + 1 + n_in
    for k in range(n_out):
        add_all(memory, at, load_strip(memory, d_at + k * strip))
        at += size
    for _ in range(plan[HIDDEN + PADDED]):
        h, g = load_strip(memory, h_at), splat_strip(memory, 0.0)
        for k in range(n_out):
            d = load_strip(memory, d_at + k * strip)
            g = fma(memory[w2 + k], d, g)
            add_to(memory, at, d, h)
            at += size
        delta = g * load_strip(memory, slopes_at)
        for i in range(n_in):
            add_to(memory, at, load_strip(memory, x_at + i * strip), delta)
            at += size
        if bias:
            add_all(memory, at, delta)
            at += size
        w2 += n_in + 1 + n_out
        h_at += strip
        slopes_at += strip
