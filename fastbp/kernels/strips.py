"""What the kernels with samples in the lanes share: blocks of one strip, a feature to a row.

x[k, s],  h[j, s],  z[k, s],  s = 0 .. strip - 1
"""

from .._jit import inlined, kernel
from .across import add_products, all_finite
from .fields import INPUTS_AT, N_INPUTS, record
from .simd import fma, like, load, load_even, load_odd, load_strip, splat_strip, store, strip_size

HIDDEN, OUTPUT = record(0), record(1)


@kernel
def load_inputs(plan, x, memory, base, row, n_rows):
    """Transpose the block's rows into strips, zeros behind the last row; False if a number is not finite."""
    n_in, at = plan[N_INPUTS], base + plan[INPUTS_AT]
    strip = strip_size(memory)
    if n_in == 2 and n_rows == strip:
        # In registers: a vector loaded from memory that was just written number by number would have to wait for it.
        x_0, x_1 = load_even(x, 2 * row), load_odd(x, 2 * row)
        store(memory, at, x_0)
        store(memory, at + strip, x_1)
        return all_finite(x_0) and all_finite(x_1)
    finite = True
    for k in range(n_in):
        load_column(memory, at, x, row * n_in + k, n_in, n_rows)
        finite = finite and all_finite(load_strip(memory, at))
        at += strip
    return finite


@kernel
def load_column(memory, at, source, source_at, step, n_rows):
    """A strip of n_rows numbers, `step` apart in the source, and zeros."""
    strip = strip_size(memory)
    if step == 1 and n_rows == strip:
        store(memory, at, load_strip(source, source_at))
        return
    for s in range(n_rows):
        memory[at + s] = source[source_at + s * step]
    for s in range(n_rows, strip):
        memory[at + s] = 0


@inlined
def preactivation(memory, unit, x_at, n_in):
    """z_j of the block, for the unit whose weights start at `unit`."""
    z_j = splat_strip(memory, memory[unit])
    if n_in == 2:  # the lecture's, without a loop: fewer instructions where two processes share a core
        z_j = fma(memory[unit + 1], load_strip(memory, x_at), z_j)
        return fma(memory[unit + 2], load_strip(memory, x_at + strip_size(memory)), z_j)
    for k in range(n_in):
        z_j = fma(memory[unit + 1 + k], load_strip(memory, x_at + k * strip_size(memory)), z_j)
    return z_j


@kernel
def add_to(memory, at, a, b):
    """The register at `at` += the products of two strips."""
    store(memory, at, add_products(load(memory, at), a, b))


@kernel
def add_all(memory, at, a):
    """The register at `at` += the registers of a strip."""
    store(memory, at, add_products(load(memory, at), a, like(a, 1.0)))
