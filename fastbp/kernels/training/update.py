"""An optimizer's step in place, fused: parameters, moments and average pass once.

A worker's part are the parameters first to last - 1; every element is computed by itself, so parts change no bit.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from ...compiler.jit import entry, kernel
from ..math.integers import larger, smaller
from ..simd.across import all_finite, total
from ..simd.across import first as first_lanes
from ..simd.addresses import int64s_at, numbers_at
from ..simd.registers import (
    fma,
    group_size,
    load,
    load_group,
    load_part,
    pointer,
    register_size,
    splat,
    splat_group,
    store,
    store_part,
)
from ..structures import optimizer_at, update_at
from .rules import rule

PIECE = 8192  # squares summed in the working dtype


class Moments(NamedTuple):
    """What an optimizer remembers of each parameter: up to three arrays, and where in them the parameters start.

    Those that a rule does not have fall on the parameters, which are written last.
    """

    s: Any
    t: Any
    u: Any
    t_offset: Any
    u_offset: Any


@kernel
def moments_of(optimizer, vector):
    """The moments of an optimizer."""
    n, count = optimizer.n_parameters, optimizer.n_moments
    memory = numbers_at(optimizer.moments_address, count * n, vector)
    return Moments(
        memory if count > 0 else vector, memory if count > 1 else vector, memory if count > 2 else vector,
        n if count > 1 else 0, 2 * n if count > 2 else 0,
    )  # fmt: skip


@kernel
def update_run(optimizer, constants, vector, gradient, shrink, first, last):
    """The rule for one run of parameters, multiplied by `shrink`; False if one is not finite, or its gradient."""
    moments = moments_of(optimizer, vector)
    s, t, u, t_at, u_at = moments.s, moments.t, moments.u, moments.t_offset, moments.u_offset
    code, size, factor, finite = optimizer.rule, register_size(vector), constants.clip_factor, True
    a, b, c, d = constants.c0, constants.c1, constants.c2, constants.c3
    e, f, h = constants.c4, constants.c5, constants.c6
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
        # What stands after the last parameter may be 0 / 0.
        finite = finite and all_finite(first_lanes(p, m)) and all_finite(g)
        finite = finite and all_finite(first_lanes(v, m)) and all_finite(first_lanes(w, m))
        store_part(u, u_at + whole, m, z)
        store_part(t, t_at + whole, m, w)
        store_part(s, whole, m, v)
        store_part(vector, whole, m, p)
    return finite


@kernel
def update(optimizer, constants, vector, gradient, first, last):
    """A step for the parameters first to last - 1; False if one of them, or its gradient, is not finite."""
    finite, done, shrink = True, first, constants.shrink
    if shrink != 1.0:
        decayed = int64s_at(optimizer.decayed_address, 2 * optimizer.n_decayed)
        for i in range(optimizer.n_decayed):
            start = larger(done, smaller(decayed[2 * i], last))
            stop = larger(done, smaller(decayed[2 * i + 1], last))
            finite &= update_run(optimizer, constants, vector, gradient, 1.0, done, start)
            finite &= update_run(optimizer, constants, vector, gradient, shrink, start, stop)
            done = stop
    finite &= update_run(optimizer, constants, vector, gradient, 1.0, done, last)
    if optimizer.has_ema:
        update_ema(optimizer, constants.ema_decay, vector, first, last)
    return finite


@kernel
def update_ema(optimizer, decay, vector, first, last):
    """average = decay average + (1 - decay) p."""
    n, n_moments = optimizer.n_parameters, optimizer.n_moments
    averages, at = numbers_at(optimizer.moments_address, (n_moments + 1) * n, vector), n_moments * n
    size, new = register_size(vector), 1.0 - decay
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
    group, size, added = group_size(a), register_size(a), 0.0
    for start in range(0, n, PIECE):
        stop = smaller(start + PIECE, n)
        whole = start + (stop - start) // group * group
        parts, rest = splat_group(a, 0.0), splat(a, 0.0)
        for i in range(start, whole, group):
            v = load_group(a, i)
            parts = fma(v, v, parts)
        for i in range(whole, stop, size):
            w = load_part(a, i, stop - i)
            rest = fma(w, w, rest)
        added += np.float64(total(parts)) + np.float64(total(rest))
    return added


def update_all(optimizer_address, update_address, vector, gradient):
    """A whole step on the calling thread; 1 if a parameter or its gradient is not finite."""
    optimizer, constants = optimizer_at(optimizer_address, 0), update_at(update_address, 0)
    to, d_vector = pointer(vector), pointer(gradient)
    constants.clip_factor = clip_factor(d_vector, vector.size, constants.clip_norm)
    return 0 if update(optimizer, constants, to, d_vector, 0, vector.size) else 1


def entry_of(dtype):
    """`update_all` for float32 or float64."""
    real, n = types.Array(numba.from_dtype(dtype), 1, "C"), types.int64
    return entry(n(n, n, real, real))(update_all)
