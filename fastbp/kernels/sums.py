"""Sums of weight gradients: of a block, of a unit of them over a stretch, and how they reach the totals in float64.

The sums of a layer are those of dW = A^T dZ, or of its transpose dW' = dZ^T A where that takes fewer tiles: a product
Left^T Right with rows m and columns n in panels, as in `gemm`. Which it is, the plan has written into the record.
"""

from .._jit import kernel
from . import few, gemm
from .calls import call_at
from .fields import (
    BIAS,
    BIAS_SUMS_AT,
    BIASES,
    BLOCK_ROWS,
    CHUNK_BLOCKS,
    FAMILY,
    FIRST_UNIT,
    IS_FEW,
    IS_SPARSE,
    LEFT_AT,
    LEFT_STEP,
    N_BLOCKS,
    N_LAYERS,
    N_OUT,
    N_PARAMETERS,
    N_ROWS,
    PADDED,
    REGION_SIZE,
    REGIONS_AT,
    RIGHT_AT,
    RIGHT_STEP,
    SLOPES_AT,
    SLOT_BLOCKS,
    SPARSE_ADDRESS,
    STEP,
    SUMS_HEIGHT,
    SUMS_M,
    SUMS_N,
    SUMS_PADDED,
    SUMS_STEP_M,
    SUMS_STEP_N,
    SUMS_WIDE,
    TILES,
    UNIT_M,
    UNIT_N,
    UNITS,
    WEIGHT_SUMS_AT,
    WEIGHTS,
)
from .gemm import record, smaller
from .tile import n_columns, narrow, wide


@kernel
def panel_width(plan, memory, layer, j):
    """Columns of the panel of sums that starts at column j."""
    if layer == 0 and plan[IS_SPARSE]:
        return plan[record(layer) + SUMS_PADDED]
    return n_columns(wide(memory)) if j < plan[record(layer) + SUMS_WIDE] else n_columns(narrow(memory))


@kernel
def add_block(plan, memory, base, sums, layer, n_rows):
    """Add a block's dW and db of one layer to the chunk's sums."""
    at = record(layer)
    add_part(plan, memory, base, sums, layer, n_rows, 0, plan[at + SUMS_M], 0, plan[at + SUMS_PADDED])
    if plan[BIAS]:
        add_biases(plan, memory, base, sums, layer, n_rows)


@kernel
def add_part(plan, memory, base, sums, layer, n_rows, m, n_m, first, last):
    """Add a block's part to the sums: n_m rows from row m on, the columns first to last - 1."""
    at = record(layer)
    if plan[at + IS_FEW]:  # rows too few to be parted
        few.add_weights(plan, memory, base, sums, n_rows, first, last)
        return
    gemm.weight_gradient(
        memory, sums + plan[at + WEIGHT_SUMS_AT], plan[at + SUMS_HEIGHT], base + plan[at + LEFT_AT],
        plan[at + LEFT_STEP], base + plan[at + RIGHT_AT], plan[at + RIGHT_STEP], n_rows, m, n_m,
        plan[at + SUMS_WIDE], first, last,
    )  # fmt: skip


@kernel
def add_biases(plan, memory, base, sums, layer, n_rows):
    """Add a block's db of one layer to the sums."""
    at = record(layer)
    if plan[at + IS_FEW]:
        few.add_biases(plan, memory, base, sums, n_rows)
        return
    sums_at = sums + plan[at + BIAS_SUMS_AT]
    gemm.bias_gradient(memory, sums_at, base + plan[at + SLOPES_AT], plan[at + STEP], n_rows, plan[at + PADDED])


# -- to the totals ---------------------------------------------------------------------------------------------------


@kernel
def starts_chunk(plan, block):
    """Whether a block is the first one of its chunk."""
    return block % plan[SLOT_BLOCKS] % plan[CHUNK_BLOCKS] == 0


@kernel
def ends_chunk(plan, block):
    """Whether a block is the last one of its chunk, be it of its slot or of the batch."""
    return starts_chunk(plan, block + 1) or block + 1 == plan[N_BLOCKS]


@kernel
def is_first_chunk(plan, block):
    """Whether the totals of the block's slot start with its chunk."""
    return block % plan[SLOT_BLOCKS] < plan[CHUNK_BLOCKS]


@kernel
def is_only_chunk(plan):
    """Whether the batch is one chunk, with features in the lanes: its sums are the gradient, and need no totals."""
    return plan[FAMILY] == TILES and plan[CHUNK_BLOCKS] >= plan[N_BLOCKS]


@kernel
def totals_of(plan, block):
    """Where the totals of the block's slot start."""
    return block // plan[SLOT_BLOCKS] * plan[N_PARAMETERS]


@kernel
def fold(plan, memory, sums, totals, block):
    """Add the sums of the chunk that ends with a block to its slot's totals; the first chunk's are their start."""
    totals_at, is_first = totals_of(plan, block), is_first_chunk(plan, block)
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        fold_part(
            plan, memory, sums, layer, 0, plan[at + SUMS_M], 0, plan[at + SUMS_PADDED], totals, totals_at, is_first
        )
        if plan[BIAS]:
            fold_biases(plan, memory, sums, layer, totals, totals_at, is_first)


@kernel
def fold_part(plan, memory, sums, layer, m, n_m, first, last, totals, totals_at, is_first):
    """Add sums to the totals: n_m rows from row m on, the columns first to last - 1, without padding."""
    at = record(layer)
    step_m, step_n = plan[at + SUMS_STEP_M], plan[at + SUMS_STEP_N]
    j = first
    while j < last:
        width = panel_width(plan, memory, layer, j)
        n = smaller(width, plan[at + SUMS_N] - j)
        panel_at = sums + plan[at + WEIGHT_SUMS_AT] + j * plan[at + SUMS_HEIGHT]
        to = totals_at + plan[at + WEIGHTS] + j * step_n
        for i in range(m, m + n_m):
            add_row(memory, panel_at + i * width, n, totals, to + i * step_m, step_n, is_first)
        j += width


@kernel
def fold_biases(plan, memory, sums, layer, totals, totals_at, is_first):
    """Add the sums of a layer's biases to the totals."""
    at = record(layer)
    to = totals_at + plan[at + BIASES]
    add_row(memory, sums + plan[at + BIAS_SUMS_AT], plan[at + N_OUT], totals, to, 1, is_first)


@kernel
def add_row(memory, sums_at, n, totals, at, step, is_first):
    """Add n sums to totals `step` apart, or start from them."""
    if is_first:
        for k in range(n):
            totals[at + k * step] = memory[sums_at + k]
    elif step == 1:  # of which the compiler makes vectors
        for k in range(n):
            totals[at + k] += memory[sums_at + k]
    else:
        for k in range(n):
            totals[at + k * step] += memory[sums_at + k]


# -- units: parts of a layer's sums, where workers share a stretch ---------------------------------------------------


@kernel
def unit_row(plan, layer, unit):
    """The first row of a unit of sums: units of the same columns follow each other."""
    at = record(layer)
    return (unit - plan[at + FIRST_UNIT]) % units_high(plan, layer) * plan[at + UNIT_M]


@kernel
def unit_column(plan, layer, unit):
    """The first column of a unit of sums."""
    at = record(layer)
    return (unit - plan[at + FIRST_UNIT]) // units_high(plan, layer) * plan[at + UNIT_N]


@kernel
def units_high(plan, layer):
    """Units of the same columns."""
    at = record(layer)
    return (plan[at + SUMS_M] + plan[at + UNIT_M] - 1) // plan[at + UNIT_M]


@kernel
def add_unit(call, start, stop, layer, unit):
    """Add the blocks start to stop - 1 to a unit of the chunk's sums, and a whole chunk's to its slot's totals.

    The first unit of a layer has the biases.
    """
    plan, memory, totals = call.plan, call.memory, call.totals
    at = record(layer)
    m, j = unit_row(plan, layer, unit), unit_column(plan, layer, unit)
    n_m = smaller(plan[at + UNIT_M], plan[at + SUMS_M] - m)
    last = smaller(j + plan[at + UNIT_N], plan[at + SUMS_PADDED])
    has_biases = plan[BIAS] and unit == plan[at + FIRST_UNIT]
    for block in range(start, stop):
        n_rows = smaller(plan[BLOCK_ROWS], plan[N_ROWS] - block * plan[BLOCK_ROWS])
        base = plan[REGIONS_AT] + (block - start) * plan[REGION_SIZE]
        if starts_chunk(plan, block):
            zero_part(plan, memory, layer, m, n_m, j, last)
            if has_biases:
                zero(memory, plan[at + BIAS_SUMS_AT], plan[at + PADDED])
        if layer == 0 and plan[IS_SPARSE]:
            call_at(plan[SPARSE_ADDRESS], call, UNITS, block, base, 1, m, n_m)
        else:
            add_part(plan, memory, base, 0, layer, n_rows, m, n_m, j, last)
        if has_biases:
            add_biases(plan, memory, base, 0, layer, n_rows)
        if ends_chunk(plan, block) and not is_only_chunk(plan):
            totals_at, is_first = totals_of(plan, block), is_first_chunk(plan, block)
            fold_part(plan, memory, 0, layer, m, n_m, j, last, totals, totals_at, is_first)
            if has_biases:
                fold_biases(plan, memory, 0, layer, totals, totals_at, is_first)


@kernel
def zero_part(plan, memory, layer, m, n_m, first, last):
    """Set sums to 0: n_m rows from row m on, the columns first to last - 1."""
    at = record(layer)
    j = first
    while j < last:
        width = panel_width(plan, memory, layer, j)
        zero(memory, plan[at + WEIGHT_SUMS_AT] + j * plan[at + SUMS_HEIGHT] + m * width, n_m * width)
        j += width


@kernel
def zero(a, at, n):
    """a[at : at + n] = 0."""
    for i in range(at, at + n):
        a[i] = 0
