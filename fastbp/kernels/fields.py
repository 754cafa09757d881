"""A plan as kernels see it: one array of int64, read by the names below. `fastbp.plan` writes it.

The header describes the batch and the call; then each layer l = 0, 1, ... has a record that starts at record(l).

Memory of a call is one array of the parameters' dtype: regions for blocks on their way, and offsets ending in _AT are
relative to a block's region. LANES gives each worker a region with everything. With TILES the packed weights come
first, which all workers share; then sums of gradients, for each worker, or where workers share them for all; then the
regions, one for each worker, or one for every block of a stretch of the batch.
"""

# -- header ----------------------------------------------------------------------------------------------------------
(
    FAMILY,  # which kernels: LANES or TILES
    N_ROWS,  # samples of the batch
    BLOCK_ROWS,  # samples that pass through the network together
    N_BLOCKS,
    CHUNK_BLOCKS,  # blocks summed in the working dtype
    SLOT_BLOCKS,  # blocks of a slot, whose chunks are summed in float64
    N_SLOTS,
    N_LAYERS,
    N_INPUTS,
    N_OUTPUTS,
    N_PARAMETERS,
    BIAS,  # 1 or 0
    LOSS,  # code of the loss
    IS_SPARSE,  # whether the inputs are rows of compressed columns
    SLICE,  # columns of sparse inputs that are taken together; changes no bit
    N_SLICES,
    BOUNDS_AT,  # int32: where each slice starts in each row of the block
    SPARSE_ADDRESS,  # of the kernels for sparse inputs
    LOSS_ADDRESS,  # of the user's own loss
    REGIONS_AT,  # in memory: the first region
    REGION_SIZE,
    INPUTS_AT,  # the block's inputs
    INPUTS_STEP,  # elements from one row of inputs to the next
    TARGETS_AT,  # the block's targets, where the last layer's values would be
    WEIGHTS_AT,  # sample weights of the block, -1 behind its last row where samples are in the lanes
    LOSSES_AT,  # losses of the block's rows
    SUMS_AT,  # the chunk's sums of gradients; with TILES in memory, as are those of each layer
    SUMS_SIZE,  # from one worker's to the next
    INPUT_DELTAS_AT,  # in memory, behind the regions: for each worker dL/dx of a block, rows INPUTS_STEP apart
    INPUT_DELTAS_SIZE,  # from one worker's to the next
    ZEROS_AT,  # in the packed weights: a row of zeros as long as the widest layer
    N_STRIPS,  # of the packed weights: columns of all matrices, in registers
    STRETCH_BLOCKS,  # blocks that are kept while workers share them, 0 where each has whole slots; changes no bit
    N_UNITS,  # of the weight gradients: parts for workers to share, no bit either
    MODE,  # of the call: what to compute
    HAS_LABELS,  # of the call: targets are labels
    HAS_WEIGHTS,  # of the call: samples have weights
    WANTS_INPUTS,  # of the call: dL/dx as well
    ROWS_AT,  # of the call: address of the numbers of the batch's rows among those of x, 0 where x is the batch
    DROP_KEY,  # of the call: what is dropped out follows from it,
    DROP_INPUTS,  # so many of 2^32 inputs, 0 for none
    INDICES_ADDRESS,  # of the call's sparse inputs: the columns of the stored numbers, int32,
    STARTS_ADDRESS,  # where each row starts among them, int64,
    N_STORED,  # and how many there are
    HEADER,
) = range(45)

# -- one layer -------------------------------------------------------------------------------------------------------
(
    N_IN,
    N_OUT,
    PADDED_IN,  # n_in rounded up to whole tiles,
    WIDE_IN,  # of which the first WIDE_IN columns lie in wide tiles, the others in narrow ones
    PADDED,  # n_out likewise
    WIDE,
    WEIGHTS,  # in the parameter vector: W, (n_in, n_out)
    BIASES,  # in the parameter vector: b, (n_out,)
    PANELS_AT,  # in the packed weights: W in panels of a tile's width, n_in rows each
    TRANSPOSED_AT,  # in the packed weights: W transposed, in panels, n_out rows each
    BIASES_AT,  # in the packed weights: b, padded
    ACTIVATION,  # code; the output has the identity
    ADDRESS,  # of the user's own activation
    DROP,  # of 2^32 values of the layer, so many are dropped out
    VALUES_AT,  # z, then a of the block
    SLOPES_AT,  # a'(z) of the block (not of relu), then dL/dz; of the output, dL/dz over z
    STEP,  # elements from one row of values or slopes to the next
    IS_FEW,  # few outputs behind a hidden layer: their samples lie in the lanes
    WEIGHT_SUMS_AT,  # dL/dW of the chunk in panels of SUMS_HEIGHT rows; one panel for sparse inputs
    SUMS_M,  # rows of those sums: inputs; or outputs where they are of W', which can take fewer tiles
    SUMS_HEIGHT,  # rounded up to whole tiles
    SUMS_N,  # columns
    SUMS_PADDED,  # rounded up to whole tiles,
    SUMS_WIDE,  # of which so many are wide
    SUMS_STEP_M,  # in the parameter vector: from one row to the next
    SUMS_STEP_N,
    LEFT_AT,  # the factor with the rows: the layer's inputs; or its dL/dz
    LEFT_STEP,
    RIGHT_AT,  # the factor with the columns: the other
    RIGHT_STEP,
    BIAS_SUMS_AT,  # dL/db of the chunk, (padded,)
    FIRST_STRIP,  # of the layer, of N_STRIPS
    FIRST_UNIT,  # of the layer, of N_UNITS
    UNIT_M,  # rows of a unit
    UNIT_N,  # columns of a unit, a multiple of a wide tile's; all of them for sparse inputs
    RECORD,
) = range(36)


def record(layer):
    """Where the record of a layer starts."""
    return HEADER + RECORD * layer


LANES, TILES = range(2)

# -- constants: one array of float64 ---------------------------------------------------------------------------------
SCALE, L1, L2, LOSS_PARAMETER, ACTIVATION_PARAMETERS = range(5)

# -- what to compute -------------------------------------------------------------------------------------------------
GRADIENT, LOSS_SUM, LOSS_EACH, RESPONSE, LOGITS = range(5)

# -- a step of a program: what workers do together, before the next step begins ----------------------------------------
PHASE, STRETCH, FIRST, COUNT, IS_SHARED, STEP_SIZE = range(6)
PACK, INPUTS, BLOCKS, UNITS, REDUCE = range(5)

# -- what was wrong with the data: bits of a status ------------------------------------------------------------------
BAD_INPUT, BAD_TARGET = 1, 2
