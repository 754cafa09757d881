"""Matrix products of one block, one register tile of the result at a time; and the packing of weights for them.

Axes: m rows of the result, n columns, k the summed axis.

    forward           Z[m, n]   = bias[n] + sum_k A[m, k] W[k, n]      m samples, k inputs,  n outputs
    weight gradient   dW[m, n] +=           sum_k A[k, m] dZ[k, n]     m inputs,  k samples, n outputs
    input gradient    dA[m, n]  =           sum_k dZ[m, k] W'[k, n]    m samples, k outputs, n inputs (W' = W^T)

The three differ only in how `a` is stepped through and where a sum starts. Every sum is one chain, k ascending, so an
element has the same bits whatever tile or block it falls in. W and W' are packed into panels of a tile's width:
panel j holds columns j to j + TILE of all k rows, one after another. Results are padded to whole tiles.
Blocks, panels and sums lie in one array, the worker's memory: each function takes the array once and then offsets.
"""

from .._jit import kernel
from .simd import load, register_size, store
from .tile import ROWS, tile_columns, tile_fma, tile_load, tile_row, tile_store, tile_zero


@kernel
def add_products(tile, a, a_at, a_step_m, a_step_k, b, b_at, b_step_k, n_k):
    """tile[m, n] + sum_k a[m, k] b[k, n]: the innermost loop of the library."""
    for _ in range(n_k):
        tile = tile_fma(tile, a, a_at, a_step_m, b, b_at)
        a_at += a_step_k
        b_at += b_step_k
    return tile


@kernel
def forward(z, z_at, z_step, a_at, a_step, panels_at, biases_at, n_samples, n_in, padded_out):
    """Z = bias + A W for a block."""
    width = tile_columns(z)
    for j in range(0, padded_out, width):
        for i in range(0, n_samples, ROWS):
            tile = tile_row(z, biases_at + j)
            tile = add_products(tile, z, a_at + i * a_step, a_step, 1, z, panels_at + j * n_in, width, n_in)
            tile_store(z, z_at + i * z_step + j, z_step, tile)


@kernel
def weight_gradient(d_w, d_w_at, a_at, a_step, d_z_at, d_z_step, n_samples, n_in, padded_out):
    """dW += A^T dZ for a block; rows of dW are padded_out apart."""
    width = tile_columns(d_w)
    for i in range(0, n_in, ROWS):
        for j in range(0, padded_out, width):
            at = d_w_at + i * padded_out + j
            tile = tile_load(d_w, at, padded_out)
            tile = add_products(tile, d_w, a_at + i, 1, a_step, d_w, d_z_at + j, d_z_step, n_samples)
            tile_store(d_w, at, padded_out, tile)


@kernel
def bias_gradient(d_b, d_b_at, d_z_at, d_z_step, n_samples, padded_out):
    """db += the sum of dZ over the samples of a block."""
    for j in range(0, padded_out, register_size(d_b)):
        column = load(d_b, d_b_at + j)
        for m in range(n_samples):
            column = column + load(d_b, d_z_at + m * d_z_step + j)
        store(d_b, d_b_at + j, column)


@kernel
def input_gradient(d_a, d_a_at, d_a_step, d_z_at, d_z_step, transposed_at, n_samples, n_out, padded_in):
    """dA = dZ W^T for a block."""
    width = tile_columns(d_a)
    for j in range(0, padded_in, width):
        for i in range(0, n_samples, ROWS):
            panel_at = transposed_at + j * n_out
            tile = add_products(tile_zero(d_a), d_a, d_z_at + i * d_z_step, d_z_step, 1, d_a, panel_at, width, n_out)
            tile_store(d_a, d_a_at + i * d_a_step + j, d_a_step, tile)


@kernel
def pack(packed, panels_at, w, w_at, step_k, step_n, n_k, n_n):
    """Panels of the matrix whose element (k, n) is w[w_at + k step_k + n step_n], padded with zeros to whole tiles."""
    width = tile_columns(packed)
    at = panels_at
    for j in range(0, n_n, width):
        for k in range(n_k):
            for c in range(width):
                packed[at + c] = w[w_at + k * step_k + (j + c) * step_n] if j + c < n_n else 0
            at += width


@kernel
def pack_biases(packed, biases_at, biases, b_at, n_out, padded_out, has_bias, padding):
    """Biases of a layer, zero where there are none; the columns behind n_out start from `padding`."""
    for j in range(padded_out):
        if j >= n_out:
            packed[biases_at + j] = padding
        else:
            packed[biases_at + j] = biases[b_at + j] if has_bias else 0
