"""One block through a network of any depth and width: features in the lanes, matrix products by register tiles.

The block passes forward layer by layer, a_l = activation(a_{l-1} W_l + b_l), keeping a_l and the slope a'(z_l). On the
way back each layer's values are overwritten by what the layer below needs:

    dZ_L = dL/dz      (the loss kernels write it over z_L)
    dW_l += A_{l-1}^T dZ_l,   db_l += sum dZ_l,   dZ_{l-1} = (dZ_l W_l^T) * slope_{l-1}   over A_{l-1}
"""

from .._jit import kernel
from . import fields, gemm
from .elementwise import (
    CROSS_ENTROPY,
    activate,
    cross_entropy_of_labels,
    cross_entropy_of_rows,
    load_rows,
    load_sample_weights,
    loss_of_elements,
    respond,
    sum_of_rows,
    targets_allowed,
    weigh_rows,
)
from .fields import (
    ACTIVATION,
    ACTIVATION_PARAMETERS,
    BAD_INPUT,
    BAD_TARGET,
    BIAS,
    BIAS_SUMS_AT,
    BIASES,
    BIASES_AT,
    GRADIENT,
    HAS_LABELS,
    HAS_WEIGHTS,
    INPUTS_AT,
    INPUTS_STEP,
    LOSS,
    LOSS_PARAMETER,
    LOSSES_AT,
    MODE,
    N_IN,
    N_INPUTS,
    N_LAYERS,
    N_OUT,
    N_OUTPUTS,
    PADDED,
    PANELS_AT,
    RESPONSE,
    SLOPES_AT,
    STEP,
    TARGETS_AT,
    TRANSPOSED_AT,
    VALUES_AT,
    WEIGHT_SUMS_AT,
    WEIGHTS,
    WEIGHTS_AT,
)
from .simd import load, register_size, store
from .tile import ROWS

record = kernel(fields.record)
FAR_BELOW = -1e30  # padding of the logits that softmax must not see


@kernel
def pack_weights(plan, vector, memory, base):
    """Weights and biases into panels; the transposed panels only where gradients are wanted."""
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        n_in, n_out = plan[at + N_IN], plan[at + N_OUT]
        gemm.pack(memory, base + plan[at + PANELS_AT], vector, plan[at + WEIGHTS], n_out, 1, n_in, n_out)
        is_output = layer == plan[N_LAYERS] - 1
        padding = FAR_BELOW if is_output and plan[LOSS] == CROSS_ENTROPY else 0.0
        gemm.pack_biases(
            memory,
            base + plan[at + BIASES_AT],
            vector,
            plan[at + BIASES],
            n_out,
            plan[at + PADDED],
            plan[BIAS],
            padding,
        )
        if layer > 0 and plan[MODE] == GRADIENT:
            gemm.pack(memory, base + plan[at + TRANSPOSED_AT], vector, plan[at + WEIGHTS], 1, n_out, n_out, n_in)


@kernel
def forward(plan, constants, memory, base, n_padded):
    """z_L of the block, from its inputs; every hidden layer's values and slopes are left in the worker's region."""
    values_at, step = base + plan[INPUTS_AT], plan[INPUTS_STEP]
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        z_at, z_step = base + plan[at + VALUES_AT], plan[at + STEP]
        gemm.forward(
            memory, z_at, z_step, values_at, step, base + plan[at + PANELS_AT], base + plan[at + BIASES_AT],
            n_padded, plan[at + N_IN], plan[at + PADDED],
        )  # fmt: skip
        if layer < plan[N_LAYERS] - 1:
            parameter = constants[ACTIVATION_PARAMETERS + layer]
            slopes_at = base + plan[at + SLOPES_AT]
            activate(plan[at + ACTIVATION], parameter, memory, z_at, slopes_at, z_step, n_padded, plan[at + N_OUT])
        values_at, step = z_at, z_step


@kernel
def backward(plan, memory, base, n_rows, n_padded):
    """Add the block's gradient to the chunk's sums, from dL/dz_L."""
    for back in range(plan[N_LAYERS]):
        layer = plan[N_LAYERS] - 1 - back
        at = record(layer)
        n_in, n_out, padded = plan[at + N_IN], plan[at + N_OUT], plan[at + PADDED]
        d_z_at, d_z_step = base + plan[at + VALUES_AT], plan[at + STEP]
        below = record(layer - 1)
        if layer == 0:
            a_at, a_step = base + plan[INPUTS_AT], plan[INPUTS_STEP]
        else:
            a_at, a_step = base + plan[below + VALUES_AT], plan[below + STEP]
        weight_sums_at = base + plan[at + WEIGHT_SUMS_AT]
        gemm.weight_gradient(memory, weight_sums_at, a_at, a_step, d_z_at, d_z_step, n_rows, n_in, padded)
        if plan[BIAS]:
            gemm.bias_gradient(memory, base + plan[at + BIAS_SUMS_AT], d_z_at, d_z_step, n_rows, padded)
        if layer > 0:
            transposed_at = base + plan[at + TRANSPOSED_AT]
            padded_in = plan[below + PADDED]
            gemm.input_gradient(memory, a_at, a_step, d_z_at, d_z_step, transposed_at, n_padded, n_out, padded_in)
            multiply_rows(memory, a_at, base + plan[below + SLOPES_AT], a_step, n_rows, n_in)


@kernel
def multiply_rows(a, at, factors_at, step, n_rows, n):
    """a *= factors, for n_rows rows of n elements, rounded up to registers."""
    for _ in range(n_rows):
        for i in range(0, n, register_size(a)):
            store(a, at + i, load(a, at + i) * load(a, factors_at + i))
        at += step
        factors_at += step


@kernel
def losses_of_block(plan, constants, y, labels, sample_weight, memory, base, row, n_rows):
    """z_L -> w dL/dz_L in place, the rows' losses beside it; returns a status."""
    last = record(plan[N_LAYERS] - 1)
    z_at, step, n = base + plan[last + VALUES_AT], plan[last + STEP], plan[N_OUTPUTS]
    losses_at, weights_at = base + plan[LOSSES_AT], base + plan[WEIGHTS_AT]
    targets_at = base + plan[TARGETS_AT]
    load_sample_weights(memory, weights_at, sample_weight, row, n_rows, n_rows, plan[HAS_WEIGHTS])
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
            loss_of_elements(plan[LOSS], constants[LOSS_PARAMETER], memory, z_at, targets_at, step, n_rows, n)
            sum_of_rows(memory, losses_at, targets_at, step, n_rows, n)
    weigh_rows(memory, losses_at, z_at, weights_at, step, n_rows, n)
    return 0


@kernel
def forward_rows(plan, constants, x, memory, base, row, n_rows):
    """Load the block's rows, pad them to whole tiles and pass them forward; returns a status."""
    n_padded = (n_rows + ROWS - 1) // ROWS * ROWS
    at, step = base + plan[INPUTS_AT], plan[INPUTS_STEP]
    finite = load_rows(memory, at, step, x, row * plan[N_INPUTS], n_rows, plan[N_INPUTS])
    for i in range(at + n_rows * step, at + n_padded * step):
        memory[i] = 0
    forward(plan, constants, memory, base, n_padded)
    return 0 if finite else BAD_INPUT


@kernel
def answer(plan, memory, base, out, row, n_rows):
    """Write the block's responses or logits to out, (N, n_outputs)."""
    last = record(plan[N_LAYERS] - 1)
    at, step, n = base + plan[last + VALUES_AT], plan[last + STEP], plan[N_OUTPUTS]
    if plan[MODE] == RESPONSE:
        respond(plan[LOSS], memory, at, step, n_rows, n)
    for m in range(n_rows):
        for k in range(n):
            out[(row + m) * n + k] = memory[at + m * step + k]


@kernel
def fold(plan, memory, base, totals, totals_at):
    """Add the chunk's sums to the slot's totals, unpadded and in float64."""
    for layer in range(plan[N_LAYERS]):
        at = record(layer)
        n_out = plan[at + N_OUT]
        for k in range(plan[at + N_IN]):
            to = totals_at + plan[at + WEIGHTS] + k * n_out
            source = base + plan[at + WEIGHT_SUMS_AT] + k * plan[at + PADDED]
            for j in range(n_out):
                totals[to + j] += memory[source + j]
        if plan[BIAS]:
            to, source = totals_at + plan[at + BIASES], base + plan[at + BIAS_SUMS_AT]
            for j in range(n_out):
                totals[to + j] += memory[source + j]


@kernel
def gradient_of_block(plan, memory, base, n_rows):
    """Backward through the block."""
    backward(plan, memory, base, n_rows, (n_rows + ROWS - 1) // ROWS * ROWS)
