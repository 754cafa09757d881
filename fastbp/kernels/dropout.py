"""Dropout: values are set to 0 with probability q, and the others multiplied by 1 / (1 - q). Srivastava et al. 2014.

Which ones is decided by a generator without a state, `order.mixed`: its key follows from the step (`DROP_KEY`) and the
layer, the number from the row of the batch and the unit. So the same values are dropped for any blocks and threads.
"""

import numpy as np

from .._jit import kernel
from .fields import DROP_KEY
from .order import mixed

ALL = 2**32


@kernel
def drop(plan, dropped, layer, a, at, step, row, n_rows, n):
    """Drop out `dropped` of 2^32 numbers among n_rows rows of n, `step` apart, from row `row` of the batch on."""
    key, factor = mixed(np.uint64(plan[DROP_KEY]), layer), ALL / (ALL - dropped)
    for m in range(n_rows):
        number = (row + m) * n
        for i in range(n):
            is_kept = np.int64(mixed(key, number + i) >> np.uint64(32)) >= dropped
            a[at + i] = a[at + i] * factor if is_kept else 0.0
        at += step
