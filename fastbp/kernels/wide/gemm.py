"""Matrix products of one block, one microtile of the result at a time; and the packing of weights for them.

Axes: m rows of the result, n columns, k the summed axis.

    forward           Z[m, n]   = bias[n] + sum_k A[m, k] W[k, n]      m samples, k inputs,  n outputs
    weight gradient   dW[m, n] +=           sum_k A[k, m] dZ[k, n]     m inputs,  k samples, n outputs
    input gradient    dA[m, n]  =           sum_k dZ[m, k] W'[k, n]    m samples, k outputs, n inputs (W' = W^T)

The three differ only in how `a` is stepped through and where a sum starts. Every sum is one chain, k ascending, so an
element has the same bits whatever microtile or block it falls in.

Columns come in packed panels: first `wide` of them in panels as wide as a wide microtile, then the others up to
`padded` in panels as wide as a narrow one. W and W' are packed that way, and the sums of weight gradients are kept that
way: the panel of columns j to j + width starts at j n_k and holds `width` numbers of each of its n_k rows, one row
after another.
Everything lies in one array, and each function takes the array once and then offsets.
"""

from typing import Any, NamedTuple

from ...compiler.jit import kernel
from ..math.integers import larger, smaller
from ..simd.across import transpose
from ..simd.microtile import (
    n_columns,
    n_rows,
    narrow,
    tile_fma,
    tile_load,
    tile_mask,
    tile_multiply,
    tile_rectify,
    tile_row,
    tile_store,
    wide,
)
from ..simd.registers import load, prefetch, prefetch_early, register_size, splat, store
from ..structures import Rows

# Epilogues, what becomes of products P as they are stored to C: P; P C; P or, where it is not above 0, 0; P or, where
# other values are not above 0, 0.
STORE, SCALE, RECTIFY, MASK = range(4)


class Panels(NamedTuple):
    """A matrix (n_k, n) in packed panels: `padded` columns, of which `wide` lie in wide panels."""

    offset: Any
    n_k: Any
    padded: Any
    wide: Any


class Product(NamedTuple):
    """C[m, n] = P[m, n] = start[n] + sum_k A[m, k] B[k, n] for a block, or what the epilogue makes of P."""

    c: Any  # Rows
    a: Any  # Rows
    b: Any  # Panels
    start_offset: Any
    epilogue: Any
    values_offset: Any  # of MASK, like C


class Part(NamedTuple):
    """A part of a layer's sums: n_rows rows from `row` on, the columns first to last - 1."""

    row: Any
    n_rows: Any
    first: Any
    last: Any


@kernel
def add_products(shape, tile, memory, a_at, a_stride, b_at, n_k, next_at):
    """tile[m, n] + sum_k a[m, k] b[k, n], for a panel b: the innermost loop of the library.

    Four steps are written out, after which the loop costs nothing; a narrow tile's many rows would leave the registers.
    Meanwhile half a register of the next panel is prefetched: a block's 16 microtiles or more ask for all of it.
    """
    width = n_columns(shape)
    if width > register_size(memory):
        for _ in range(n_k // 4):
            tile = tile_fma(tile, memory, a_at, a_stride, memory, b_at)
            tile = tile_fma(tile, memory, a_at + 1, a_stride, memory, b_at + width)
            tile = tile_fma(tile, memory, a_at + 2, a_stride, memory, b_at + 2 * width)
            tile = tile_fma(tile, memory, a_at + 3, a_stride, memory, b_at + 3 * width)
            prefetch_early(memory, next_at)
            next_at += register_size(memory) // 2
            a_at += 4
            b_at += 4 * width
        n_k %= 4
    for _ in range(n_k):
        tile = tile_fma(tile, memory, a_at, a_stride, memory, b_at)
        a_at += 1
        b_at += width
    return tile


@kernel
def block_product(memory, product):
    """A product of a block, by wide and then by narrow microtiles."""
    panels = product.b
    product_panels(wide(memory), memory, product, 0, panels.wide)
    product_panels(narrow(memory), memory, product, panels.wide, panels.padded)


@kernel
def product_panels(shape, memory, product, first, last):
    """The columns first to last - 1 of that, by microtiles of one shape."""
    a, b, c, epilogue = product.a, product.b, product.c, product.epilogue
    for j in range(first, last, n_columns(shape)):
        next_at = b.offset + (j + n_columns(shape)) * b.n_k
        for i in range(0, c.n_rows, n_rows(shape)):
            tile = tile_row(shape, memory, product.start_offset + j)
            a_at = a.offset + i * a.stride
            tile = add_products(shape, tile, memory, a_at, a.stride, b.offset + j * b.n_k, b.n_k, next_at)
            next_at += b.n_k // 4 * register_size(memory) // 2
            at = c.offset + i * c.stride + j
            if epilogue == RECTIFY:
                tile = tile_rectify(tile)
            elif epilogue == MASK:
                values_at = product.values_offset + i * c.stride + j
                tile = tile_mask(tile, tile_load(shape, memory, values_at, c.stride))
            elif epilogue == SCALE:
                tile = tile_multiply(tile, tile_load(shape, memory, at, c.stride))
            tile_store(memory, at, c.stride, tile)


@kernel
def add_weight_gradient(memory, sums, left, right, part):
    """S[m, n] += sum_k left[k, m] right[k, n] for a block and a part of S.

    sums : Panels, sums.n_k the height of S's panels. left, right : Rows, a row for each of the block's samples.
    """
    m = part.row
    a = Rows(left.offset + m, left.stride, left.n_rows, left.n)
    for j in range(part.first, smaller(sums.wide, part.last), n_columns(wide(memory))):
        to = sums.offset + j * sums.n_k + m * n_columns(wide(memory))
        d = Rows(right.offset + j, right.stride, right.n_rows, right.n)
        add_to_panel(wide(memory), memory, to, a, d, part.n_rows)
    for j in range(larger(sums.wide, part.first), part.last, n_columns(narrow(memory))):
        to = sums.offset + j * sums.n_k + m * n_columns(narrow(memory))
        d = Rows(right.offset + j, right.stride, right.n_rows, right.n)
        add_to_panel(narrow(memory), memory, to, a, d, part.n_rows)


@kernel
def add_to_panel(shape, memory, sums_at, a, d, n_m):
    """n_m rows of one panel of that."""
    width = n_columns(shape)
    for i in range(0, n_m, n_rows(shape)):
        tile = tile_load(shape, memory, sums_at + i * width, width)
        tile = add_outer_products(tile, memory, a.offset + i, a.stride, d.offset, d.stride, a.n_rows)
        tile_store(memory, sums_at + i * width, width, tile)


@kernel
def add_outer_products(tile, memory, a_at, a_stride, d_at, d_stride, n_k):
    """tile[m, n] + sum_k a[k, m] d[k, n]; what the next microtiles need of `a` is prefetched on the way."""
    for _ in range(n_k):
        tile = tile_fma(tile, memory, a_at, 1, memory, d_at)
        prefetch(memory, a_at + register_size(memory))
        a_at += a_stride
        d_at += d_stride
    return tile


@kernel
def add_bias_gradient(memory, sums_at, d):
    """s[n] += sum_k D[k, n] for a block, by four chains so that none waits for the other."""
    for j in range(0, d.n, register_size(memory)):
        at, stride = d.offset + j, d.stride
        s, t, u, v = load(memory, sums_at + j), splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0)
        for _ in range(d.n_rows // 4):
            s = s + load(memory, at)
            t = t + load(memory, at + stride)
            u = u + load(memory, at + 2 * stride)
            v = v + load(memory, at + 3 * stride)
            at += 4 * stride
        for _ in range(d.n_rows % 4):
            s = s + load(memory, at)
            at += stride
        store(memory, sums_at + j, (s + t) + (u + v))


@kernel
def panel_of(memory, j, wide_columns):
    """The first column of the panel that holds column j, which starts a register."""
    return j - j % n_columns(wide(memory)) if j < wide_columns else j


@kernel
def pack_columns(memory, panels, w, w_at, n_n, j, is_transposed):
    """One register of columns, from j on, of a matrix (n_k, n_n), to its panels; zeros after column n_n - 1.

    The matrix lies at w_at row after row; or, where `is_transposed`, column after column.
    """
    n_k, size = panels.n_k, register_size(memory)
    panel = panel_of(memory, j, panels.wide)
    width = n_columns(wide(memory)) if j < panels.wide else n_columns(narrow(memory))
    at = panels.offset + panel * n_k + j - panel
    is_whole = j + size <= n_n
    k = 0
    if is_whole and is_transposed:
        while k + size <= n_k:
            transpose(w, w_at + j * n_k + k, n_k, memory, at + k * width, width)
            k += size
    elif is_whole:
        while k < n_k:
            store(memory, at + k * width, load(w, w_at + k * n_n + j))
            k += 1
    k_stride = 1 if is_transposed else n_n
    n_stride = n_k if is_transposed else 1
    while k < n_k:
        for c in range(size):
            memory[at + k * width + c] = w[w_at + k * k_stride + (j + c) * n_stride] if j + c < n_n else 0
        k += 1
