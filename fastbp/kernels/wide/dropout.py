"""Dropout: values are set to 0 with probability q, and the others multiplied by 1 / (1 - q). Srivastava et al. 2014.

Which ones is decided by a generator without a state, `math.random`: its key follows from the step (`plan.drop_key`) and
the layer, the number from the row of the batch and the unit. So the same values are dropped for any blocks and threads.
"""

import numpy as np

from ...compiler.jit import kernel
from ..math.random import mixed

ALL = 2**32


@kernel
def drop(plan, dropped, layer, memory, rows, row):
    """Drop out `dropped` of 2^32 numbers of a block's rows, the first of which is `row` in the batch."""
    key, factor, at = mixed(np.uint64(plan.drop_key), layer), ALL / (ALL - dropped), rows.offset
    for m in range(rows.n_rows):
        number = (row + m) * rows.n
        for i in range(rows.n):
            is_kept = np.int64(mixed(key, number + i) >> np.uint64(32)) >= dropped
            memory[at + i] = memory[at + i] * factor if is_kept else 0.0
        at += rows.stride
