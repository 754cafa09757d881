"""Explicit-loop kernels. Kernels trust their arguments: every check is made at the door, in `fastbp.engine.inputs`."""
