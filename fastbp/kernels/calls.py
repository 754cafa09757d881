"""The memory of a call, and how code that is compiled by itself is called with it."""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from .._jit import UNCOMPILED, intrinsic


class Call(NamedTuple):
    """The memory of a call, as pointers."""

    plan: Any  # int64: the layout of the batch and what to compute, see `fields`
    constants: Any  # float64: scale, penalties, parameters of the loss and the activations
    vector: Any  # parameters, (n_parameters,)
    x: Any  # inputs, (N n_inputs,)
    y: Any  # targets, (N n_outputs,), unless there are labels
    labels: Any  # int64 (N,)
    sample_weight: Any  # (N,), if there are any
    memory: Any  # regions of blocks, packed weights and sums, see `fields`; `base` is where a block's region starts
    totals: Any  # float64: the gradient of each slot, (N_SLOTS, n_parameters), and the sum of losses of each block
    d_x: Any  # dL/dx, (N n_inputs,), if wanted
    out: Any  # the gradient (n_parameters,), losses (N,) or outputs (N n_outputs,)


@intrinsic(twin=lambda address, call, *numbers: UNCOMPILED[address](*call, *numbers))
def call_at(typing, address, call, phase, stretch, worker, n_workers, first, count):
    """Code at an address: `work` of one dtype, or what takes the same arguments."""

    def emit(context, builder, sig, arguments):
        where, pointers, *numbers = arguments
        operands = [builder.extract_value(pointers, i) for i in range(len(call.types))] + numbers
        function = ir.FunctionType(ir.IntType(64), [operand.type for operand in operands])
        return builder.call(builder.inttoptr(where, function.as_pointer()), operands)

    return types.int64(types.int64, call, *(types.int64,) * 6), emit
