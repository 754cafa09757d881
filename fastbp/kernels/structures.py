"""The structures that kernels read and write beside numbers, as NumPy dtypes; and how a kernel finds them.

    HEADER     a batch and a call: what to compute, how its rows are cut, where everything lies     `plan.n_rows`
    LAYER      one layer of it                                                  `layer_of(plan, 1).values_offset`
    PHASE      a step of a program: what workers do together, before the next phase begins
    TRAINING   what all steps of a training share, and the step that is being made
    OPTIMIZER  an update rule and what it remembers;   UPDATE  its constants for one step;   RECORD  what a step leaves

`fastbp.engine` and `fastbp.training` write them. An `_offset` counts elements from the start of an array, an `_address`
is a place in the process, a `_stride` counts elements from one row to the next.

The memory of a call is one array of the parameters' dtype. Offsets of a block are relative to its region. SMALL gives
each worker a region with everything. With WIDE the packed weights come first, which all workers share; then sums of
gradients, for each worker, or where workers share them, for all; then the regions, one for each worker, or one for
every block of a wave.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from ..compiler.jit import UNCOMPILED, intrinsic, kernel
from .simd.addresses import float64s_at, int64s_at, numbers_at
from .simd.structure import structures_at


def _structure(fields: str, **others: type) -> np.dtype:
    """A dtype of int64 fields, and of others."""
    return np.dtype([*((name, np.int64) for name in fields.split()), *others.items()], align=True)


# -- codes -----------------------------------------------------------------------------------------------------------

SMALL, WIDE = range(2)  # families of kernels
GRADIENT, LOSS_SUM, LOSS_EACH, RESPONSE, LOGITS = range(5)  # modes: what a call computes
SELECT, PREPARE, PACK, INPUTS, BLOCKS, UNITS, REDUCE, EVALUATE, UPDATE_PARAMETERS = range(9)  # phases
WHOLE, KEYED, SEQUENTIAL, GIVEN, PREFETCHED = range(5)  # where the rows of a batch come from
BAD_INPUT, BAD_TARGET, BAD_LOSS, BAD_UPDATE, STOPPED = 1, 2, 4, 8, 16  # what was wrong: bits of a status

# -- structures ------------------------------------------------------------------------------------------------------

HEADER = _structure(
    # how the rows are cut
    "family n_rows block_rows n_blocks chunk_blocks accumulator_blocks n_accumulators "
    "wave_blocks "  # blocks that are kept while workers share them, 0 where each has whole accumulators; changes no bit
    "n_units "  # of the weight gradients: parts for workers to share, no bit either
    "n_packed "  # registers of columns of all packed matrices, which workers share when they pack
    # the network
    "n_layers n_inputs n_outputs n_parameters has_bias layers_address "
    "loss loss_address "  # its code; where the user's own is, else 0
    "link is_link_identity couples_outputs has_target_bounds "  # what the record of the loss says of it
    # the call
    "mode has_labels has_sample_weight wants_input_gradient "
    "rows_address "  # of the numbers of the batch's rows among those of x, 0 where x is the batch
    "drop_key dropped_inputs "  # so many of 2^32 inputs, 0 for none
    "vector_address x_address y_address labels_address sample_weight_address memory_address accumulators_address "
    "d_x_address out_address "
    "n_source n_memory n_accumulated "  # rows of x and y; elements of memory and of the accumulators
    "address phases_address n_phases n_started training_address "  # its own, its program, its training
    # sparse inputs: rows of compressed columns
    "is_sparse sparse_address indices_address starts_address n_stored "
    "slice_columns n_slices "  # columns that are taken together; change no bit
    "bounds_offset "  # int32: where each slice starts in each row of the block
    # memory
    "regions_offset region_size inputs_offset inputs_stride targets_offset "
    "sample_weights_offset "  # -1 after the block's last row where samples are in the lanes
    "losses_offset sums_offset sums_size "  # of one worker
    "input_deltas_offset input_deltas_size "  # for each worker dL/dx of a block
    "zeros_offset",  # in the packed weights: a row of zeros as long as the widest layer
    scale=np.float64,  # of the gradient: one over the sum of weights, for a mean
    l1=np.float64,
    l2=np.float64,
    loss_parameter=np.float64,
    target_low=np.float64,
    target_high=np.float64,
    penalty=np.float64,  # what l1 and l2 add to the loss; the reduction writes it
)

LAYER = _structure(
    "n_in n_out weights_offset biases_offset "  # in the parameter vector
    "padded_in wide_in "  # n_in rounded up to whole microtiles, of which so many columns lie in wide ones
    "padded_out wide_out "
    "panels_offset transposed_offset packed_biases_offset first_packed "  # W in packed panels, W^T likewise, b padded
    "activation activation_address "  # its code; where the user's own is, else 0
    "is_rectifier is_logistic "  # what the record of the activation says of it
    "dropped "  # of 2^32 values of the layer, so many are dropped out
    "values_offset "  # z, then a of the block
    "slopes_offset "  # a'(z) of the block (not of relu), then dL/dz; of the output, dL/dz over z
    "stride has_narrow_output "  # few outputs after a hidden layer: their samples lie in the lanes
    # dL/dW of the chunk in panels of sums_height rows, one panel for sparse inputs: left^T right
    "weight_sums_offset sums_rows sums_height sums_columns sums_padded sums_wide is_one_panel "
    "sums_row_stride sums_column_stride "  # in the parameter vector
    "left_offset left_stride right_offset right_stride "
    "bias_sums_offset "  # dL/db of the chunk
    "first_unit unit_rows unit_columns",  # a unit's columns are a multiple of a wide microtile's, or all
    activation_parameter=np.float64,
)

PHASE = _structure(
    "code_address kind wave first count is_shared"
)  # for each worker the items first to first + count - 1

TRAINING = _structure(
    "n_rows batch_size n_batches seed is_mean "  # rows and batches of an epoch
    "order order_address n_order first_prefetched "  # the step whose batch comes first in what was prefetched
    "subset_address n_source "  # the rows that are trained on among the n_source of the data, 0 for all
    "rows_address shuffle_address "  # the rows of a batch; scratch for those of a round, for each worker
    "x_address y_address labels_address sample_weight_address "  # all data, of which batches take their rows,
    "indices_address starts_address n_stored "  # sparse or not
    "optimizer_address plan_address last_plan_address "  # of the usual batch and of an epoch's last one
    "step update_address record_address"  # the step that is being made, its constants and what it leaves
)

OPTIMIZER = _structure("rule n_moments n_parameters moments_address has_ema decayed_address n_decayed")

RULE_CONSTANTS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6")
UPDATE = np.dtype(
    [
        *((name, np.float64) for name in RULE_CONSTANTS),
        ("shrink", np.float64),  # what parameters that decay are multiplied by
        ("ema_decay", np.float64),  # the share of the old in the average of parameters
        ("clip_norm", np.float64),  # the largest norm of the gradient; 0 for any
        ("clip_factor", np.float64),  # what the gradient is multiplied by for that
    ]
)
RECORD = np.dtype([("data_loss", np.float64), ("penalty", np.float64), ("weight", np.float64)])


def records(dtype: np.dtype, n: int = 1) -> np.recarray:
    """n structures of zeros, whose fields are read and written by name."""
    return np.zeros(n, dtype).view(np.recarray)


def as_columns(structures: np.recarray) -> np.ndarray:
    """Structures of float64 as a matrix with a column for each field, as files keep them."""
    columns = np.ascontiguousarray(structures).view(np.float64)
    return columns.reshape(len(structures), len(structures.dtype))


def as_records(columns: np.ndarray, dtype: np.dtype) -> np.recarray:
    """The structures that `as_columns` made a matrix of."""
    return np.ascontiguousarray(columns).view(dtype).reshape(len(columns)).view(np.recarray)


# -- how kernels find them -------------------------------------------------------------------------------------------


plan_at, layer_at, phase_at = (
    structures_at(name, dtype) for name, dtype in (("plan_at", HEADER), ("layer_at", LAYER), ("phase_at", PHASE))
)
training_at, optimizer_at = structures_at("training_at", TRAINING), structures_at("optimizer_at", OPTIMIZER)
update_at, record_at = structures_at("update_at", UPDATE), structures_at("record_at", RECORD)


@kernel
def layer_of(plan, number):
    """A layer of the network."""
    return layer_at(plan.layers_address, number)


@kernel
def last_layer(plan):
    """The layer of the outputs."""
    return layer_at(plan.layers_address, plan.n_layers - 1)


@kernel
def block_losses_offset(plan):
    """Where the losses of the blocks start: after the accumulators."""
    return plan.n_accumulators * plan.n_parameters


class Call(NamedTuple):
    """The memory of a call, as pointers."""

    plan: Any  # HEADER
    vector: Any  # parameters, (n_parameters,)
    x: Any  # inputs, (N n_inputs,)
    y: Any  # targets, (N n_outputs,), unless there are labels
    labels: Any  # int64 (N,)
    sample_weight: Any  # (N,), if there are any
    memory: Any  # packed weights, sums and regions of blocks
    accumulators: Any  # float64: (n_accumulators, n_parameters), and after them the loss of each block
    d_x: Any  # dL/dx, (N n_inputs,), if wanted
    out: Any  # the gradient (n_parameters,), losses (N,) or outputs (N n_outputs,)


class Rows(NamedTuple):
    """A matrix in memory: n_rows rows of n numbers, `stride` apart."""

    offset: Any
    stride: Any
    n_rows: Any
    n: Any


class Block(NamedTuple):
    """A block on its way: where its numbers lie in memory, and which rows of the batch it has."""

    region_offset: Any
    sums_offset: Any
    row: Any  # the first one
    n_rows: Any


@kernel
def call_of(plan, like):
    """The pointers of a call; `like` points to numbers of its dtype."""
    n, has_labels = plan.n_source, plan.has_labels
    n_x, n_y = n * plan.n_inputs, 0 if has_labels else n * plan.n_outputs
    if plan.is_sparse:
        n_x = plan.n_stored
    n_out = plan.n_parameters if plan.mode == GRADIENT else n * plan.n_outputs
    return Call(
        plan,
        numbers_at(plan.vector_address, plan.n_parameters, like),
        numbers_at(plan.x_address, n_x, like),
        numbers_at(plan.y_address, n_y, like),
        int64s_at(plan.labels_address, n * has_labels),
        numbers_at(plan.sample_weight_address, n * plan.has_sample_weight, like),
        numbers_at(plan.memory_address, plan.n_memory, like),
        float64s_at(plan.accumulators_address, plan.n_accumulated),
        numbers_at(plan.d_x_address, n * plan.n_inputs * plan.wants_input_gradient, like),
        numbers_at(plan.out_address, n_out, like),
    )


@intrinsic(twin=lambda address, *arguments: UNCOMPILED[address](*arguments))
def call_at(typing, address, like, plan_address, kind, wave, worker, n_workers, first, count):
    """A worker's part of a phase, by code at an address: that of one dtype, or that of sparse inputs."""

    def emit(context, builder, sig, arguments):
        where, *operands = arguments
        function = ir.FunctionType(ir.IntType(64), [operand.type for operand in operands])
        return builder.call(builder.inttoptr(where, function.as_pointer()), operands)

    return types.int64(types.int64, like, *(types.int64,) * 7), emit
