"""A user's own activation or loss, compiled by itself and called by the engine at its address, once a block."""

import functools
import inspect

import numba
from llvmlite import ir
from numba import types

from ...compiler import jit
from ...errors import InputError
from ..simd.vector import INDEX


@jit.intrinsic(twin=lambda address, *arguments: jit.UNCOMPILED[address](*arguments))
def call_custom(typing, address, a, at, b_at, n_rows, n, stride):
    """The compiled pair at an address, on n_rows rows of n elements `stride` apart at two places of one memory."""

    def emit(context, builder, sig, arguments):
        where, *operands = arguments
        function = ir.FunctionType(INDEX, [operand.type for operand in operands])
        builder.call(builder.inttoptr(where, function.as_pointer()), operands)
        return context.get_dummy_value()

    return types.void(types.int64, a, *(types.intp,) * 5), emit


@functools.cache
def activation_address(function, slope, dtype):
    """The address of z -> (value(z), derivative(z)) in place and beside it."""
    value, derivative = _of_one(function), _of_one(slope)

    def run(a, at, b_at, n_rows, n, stride):
        for m in range(n_rows):
            for i in range(m * stride, m * stride + n):
                z = a[at + i]
                a[at + i] = value(z)
                a[b_at + i] = derivative(z)
        return 0

    return _address(run, dtype, function)


@functools.cache
def loss_address(function, slope, dtype):
    """The address of z -> derivative(y, z), y -> value(y, z), both in place."""
    value, derivative = _of_two(function), _of_two(slope)

    def run(a, at, b_at, n_rows, n, stride):
        for m in range(n_rows):
            for i in range(m * stride, m * stride + n):
                z, y = a[at + i], a[b_at + i]
                a[at + i] = derivative(y, z)
                a[b_at + i] = value(y, z)
        return 0

    return _address(run, dtype, function)


def _of_one(function):
    """To be called from a kernel; a function of NumPy's or of `math` needs one of Python's around it."""
    return jit.foreign(function if inspect.isfunction(function) else lambda z: function(z))


def _of_two(function):
    return jit.foreign(function if inspect.isfunction(function) else lambda y, z: function(y, z))


def _address(run, dtype, function):
    n = types.int64
    signature = n(types.CPointer(numba.from_dtype(dtype)), n, n, n, n, n)
    entry = jit.entry(signature, by_address=True, cached=False)(run)
    try:
        address = entry.address()
    except Exception as error:  # the compiler's own, of many kinds
        name, reason = getattr(function, "__name__", function), str(error).strip().splitlines()
        raise InputError(
            f"{name} cannot be compiled: {reason[-1] if reason else error}. Write it for one number, with arithmetic, "
            "math, and NumPy's functions of one number"
        ) from error
    _keep.append(entry)
    return address


_keep = []  # compiled code lives as long as its entry
