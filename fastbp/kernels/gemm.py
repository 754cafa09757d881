"""Matrix products of one block, one register tile of the result at a time; and the packing of weights for them.

Axes: m rows of the result, n columns, k the summed axis.

    forward           Z[m, n]   = bias[n] + sum_k A[m, k] W[k, n]      m samples, k inputs,  n outputs
    weight gradient   dW[m, n] +=           sum_k A[k, m] dZ[k, n]     m inputs,  k samples, n outputs
    input gradient    dA[m, n]  =           sum_k dZ[m, k] W'[k, n]    m samples, k outputs, n inputs (W' = W^T)

The three differ only in how `a` is stepped through and where a sum starts. Every sum is one chain, k ascending, so an
element has the same bits whatever tile or block it falls in.

Columns come in panels: first `wide` of them in panels as wide as a wide tile, then the others up to `padded` in panels
as wide as a narrow one. W and W' are packed that way, and the sums of weight gradients are kept that way: the panel of
columns j to j + width starts at j n_k and holds `width` numbers of each of its n_k rows, one row after another.
Everything lies in one array, and each function takes the array once and then offsets.
"""

from .._jit import kernel
from . import fields
from .across import transpose
from .simd import load, prefetch, prefetch_early, register_size, splat, store
from .tile import (
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

record = kernel(fields.record)

# What becomes of products P as they are stored to C: P; P C; P or, where it is not above 0, 0; P or, where other values
# are not above 0, 0.
STORE, SCALE, RECTIFY, MASK = range(4)


@kernel
def smaller(a, b):
    """min(a, b) of two whole numbers; Numba's own takes longer to compile than most kernels."""
    return a if a < b else b


@kernel
def larger(a, b):
    """max(a, b) of two whole numbers."""
    return a if a > b else b


@kernel
def add_products(shape, tile, memory, a_at, a_step, b_at, n_k, next_at):
    """tile[m, n] + sum_k a[m, k] b[k, n], for a panel b: the innermost loop of the library.

    Four steps are written out, after which the loop costs nothing; a narrow tile's many rows would leave the registers.
    Meanwhile half a register of the next panel is asked for, so that a block's 16 tiles or more bring it nearer.
    """
    width = n_columns(shape)
    if width > register_size(memory):
        for _ in range(n_k // 4):
            tile = tile_fma(tile, memory, a_at, a_step, memory, b_at)
            tile = tile_fma(tile, memory, a_at + 1, a_step, memory, b_at + width)
            tile = tile_fma(tile, memory, a_at + 2, a_step, memory, b_at + 2 * width)
            tile = tile_fma(tile, memory, a_at + 3, a_step, memory, b_at + 3 * width)
            prefetch_early(memory, next_at)
            next_at += register_size(memory) // 2
            a_at += 4
            b_at += 4 * width
        n_k %= 4
    for _ in range(n_k):
        tile = tile_fma(tile, memory, a_at, a_step, memory, b_at)
        a_at += 1
        b_at += width
    return tile


@kernel
def products(
    memory, c_at, c_step, a_at, a_step, panels_at, start_at, n_samples, n_k, padded, wide_columns, ending, values_at
):
    """C[m, n] = P[m, n] = start[n] + sum_k A[m, k] B[k, n] for a block, or what the ending makes of P.

    The values of MASK lie from values_at on, like C.
    """
    products_of_panels(
        wide(memory), memory, c_at, c_step, a_at, a_step, panels_at, start_at, n_samples, n_k, 0, wide_columns,
        ending, values_at,
    )  # fmt: skip
    products_of_panels(
        narrow(memory), memory, c_at, c_step, a_at, a_step, panels_at, start_at, n_samples, n_k, wide_columns, padded,
        ending, values_at,
    )  # fmt: skip


@kernel
def products_of_panels(
    shape, memory, c_at, c_step, a_at, a_step, panels_at, start_at, n_samples, n_k, first, last, ending, values_at
):
    """The columns `first` to `last` of that, by tiles of one shape."""
    for j in range(first, last, n_columns(shape)):
        next_at = panels_at + (j + n_columns(shape)) * n_k
        for i in range(0, n_samples, n_rows(shape)):
            tile = tile_row(shape, memory, start_at + j)
            tile = add_products(shape, tile, memory, a_at + i * a_step, a_step, panels_at + j * n_k, n_k, next_at)
            next_at += n_k // 4 * register_size(memory) // 2
            at = c_at + i * c_step + j
            if ending == RECTIFY:
                tile = tile_rectify(tile)
            elif ending == MASK:
                tile = tile_mask(tile, tile_load(shape, memory, values_at + i * c_step + j, c_step))
            elif ending == SCALE:
                tile = tile_multiply(tile, tile_load(shape, memory, at, c_step))
            tile_store(memory, at, c_step, tile)


@kernel
def weight_gradient(memory, sums_at, height, a_at, a_step, d_at, d_step, n_samples, m, n_m, wide_columns, first, last):
    """S[m, n] += sum_k A[k, m] D[k, n] for a block: n_m rows from row m on, the columns first to last - 1.

    Panels of S are `height` rows high.
    """
    for j in range(first, smaller(wide_columns, last), n_columns(wide(memory))):
        to = sums_at + j * height + m * n_columns(wide(memory))
        add_to_panel(wide(memory), memory, to, a_at + m, a_step, d_at + j, d_step, n_samples, n_m)
    for j in range(larger(wide_columns, first), last, n_columns(narrow(memory))):
        to = sums_at + j * height + m * n_columns(narrow(memory))
        add_to_panel(narrow(memory), memory, to, a_at + m, a_step, d_at + j, d_step, n_samples, n_m)


@kernel
def add_to_panel(shape, memory, sums_at, a_at, a_step, d_at, d_step, n_samples, n_m):
    """One panel of that."""
    width = n_columns(shape)
    for i in range(0, n_m, n_rows(shape)):
        tile = tile_load(shape, memory, sums_at + i * width, width)
        tile = add_outer_products(tile, memory, a_at + i, a_step, d_at, d_step, n_samples)
        tile_store(memory, sums_at + i * width, width, tile)


@kernel
def add_outer_products(tile, memory, a_at, a_step, d_at, d_step, n_k):
    """tile[m, n] + sum_k a[k, m] d[k, n]; what the next tiles need of `a` is brought nearer on the way."""
    for _ in range(n_k):
        tile = tile_fma(tile, memory, a_at, 1, memory, d_at)
        prefetch(memory, a_at + register_size(memory))
        a_at += a_step
        d_at += d_step
    return tile


@kernel
def bias_gradient(memory, sums_at, d_at, d_step, n_samples, n_padded):
    """s[n] += sum_k D[k, n] for a block, by four chains so that none waits for the other."""
    for j in range(0, n_padded, register_size(memory)):
        at = d_at + j
        s, t, u, v = load(memory, sums_at + j), splat(memory, 0.0), splat(memory, 0.0), splat(memory, 0.0)
        for _ in range(n_samples // 4):
            s = s + load(memory, at)
            t = t + load(memory, at + d_step)
            u = u + load(memory, at + 2 * d_step)
            v = v + load(memory, at + 3 * d_step)
            at += 4 * d_step
        for _ in range(n_samples % 4):
            s = s + load(memory, at)
            at += d_step
        store(memory, sums_at + j, (s + t) + (u + v))


@kernel
def panel_of(memory, j, wide_columns):
    """The first column of the panel that holds column j, which starts a register."""
    return j - j % n_columns(wide(memory)) if j < wide_columns else j


@kernel
def pack_strip(memory, panels_at, w, w_at, n_k, n_n, wide_columns, j, is_transposed):
    """One register of columns, from j on, of the panels of a matrix (n_k, n_n), zeros behind column n_n - 1.

    The matrix lies at w_at row after row; or, where `is_transposed`, column after column.
    """
    size = register_size(memory)
    panel = panel_of(memory, j, wide_columns)
    width = n_columns(wide(memory)) if j < wide_columns else n_columns(narrow(memory))
    at = panels_at + panel * n_k + j - panel
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
    step_k = 1 if is_transposed else n_n
    step_n = n_k if is_transposed else 1
    while k < n_k:
        for c in range(size):
            memory[at + k * width + c] = w[w_at + k * step_k + (j + c) * step_n] if j + c < n_n else 0
        k += 1
