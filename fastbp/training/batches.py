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

    __slots__ = ("flat", "nothing", "sample_weight", "stored", "x", "y")

    def __init__(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.stored = x.stored_per_row if isinstance(x, CSR) else 0
        numbers = x.values if self.stored else x.reshape(-1)
        self.x, self.y, self.nothing = x, y, numbers[:0]
        self.sample_weight = self.nothing if sample_weight is None else sample_weight
        has_labels = y.dtype == np.int64
        targets, labels = (self.nothing, y) if has_labels else (y.reshape(-1), np.empty(0, np.int64))
        self.flat = (numbers, targets, labels, self.sample_weight)


class BatchSource:
    """Rows of arrays in memory, in an order.

    x, y, sample_weight : validated, as the kernels read them. subset : the rows to train on, int64, by default all.
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

    def buffers(self, n: int, gathers_inputs: bool) -> Arrays:
        """Arrays for the n rows of a batch; x itself where kernels read its rows one by one."""
        x, y = self.data.x, self.data.y
        if gathers_inputs:
            x = self._sparse_buffer(n) if self.data.stored else np.empty((n, x.shape[1]), x.dtype)
        weights = np.empty(n, self.data.sample_weight.dtype) if self.data.sample_weight.size else None
        return Arrays(x, np.empty((n, *y.shape[1:]), y.dtype), weights)

    def _sparse_buffer(self, n: int) -> CSR:
        """Sparse inputs for the batch of n rows that holds the most numbers."""
        x = self.data.x
        most = self._most_stored(np.diff(x.starts), n)
        starts = np.zeros(n + 1, np.int64)
        starts[1:] = most  # until the first batch is gathered
        return CSR(np.empty(most, x.values.dtype), np.zeros(most, np.int32), starts, x.shape[1])

    def _most_stored(self, stored: np.ndarray, n: int) -> int:
        """How many numbers a batch of n rows may hold, of rows that hold so many each."""
        stored = stored if self.subset is None else stored[self.subset]
        if not self.order.size:  # any n rows, each once
            return int(np.partition(stored, len(stored) - n)[len(stored) - n :].sum())
        # The order goes on from its start, and batches begin anew in every epoch: any n rows that follow each other.
        given = stored[np.concatenate([self.order, np.resize(self.order, n)])]
        sums = np.concatenate([[0], np.cumsum(given)])
        return int((sums[n:] - sums[:-n]).max())

    def wait_for_rows(self, t: int, count: int) -> tuple[int, int]:
        """Return when the rows of step t are in memory: (the step whose rows lie first in the buffers, steps).

        steps : how many from step t on have their rows there, `count` at most. Here all rows always are.
        """
        return 0, count

    def rows_of_epoch(self) -> tuple[Any, np.ndarray]:
        """x and y of all rows that are trained on."""
        rows = slice(None) if self.subset is None else self.subset
        return self.data.x[rows], self.data.y[rows]

    def data_error(self, net: MLP, status: int) -> FastbpError:
        """The error that names what the kernels found in the data."""
        return backprop.data_error(net, self.data, status)

    def close(self) -> None:
        """Close what is open: here nothing is."""
