"""Blocks through a network of any depth and width: features in the lanes, matrix products by register tiles.

A block passes forward layer by layer, a_l = activation(a_{l-1} W_l + b_l), keeping a_l and the slope a'(z_l). On the
way back the slopes turn into what the layer below needs:

    dZ_L = dL/dz      (the loss kernels write it over z_L)
    dZ_{l-1} = (dZ_l W_l^T) * slope_{l-1}
    dW_l += A_{l-1}^T dZ_l,   db_l += sum dZ_l

Products end with relu as they are stored, and it leaves no slopes: the signs of its values tell them. Few outputs are
computed in `few`.

A worker that has whole slots does all of that to one block after another. Where workers share a stretch of the batch,
its blocks are kept after dZ, and then the weight gradients are shared out by units: UNIT_M rows and UNIT_N columns of
one layer's dW, summed over the whole stretch by one worker.

`base` is where the block's region starts in memory, `packed` where the packed weights do.
"""

from .._jit import kernel
from . import few, gemm
from .addresses import int64s_at
from .custom import call_custom
from .dropout import drop
from .elementwise import (
    CROSS_ENTROPY,
    CUSTOM,
    CUSTOM_LOSS,
    RELU,
    activate,
    bring_nearer,
    cross_entropy_of_labels,
    cross_entropy_of_rows,
    load_rows,
    load_sample_weights,
    loss_of_elements,
    respond,
    targets_allowed,
    weigh_rows,
)
from .fields import (
    ACTIVATION,
    ACTIVATION_PARAMETERS,
    ADDRESS,
    BAD_INPUT,
    BAD_TARGET,
    BIAS,
    BIASES,
    BIASES_AT,
    BLOCK_ROWS,
    DROP,
    DROP_INPUTS,
    FIRST_STRIP,
    GRADIENT,
    HAS_LABELS,
    HAS_WEIGHTS,
    INPUTS_AT,
    INPUTS_STEP,
    IS_FEW,
    IS_SPARSE,
    LOSS,
    LOSS_ADDRESS,
    LOSS_PARAMETER,
    LOSSES_AT,
    MODE,
    N_IN,
    N_INPUTS,
    N_LAYERS,
    N_OUT,
    N_OUTPUTS,
    N_ROWS,
    PADDED,
    PADDED_IN,
    PANELS_AT,
    RESPONSE,
    ROWS_AT,
    SCALE,
    SLOPES_AT,
    STEP,
    TARGETS_AT,
    TRANSPOSED_AT,
    VALUES_AT,
    WANTS_INPUTS,
    WEIGHTS,
    WEIGHTS_AT,
    WIDE,
    WIDE_IN,
    ZEROS_AT,
)
from .gemm import record
from .simd import register_size

ROWS_AHEAD = 3  # of those that are loaded from all over x, as many are asked for ahead
FAR_BELOW = -1e30  # padding of the logits that softmax must not see


@kernel
def layer_of(plan, field, number):
    """The last layer whose numbers of strips or units, counted by `field`, start at or below a number."""
    layer = plan[N_LAYERS] - 1
    while plan[record(layer) + field] > number:
        layer -= 1
    return layer


# -- weights ---------------------------------------------------------------------------------------------------------


@kernel
def pack_weights(plan, vector, memory, packed, first, last):
    """The strips first to last - 1 of the packed weights: of each layer those of W, with biases, then those of W'."""
    for strip in range(first, last):
        layer = layer_of(plan, FIRST_STRIP, strip)
        at = record(layer)
        n_in, n_out, w_at = plan[at + N_IN], plan[at + N_OUT], plan[at + WEIGHTS]
        j = (strip - plan[at + FIRST_STRIP]) * register_size(memory)
        if j < plan[at + PADDED]:
            pack_biases(plan, vector, memory, packed, layer, j)
            if plan[at + IS_FEW] or (layer == 0 and plan[IS_SPARSE]):
                continue
            gemm.pack_strip(memory, packed + plan[at + PANELS_AT], vector, w_at, n_in, n_out, plan[at + WIDE], j, False)
        elif plan[WANTS_INPUTS] or plan[at + IS_FEW] or (plan[MODE] == GRADIENT and layer > 0):
            j -= plan[at + PADDED]
            gemm.pack_strip(
                memory, packed + plan[at + TRANSPOSED_AT], vector, w_at, n_out, n_in, plan[at + WIDE_IN], j, True
            )
            for i in range(packed + plan[ZEROS_AT] + j, packed + plan[ZEROS_AT] + j + register_size(memory)):
                memory[i] = 0


@kernel
def pack_biases(plan, vector, memory, packed, layer, j):
    """A register of biases, zero where there are none; what lies behind the last output is not seen by softmax."""
    at = record(layer)
    is_softmax = layer == plan[N_LAYERS] - 1 and plan[LOSS] == CROSS_ENTROPY
    for i in range(j, j + register_size(memory)):
        bias = FAR_BELOW if is_softmax else 0.0
        if i < plan[at + N_OUT]:
            bias = vector[plan[at + BIASES] + i] if plan[BIAS] else 0.0
        memory[packed + plan[at + BIASES_AT] + i] = bias


# -- one block -------------------------------------------------------------------------------------------------------


@kernel
def forward(plan, constants, x, memory, base, packed, row, n_rows):
    """z_L of the block, from its inputs; every hidden layer's values and slopes are left in the region.

    On the way the next block's inputs are asked for, a part with each layer. With sparse inputs z_1 is there already.
    """
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        z_at, z_step = base + plan[at + VALUES_AT], plan[at + STEP]
        if not (plan[IS_SPARSE] or plan[ROWS_AT]):
            bring_nearer(x, *part_of_next(plan, row, plan[N_INPUTS], layer))
        ending = gemm.STORE
        if plan[at + IS_FEW]:
            few.forward(plan, memory, base, packed, n_rows)
        elif layer > 0 or not plan[IS_SPARSE]:
            if is_rectifier(plan, layer):
                ending = gemm.RECTIFY
            gemm.products(
                memory, z_at, z_step, inputs_of(plan, base, layer), inputs_step(plan, layer),
                packed + plan[at + PANELS_AT], packed + plan[at + BIASES_AT],
                n_rows, plan[at + N_IN], plan[at + PADDED], plan[at + WIDE], ending, z_at,
            )  # fmt: skip
        if layer < plan[N_LAYERS] - 1 and ending == gemm.STORE:
            parameter = constants[ACTIVATION_PARAMETERS + layer]
            slopes_at = base + plan[at + SLOPES_AT]
            if plan[at + ACTIVATION] == CUSTOM:
                call_custom(plan[at + ADDRESS], memory, z_at, slopes_at, n_rows, plan[at + N_OUT], z_step)
            else:
                has_slopes = (plan[MODE] == GRADIENT or plan[WANTS_INPUTS]) and not is_rectifier(plan, layer)
                code, n = plan[at + ACTIVATION], plan[at + N_OUT]
                activate(code, parameter, memory, z_at, slopes_at, z_step, n_rows, n, has_slopes)
            if plan[at + DROP]:
                drop(plan, plan[at + DROP], layer + 1, memory, z_at, z_step, row, n_rows, plan[at + N_OUT])
                drop(plan, plan[at + DROP], layer + 1, memory, slopes_at, z_step, row, n_rows, plan[at + N_OUT])


@kernel
def is_rectifier(plan, layer):
    """Whether a layer's activation is relu, which products end with; its values, none dropped out, tell the slopes."""
    at = record(layer)
    return layer < plan[N_LAYERS] - 1 and plan[at + ACTIVATION] == RELU and not plan[at + DROP]


@kernel
def part_of_next(plan, row, n, layer):
    """Of the rows of n numbers behind the block that starts at `row`, the part to ask for with a layer."""
    start, size = (row + plan[BLOCK_ROWS]) * n, plan[BLOCK_ROWS] * n
    return start + size * layer // plan[N_LAYERS], start + size * (layer + 1) // plan[N_LAYERS]


@kernel
def inputs_of(plan, base, layer):
    """Where the inputs of a layer lie: the network's, or the values of the layer below."""
    return base + (plan[INPUTS_AT] if layer == 0 else plan[record(layer - 1) + VALUES_AT])


@kernel
def inputs_step(plan, layer):
    """Elements from one row of them to the next."""
    return plan[INPUTS_STEP] if layer == 0 else plan[record(layer - 1) + STEP]


@kernel
def deltas_below(plan, memory, base, packed, layer, n_rows):
    """dZ_{l-1} of the block over the slopes of layer l - 1."""
    at, below = record(layer), record(layer - 1)
    to, values_at, step = base + plan[below + SLOPES_AT], base + plan[below + VALUES_AT], plan[below + STEP]
    ending = gemm.MASK if is_rectifier(plan, layer - 1) else gemm.SCALE
    if plan[at + IS_FEW]:
        few.deltas_below(plan, memory, base, packed, to, values_at, step, n_rows, ending)
        return
    gemm.products(
        memory, to, step, base + plan[at + SLOPES_AT], plan[at + STEP],
        packed + plan[at + TRANSPOSED_AT], packed + plan[ZEROS_AT],
        n_rows, plan[at + N_OUT], plan[at + PADDED_IN], plan[at + WIDE_IN], ending, values_at,
    )  # fmt: skip


@kernel
def input_gradient(plan, constants, memory, base, packed, deltas_at, d_x, row, n_rows):
    """dL/dx = scale dZ_1 W_1^T of the block, to d_x (N, n_inputs)."""
    at, n = record(0), plan[N_INPUTS]
    step = plan[INPUTS_STEP]
    gemm.products(
        memory, deltas_at, step, base + plan[at + SLOPES_AT], plan[at + STEP], packed + plan[at + TRANSPOSED_AT],
        packed + plan[ZEROS_AT], n_rows, plan[at + N_OUT], plan[at + PADDED_IN], plan[at + WIDE_IN],
        gemm.STORE, deltas_at,
    )  # fmt: skip
    for m in range(n_rows):
        for k in range(n):
            d_x[(row + m) * n + k] = memory[deltas_at + m * step + k] * constants[SCALE]


@kernel
def deltas_of_block(plan, memory, base, packed, n_rows):
    """Backward through the block as far as every layer's dZ."""
    for back in range(plan[N_LAYERS] - 1):
        deltas_below(plan, memory, base, packed, plan[N_LAYERS] - 1 - back, n_rows)


@kernel
def losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows):
    """z_L -> w dL/dz_L in place, the rows' losses beside it; returns a status."""
    last = record(plan[N_LAYERS] - 1)
    if plan[last + IS_FEW]:
        return few.losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows)
    z_at, step, n = base + plan[last + VALUES_AT], plan[last + STEP], plan[N_OUTPUTS]
    losses_at, weights_at = base + plan[LOSSES_AT], base + plan[WEIGHTS_AT]
    targets_at = base + plan[TARGETS_AT]
    if plan[HAS_LABELS]:
        if not cross_entropy_of_labels(memory, losses_at, z_at, labels, row, step, n_rows, n):
            return BAD_TARGET
    else:
        finite = load_rows(memory, targets_at, step, y, row * n, n_rows, n)
        if not (finite and targets_allowed(plan[LOSS], memory, targets_at, step, n_rows, n)):
            return BAD_TARGET
        if plan[LOSS] == CROSS_ENTROPY:
            cross_entropy_of_rows(memory, losses_at, z_at, targets_at, step, n_rows, n)
        else:
            if plan[LOSS] == CUSTOM_LOSS:
                call_custom(plan[LOSS_ADDRESS], memory, z_at, targets_at, n_rows, n, step)
            loss_of_elements(
                plan[LOSS], constants[LOSS_PARAMETER], memory, losses_at, z_at, targets_at, step, n_rows, n
            )
    if plan[HAS_WEIGHTS]:
        load_sample_weights(memory, weights_at, sample_weight, row, n_rows, n_rows, True)
        weigh_rows(memory, losses_at, z_at, weights_at, step, n_rows, n)
    return 0


@kernel
def forward_rows(plan, constants, x, memory, base, packed, row, n_rows):
    """Load the block's rows and pass them forward; returns a status. Rows of a tile behind them are never looked at."""
    at, step, n = base + plan[INPUTS_AT], plan[INPUTS_STEP], plan[N_INPUTS]
    if plan[ROWS_AT]:
        if not load_chosen_rows(plan, x, memory, at, row, n_rows):
            return BAD_INPUT
    elif not (plan[IS_SPARSE] or load_rows(memory, at, step, x, row * n, n_rows, n)):
        return BAD_INPUT
    if plan[DROP_INPUTS]:
        drop(plan, plan[DROP_INPUTS], 0, memory, at, step, row, n_rows, n)
    forward(plan, constants, x, memory, base, packed, row, n_rows)
    return 0


@kernel
def load_chosen_rows(plan, x, memory, at, row, n_rows):
    """Load those rows of x that the batch has; False if a number is not finite."""
    rows, n, finite = int64s_at(plan[ROWS_AT], plan[N_ROWS]), plan[N_INPUTS], True
    for m in range(row, row + n_rows):
        if m + ROWS_AHEAD < row + n_rows:
            bring_nearer(x, rows[m + ROWS_AHEAD] * n, (rows[m + ROWS_AHEAD] + 1) * n)
        finite &= load_rows(memory, at, plan[INPUTS_STEP], x, rows[m] * n, 1, n)
        at += plan[INPUTS_STEP]
    return finite


@kernel
def answer(plan, memory, base, out, row, n_rows):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    last = record(plan[N_LAYERS] - 1)
    if plan[last + IS_FEW]:
        few.answer(plan, memory, base, out, row, n_rows)
        return
    at, step, n = base + plan[last + VALUES_AT], plan[last + STEP], plan[N_OUTPUTS]
    if plan[MODE] == RESPONSE:
        respond(plan[LOSS], memory, at, step, n_rows, n)
    for m in range(n_rows):
        for k in range(n):
            out[(row + m) * n + k] = memory[at + m * step + k]
