"""Operations of `simd` that look across the lanes of a vector, or choose among them.

first(v, n)                     lanes from n on are 0, in each register
add_register_products(s, a, b)  s + a_r b_r over the registers r of two groups, in order: 64 terms into 16 lanes
total(v), highest(v)            sum and maximum over the lanes, in a fixed order
register_totals(v)              the totals of a group's registers, as one short vector
transpose(a, at, stride, b, to, to_stride)
                                b[to + i to_stride + j] = a[at + j stride + i] for i, j = 0 .. register_size - 1
all_finite(v), all_within(v, low, high)
"""

import numpy as np
from llvmlite import ir
from numba import types

from ...compiler.jit import intrinsic
from .registers import twin_fma
from .vector import (
    GROUP_REGISTERS,
    INDEX,
    Vector,
    as_vector,
    call,
    lanes,
    llvm_integers,
    load_at,
    register_of,
    splat_value,
    store_at,
    transposed,
)


@intrinsic(twin=lambda v, n: np.where(np.arange(len(v)) % lanes(v.dtype) < n, v, 0).astype(v.dtype))
def first(typing, v, n):
    def emit(context, builder, sig, arguments):
        value, count = arguments
        integers = ir.VectorType(INDEX, v.n)
        numbers = ir.Constant(integers, [i % lanes(v.dtype) for i in range(v.n)])
        kept = builder.icmp_signed("<", numbers, splat_value(builder, count, integers))
        return builder.select(kept, value, ir.Constant(value.type, None))

    return v(v, types.intp), emit


def _twin_add_register_products(s, a, b):
    for part_a, part_b in zip(a.reshape(-1, len(s)), b.reshape(-1, len(s)), strict=True):
        s = twin_fma(part_a, part_b, s)
    return s


@intrinsic(twin=_twin_add_register_products)
def add_register_products(typing, s, a, b):
    def emit(context, builder, sig, arguments):
        total_value, left, right = arguments
        for r in range(a.n // s.n):
            parts = [register_of(builder, v, r, s.n) for v in (left, right)]
            total_value = call(builder, "llvm.fma", total_value.type, [*parts, total_value])
        return total_value

    return s(s, a, b), emit


def _twin_total(v):
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2 :]
    return v[0]


@intrinsic(twin=_twin_total)
def total(typing, v):
    def emit(context, builder, sig, arguments):
        # Halves are added until one lane is left: an order of our own, the same on every machine.
        value = arguments[0]
        while value.type.count > 1:
            n = value.type.count // 2
            value = builder.fadd(register_of(builder, value, 0, n), register_of(builder, value, 1, n))
        return builder.extract_element(value, ir.IntType(32)(0))

    return v.dtype(v), emit


def _twin_register_totals(rows):
    while len(rows) > GROUP_REGISTERS:
        rows = rows[::2] + rows[1::2]
    return rows


@intrinsic(twin=_twin_register_totals)
def register_totals(typing, v):
    result = Vector(v.dtype, GROUP_REGISTERS)

    def emit(context, builder, sig, arguments):
        # Neighbours are added in all registers at once, which takes a third of the shuffles of one total after another.
        value = arguments[0]
        while value.type.count > GROUP_REGISTERS:
            n = value.type.count
            even, odd = (
                builder.shuffle_vector(
                    value,
                    ir.Constant(value.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), n // 2), list(range(start, n, 2))),
                )
                for start in (0, 1)
            )
            value = builder.fadd(even, odd)
        return value

    return result(v), emit


def _twin_transpose(a, at, stride, b, to, to_stride):
    n = lanes(a.dtype)
    for i in range(n):
        b[to + i * to_stride :][:n] = a[at + i : at + i + n * stride : stride][:n]


@intrinsic(twin=_twin_transpose)
def transpose(typing, a, at, stride, b, to, to_stride):
    vector = Vector(a.dtype, lanes(a.dtype))
    n = vector.n

    def emit(context, builder, sig, arguments):
        source, start, apart, target, end, end_apart = arguments

        def address(pointer, first, stride, row):
            return builder.gep(pointer, [builder.add(first, builder.mul(stride, INDEX(row)))])

        rows = [load_at(builder, address(source, start, apart, row), vector) for row in range(n)]
        columns = transposed(builder, rows)
        for row in range(n):
            store_at(builder, columns[row], address(target, end, end_apart, row), a.dtype)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, b, types.intp, types.intp), emit


@intrinsic(twin=np.max)
def highest(typing, v):
    def emit(context, builder, sig, arguments):
        value = arguments[0]
        while value.type.count > 1:
            n = value.type.count // 2
            halves = [register_of(builder, value, i, n) for i in range(2)]
            value = call(builder, "llvm.maxnum", halves[0].type, halves)
        return builder.extract_element(value, ir.IntType(32)(0))

    return v.dtype(v), emit


def _all(builder, mask):
    """Whether every lane of a vector of booleans holds."""
    bits = ir.IntType(mask.type.count)
    return builder.icmp_unsigned("==", builder.bitcast(mask, bits), ir.Constant(bits, -1))


@intrinsic(twin=lambda v: bool(np.isfinite(v).all()))
def all_finite(typing, v):
    def emit(context, builder, sig, arguments):
        # On the exponent's bits, so that no optimization of floating-point comparisons can remove it.
        exponent = 0x7F800000 if v.dtype.bitwidth == 32 else 0x7FF0000000000000
        integers = llvm_integers(v)
        pattern = ir.Constant(integers, [exponent] * v.n)
        bits = builder.and_(builder.bitcast(arguments[0], integers), pattern)
        return _all(builder, builder.icmp_signed("!=", bits, pattern))

    return types.boolean(v), emit


@intrinsic(twin=lambda v, low, high: bool(((v >= low) & (v <= high)).all()))
def all_within(typing, v, low, high):
    def emit(context, builder, sig, arguments):
        value, *bounds = arguments
        lowest, highest_ = (as_vector(context, builder, b, t, v) for b, t in zip(bounds, (low, high), strict=True))
        above = builder.fcmp_ordered(">=", value, lowest)
        return _all(builder, builder.and_(above, builder.fcmp_ordered("<=", value, highest_)))

    return types.boolean(v, low, high), emit
