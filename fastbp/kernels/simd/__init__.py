"""Vector registers as values: what kernels are written in."""
