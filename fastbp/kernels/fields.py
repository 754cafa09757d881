"""A plan as kernels see it: one array of int64, read by the names below. `fastbp.plan` writes it.

The header describes the batch and the call; then each layer l = 0, 1, ... has a record that starts at record(l).

Memory of a call is one array of the parameters' dtype with a region for each worker; offsets ending in _AT are relative
to the region. A region holds the packed weights, the block on its way, and the chunk's sums of gradients.
"""

# -- header ----------------------------------------------------------------------------------------------------------
(
    FAMILY,  # which kernels: LANES or TILES
    N_ROWS,  # samples of the batch
    BLOCK_ROWS,  # samples that pass through the network together
    N_BLOCKS,
    CHUNK_BLOCKS,  # blocks summed in the working dtype
    SLOT_BLOCKS,  # blocks of a slot, summed in float64; a multiple of CHUNK_BLOCKS unless there is one chunk
    N_SLOTS,
    N_LAYERS,
    N_INPUTS,
    N_OUTPUTS,
    N_PARAMETERS,
    BIAS,  # 1 or 0
    LOSS,  # code of the loss
    WORKER_SIZE,  # elements of a worker's region
    INPUTS_AT,  # the block's inputs
    INPUTS_STEP,  # elements from one row of inputs to the next
    TARGETS_AT,  # the block's targets, rows as far apart as the last layer's
    WEIGHTS_AT,  # sample weights of the block, 0 behind its last row
    LOSSES_AT,  # losses of the block's rows
    SUMS_AT,  # the chunk's sums of gradients
    SUMS_SIZE,
    MODE,  # of the call: what to compute
    HAS_LABELS,  # of the call: targets are labels
    HAS_WEIGHTS,  # of the call: samples have weights
    HEADER,
) = range(25)

# -- one layer -------------------------------------------------------------------------------------------------------
(
    N_IN,
    N_OUT,
    PADDED,  # n_out rounded up to whole tiles
    WEIGHTS,  # in the parameter vector: W, (n_in, n_out)
    BIASES,  # in the parameter vector: b, (n_out,)
    PANELS_AT,  # W in panels of a tile's width, n_in rows each
    TRANSPOSED_AT,  # W transposed, in panels, n_out rows each
    BIASES_AT,  # b, padded
    ACTIVATION,  # code; the output has the identity
    VALUES_AT,  # z, then a, then dL/dz of the block
    SLOPES_AT,  # a'(z) of the block
    STEP,  # elements from one row of values or slopes to the next
    WEIGHT_SUMS_AT,  # dL/dW of the chunk, (n_in rounded up to tile rows, padded)
    BIAS_SUMS_AT,  # dL/db of the chunk, (padded,)
    RECORD,
) = range(15)


def record(layer):
    """Where the record of a layer starts."""
    return HEADER + RECORD * layer


LANES, TILES = range(2)

# -- constants: one array of float64 ---------------------------------------------------------------------------------
SCALE, L1, L2, LOSS_PARAMETER, ACTIVATION_PARAMETERS = range(5)

# -- what to compute -------------------------------------------------------------------------------------------------
GRADIENT, LOSS_SUM, LOSS_EACH, RESPONSE, LOGITS = range(5)

# -- what was wrong with the data: bits of a status ------------------------------------------------------------------
BAD_INPUT, BAD_TARGET = 1, 2
