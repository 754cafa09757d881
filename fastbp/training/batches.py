"""Where the rows of a batch come from: all of them, in a keyed order, as they lie, as given, or read ahead."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import backprop
from ..engine.csr import CSR
from ..errors import FastbpError
from ..kernels import structures as k
from ..model.network import MLP


class Arrays:
    """Inputs, targets and weights as kernels take them, of all rows or of a batch; see `backprop.Data`."""

    __slots__ = ("flat", "nothing", "sample_weight", "stored", "vector", "x", "y")

    def __init__(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.stored = x.stored_per_row if isinstance(x, CSR) else 0
        numbers = x.values if self.stored else x.reshape(-1)
        self.x, self.y, self.vector, self.nothing = x, y, None, numbers[:0]
        self.sample_weight = self.nothing if sample_weight is None else sample_weight
        has_labels = y.dtype == np.int64
        targets, labels = (self.nothing, y) if has_labels else (y.reshape(-1), np.empty(0, np.int64))
        self.flat = (numbers, targets, labels, self.sample_weight)

    def with_vector(self, vector: np.ndarray) -> Arrays:
        """These arrays, to be used with parameters."""
        self.vector = vector
        return self


class BatchSource:
    """Rows of arrays in memory, in an order.

    x, y, sample_weight : as the engine lets them in. subset : the rows to train on, int64, all of them by default.
    order : "shuffled", "sequential", or rows (of the subset), int64, epoch by epoch.
    """

    def __init__(
        self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None = None, *, order: Any = "shuffled",
        subset: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.data, self.subset = Arrays(x, y, sample_weight), subset
        self.n_rows = len(x if subset is None else subset)
        self.order = order if isinstance(order, np.ndarray) else np.empty(0, np.int64)
        self._is_shuffled = isinstance(order, str) and order == "shuffled"

    def order_of(self, batch_size: int, n_batches: int) -> int:
        """How batches of that size come by their rows: a code of `kernels.structures`."""
        if self.order.size:
            return k.GIVEN
        if batch_size == self.n_rows == len(self.data.x):
            return k.WHOLE
        return k.KEYED if self._is_shuffled and n_batches > 1 else k.SEQUENTIAL

    def buffers(self, n: int, *, gathers_inputs: bool) -> Arrays:
        """Arrays for the n rows of a batch; x itself where kernels read its rows one by one."""
        x, y = self.data.x, self.data.y
        if self.data.stored:
            x = self._sparse_buffer(n)
        elif gathers_inputs:
            x = np.empty((n, x.shape[1]), x.dtype)
        weights = np.empty(n, self.data.sample_weight.dtype) if self.data.sample_weight.size else None
        return Arrays(x, np.empty((n, *y.shape[1:]), y.dtype), weights)

    def _sparse_buffer(self, n: int) -> CSR:
        """Sparse inputs for the n rows that hold the most."""
        x = self.data.x
        stored = np.diff(x.starts)
        most = n * int(stored.max()) if self.order.size else int(np.partition(stored, len(x) - n)[len(x) - n :].sum())
        starts = np.zeros(n + 1, np.int64)
        starts[1:] = most  # until the first batch is gathered
        return CSR(np.empty(most, x.values.dtype), np.zeros(most, np.int32), starts, x.shape[1])

    def need(self, t: int, count: int) -> tuple[int, int]:
        """Let the rows of step t and of some after it be there: the step whose rows come first, and of how many."""
        return 0, count

    def rows_of_epoch(self) -> tuple[Any, np.ndarray]:
        """x and y of all rows that are trained on."""
        rows = slice(None) if self.subset is None else self.subset
        return self.data.x[rows], self.data.y[rows]

    def data_error(self, net: MLP, status: int) -> FastbpError:
        """The error that names what the kernels found in the data."""
        return backprop.data_error(net, self.data, status)

    def close(self) -> None:
        """Nothing is left open."""
