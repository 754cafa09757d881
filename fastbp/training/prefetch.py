"""Training on data larger than memory: batches are read ahead in the order of training, while others are computed.

A segment is as many batches of an epoch as are read at once. Buffers hold two: while steps take their rows from one
half, a thread fills the other. Which rows come when follows from (seed, epoch) alone, as for data in memory; the
size of a segment, and so the memory, changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..data.datasets import Dataset, place_of, read_rows
from ..engine import inputs
from ..errors import DataError, FastbpError, InputError
from ..kernels import structures as k
from ..kernels.training.order import SHARDS, rows_entry
from ..model.network import MLP
from .batches import BatchSource

SEGMENT_ROWS = 8192  # two windows of each shard: what is read lies together
MEMORY = 2**28  # bytes, by default


class CheckedDataset:
    """A data set whose rows are validated as they are read, and converted to the form that kernels take."""

    def __init__(self, net: MLP, dataset: Dataset, dtype: np.dtype) -> None:
        self.net, self.dataset, self.dtype = net, dataset, dtype
        self.n_rows = _count(dataset)
        first = self.convert(0, dataset.read(0, 1))
        self.kinds = [(part.shape[1:], part.dtype) for part in first]
        self.row_bytes = sum(math.prod(shape) * kind.itemsize for shape, kind in self.kinds)

    def buffers(self, n: int) -> list[np.ndarray]:
        """Arrays for n rows."""
        return [np.empty((n, *shape), kind) for shape, kind in self.kinds]

    def convert(self, start: int, parts: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """x, y and perhaps sample_weight as validation lets them pass; DataError that names the place."""
        if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
            raise InputError(
                f"read must return (x, y) or (x, y, sample_weight); {type(self.dataset).__name__} returned "
                f"{type(parts).__name__}"
            )
        x, y, *weight = parts
        try:
            x = inputs.as_inputs(x, self.net.n_inputs, self.dtype)
            y = inputs.as_targets(y, self.net, len(x), self.dtype)
            weights = [inputs.as_numbers("sample_weight", w, self.dtype) for w in weight]
        except InputError as error:
            raise DataError(f"{place_of(self.dataset, start)} and the rows after it: {error}") from error
        if weights and not (weights[0].shape == (len(x),) and np.isfinite(weights[0]).all() and weights[0].min() >= 0):
            raise DataError(
                f"{place_of(self.dataset, start)} and the rows after it: sample_weight must be finite, not negative, "
                f"shape ({len(x)},); got shape {weights[0].shape}"
            )
        return [x, y, *weights]

    def rows(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Those rows, in memory."""
        out = self.buffers(len(numbers))
        places = read_rows(self.dataset, numbers, out, self.convert)
        return [part[places] for part in out]

    def error(self, numbers: np.ndarray, parts: Sequence[np.ndarray]) -> DataError | None:
        """The error that names the place of the first value that the network cannot take; numbers : of those rows."""
        for what, part in zip(("x", "y"), parts, strict=False):
            found = inputs.first_bad_row(part) if part.dtype.kind == "f" else None
            if found is not None:
                return DataError(
                    f"{place_of(self.dataset, int(numbers[found[0]]))}: {what} must be finite; got {found[2]:g} in "
                    f"column {found[1]}. Correct or drop the row"
                )
        error = inputs.target_value_error(parts[1], self.net)
        return error and DataError(f"{place_of(self.dataset, int(numbers[0]))} and others: {error}")


def _count(dataset: Dataset) -> int:
    n = dataset.n_rows
    if not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n_rows of a data set must be a positive integer; {type(dataset).__name__} has {n!r}")
    return int(n)


class Prefetched(BatchSource):
    """Rows of a data set, read ahead while steps are computed.

    memory : the bytes that the whole training may take, own_bytes of them for parameters, state and kernels. The rest
    decides how many batches a segment has, and no bit.
    """

    def __init__(
        self, rows: CheckedDataset, *, batch_size: int, subset: np.ndarray | None, order: Any, seed: int, memory: int,
        own_bytes: int,
    ) -> None:  # fmt: skip
        self.source, self.all_rows, self.given, self.seed = rows, subset, order, seed
        n = rows.n_rows if subset is None else len(subset)
        self.batch_size = min(batch_size, n)
        self.n_batches = math.ceil(n / self.batch_size)
        batch_bytes = 2 * self.batch_size * rows.row_bytes
        segment = (memory - own_bytes) // batch_bytes
        if segment < 1:
            raise InputError(
                f"training with batches of {self.batch_size} rows needs {(own_bytes + batch_bytes) / 1e6:.4g} MB; got "
                f"a memory limit of {memory / 1e6:.4g} MB. Raise it, or choose smaller batches"
            )
        self.n_segment = min(segment, self.n_batches, max(1, -(-SEGMENT_ROWS // self.batch_size)))
        buffers = rows.buffers(2 * self.n_segment * self.batch_size)
        self._halves = [[b[i * len(b) // 2 : (i + 1) * len(b) // 2] for b in buffers] for i in range(2)]
        self._numbers = [np.empty(0, np.int64)] * 2  # of the rows in each half, in the order of training
        super().__init__(*buffers, order=np.zeros(len(buffers[0]), np.int64))  # where in the buffers the rows are
        self.n_rows = n
        self._half, self._first, self._last = 0, 0, 0  # the segment that steps take their rows from
        self._next: tuple[int, Future[Any]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="fastbp-reader")

    def order_of(self, batch_size: int, n_batches: int) -> int:
        """As they were read."""
        return k.PREFETCHED

    def close(self) -> None:
        """End the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def wait_for_rows(self, t: int, count: int) -> tuple[int, int]:
        """Return when the segment of step t is in memory; the thread then reads the next one."""
        if not self._first <= t < self._last:
            self._advance(t)
        return self._first - self._half * self.n_segment, min(count, self._last - t)

    def _advance(self, t: int) -> None:
        half = 1 - self._half
        if self._next is not None and self._next[0] == t:
            self._next[1].result()
        else:
            if self._next is not None:
                self._next[1].exception()  # it writes to the same half
            self._read(t, half)
        self._half, self._first, self._last = half, t, self._end(t)
        self._next = self._last, self._reader.submit(self._read, self._last, 1 - half)

    def _end(self, t: int) -> int:
        """After the last step of the segment that starts with step t."""
        return min(t + self.n_segment, (t // self.n_batches + 1) * self.n_batches)

    def _read(self, t: int, half: int) -> None:
        epoch, first = t // self.n_batches, t % self.n_batches * self.batch_size
        n = min((self._end(t) - t) * self.batch_size, self.n_rows - first)
        rows = np.empty(n, np.int64)
        if isinstance(self.given, np.ndarray):
            start = epoch * self.n_rows + first
            rows[:] = np.take(self.given, np.arange(start, start + n), mode="wrap")
        elif self.given == "shuffled" and self.n_batches > 1:
            rows_entry()(rows, self.n_rows, self.seed, epoch, first, np.empty(SHARDS, np.int64))
        else:
            rows[:] = np.arange(first, first + n)
        self._numbers[half] = rows = rows if self.all_rows is None else self.all_rows[rows]
        out, at = [buffer[:n] for buffer in self._halves[half]], half * len(self.order) // 2
        self.order[at : at + n] = read_rows(self.source.dataset, rows, out, self.source.convert) + at

    def data_error(self, net: MLP, status: int) -> FastbpError:
        """The error that names the file and the row of what the kernels found."""
        numbers = np.unique(self._numbers[self._half])  # as they lie in the file, and in the buffers
        return self.source.error(numbers, [part[: len(numbers)] for part in self._halves[self._half]])
