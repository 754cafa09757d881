"""The last layer where its outputs are few, one say: samples in the lanes, behind hidden layers with features in them.

A tile of columns for one output would be empty but for one; here a strip of samples is full. The strips of a block
follow each other, each with the rows z_j of its samples, strip_size apart, which `outputs` turns into losses:

    z_j[m] = b_j + sum_k A[m, k] W[k, j]         one chain with k ascending, as everywhere, of tiles of A transposed
    dA[m, k] = sum_j dZ_j[m] W[k, j],   dW[k, j] += sum_m A[m, k] dZ_j[m],   db_j += sum_m dZ_j[m]

W is packed by registers of inputs k, with one row each for the outputs j; so are its sums. Lanes behind a block's last
row hold what was left there, and are never looked at.
"""

from .._jit import kernel
from . import outputs
from .across import first, total
from .fields import (
    BIAS_SUMS_AT,
    BIASES_AT,
    LOSSES_AT,
    N_IN,
    N_LAYERS,
    N_OUTPUTS,
    PADDED_IN,
    RIGHT_AT,
    RIGHT_STEP,
    TARGETS_AT,
    TRANSPOSED_AT,
    VALUES_AT,
    WEIGHT_SUMS_AT,
    WEIGHTS_AT,
)
from .gemm import MASK, record, smaller
from .simd import fma, load, register_size, splat, splat_strip, store, strip_size, where_positive
from .tile import n_rows as n_rows_of
from .tile import narrow, tile_fma_rows, tile_load, tile_transpose


@kernel
def last_layer(plan):
    """Where its record starts."""
    return record(plan[N_LAYERS] - 1)


@kernel
def place(memory, m, j, n_out):
    """Where output j of row m of the block lies among the outputs or targets."""
    strip = strip_size(memory)
    return (m // strip * n_out + j) * strip + m % strip


@kernel
def forward(plan, memory, base, packed, n_rows):
    """z of the block."""
    at, n_out, size = last_layer(plan), plan[N_OUTPUTS], register_size(memory)
    a_at, a_step, z_at = base + plan[at + RIGHT_AT], plan[at + RIGHT_STEP], base + plan[at + VALUES_AT]
    clear_padding(memory, a_at, a_step, n_rows, plan[at + N_IN])
    for m in range(0, n_rows, strip_size(memory)):
        for j in range(n_out):
            bias = memory[packed + plan[at + BIASES_AT] + j]
            store(memory, z_at + place(memory, m, j, n_out), splat_strip(memory, bias))
    for k in range(0, plan[at + PADDED_IN], size):
        w_at = packed + plan[at + TRANSPOSED_AT] + k * n_out
        for m in range(0, n_rows, n_rows_of(narrow(memory))):
            tile = tile_transpose(tile_load(narrow(memory), memory, a_at + m * a_step + k, a_step))
            for j in range(n_out):
                tile_fma_rows(memory, z_at + place(memory, m, j, n_out), tile, memory, w_at + j * size)


@kernel
def clear_padding(memory, at, step, n_rows, n):
    """0 behind the n numbers of each row, as far as the register goes: NaN, where a layer below has overflowed."""
    last = n // register_size(memory) * register_size(memory)
    if last < n:
        for m in range(n_rows):
            place_of_last = at + m * step + last
            store(memory, place_of_last, first(load(memory, place_of_last), n - last))


@kernel
def losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows):
    """z -> w dL/dz in place, the rows' losses beside it; returns a status."""
    for m in range(0, n_rows, strip_size(memory)):
        shift = m * plan[N_OUTPUTS]
        status = outputs.losses_of_strip(
            plan, constants, y, labels, sample_weight, memory, base + plan[last_layer(plan) + VALUES_AT] + shift,
            base + plan[TARGETS_AT] + shift, base + plan[LOSSES_AT] + m, base + plan[WEIGHTS_AT] + m,
            row + m, smaller(strip_size(memory), n_rows - m),
        )  # fmt: skip
        if status != 0:
            return status
    return 0


@kernel
def answer(plan, memory, base, out, row, n_rows):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    for m in range(0, n_rows, strip_size(memory)):
        z_at = base + plan[last_layer(plan) + VALUES_AT] + m * plan[N_OUTPUTS]
        outputs.answer(plan, memory, z_at, out, row + m, smaller(strip_size(memory), n_rows - m))


@kernel
def deltas_below(plan, memory, base, packed, to, values_at, step, n_rows, ending):
    """dZ of the layer below, to rows `step` apart: dA where values > 0 (MASK), or times the slopes that stand there."""
    at, n_out, size = last_layer(plan), plan[N_OUTPUTS], register_size(memory)
    d_at = base + plan[at + VALUES_AT]
    for k in range(0, plan[at + PADDED_IN], size):
        w_at = packed + plan[at + TRANSPOSED_AT] + k * n_out
        w = load(memory, w_at)
        for m in range(n_rows):
            here, delta = m * step + k, w * memory[d_at + place(memory, m, 0, n_out)]
            for j in range(1, n_out):
                delta = fma(memory[d_at + place(memory, m, j, n_out)], load(memory, w_at + j * size), delta)
            if ending == MASK:
                delta = where_positive(load(memory, values_at + here), delta, 0.0)
            else:
                delta = delta * load(memory, to + here)
            store(memory, to + here, delta)


@kernel
def add_weights(plan, memory, base, sums, n_rows, first_k, last_k):
    """Add the block's dW to the chunk's sums, for the inputs first_k to last_k - 1."""
    at, n_out, size = last_layer(plan), plan[N_OUTPUTS], register_size(memory)
    a_at, a_step = base + plan[at + RIGHT_AT], plan[at + RIGHT_STEP]
    for k in range(first_k, last_k, size):
        for j in range(n_out):
            to = sums + plan[at + WEIGHT_SUMS_AT] + k * n_out + j * size
            added = load(memory, to)
            for m in range(0, n_rows, strip_size(memory)):
                d_at = base + plan[at + VALUES_AT] + place(memory, m, j, n_out)
                n = smaller(strip_size(memory), n_rows - m)
                added = added + weighted_rows(memory, a_at + m * a_step + k, a_step, d_at, n)
            store(memory, to, added)


@kernel
def weighted_rows(memory, a_at, a_step, d_at, n):
    """sum_m A[m, :] d[m] of n rows in one register, by four chains so that none waits for the other."""
    s, t, u, v = splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0)
    for _ in range(n // 4):
        s = fma(load(memory, a_at), memory[d_at], s)
        t = fma(load(memory, a_at + a_step), memory[d_at + 1], t)
        u = fma(load(memory, a_at + 2 * a_step), memory[d_at + 2], u)
        v = fma(load(memory, a_at + 3 * a_step), memory[d_at + 3], v)
        a_at += 4 * a_step
        d_at += 4
    for _ in range(n % 4):
        s = fma(load(memory, a_at), memory[d_at], s)
        a_at += a_step
        d_at += 1
    return (s + t) + (u + v)


@kernel
def add_biases(plan, memory, base, sums, n_rows):
    """Add the block's db to the chunk's sums."""
    at, n_out = last_layer(plan), plan[N_OUTPUTS]
    d_at = base + plan[at + VALUES_AT]
    for j in range(n_out):
        added = splat(memory, 0.0)
        for m in range(0, n_rows, register_size(memory)):
            added = added + first(load(memory, d_at + place(memory, m, j, n_out)), n_rows - m)
        memory[sums + plan[at + BIAS_SUMS_AT] + j] += total(added)
