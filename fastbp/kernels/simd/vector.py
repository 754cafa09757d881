"""The vector type of kernels, and how its instructions are written; what is done with vectors is in `simd`.

A `Vector` is a Numba type over LLVM's <n x float> or <n x double>, of one register or of several: LLVM splits what is
wider than a register. Numbers among the operands are rounded to the vector's dtype and repeated in every lane.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from ...compiler.jit import cpu

VECTOR_BYTES = cpu().vector_bytes
GROUP_REGISTERS = 4
HAS_SCALEF = "avx512f" in cpu().features

INDEX = ir.IntType(64)


def lanes(dtype):
    """Elements of one register; dtype of NumPy or of Numba."""
    return VECTOR_BYTES // (dtype.bitwidth // 8 if isinstance(dtype, types.Type) else np.dtype(dtype).itemsize)


class Vector(types.Type):
    """`n` elements of one dtype in one or several registers."""

    def __init__(self, dtype, n):
        self.dtype, self.n = dtype, n
        super().__init__(name=f"Vector({dtype} x {n})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm_vector(vector))


def llvm_vector(vector):
    element = ir.FloatType() if vector.dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.n)


def llvm_integers(vector):
    return ir.VectorType(ir.IntType(vector.dtype.bitwidth), vector.n)


def is_float32(vector):
    return vector.dtype.bitwidth == 32


def constant(vector, number):
    """The number, rounded to the dtype, in every lane."""
    value = float(np.float32(number)) if is_float32(vector) else float(number)
    return ir.Constant(llvm_vector(vector), [value] * vector.n)


# -- writing instructions --------------------------------------------------------------------------------------------


def load_at(builder, pointer, vector):
    # Aligned to the element only: rows start anywhere.
    wide = builder.bitcast(pointer, llvm_vector(vector).as_pointer())
    return builder.load(wide, align=vector.dtype.bitwidth // 8)


def store_at(builder, value, pointer, dtype):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=dtype.bitwidth // 8)


def splat_value(builder, number, llvm_type):
    undefined = ir.Constant(llvm_type, ir.Undefined)
    first_lane = builder.insert_element(undefined, number, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first_lane, undefined, ir.Constant(ir.VectorType(ir.IntType(32), llvm_type.count), None)
    )


def as_vector(context, builder, value, value_type, vector):
    """The operand as a vector: numbers are rounded to its dtype and repeated."""
    if isinstance(value_type, Vector):
        return value
    return splat_value(builder, context.cast(builder, value, value_type, vector.dtype), llvm_vector(vector))


def call(builder, name, result, arguments, suffix=None):
    """Call of the LLVM intrinsic `name`, overloaded on the type of the first argument unless a suffix is given."""
    shape = arguments[0].type
    if suffix is None:
        suffix = f".v{shape.count}f{32 if isinstance(shape.element, ir.FloatType) else 64}"
    function_type = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name + suffix), arguments)


def by_register(builder, vector, value, write):
    """write(part) for each register of a value, put together again: for instructions LLVM does not split itself."""
    n = lanes(vector.dtype)
    return joined(builder, [write(register_of(builder, value, r, n)) for r in range(vector.n // n)])


def joined(builder, parts):
    """One value of several registers, a power of two of them."""
    while len(parts) > 1:
        parts = [_concatenate(builder, *parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return parts[0]


def register_of(builder, value, r, n):
    if value.type.count == n:
        return value
    lane_numbers = ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(r * n, (r + 1) * n)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lane_numbers)


def _concatenate(builder, left, right):
    n = 2 * left.type.count
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(n))))


def transposed(builder, rows):
    """Registers, as many as each has lanes, with rows and columns exchanged."""
    rows, n, size = list(rows), len(rows), 1
    while size < n:  # square blocks of 1, 2, 4 ... lanes change places across the diagonal
        for row in (row for row in range(n) if not row & size):
            upper, lower = rows[row], rows[row + size]
            for other, picked in ((row, 0), (row + size, size)):
                numbers = [(i & ~size | picked) + (n if i & size else 0) for i in range(n)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), n), numbers)
                rows[other] = builder.shuffle_vector(upper, lower, mask)
        size *= 2
    return rows
