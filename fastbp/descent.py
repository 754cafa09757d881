"""Steps of training on arrays: prepared once, then as many as wanted, the small ones many in one compiled call.

Step t, counted from 0, takes batch t % n_batches of epoch t // n_batches. Which rows, what is dropped out and the order
of every sum follow from (seed, t) and the data alone, so steps can stop and go on anywhere, on any number of threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _threads, backprop
from .csr import CSR
from .errors import DivergenceError, FastbpError
from .kernels import descent as d
from .kernels import dropout as drops
from .kernels import fields as f
from .network import MLP
from .optimizers import OptimizerState
from .parameters import Parameters
from .workspace import Batch

SHARED_ROWS = 4096  # of a batch, from which on threads choose them together
SHARED_PARAMETERS = 30_000  # from which on they update them together


class Descent:
    """Training in steps that write `params` and `state` in place.

    x, y, sample_weight : as the door let them in. subset : the rows to train on, int64, all of them by default.
    order : "shuffled", "sequential", or rows (of the subset), int64, epoch by epoch. fed_rows : of an epoch, where x is
    room for the next few batches and order says where in it each row is, see `fastbp.feeding`.
    dropout : of the inputs and of each hidden layer, a share of the values in [0, 1).
    """

    def __init__(
        self, net: MLP, params: Parameters, x: Any, y: np.ndarray, sample_weight: np.ndarray | None, *,
        state: OptimizerState, batch_size: int | None = None, seed: int = 0, order: Any = "shuffled",
        subset: np.ndarray | None = None, l1: float = 0.0, l2: float = 0.0, dropout: Sequence[float] = (),
        reduction: str = "mean", n_threads: int | None = None, fed_rows: int | None = None,
    ) -> None:  # fmt: skip
        n, vector = fed_rows or len(x if subset is None else subset), params.vector
        self.net, self.params, self.state = net, params, state
        self.x, self.y, self.n_rows, self.subset = x, y, n, subset
        self.batch_size = min(batch_size or n, n)
        self.n_batches = math.ceil(n / self.batch_size)
        self.gradient = Parameters(net, np.empty_like(vector))
        self.data = _Arrays(vector, x, y, sample_weight)
        is_whole = self.batch_size == n == len(x) and isinstance(order, str) and not fed_rows
        threads, has_dropout = _threads.resolve_threads(n_threads), any(dropout)
        rows_of = [self.batch_size] + ([n % self.batch_size] if n % self.batch_size else [])
        self.batches = [
            Batch(net, rows, vector.dtype, threads, self.data.stored, drops=has_dropout) for rows in rows_of
        ]
        is_lanes = self.batches[0].layout.family == "lanes"
        self.feed = self.data if is_whole else self.data.room(self.batch_size, is_lanes)
        self.rows = np.empty(self.batch_size, np.int64)
        self._order = order if isinstance(order, np.ndarray) else np.empty(0, np.int64)
        self._slots = np.empty(64 * max(batch.schedule.n_workers for batch in self.batches), np.int64)
        self.arguments = []
        for batch in self.batches:
            nothing = vector[:0]
            arguments = batch.arguments(
                self.feed, net.loss_function.code, f.GRADIENT, self.gradient.vector, nothing, 1.0, l1, l2
            )
            self.arguments.append(arguments)
            if not (is_whole or is_lanes or self.data.stored):
                batch.fields[f.ROWS_AT] = self.rows.ctypes.data
            shares = [round(share * drops.ALL) for share in dropout] or [0]
            batch.fields[f.DROP_INPUTS] = shares[0]
            for layer, dropped in enumerate(shares[1:]):
                batch.fields[f.record(layer) + f.DROP] = dropped
        is_shuffled = isinstance(order, str) and order == "shuffled" and self.n_batches > 1
        kind = d.WHOLE if is_whole else d.KEYED if is_shuffled else d.SEQUENTIAL
        if self._order.size:
            kind = d.FED if fed_rows else d.GIVEN
        self.entries = d.entries(vector.dtype)
        self._kept: list[_Kept] = []
        self._goes_back = False
        self.is_stopped: Callable[[], bool] | None = None  # asked every 50 ms, to leave a step before it has an effect
        self.table = self._table(kind, seed, reduction)
        self._shares = [
            functools.partial(batch.share, self.entries.team, (self.table, vector), d.FIRST_SIZE + i * d.SIZE)
            for i, batch in enumerate(self.batches)
        ]
        self._is_whole = is_whole

    def _table(self, order: int, seed: int, reduction: str) -> np.ndarray:
        table = np.zeros(d.DESCENT, np.int64)
        places = {
            d.N_DATA: self.n_rows, d.N_SOURCE: len(self.x), d.BATCH: self.batch_size, d.N_BATCHES: self.n_batches,
            d.SEED: seed,
            d.ORDER: order, d.ORDER_AT: self._order.ctypes.data, d.N_ORDER: len(self._order),
            d.ROWS: self.rows.ctypes.data, d.SLOTS: self._slots.ctypes.data,
            d.GRADIENT: self.gradient.vector.ctypes.data, d.OPTIMISER_AT: self.state.record.ctypes.data,
            d.WORK: self.batches[0].address, d.IS_MEAN: int(reduction == "mean"),
            d.SUBSET_AT: 0 if self.subset is None else self.subset.ctypes.data,
        }  # fmt: skip
        for name, value in places.items():
            table[name] = value
        table[d.X : d.X + 4] = [array.ctypes.data for array in self.data.flat]
        table[d.BATCH_X : d.BATCH_X + 4] = [array.ctypes.data for array in self.feed.flat]
        for i in range(2):
            batch = self.batches[min(i, len(self.batches) - 1)]
            at = d.FIRST_SIZE + i * d.SIZE
            table[at : at + d.SIZE] = (
                batch.fields.ctypes.data, batch.constants.ctypes.data, batch.memory.ctypes.data, batch.memory.size,
                batch.totals.ctypes.data, batch.totals.size, batch.program.ctypes.data, len(batch.schedule.steps),
            )  # fmt: skip
        return table

    @property
    def is_small(self) -> bool:
        """Whether steps are so small that many are made in one call, on one thread."""
        return not self.data.stored and all(
            batch.schedule.n_workers == 1 and len(batch.schedule.calls) == 1 for batch in self.batches
        )

    @property
    def steps_a_call(self) -> int:
        """How many steps take less than 50 ms."""
        return self.batches[0].schedule.repeats

    def n_samples(self, first: int, last: int) -> int:
        """The rows that the steps first to last - 1 take."""
        before, behind = (
            step // self.n_batches * self.n_rows + step % self.n_batches * self.batch_size for step in (first, last)
        )
        return behind - before

    def run(self, first: int, count: int) -> np.ndarray:
        """Make steps first, ..., first + count - 1; returns their notes, (count, N_NOTES): data loss, penalty, weight.

        Fewer of them if it was stopped. InputError for data that the network cannot take, DivergenceError when loss,
        gradient or parameters are not finite; the parameters are then the last ones whose loss was.
        """
        notes = np.empty((count, d.N_NOTES))
        if not self._goes_back:
            self._keep(first)
        constants = self.state.optimizer.constants(self.state.step, count, self.state.scale)
        run = self._run_many if self.is_small else self._run_each
        return notes[: run(first, constants, notes)]

    def _run_many(self, first: int, constants: np.ndarray, notes: np.ndarray) -> int:
        done, n_call = 0, self.steps_a_call
        while done < len(notes):
            part = slice(done, done + n_call)
            rows, noted = constants[part].reshape(-1), notes[part].reshape(-1)
            n, status = divmod(
                self.entries.steps(self.table, self.params.vector, rows, noted, first + done), d.STATUSES
            )
            self.state.step += n
            done += n
            if status:
                raise self._error(status, first + done, notes[done])
            if self.is_stopped is not None and self.is_stopped():
                break
        return done

    def _run_each(self, first: int, constants: np.ndarray, notes: np.ndarray) -> int:
        for k in range(len(notes)):
            if self.is_stopped is not None and self.is_stopped():
                return k
            row_at = constants.ctypes.data + k * constants.strides[0]
            status = self._step(first + k, constants[k], row_at, notes[k])
            if status == backprop.STOPPED:
                return k
            if status:
                raise self._error(status, first + k, notes[k])
            self.state.step += 1
        return len(notes)

    def _step(self, t: int, constants: np.ndarray, row_at: int, notes: np.ndarray) -> int:
        """One step, its parts shared out to threads; row_at is the address of the constants. Returns a status."""
        i = 1 if (t + 1) % self.n_batches == 0 and len(self.batches) > 1 else 0
        batch, vector, share = self.batches[i], self.params.vector, self._shares[i]
        is_shared = batch.schedule.n_workers > 1
        chooses = self.batch_size < SHARED_ROWS or self._is_whole or not is_shared
        updates = vector.size < SHARED_PARAMETERS or not is_shared
        if not chooses:
            share((d.CHOOSE, 0, t, 1))
        self.entries.before(self.table, vector, notes, 0, t, chooses)
        arguments = self._sparse_arguments(i) if self.data.stored else self.arguments[i]
        status = backprop.run_program(batch, arguments, self.is_stopped, share)
        if status:
            return status
        status = self.entries.after(self.table, vector, constants, notes, 0, t, updates)
        return status if status or updates else share((d.UPDATE, 0, row_at, 1))

    def _sparse_arguments(self, i: int) -> tuple[np.ndarray, ...]:
        """The arguments of a gradient of a batch of sparse inputs, gathered here."""
        batch, arguments = self.batches[i], self.arguments[i]
        if self._is_whole:
            return arguments
        self._sparse_batch = x = self.x[self.rows[: batch.fields[f.N_ROWS]]]
        addresses = x.indices.ctypes.data, x.starts.ctypes.data
        batch.fields[f.INDICES_ADDRESS : f.HEADER] = *addresses, len(x.indices)
        self.table[d.BATCH_X] = x.values.ctypes.data
        return *arguments[:3], x.values, *arguments[4:]

    def rows_of_epoch(self) -> tuple[Any, np.ndarray]:
        """x and y of all rows that are trained on."""
        rows = slice(None) if self.subset is None else self.subset
        return self.x[rows], self.y[rows]

    def close(self) -> None:
        """Nothing is left open."""

    # -- the way back ----------------------------------------------------------------------------------

    def _keep(self, t: int) -> None:
        """Note the state before step t, beside that before the last run: from it, steps can be made again."""
        if len(self._kept) < 2:
            self._kept.append(_Kept(t, self.params.vector.copy(), self.state.copy()))
            return
        self._kept.reverse()
        self._kept[1].t = t
        self._kept[1].vector[...] = self.params.vector
        self._kept[1].state.take(self.state)

    def _go_back(self, t: int) -> None:
        """Bring parameters and state to what they were before step t, or as near to it as is known."""
        kept = next((kept for kept in reversed(self._kept) if kept.t <= t), self._kept[0])
        self.params.vector[...] = kept.vector
        self.state.take(kept.state)
        if t > kept.t:
            self._goes_back = True
            self.run(kept.t, t - kept.t)

    # -- errors ----------------------------------------------------------------------------------------

    def data_error(self, status: int) -> FastbpError:
        """The error that names what the kernels found in the data."""
        return backprop.data_error(self.net, self.data, status)

    def _error(self, status: int, t: int, notes: np.ndarray) -> FastbpError:
        if not status & (d.BAD_LOSS | d.BAD_UPDATE):
            return self.data_error(status)
        loss = notes[d.DATA_LOSS] + notes[d.PENALTY]
        where = _first_not_finite(self.net, self.params, self.gradient)
        self._go_back(t if status & d.BAD_UPDATE else t - 1)
        rate = float(self.state.optimizer.schedule(self.state.step)) * self.state.scale
        batch = f", batch {t % self.n_batches + 1} of epoch {t // self.n_batches + 1}" if self.n_batches > 1 else ""
        return DivergenceError(
            f"the training diverged at step {t + 1:,}{batch}, loss {loss:.4g}: {where}. The learning rate {rate:g} is "
            f"most likely too large; try {rate / 10:g}, or clip_norm=1 in the optimiser. The parameters are those of "
            "the last step whose loss was finite"
        )


def _first_not_finite(net: MLP, params: Parameters, gradient: Parameters) -> str:
    """Where the first number is that is not finite."""
    kinds = (("overflow in the", params), ("overflow in the gradient of the", gradient))
    for prefix, values in kinds:
        for number, layer in enumerate(net.layers, start=1):
            for name, part in (("weights", layer.weights), ("biases", layer.biases)):
                if not np.isfinite(values.vector[part]).all():
                    return f"{prefix} {name} of layer {number} of {len(net.layers)}"
    return f"overflow in the outputs, layer {len(net.layers)} of {len(net.layers)}"


@dataclass
class _Kept:
    """Parameters and optimiser's state before step t."""

    t: int
    vector: np.ndarray
    state: OptimizerState


class _Arrays:
    """The arrays that a call takes, of all rows or of a batch; see `backprop.Data`."""

    __slots__ = ("flat", "nothing", "sample_weight", "stored", "vector", "x", "y")

    def __init__(self, vector: np.ndarray, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.vector, self.x, self.y, self.nothing = vector, x, y, vector[:0]
        self.stored = x.stored_per_row if isinstance(x, CSR) else 0
        self.sample_weight = self.nothing if sample_weight is None else sample_weight
        targets, labels = (self.nothing, y) if y.dtype == np.int64 else (y.reshape(-1), np.empty(0, np.int64))
        self.flat = (x.values if self.stored else x.reshape(-1), targets, labels, self.sample_weight)

    def room(self, n: int, takes_inputs: bool) -> _Arrays:
        """The same for n rows, to be filled; x itself unless it is taken, too."""
        x = np.empty((n, self.x.shape[1]), self.vector.dtype) if takes_inputs else self.x
        weights = np.empty(n, self.vector.dtype) if self.sample_weight.size else None
        return _Arrays(self.vector, x, np.empty((n, *self.y.shape[1:]), self.y.dtype), weights)
