"""An optimiser's step in place, fused: parameters, state and average pass once.

An `optimiser` is a record of OPTIMISER int64, `constants` a row of ROW float64, both named below. A worker's part are
the parameters first to last - 1; every element is computed by itself, so parts change no bit.
"""

import math

import numba
import numpy as np
from numba import types

from .._jit import entry, kernel
from .across import all_finite, total
from .across import first as first_lanes
from .addresses import int64s_at, numbers_at
from .gemm import larger, smaller
from .rules import N_CONSTANTS, rule
from .simd import (
    fma,
    load,
    load_part,
    load_strip,
    pointer,
    register_size,
    splat,
    splat_strip,
    store,
    store_part,
    strip_size,
)

# -- an optimiser ----------------------------------------------------------------------------------------------------
(
    RULE,  # code
    N_SLOTS,  # numbers remembered of each parameter
    N,  # parameters
    STATE_AT,  # address of the slots, one behind the other, and behind them of the average, if there is one
    HAS_AVERAGE,
    DECAYED_AT,  # address of where runs of parameters that decay start and end
    N_DECAYED,
    OPTIMISER,
) = range(8)

# -- constants of a step: those of the rule, then ----------------------------------------------------------------------
(
    SHRINK,  # what parameters that decay are multiplied by
    AVERAGE,  # the share of the old in the average
    CLIP,  # the largest norm of the gradient; 0 for any
    FACTOR,  # what the gradient is multiplied by for that
    ROW,
) = range(N_CONSTANTS, N_CONSTANTS + 5)

PIECE = 8192  # squares summed in the working dtype


@kernel
def step_of_part(optimiser, constants, at, vector, gradient, shrink, first, last):
    """The rule for one run of parameters, multiplied by `shrink`; False if one is not finite, or its gradient."""
    n, n_slots = optimiser[N], optimiser[N_SLOTS]
    state = numbers_at(optimiser[STATE_AT], n_slots * n, vector)
    # Slots that a rule does not have fall on the parameters, which are written last.
    s, t = (state if n_slots > 0 else vector), (state if n_slots > 1 else vector)
    u = state if n_slots > 2 else vector
    t_at, u_at = (n if n_slots > 1 else 0), (2 * n if n_slots > 2 else 0)
    code, size, factor, finite = optimiser[RULE], register_size(vector), constants[at + FACTOR], True
    a, b, c, d = constants[at], constants[at + 1], constants[at + 2], constants[at + 3]
    e, f, h = constants[at + 4], constants[at + 5], constants[at + 6]
    whole = first + (last - first) // size * size
    for i in range(first, whole, size):
        old, g = load(vector, i), load(gradient, i) * factor
        p, v, w, z = rule(code, old * shrink, g, load(s, i), load(t, t_at + i), load(u, u_at + i), a, b, c, d, e, f, h)
        # Averages of squares, too: an infinite one would keep its parameter where it is for good.
        finite = finite and all_finite(p) and all_finite(g) and all_finite(v) and all_finite(w)
        store(u, u_at + i, z)
        store(t, t_at + i, w)
        store(s, i, v)
        store(vector, i, p)
    m = last - whole
    if m > 0:
        old, g = load_part(vector, whole, m), load_part(gradient, whole, m) * factor
        p, v, w, z = rule(
            code, old * shrink, g, load_part(s, whole, m), load_part(t, t_at + whole, m),
            load_part(u, u_at + whole, m), a, b, c, d, e, f, h,
        )  # fmt: skip
        # What stands behind the last parameter may be 0 / 0.
        finite = finite and all_finite(first_lanes(p, m)) and all_finite(g)
        finite = finite and all_finite(first_lanes(v, m)) and all_finite(first_lanes(w, m))
        store_part(u, u_at + whole, m, z)
        store_part(t, t_at + whole, m, w)
        store_part(s, whole, m, v)
        store_part(vector, whole, m, p)
    return finite


@kernel
def update(optimiser, constants, at, vector, gradient, first, last):
    """A step for the parameters first to last - 1; False if one of them, or its gradient, is not finite."""
    finite, done, shrink = True, first, constants[at + SHRINK]
    if shrink != 1.0:
        decayed = int64s_at(optimiser[DECAYED_AT], 2 * optimiser[N_DECAYED])
        for i in range(optimiser[N_DECAYED]):
            start = larger(done, smaller(decayed[2 * i], last))
            stop = larger(done, smaller(decayed[2 * i + 1], last))
            finite &= step_of_part(optimiser, constants, at, vector, gradient, 1.0, done, start)
            finite &= step_of_part(optimiser, constants, at, vector, gradient, shrink, start, stop)
            done = stop
    finite &= step_of_part(optimiser, constants, at, vector, gradient, 1.0, done, last)
    if optimiser[HAS_AVERAGE]:
        add_to_average(optimiser, constants[at + AVERAGE], vector, first, last)
    return finite


@kernel
def add_to_average(optimiser, decay, vector, first, last):
    """average = decay average + (1 - decay) p."""
    n, n_slots = optimiser[N], optimiser[N_SLOTS]
    averages, size, at = numbers_at(optimiser[STATE_AT], (n_slots + 1) * n, vector), register_size(vector), n_slots * n
    new = 1.0 - decay
    whole = first + (last - first) // size * size
    for i in range(first, whole, size):
        store(averages, at + i, fma(decay, load(averages, at + i), new * load(vector, i)))
    m = last - whole
    if m > 0:
        average = fma(decay, load_part(averages, at + whole, m), new * load_part(vector, whole, m))
        store_part(averages, at + whole, m, average)


@kernel
def clip_factor(gradient, n, largest):
    """What the gradient is multiplied by so that its norm is at most `largest`; 1 for 0, which means any."""
    if largest == 0.0:
        return 1.0
    norm = math.sqrt(squares(gradient, n))
    if norm == 0.0 or not math.isfinite(norm):  # also of squares that are too small or too large
        norm = scaled_norm(gradient, n)
    return largest / norm if norm > largest else 1.0


@kernel
def scaled_norm(a, n):
    """The norm of a, whose squares may be out of range."""
    top, added = 0.0, 0.0
    for i in range(n):
        size = abs(np.float64(a[i]))
        top = top if size <= top else size  # a NaN stays
    if top == 0.0 or not math.isfinite(top):
        return top
    for i in range(n):
        added += (a[i] / top) ** 2
    return top * math.sqrt(added)


@kernel
def squares(a, n):
    """The sum of squares, in an order that depends on n alone: pieces in the working dtype, added up in float64."""
    strip, size, added = strip_size(a), register_size(a), 0.0
    for start in range(0, n, PIECE):
        stop = smaller(start + PIECE, n)
        whole = start + (stop - start) // strip * strip
        parts, rest = splat_strip(a, 0.0), splat(a, 0.0)
        for i in range(start, whole, strip):
            v = load_strip(a, i)
            parts = fma(v, v, parts)
        for i in range(whole, stop, size):
            w = load_part(a, i, stop - i)
            rest = fma(w, w, rest)
        added += np.float64(total(parts)) + np.float64(total(rest))
    return added


def step(optimiser, constants, vector, gradient):
    """A whole step on the calling thread; 1 if a parameter or its gradient is not finite."""
    to, row, d_vector = pointer(vector), pointer(constants), pointer(gradient)
    row[FACTOR] = clip_factor(d_vector, vector.size, row[CLIP])
    return 0 if update(pointer(optimiser), row, 0, to, d_vector, 0, vector.size) else 1


def entry_of(dtype):
    """`step` for float32 or float64."""
    real = types.Array(numba.from_dtype(dtype), 1, "C")
    table, row = types.Array(types.int64, 1, "C"), types.Array(types.float64, 1, "C")
    return entry(types.int64(table, row, real, real))(step)
