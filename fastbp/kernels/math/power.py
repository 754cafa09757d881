"""2^z and e^z, the functions under every other exponential, and the scaling by a power of two that they end with.

    exp2(z)          2^z; 0 and inf beyond the range
    exp(z)           e^z likewise, to 2 units in the last place of float32 and float64
    scale(p, z)      p 2^floor(z); 0 and inf beyond the range
    exponent(v)      floor(log2(v)) of a normal v > 0

With AVX-512, z = n + i / M + f with whole numbers n and 0 <= i < M and with |f| <= 1 / 2M: the 2^(i / M) are a table in
two registers (M = 32 in float32, 16 in float64), from which one instruction picks a number for every lane, and
2^f - 1 = f (c_1 + c_2 f + ...) takes 2 coefficients in float32 and 6 in float64. Elsewhere z = n + f with 0 <= f < 1,
and a polynomial of degree 5 or 11 does the work. Coefficients are minimax fits, computed with 50 digits. For
e^z = 2^n 2^f with |f| <= 1/2, a polynomial of degree 6 or 12; f = z log2(e) - n, with log2(e) in two parts, because one
rounded product would cost |z| units in the last place.
"""

import math

import numpy as np
from llvmlite import ir

from ..simd.formula import operation
from ..simd.registers import horner
from ..simd.vector import HAS_SCALEF, by_register, call, constant, is_float32, lanes, llvm_integers, register_of

# fmt: off
# (2^f - 1) / f for |f| <= 1/64 and for |f| <= 1/32; the relative error of 2^f is 5.3e-8 and 7.0e-18.
_SHORT_FLOAT32 = (0.6931573314216832, 0.24022660113314317)
_SHORT_FLOAT64 = (0.69314718055994685, 0.24022650695909911, 0.055504108652131386, 0.0096181291120804037,
                  0.001333381854183922, 0.00015403355826868563)
# 2^f for 0 <= f < 1, exactly 1 at 0: 8.3e-8 and 4.3e-18.
_LONG_FLOAT32 = (1.0, 0.69315131180026918, 0.24016445020136963, 0.055799912946571173, 0.0090170305283189355,
                 0.0018671299794448822)
_LONG_FLOAT64 = (1.0, 0.69314718055994653, 0.24022650695904278, 0.055504108665901198, 0.0096181290972450296,
                 0.0013333558734919515, 0.00015403509283703691, 1.5253231141364263e-5, 1.3207697492090331e-6,
                 1.0258188854184174e-7, 6.5386085534992547e-9, 6.3014781174337789e-10)
# (2^f - 1) / f for |f| <= 1/2: 1.3e-8 and 2.8e-19.
_CENTRED_FLOAT32 = (0.69314718802622878, 0.24022650760568127, 0.055503571142190778, 0.0096180825572778515,
                    0.0013390863364671234, 0.0001545316294512069)
_CENTRED_FLOAT64 = (0.69314718055994531, 0.24022650695910071, 0.055504108664821627, 0.0096181291076284795,
                    0.0013333558146406471, 0.00015403530393370733, 1.5252733841556773e-5, 1.3215486808705563e-6,
                    1.0178057087733941e-7, 7.0548973041554993e-9, 4.4558179083360645e-10, 2.5729324177362304e-11)
# fmt: on
# log2(e), rounded, and what is left of it.
_LOG2_E_FLOAT32 = (1.442695021629333, 1.9259629911266175e-8)
_LOG2_E_FLOAT64 = (math.log2(math.e), 2.0355273740931033e-17)


def _avx512(builder, vector, name, value, *rest):
    """An AVX-512 instruction on one register, all lanes, rounding as set."""
    kind = "ps" if is_float32(vector) else "pd"
    mask = ir.Constant(ir.IntType(lanes(vector.dtype)), -1)
    arguments = [value, *rest, ir.Constant(value.type, None), mask, ir.IntType(32)(4)]
    return call(builder, f"llvm.x86.avx512.mask.{name}.{kind}.512", value.type, arguments, suffix="")


def _clamped(builder, vector, z, bound):
    """z within +-bound; NaN stays."""
    for comparison, limit in ((">", constant(vector, bound)), ("<", constant(vector, -bound))):
        z = builder.select(builder.fcmp_ordered(comparison, z, limit), limit, z)
    return z


def _write_exp2(builder, vector, z):
    if not HAS_SCALEF:
        # Clamped, because inf - inf would be NaN; the float32 of this number has no fraction.
        clamped = _clamped(builder, vector, z, 2.0**20)
        f = builder.fsub(clamped, call(builder, "llvm.floor", z.type, [clamped]))
        power = horner(builder, vector, _LONG_FLOAT32 if is_float32(vector) else _LONG_FLOAT64, f)
        return _write_scale(builder, vector, power, clamped)
    # Added to this number, z is rounded to a multiple of 1 / M, with i in its lowest bits. A z too large for that gives
    # some f, but a positive power, and 0 or inf after scaling; an infinite z gives NaN, of which scaling by +-inf makes
    # inf or 0 (Intel's manual, VSCALEFPS, "Special Cases").
    bits, mantissa = (5, 23) if is_float32(vector) else (4, 52)
    large = constant(vector, 1.5 * 2.0 ** (mantissa - bits))
    shifted = builder.fadd(z, large)
    whole = builder.fsub(shifted, large)
    f = builder.fsub(z, whole)
    table = by_register(builder, vector, shifted, lambda part: _look_up(builder, vector, part, 2**bits))
    short = horner(builder, vector, _SHORT_FLOAT32 if is_float32(vector) else _SHORT_FLOAT64, f)
    power = call(builder, "llvm.fma", z.type, [table, builder.fmul(f, short), table])
    return _write_scale(builder, vector, power, whole)


def _write_exp(builder, vector, z):
    # Bounded, because inf - inf would be NaN.
    z = _clamped(builder, vector, z, 1100.0)
    high, low = (constant(vector, part) for part in (_LOG2_E_FLOAT32 if is_float32(vector) else _LOG2_E_FLOAT64))
    n = call(builder, "llvm.rint", z.type, [builder.fmul(z, high)])
    f = call(builder, "llvm.fma", z.type, [z, high, builder.fneg(n)])
    f = call(builder, "llvm.fma", z.type, [z, low, f])
    less_one = horner(builder, vector, _CENTRED_FLOAT32 if is_float32(vector) else _CENTRED_FLOAT64, f)
    return _write_scale(builder, vector, call(builder, "llvm.fma", z.type, [f, less_one, constant(vector, 1.0)]), n)


def _look_up(builder, vector, part, n):
    """2^(i / n) for the i in the lowest bits of each lane."""
    dtype = np.float32 if is_float32(vector) else np.float64
    powers = [float(dtype(p)) for p in np.exp2(np.arange(n, dtype=np.longdouble) / n)]
    low, high = (ir.Constant(part.type, half) for half in (powers[: n // 2], powers[n // 2 :]))
    kind = "ps" if is_float32(vector) else "pd"
    integers = ir.VectorType(ir.IntType(vector.dtype.bitwidth), part.type.count)
    arguments = [low, builder.bitcast(part, integers), high]
    return call(builder, f"llvm.x86.avx512.vpermi2var.{kind}.512", part.type, arguments, suffix="")


def _write_scale(builder, vector, p, z):
    if HAS_SCALEF:
        n = lanes(vector.dtype)
        parts = iter([register_of(builder, z, r, n) for r in range(vector.n // n)])
        return by_register(builder, vector, p, lambda part: _avx512(builder, vector, "scalef", part, next(parts)))
    bits, bias, limit = (23, 127, 160.0) if is_float32(vector) else (52, 1023, 1100.0)
    integers = llvm_integers(vector)

    def whole(number):
        return ir.Constant(integers, [number] * vector.n)

    # A NaN, whose p is NaN as well, must not reach the conversion to integers.
    not_nan = builder.select(builder.fcmp_ordered("ord", z, z), z, constant(vector, 0.0))
    floor = call(builder, "llvm.floor", z.type, [_clamped(builder, vector, not_nan, limit)])
    n = builder.fptosi(floor, integers)
    half = builder.ashr(n, whole(1))
    # Two factors, because one would overflow where the result is subnormal or p carries the last bit.
    for exponent in (half, builder.sub(n, half)):
        factor = builder.shl(builder.add(exponent, whole(bias)), whole(bits))
        p = builder.fmul(p, builder.bitcast(factor, p.type))
    return p


def _twin_scale(p, z):
    n = np.nan_to_num(np.floor(np.clip(z, -3000, 3000)))
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(p, n.astype(np.int64)).astype(p.dtype)


@operation(twin=_twin_scale)
def scale(builder, vector, p, z):
    return _write_scale(builder, vector, p, z)


@operation(twin=lambda z: np.exp2(z, dtype=z.dtype))
def exp2(builder, vector, z):
    return _write_exp2(builder, vector, z)


@operation(twin=np.exp)
def exp(builder, vector, z):
    return _write_exp(builder, vector, z)


@operation(twin=lambda v: np.floor(np.log2(v)))
def exponent(builder, vector, v):
    mantissa, bias = (23, 127) if is_float32(vector) else (52, 1023)
    integers = llvm_integers(vector)
    biased = builder.lshr(builder.bitcast(v, integers), ir.Constant(integers, [mantissa] * vector.n))
    return builder.sitofp(builder.sub(biased, ir.Constant(integers, [bias] * vector.n)), v.type)
