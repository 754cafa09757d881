"""Vectors as values: explicit SIMD in kernels that read like arithmetic on numbers.

    pointer(array)                  the array's memory, as every other function takes it
    load(a, at), store(a, at, v)    one register: a[at : at + lanes], 16 float32 or 8 float64 with AVX-512
    load_group(a, at)               a group: GROUP_REGISTERS registers as one value, so that the pipes never wait
    load_strided(a, at, stride), store_strided(a, at, stride, v)
                                    a group whose registers lie `stride` apart, in rows of a matrix, say
    load_part(a, at, n)             one register: n elements, if it holds more then zeros; reads nothing else
    store_part(a, at, n, v)         its first n elements; writes nothing else
    load_group_part(a, at, n)       the same of a group
    prefetch(a, at)                 asks for a cache line ahead of its use; `at` may lie anywhere
    prefetch_early(a, at)           the same, but not into the first-level cache, where it would displace what is in use
    load_even(a, at), load_odd(...) a group of elements 0, 2, 4, ... or 1, 3, 5, ... from `at` on
    splat(a, s), splat_group(a, s)  every lane = s, in the dtype of a
    register_size(a), group_size(a) elements in a register and in a group
    like(v, s)                      every lane = s, as wide as the vector v
    + - * / and unary -             lane by lane; a plain number is rounded to the dtype and stands in every lane
    fma(a, b, c)                    a b + c with one rounding; numbers as above, but one of the three is a vector
    minimum(a, b), maximum(a, b)    lane by lane; a NaN in a stays
    absolute(a), rounded(a)         |a|; the nearest whole number, ties to even
    square_root(a)                  correctly rounded
    where_positive(z, a, b)         b where z <= 0, else a: so NaN takes a, and is not hidden by a constant b
    polynomial(float32=, float64=)  makes p(v) = c_0 + c_1 v + ... by Horner's rule, coefficients by dtype

Kernels pass pointers instead of arrays: one word, no reference counts, no wrap-around of negative indices; a[i] works
as for arrays. Indices count elements, and the caller owns every one of them.
No fast-math flag is set: what is written is what is computed. Under NUMBA_DISABLE_JIT=1 a vector is a NumPy array
and each name is its NumPy twin, against which the compiled form is tested. What looks across lanes is in
`across`, powers of two are in `power`.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...compiler.jit import intrinsic
from .formula import operation
from .vector import (
    GROUP_REGISTERS,
    INDEX,
    Vector,
    as_vector,
    call,
    constant,
    is_float32,
    joined,
    lanes,
    llvm_vector,
    load_at,
    register_of,
    splat_value,
    store_at,
)

# -- memory ----------------------------------------------------------------------------------------------------------


@intrinsic(twin=lambda array: array)
def pointer(typing, array):
    def emit(context, builder, sig, arguments):
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), emit


def _prefetch(a, locality):
    def emit(context, builder, sig, arguments):
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(8).as_pointer())
        numbers = [ir.IntType(32)(n) for n in (0, locality, 1)]  # to read, locality, data
        kind = ir.FunctionType(ir.VoidType(), [place.type, *(n.type for n in numbers)])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [place, *numbers])
        return context.get_dummy_value()

    return types.void(a, types.intp), emit


@intrinsic(twin=lambda a, at: None)
def prefetch(typing, a, at):
    return _prefetch(a, 3)


@intrinsic(twin=lambda a, at: None)
def prefetch_early(typing, a, at):
    return _prefetch(a, 2)


def _load(registers, a):
    vector = Vector(a.dtype, registers * lanes(a.dtype))

    def emit(context, builder, sig, arguments):
        return load_at(builder, builder.gep(arguments[0], [arguments[1]]), vector)

    return vector(a, types.intp), emit


@intrinsic(twin=lambda a, at: a[at : at + lanes(a.dtype)].copy())
def load(typing, a, at):
    return _load(1, a)


def _twin_load_group(a, at):
    return a[at : at + GROUP_REGISTERS * lanes(a.dtype)].copy()


@intrinsic(twin=_twin_load_group)
def load_group(typing, a, at):
    return _load(GROUP_REGISTERS, a)


@intrinsic(
    twin=lambda a, at, stride: np.concatenate([a[at + r * stride :][: lanes(a.dtype)] for r in range(GROUP_REGISTERS)])
)
def load_strided(typing, a, at, stride):
    register = Vector(a.dtype, lanes(a.dtype))

    def emit(context, builder, sig, arguments):
        places = _rows(builder, *arguments)
        return joined(builder, [load_at(builder, place, register) for place in places])

    return Vector(a.dtype, GROUP_REGISTERS * register.n)(a, types.intp, types.intp), emit


def _rows(builder, pointer_to, at, stride):
    """Where GROUP_REGISTERS registers lie."""
    return [builder.gep(pointer_to, [builder.add(at, builder.mul(stride, INDEX(r)))]) for r in range(GROUP_REGISTERS)]


def _twin_store_strided(a, at, stride, v):
    for r, register in enumerate(v.reshape(GROUP_REGISTERS, -1)):
        a[at + r * stride :][: register.size] = register


@intrinsic(twin=_twin_store_strided)
def store_strided(typing, a, at, stride, v):
    def emit(context, builder, sig, arguments):
        *where, value = arguments
        for r, place in enumerate(_rows(builder, *where)):
            store_at(builder, register_of(builder, value, r, lanes(a.dtype)), place, a.dtype)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, v), emit


def _first_lanes(builder, vector, count):
    """A mask of the first `count` lanes."""
    integers = ir.VectorType(ir.IntType(32), vector.n)
    numbers = ir.Constant(integers, list(range(vector.n)))
    # In 32 bits, of which a compare takes more at a time; whatever exceeds the vector is the whole of it.
    least = builder.select(builder.icmp_signed("<", count, INDEX(vector.n)), count, INDEX(vector.n))
    return builder.icmp_signed("<", numbers, splat_value(builder, builder.trunc(least, ir.IntType(32)), integers))


def _masked(builder, name, vector, result, operands):
    """A masked load or store."""
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    name = f"llvm.masked.{name}.v{vector.n}f{vector.dtype.bitwidth}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _load_part(registers, a):
    vector = Vector(a.dtype, registers * lanes(a.dtype))

    def emit(context, builder, sig, arguments):
        pointer_to, place, count = arguments
        wide, alignment = llvm_vector(vector), ir.IntType(32)(a.dtype.bitwidth // 8)
        address = builder.bitcast(builder.gep(pointer_to, [place]), wide.as_pointer())
        operands = [address, alignment, _first_lanes(builder, vector, count), ir.Constant(wide, None)]
        return _masked(builder, "load", vector, wide, operands)

    return vector(a, types.intp, types.intp), emit


def _twin_load_part(registers, a, at, n):
    size = registers * lanes(a.dtype)
    return np.pad(a[at : at + min(n, size)], (0, size - min(n, size)))


@intrinsic(twin=lambda a, at, n: _twin_load_part(1, a, at, n))
def load_part(typing, a, at, n):
    return _load_part(1, a)


@intrinsic(twin=lambda a, at, n: _twin_load_part(GROUP_REGISTERS, a, at, n))
def load_group_part(typing, a, at, n):
    return _load_part(GROUP_REGISTERS, a)


def _every_second(a, start):
    """Load two groups' worth of elements and keep every second one, from `start` on."""
    vector = Vector(a.dtype, GROUP_REGISTERS * lanes(a.dtype))

    def emit(context, builder, sig, arguments):
        pairs = load_at(builder, builder.gep(arguments[0], [arguments[1]]), Vector(a.dtype, 2 * vector.n))
        numbers = ir.Constant(ir.VectorType(ir.IntType(32), vector.n), list(range(start, 2 * vector.n, 2)))
        return builder.shuffle_vector(pairs, ir.Constant(pairs.type, ir.Undefined), numbers)

    return vector(a, types.intp), emit


@intrinsic(twin=lambda a, at: a[at : at + 2 * GROUP_REGISTERS * lanes(a.dtype) : 2].copy())
def load_even(typing, a, at):
    return _every_second(a, 0)


@intrinsic(twin=lambda a, at: a[at + 1 : at + 2 * GROUP_REGISTERS * lanes(a.dtype) : 2].copy())
def load_odd(typing, a, at):
    return _every_second(a, 1)


def _twin_store(a, at, v):
    a[at : at + len(v)] = v


@intrinsic(twin=_twin_store)
def store(typing, a, at, v):
    def emit(context, builder, sig, arguments):
        pointer_to, place, value = arguments
        store_at(builder, value, builder.gep(pointer_to, [place]), a.dtype)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), emit


def _twin_store_part(a, at, n, v):
    a[at : at + min(n, len(v))] = v[:n]


@intrinsic(twin=_twin_store_part)
def store_part(typing, a, at, n, v):
    def emit(context, builder, sig, arguments):
        pointer_to, place, count, value = arguments
        alignment = ir.IntType(32)(a.dtype.bitwidth // 8)
        address = builder.bitcast(builder.gep(pointer_to, [place]), value.type.as_pointer())
        _masked(builder, "store", v, ir.VoidType(), [value, address, alignment, _first_lanes(builder, v, count)])
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, v), emit


def _splat(registers, a, s):
    vector = Vector(a.dtype, registers * lanes(a.dtype))

    def emit(context, builder, sig, arguments):
        return as_vector(context, builder, arguments[1], s, vector)

    return vector(a, s), emit


@intrinsic(twin=lambda a, s: np.full(lanes(a.dtype), s, a.dtype))
def splat(typing, a, s):
    return _splat(1, a, s)


@intrinsic(twin=lambda a, s: np.full(GROUP_REGISTERS * lanes(a.dtype), s, a.dtype))
def splat_group(typing, a, s):
    return _splat(GROUP_REGISTERS, a, s)


def _count(registers, a):
    n = registers * lanes(a.dtype)
    return types.intp(a), lambda context, builder, sig, arguments: INDEX(n)


@intrinsic(twin=lambda a: lanes(a.dtype))
def register_size(typing, a):
    return _count(1, a)


@intrinsic(twin=lambda a: GROUP_REGISTERS * lanes(a.dtype))
def group_size(typing, a):
    return _count(GROUP_REGISTERS, a)


# -- arithmetic ------------------------------------------------------------------------------------------------------


def twin_fma(a, b, c):
    # One rounding for float32; float64 has no wider type and rounds twice.
    vector = next(v for v in (a, b, c) if isinstance(v, np.ndarray))
    return (np.multiply(a, b, dtype=np.float64) + c).astype(vector.dtype)


@operation(twin=twin_fma)
def fma(builder, vector, a, b, c):
    return call(builder, "llvm.fma", a.type, [a, b, c])


# One instruction on x86, of which a NaN in a comes out.
@operation(twin=lambda a, b: np.where(b < a, b, a).astype(a.dtype))
def minimum(builder, vector, a, b):
    return builder.select(builder.fcmp_ordered("<", b, a), b, a)


@operation(twin=lambda a, b: np.where(b > a, b, a).astype(a.dtype))
def maximum(builder, vector, a, b):
    return builder.select(builder.fcmp_ordered(">", b, a), b, a)


@operation(twin=np.abs)
def absolute(builder, vector, a):
    return call(builder, "llvm.fabs", a.type, [a])


@operation(twin=np.sqrt)
def square_root(builder, vector, a):
    return call(builder, "llvm.sqrt", a.type, [a])


@operation(twin=np.rint)
def rounded(builder, vector, a):
    return call(builder, "llvm.rint", a.type, [a])


@operation(twin=lambda z, a, b: np.where(z <= 0, b, a).astype(z.dtype))
def where_positive(builder, vector, z, a, b):
    return builder.select(builder.fcmp_ordered("<=", z, constant(vector, 0.0)), b, a)


@operation(twin=lambda v, s: np.full_like(v, s))
def like(builder, vector, v, s):
    return s


def polynomial(*, float32, float64):
    """p(v) = c[0] + c[1] v + c[2] v^2 + ... by Horner's rule with fma; coefficients for each dtype, lowest first."""

    def twin(v):
        return twin_horner(float32 if v.dtype == np.float32 else float64, v)

    @operation(twin=twin)
    def p(builder, vector, v):
        return horner(builder, vector, float32 if is_float32(vector) else float64, v)

    return p


def horner(builder, vector, coefficients, v):
    """c[0] + c[1] v + c[2] v^2 + ... by fma."""
    constants = [constant(vector, c) for c in coefficients]
    value = constants.pop()
    while constants:
        value = call(builder, "llvm.fma", v.type, [value, v, constants.pop()])
    return value


def twin_horner(coefficients, v):
    value = v.dtype.type(coefficients[-1])
    for c in coefficients[-2::-1]:
        value = twin_fma(value, v, v.dtype.type(c))
    return value
