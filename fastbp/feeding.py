"""Training on data larger than memory: batches are read ahead in the order of training, while others are computed.

A segment is as many batches of an epoch as are read at once. There is room for two: while steps take their rows from
one half, a thread fills the other. Which rows come when follows from (seed, epoch) alone, as for data in memory; the
size of a segment, and so the memory, changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from . import _threads, arrays
from .datasets import Dataset, place_of, take
from .descent import Descent
from .errors import DataError, FastbpError, InputError
from .kernels import descent as d
from .kernels.order import SHARDS, rows_entry
from .network import MLP
from .optimizers import OptimizerState
from .parameters import Parameters
from .plan import layout, schedule
from .workspace import machine

SEGMENT_ROWS = 8192  # two windows of each shard: what is read lies together
MEMORY = 2**28  # bytes, by default
_READING = 2**21  # bytes on their way from the file to their places


class Source:
    """A data set at the door: its rows in the form that kernels take."""

    def __init__(self, net: MLP, dataset: Dataset, dtype: np.dtype) -> None:
        self.net, self.dataset, self.dtype = net, dataset, dtype
        self.n_rows = _count(dataset)
        first = self.convert(0, dataset.read(0, 1))
        self.kinds = [(part.shape[1:], part.dtype) for part in first]
        self.row_bytes = sum(math.prod(shape) * kind.itemsize for shape, kind in self.kinds)

    def room(self, n: int) -> list[np.ndarray]:
        """Arrays for n rows."""
        return [np.empty((n, *shape), kind) for shape, kind in self.kinds]

    def convert(self, start: int, parts: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """x, y and perhaps sample_weight as the door lets them in; DataError that names the place."""
        if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
            raise InputError(
                f"read must return (x, y) or (x, y, sample_weight); {type(self.dataset).__name__} returned "
                f"{type(parts).__name__}"
            )
        x, y, *weight = parts
        try:
            x = arrays.as_inputs(x, self.net.n_inputs, self.dtype)
            y = arrays.as_targets(y, self.net, len(x), self.dtype)
            weights = [arrays.as_numbers("sample_weight", w, self.dtype) for w in weight]
        except InputError as error:
            raise DataError(f"{place_of(self.dataset, start)} and behind: {error}") from error
        if weights and not (weights[0].shape == (len(x),) and np.isfinite(weights[0]).all() and weights[0].min() >= 0):
            raise DataError(
                f"{place_of(self.dataset, start)} and behind: sample_weight must be finite, not negative, shape "
                f"({len(x)},); got shape {weights[0].shape}"
            )
        return [x, y, *weights]

    def rows(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Those rows, in memory."""
        out = self.room(len(numbers))
        places = take(self.dataset, numbers, out, self.convert)
        return [part[places] for part in out]

    def error(self, numbers: np.ndarray, parts: Sequence[np.ndarray]) -> DataError | None:
        """The error that names the place of the first value that the network cannot take; numbers : of those rows."""
        for what, part in zip(("x", "y"), parts, strict=False):
            found = arrays.first_bad_row(part) if part.dtype.kind == "f" else None
            if found is not None:
                return DataError(
                    f"{place_of(self.dataset, int(numbers[found[0]]))}: {what} must be finite; got {found[2]:g} in "
                    f"column {found[1]}. Correct or drop the row"
                )
        error = arrays.target_value_error(parts[1], self.net)
        return error and DataError(f"{place_of(self.dataset, int(numbers[0]))} and others: {error}")


def _own_bytes(params: Parameters, state: OptimizerState, batch_size: int, n_threads: int, drops: bool) -> int:
    """What the training takes beside the rows: parameters, gradient, state, and the kernels' memory."""
    vector = params.vector
    plan = schedule(layout(params.net, batch_size, vector.dtype, machine(), drops=drops), n_threads)
    kernels = plan.n_elements * vector.itemsize + plan.n_totals * 8
    return 3 * vector.nbytes + state.memory.nbytes + 2 * kernels + _READING


def _count(dataset: Dataset) -> int:
    n = dataset.n_rows
    if not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n_rows of a data set must be a positive integer; {type(dataset).__name__} has {n!r}")
    return int(n)


class FedDescent(Descent):
    """A descent whose rows are read while it runs; `memory` bounds the bytes of what is read ahead."""

    def __init__(
        self, net: MLP, params: Parameters, source: Source, *, batch_size: int, subset: np.ndarray | None, order: Any,
        seed: int, memory: int, **options: Any,
    ) -> None:  # fmt: skip
        self.source = source
        n = source.n_rows if subset is None else len(subset)
        batch_size = min(batch_size, n)
        n_batches = math.ceil(n / batch_size)
        threads, drops = _threads.resolve_threads(options["n_threads"]), any(options["dropout"])
        own = _own_bytes(params, options["state"], batch_size, threads, drops)
        room = (memory - own) // (2 * batch_size * source.row_bytes)
        if room < 1:
            least = own + 2 * batch_size * source.row_bytes
            raise InputError(
                f"training with batches of {batch_size} rows needs {least / 1e6:.4g} MB; got a memory limit of "
                f"{memory / 1e6:.4g} MB. Raise it, or choose smaller batches"
            )
        self.n_segment = min(room, n_batches, max(1, -(-SEGMENT_ROWS // batch_size)))
        self.buffers = source.room(2 * self.n_segment * batch_size)
        self._halves = [[b[i * len(b) // 2 : (i + 1) * len(b) // 2] for b in self.buffers] for i in range(2)]
        self._numbers = [np.empty(0, np.int64)] * 2  # of the rows in each half, in the order of training
        self._places = np.zeros(len(self.buffers[0]), np.int64)  # where in the buffers they are
        super().__init__(
            net, params, self.buffers[0], self.buffers[1], self.buffers[2] if len(self.buffers) == 3 else None,
            batch_size=batch_size, order=self._places, seed=seed, fed_rows=n, **options,
        )  # fmt: skip
        self.seed, self.all_rows, self.given = seed, subset, order
        self._half, self._first, self._last = 0, 0, 0  # the segment that steps take their rows from
        self._next: tuple[int, Future[Any]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="fastbp-reader")

    def run(self, first: int, count: int) -> np.ndarray:
        """As `Descent.run`, segment by segment."""
        notes = []
        while count > 0:
            self._need(first)
            n = min(count, self._last - first)
            made = super().run(first, n)
            notes.append(made)
            first, count = first + n, count - n
            if len(made) < n:
                break
        return np.concatenate(notes)

    def close(self) -> None:
        """End the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _need(self, t: int) -> None:
        """Let step t's rows be there, and the segment behind them be read."""
        if self._first <= t < self._last:
            return
        half = 1 - self._half
        if self._next is not None and self._next[0] == t:
            self._next[1].result()
        else:
            if self._next is not None:
                self._next[1].exception()  # it writes to the same half
            self._read(t, half)
        self._half, self._first, self._last = half, t, self._end(t)
        self.table[d.FIRST_FED] = t - half * self.n_segment
        self._next = self._last, self._reader.submit(self._read, self._last, 1 - half)

    def _end(self, t: int) -> int:
        """Behind the last step of the segment that starts with step t."""
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
        out, at = [buffer[:n] for buffer in self._halves[half]], half * len(self._places) // 2
        self._places[at : at + n] = take(self.source.dataset, rows, out, self.source.convert) + at

    def data_error(self, status: int) -> FastbpError:
        """The error that names the file and the row of what the kernels found."""
        numbers = np.unique(self._numbers[self._half])  # as they lie in the file, and in the buffers
        return self.source.error(numbers, [part[: len(numbers)] for part in self._halves[self._half]])
