"""Samples in the lanes: a vector group of samples, with a feature to a row.

x[k, s],  h[j, s],  z[k, s],  s = 0 .. group - 1
"""

from ...compiler.jit import inlined, kernel
from ..simd.across import add_register_products, all_finite
from ..simd.registers import fma, group_size, like, load, load_even, load_group, load_odd, splat_group, store


@kernel
def load_inputs(call, block):
    """Transpose the block's rows into groups, zeros after the last row; False if a number is not finite."""
    x, memory, n_in = call.x, call.memory, call.plan.n_inputs
    at, group = block.region_offset + call.plan.inputs_offset, group_size(memory)
    if n_in == 2 and block.n_rows == group:
        # In registers: a vector loaded from memory that was just written number by number would have to wait for it.
        x_0, x_1 = load_even(x, 2 * block.row), load_odd(x, 2 * block.row)
        store(memory, at, x_0)
        store(memory, at + group, x_1)
        return all_finite(x_0) and all_finite(x_1)
    finite = True
    for k in range(n_in):
        load_column(memory, at, x, block.row * n_in + k, n_in, block.n_rows)
        finite = finite and all_finite(load_group(memory, at))
        at += group
    return finite


@kernel
def load_column(memory, at, source, source_at, stride, n_rows):
    """A group of n_rows numbers, `stride` apart in the source, and zeros."""
    group = group_size(memory)
    if stride == 1 and n_rows == group:
        store(memory, at, load_group(source, source_at))
        return
    for s in range(n_rows):
        memory[at + s] = source[source_at + s * stride]
    for s in range(n_rows, group):
        memory[at + s] = 0


@inlined
def preactivation(memory, unit, x_at, n_in):
    """z_j of the block, for the unit whose weights start at `unit`."""
    z_j = splat_group(memory, memory[unit])
    if n_in == 2:  # the lecture's, without a loop: fewer instructions where two processes share a core
        z_j = fma(memory[unit + 1], load_group(memory, x_at), z_j)
        return fma(memory[unit + 2], load_group(memory, x_at + group_size(memory)), z_j)
    for k in range(n_in):
        z_j = fma(memory[unit + 1 + k], load_group(memory, x_at + k * group_size(memory)), z_j)
    return z_j


@kernel
def add_to(memory, at, a, b):
    """The register at `at` += the products of two groups."""
    store(memory, at, add_register_products(load(memory, at), a, b))


@kernel
def add_all(memory, at, a):
    """The register at `at` += the registers of a group."""
    store(memory, at, add_register_products(load(memory, at), a, like(a, 1.0)))
