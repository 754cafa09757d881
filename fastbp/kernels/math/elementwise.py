"""Activations, losses and links over blocks of values in memory, chosen by code.

Each loop is written once; what it does to a vector is chosen by a code.
"""

import math

from ...compiler.jit import kernel
from ...model import activations, losses
from ...model.link_records import LINKS
from ..simd.across import all_finite, all_within, first, highest, register_totals, total
from ..simd.formula import choice
from ..simd.registers import (
    fma,
    load,
    load_part,
    load_strided,
    maximum,
    prefetch,
    register_size,
    splat,
    splat_group,
    store,
    store_strided,
)
from ..simd.vector import GROUP_REGISTERS as ROWS_OF_GROUP
from . import scalar

# -- activations -----------------------------------------------------------------------------------------------------


# (a(z), a'(z)) of the activation with a code: activation(code, z, parameter).
activation = choice([getattr(scalar, name) for name in activations.NAMES])


@kernel
def activate(code, parameter, a, rows, slopes_at, has_slopes):
    """z -> a(z) in place, and a'(z) beside it if wanted, by groups of rows."""
    for m in range(0, rows.n_rows, ROWS_OF_GROUP):
        for i in range(m * rows.stride, m * rows.stride + rows.n, register_size(a)):
            value, slope = activation(code, load_strided(a, rows.offset + i, rows.stride), parameter)
            store_strided(a, rows.offset + i, rows.stride, value)
            if has_slopes:
                store_strided(a, slopes_at + i, rows.stride, slope)


# -- losses ----------------------------------------------------------------------------------------------------------


# (l(y, z), dl/dz) of the loss with a code, but of those that couple outputs: loss(code, z, y, parameter).
_of_one = [scalar.pullback if losses.Loss(name).couples_outputs else getattr(scalar, name) for name in losses.NAMES]
loss = choice([*_of_one, scalar.pullback, scalar.custom])


@kernel
def loss_of_rows(code, parameter, a, rows, targets_at, losses_at):
    """z -> dl/dz in place and the sum of l(y, z) of each row, a group of rows at a time.

    The sums of the rows that fill the last group are written, too.
    """
    for m in range(0, rows.n_rows, ROWS_OF_GROUP):
        z_at, y_at, losses = rows.offset + m * rows.stride, targets_at + m * rows.stride, splat_group(a, 0.0)
        for i in range(0, rows.n, register_size(a)):
            z, y = load_strided(a, z_at + i, rows.stride), load_strided(a, y_at + i, rows.stride)
            value, d_z = loss(code, z, y, parameter)
            store_strided(a, z_at + i, rows.stride, d_z)
            losses = losses + first(value, rows.n - i)
        store(a, losses_at + m, register_totals(losses))


@kernel
def weigh_rows(a, rows, losses_at, weights_at):
    """dl/dz and l of each row times its sample's weight."""
    at = rows.offset
    for m in range(rows.n_rows):
        weight = a[weights_at + m]
        a[losses_at + m] *= weight
        for i in range(0, rows.n, register_size(a)):
            store(a, at + i, load(a, at + i) * weight)
        at += rows.stride


@kernel
def softmax_of_row(a, at, n):
    """z -> softmax(z) in one row, after which stand numbers far below any z; returns logsumexp(z)."""
    size = register_size(a)
    tops = load(a, at)
    for i in range(size, n, size):
        tops = maximum(tops, load(a, at + i))
    top = highest(tops)
    powers = splat(a, 0.0)
    for i in range(0, n, size):
        power = first(scalar.exp(load(a, at + i) - top), n - i)
        store(a, at + i, power)
        powers = powers + power
    whole = total(powers)
    for i in range(0, n, size):
        store(a, at + i, load(a, at + i) / whole)
    return top + math.log(whole)


@kernel
def cross_entropy_of_labels(a, rows, labels, row, losses_at):
    """z -> softmax(z) - onehot(label) in place, and logsumexp(z) - z_label of each row; False for a bad label."""
    at = rows.offset
    for m in range(rows.n_rows):
        label = labels[row + m]
        if label < 0 or label >= rows.n:
            return False
        z_label = a[at + label]
        a[losses_at + m] = softmax_of_row(a, at, rows.n) - z_label
        a[at + label] -= 1
        at += rows.stride
    return True


@kernel
def cross_entropy_of_targets(a, rows, targets_at, losses_at):
    """z -> softmax(z) sum(y) - y in place, and sum_k y_k (logsumexp(z) - z_k) of each row, for rows y that sum to 1."""
    size, at, n = register_size(a), rows.offset, rows.n
    for m in range(rows.n_rows):
        products, targets = splat(a, 0.0), splat(a, 0.0)
        for i in range(0, n, size):
            y = load(a, targets_at + i)
            products = fma(first(load(a, at + i), n - i), y, products)
            targets = targets + y
        target_sum = total(targets)
        a[losses_at + m] = softmax_of_row(a, at, n) * target_sum - total(products)
        for i in range(0, n, size):
            store(a, at + i, fma(load(a, at + i), target_sum, -load(a, targets_at + i)))
        at += rows.stride
        targets_at += rows.stride


# -- links -----------------------------------------------------------------------------------------------------------


# link(z) of the link with a code, of every one that does not couple the outputs.
link = choice([getattr(scalar, f"{name}_link", scalar.identity_link) for name in LINKS])


@kernel
def apply_link(plan, a, rows):
    """z -> link(z) in place: the response that goes with the loss."""
    at, size = rows.offset, register_size(a)
    for _ in range(rows.n_rows):
        if plan.couples_outputs:
            softmax_of_row(a, at, rows.n)
        elif not plan.is_link_identity:
            for i in range(0, rows.n, size):
                store(a, at + i, link(plan.link, load(a, at + i)))
        at += rows.stride


# -- data on their way in --------------------------------------------------------------------------------------------


@kernel
def load_rows(a, rows, source, source_at):
    """Copy rows of a matrix in C order, padded with zeros to whole registers; False if a number is not finite."""
    at, n, size = rows.offset, rows.n, register_size(a)
    finite = True
    for _ in range(rows.n_rows):
        whole = n // size * size
        for i in range(0, whole, size):
            part = load(source, source_at + i)
            finite = finite and all_finite(part)
            store(a, at + i, part)
        if whole < n:
            part = load_part(source, source_at + whole, n - whole)
            finite = finite and all_finite(part)
            store(a, at + whole, part)
        at += rows.stride
        source_at += n
    return finite


@kernel
def prefetch_rows(source, first, last):
    """Ask for the cache lines of source[first:last] ahead of time; they may lie after its end."""
    for at in range(first, last, register_size(source)):
        prefetch(source, at)


@kernel
def targets_allowed(plan, a, rows):
    """Whether targets lie where their loss is defined."""
    if not plan.has_target_bounds:
        return True
    at, allowed, low, high = rows.offset, True, plan.target_low, plan.target_high
    for _ in range(rows.n_rows):
        for i in range(0, rows.n, register_size(a)):
            allowed = allowed and all_within(load(a, at + i), low, high)
        at += rows.stride
    return allowed


@kernel
def load_sample_weights(a, at, sample_weight, row, n_rows, n, has_weights):
    """The block's weights, 1 where none are given, -1 for the n - n_rows rows after the last."""
    for m in range(n_rows):
        a[at + m] = sample_weight[row + m] if has_weights else 1
    for m in range(n_rows, n):
        a[at + m] = -1
