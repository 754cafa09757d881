"""Outputs with samples in the lanes: losses of a vector group, responses, and what several outputs need backward.

z_k = b2_k + sum_j W2_jk h_j          softmax and losses lane by lane over the outputs k
g_j = sum_k W2_jk d_k,  delta_j = g_j h'_j,  d = w dL/dz
dW2_jk = sum_s d_ks h_js,  dW1_ij = sum_s delta_js x_is,  db1_j = sum_s delta_js
"""

from typing import Any, NamedTuple

from ...compiler.jit import kernel
from ..math import scalar
from ..math.custom import call_custom
from ..math.elementwise import apply_link, load_sample_weights, loss, targets_allowed
from ..simd.across import all_finite
from ..simd.registers import (
    absolute,
    fma,
    group_size,
    like,
    load_group,
    maximum,
    register_size,
    splat_group,
    store,
    where_positive,
)
from ..structures import BAD_TARGET, RESPONSE, Rows, layer_of
from .samples import add_all, add_to, load_column


class Group(NamedTuple):
    """The outputs of a vector group of samples: where they lie in memory, and which rows of the batch they have."""

    outputs_offset: Any
    targets_offset: Any
    losses_offset: Any
    sample_weights_offset: Any
    row: Any  # the first one
    n_rows: Any


@kernel
def other_outputs(plan, memory, region):
    """The outputs z_1, z_2, ... of the block; z_0 was computed on the way."""
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, n_out, group = plan.n_inputs, plan.n_outputs, group_size(memory)
    z_at, biases_at = region + output.values_offset, region + output.packed_biases_offset
    h_at, unit, stride = region + hidden.values_offset, region + hidden.panels_offset, n_in + 1 + n_out
    for k in range(1, n_out):
        z = splat_group(memory, memory[biases_at + k])
        for j in range(hidden.padded_out):
            z = fma(memory[unit + j * stride + 1 + n_in + k], load_group(memory, h_at + j * group), z)
        store(memory, z_at + k * group, z)


@kernel
def softmax_of_group(memory, z_at, n_out):
    """z -> softmax(z) in place, lane by lane; returns logsumexp(z)."""
    group = group_size(memory)
    top = load_group(memory, z_at)
    for k in range(1, n_out):
        top = maximum(top, load_group(memory, z_at + k * group))
    whole = like(top, 0.0)
    for k in range(n_out):
        power = scalar.exp(load_group(memory, z_at + k * group) - top)
        store(memory, z_at + k * group, power)
        whole = whole + power
    for k in range(n_out):
        store(memory, z_at + k * group, load_group(memory, z_at + k * group) / whole)
    return top + scalar.log(whole)


@kernel
def load_labels(memory, at, labels, row, n_rows, n_out):
    """The group's labels as numbers, 0 after the last row; False for a bad one."""
    for s in range(n_rows):
        if labels[row + s] < 0 or labels[row + s] >= n_out:
            return False
        memory[at + s] = labels[row + s]
    for s in range(n_rows, group_size(memory)):
        memory[at + s] = 0
    return True


@kernel
def group_cross_entropy_of_labels(memory, losses_at, z_at, labels_at, n_out):
    """z -> softmax(z) - onehot(label) in place, and logsumexp(z) - z_label."""
    group, labels = group_size(memory), load_group(memory, labels_at)
    z_label = like(labels, 0.0)
    for k in range(n_out):
        z_label = z_label + where_positive(absolute(labels - k), 0.0, load_group(memory, z_at + k * group))
    store(memory, losses_at, softmax_of_group(memory, z_at, n_out) - z_label)
    for k in range(n_out):
        onehot = where_positive(absolute(labels - k), 0.0, 1.0)
        store(memory, z_at + k * group, load_group(memory, z_at + k * group) - onehot)


@kernel
def group_cross_entropy_of_targets(memory, losses_at, z_at, targets_at, n_out):
    """z -> softmax(z) sum(y) - y in place, and sum_k y_k (logsumexp(z) - z_k), for targets y that sum to 1."""
    group = group_size(memory)
    products, target_sum = splat_group(memory, 0.0), splat_group(memory, 0.0)
    for k in range(n_out):
        y = load_group(memory, targets_at + k * group)
        products = fma(load_group(memory, z_at + k * group), y, products)
        target_sum = target_sum + y
    store(memory, losses_at, softmax_of_group(memory, z_at, n_out) * target_sum - products)
    for k in range(n_out):
        p, y = load_group(memory, z_at + k * group), load_group(memory, targets_at + k * group)
        store(memory, z_at + k * group, fma(p, target_sum, -y))


@kernel
def loss_of_outputs(plan, memory, outputs):
    """z -> dl/dz in place, and the sum of the outputs' losses."""
    group, z_at, targets_at = group_size(memory), outputs.outputs_offset, outputs.targets_offset
    total = splat_group(memory, 0.0)
    if plan.loss_address:
        call_custom(plan.loss_address, memory, z_at, targets_at, plan.n_outputs, outputs.n_rows, group)
    for k in range(plan.n_outputs):
        z, y = load_group(memory, z_at + k * group), load_group(memory, targets_at + k * group)
        value, d_z = loss(plan.loss, z, y, plan.loss_parameter)
        store(memory, z_at + k * group, d_z)
        total = total + value
    store(memory, outputs.losses_offset, total)


@kernel
def weighed(v, weights):
    """v times the weights; 0, whatever v is, where a weight of -1 says that there is no sample."""
    return where_positive(-weights, 0.0, v * weights)


@kernel
def load_targets(call, outputs):
    """The group's targets, 0 after the last row; False if one is not finite or not where its loss is defined."""
    plan, memory, n_out, group, finite = call.plan, call.memory, call.plan.n_outputs, group_size(call.memory), True
    for k in range(n_out):
        at = outputs.targets_offset + k * group
        load_column(memory, at, call.y, outputs.row * n_out + k, n_out, outputs.n_rows)
        finite = finite and all_finite(load_group(memory, at))
    return finite and targets_allowed(plan, memory, Rows(outputs.targets_offset, group, n_out, group))


@kernel
def losses_of_group(call, outputs):
    """z -> w dl/dz in place, 0 after the last row; the samples' losses beside it; returns a status."""
    plan, memory, n_out, group = call.plan, call.memory, call.plan.n_outputs, group_size(call.memory)
    z_at, targets_at, losses_at = outputs.outputs_offset, outputs.targets_offset, outputs.losses_offset
    if plan.has_labels:
        if not load_labels(memory, targets_at, call.labels, outputs.row, outputs.n_rows, n_out):
            return BAD_TARGET
        group_cross_entropy_of_labels(memory, losses_at, z_at, targets_at, n_out)
    else:
        if not load_targets(call, outputs):
            return BAD_TARGET
        if plan.couples_outputs:
            group_cross_entropy_of_targets(memory, losses_at, z_at, targets_at, n_out)
        else:
            loss_of_outputs(plan, memory, outputs)
    if plan.has_sample_weight or outputs.n_rows < group:
        at, has_weights = outputs.sample_weights_offset, plan.has_sample_weight
        load_sample_weights(memory, at, call.sample_weight, outputs.row, outputs.n_rows, group, has_weights)
        weights = load_group(memory, at)
        store(memory, losses_at, weighed(load_group(memory, losses_at), weights))
        for k in range(n_out):
            store(memory, z_at + k * group, weighed(load_group(memory, z_at + k * group), weights))
    return 0


@kernel
def write_group_outputs(call, z_at, row, n_rows):
    """Write a group's responses or logits to out, (N, n_outputs)."""
    plan, memory, out = call.plan, call.memory, call.out
    group, n_out = group_size(memory), plan.n_outputs
    if plan.mode == RESPONSE:
        if plan.couples_outputs:
            softmax_of_group(memory, z_at, n_out)
        else:
            apply_link(plan, memory, Rows(z_at, group, n_out, group))
    for k in range(n_out):
        for s in range(n_rows):
            out[(row + s) * n_out + k] = memory[z_at + k * group + s]


@kernel
def gradient_of_outputs(plan, memory, region):
    """Add the block's gradient to the chunk's sums: db2, then dW2, dW1 and db1 of each hidden unit."""
    hidden, output = layer_of(plan, 0), layer_of(plan, 1)
    n_in, n_out, bias = plan.n_inputs, plan.n_outputs, plan.has_bias
    group, size = group_size(memory), register_size(memory)
    x_at, d_at = region + plan.inputs_offset, region + output.values_offset
    h_at, slopes_at = region + hidden.values_offset, region + hidden.slopes_offset
    at, w2 = region + plan.sums_offset, region + hidden.panels_offset + 1 + n_in
    for k in range(n_out):
        add_all(memory, at, load_group(memory, d_at + k * group))
        at += size
    for _ in range(hidden.padded_out):
        h, g = load_group(memory, h_at), splat_group(memory, 0.0)
        for k in range(n_out):
            d = load_group(memory, d_at + k * group)
            g = fma(memory[w2 + k], d, g)
            add_to(memory, at, d, h)
            at += size
        delta = g * load_group(memory, slopes_at)
        for i in range(n_in):
            add_to(memory, at, load_group(memory, x_at + i * group), delta)
            at += size
        if bias:
            add_all(memory, at, delta)
            at += size
        w2 += n_in + 1 + n_out
        h_at += group
        slopes_at += group
