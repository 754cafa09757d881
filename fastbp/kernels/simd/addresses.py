"""Arrays and addresses: what is too much, or too seldom there, to be an argument of its own is found by its address.

    address_of(array)                                        where an array starts
    int32s_at(address, n), int64s_at(address, n), float64s_at(address, n)
    numbers_at(address, n, like)                             n numbers of the kind that `like` points to

Whoever writes the address keeps the array alive.
"""

import ctypes

import numpy as np
from llvmlite import ir
from numba import types

from ...compiler.jit import intrinsic

INT64 = ir.IntType(64)


@intrinsic(twin=lambda array: array.ctypes.data)
def address_of(typing, array):
    def emit(context, builder, sig, arguments):
        return builder.ptrtoint(context.make_array(array)(context, builder, arguments[0]).data, INT64)

    return types.int64(array), emit


def _twin(address, n, dtype):
    if not n:
        return np.empty(0, dtype)
    return np.frombuffer((ctypes.c_uint8 * int(n * dtype.itemsize)).from_address(int(address)), dtype)


def _emit(pointer):
    def emit(context, builder, sig, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return emit


def _at_address(number):
    """An intrinsic (address, n): a pointer to the n numbers of a dtype at an address."""

    def definition(typing, address, n):
        pointer = types.CPointer(getattr(types, number.name))
        return pointer(types.int64, types.intp), _emit(pointer)

    definition.__name__ = f"{number.name}s_at"
    return intrinsic(twin=lambda address, n: _twin(address, n, number))(definition)


int32s_at, int64s_at, float64s_at = (_at_address(np.dtype(name)) for name in ("int32", "int64", "float64"))


@intrinsic(twin=lambda address, n, like: _twin(address, n, like.dtype))
def numbers_at(typing, address, n, like):
    return like(types.int64, types.intp, like), _emit(like)
