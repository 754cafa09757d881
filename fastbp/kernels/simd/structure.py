"""Structures in memory as values of kernels: `plan.n_rows` is a load, `plan.n_rows = n` a store.

    structures_at(name, dtype)      makes an intrinsic (address, i): the i-th of the structures from an address on

A structure is one word, the place of its fields; it can lie in tuples and be returned, which Numba's own records can't.
"""

import ctypes

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import lower_getattr_generic, lower_setattr_generic, models, register_model

from ...compiler.jit import intrinsic

BYTE, INT64 = ir.IntType(8), ir.IntType(64)


class Structure(types.Type):
    """The fields of a NumPy dtype, somewhere in memory."""

    def __init__(self, name, dtype):
        self.offsets = {field: offset for field, (_, offset) in dtype.fields.items()}
        self.types = {field: numba.from_dtype(kind) for field, (kind, _) in dtype.fields.items()}
        super().__init__(name=f"Structure({name})")


@register_model(Structure)
class StructureModel(models.PrimitiveModel):
    def __init__(self, manager, structure):
        super().__init__(manager, structure, BYTE.as_pointer())


@infer_getattr
class StructureAttributes(AttributeTemplate):
    key = Structure

    def generic_resolve(self, structure, field):
        return structure.types.get(field)


def _place(context, builder, structure, value, field):
    place = builder.gep(value, [INT64(structure.offsets[field])])
    return builder.bitcast(place, context.get_value_type(structure.types[field]).as_pointer())


@lower_getattr_generic(Structure)
def load_field(context, builder, structure, value, field):
    return builder.load(_place(context, builder, structure, value, field))


@lower_setattr_generic(Structure)
def store_field(context, builder, sig, arguments, field):
    structure, number = arguments
    builder.store(number, _place(context, builder, sig.args[0], structure, field))


def structures_at(name, dtype):
    """An intrinsic of that name, (address, i): the i-th structure of those that start at an address."""
    structure, size = Structure(name, dtype), dtype.itemsize

    def twin(address, i):
        place = (ctypes.c_uint8 * size).from_address(int(address) + int(i) * size)
        return np.frombuffer(place, dtype).view(np.recarray)[0]

    def definition(typing, address, i):
        def emit(context, builder, sig, arguments):
            base, number = arguments
            place = builder.add(base, builder.mul(number, INT64(size)))
            return builder.inttoptr(place, context.get_value_type(structure))

        return structure(types.int64, types.int64), emit

    definition.__name__ = name
    return intrinsic(twin=twin)(definition)
