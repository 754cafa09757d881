"""The smaller and the larger of two whole numbers; Numba's own take longer to compile than most kernels."""

from ...compiler.jit import kernel


@kernel
def smaller(a, b):
    """min(a, b)."""
    return a if a < b else b


@kernel
def larger(a, b):
    """max(a, b)."""
    return a if a > b else b
