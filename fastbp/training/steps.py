"""Training in steps: everything they share is prepared once, then as many as wanted, the small ones many in one call.

Step t, counted from 0, takes batch t % n_batches of epoch t // n_batches. Which rows, what is dropped out and the order
of every sum follow from (seed, t) and the data alone, so steps can stop and go on anywhere, on any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..compiler import threads as _threads
from ..engine.plan import Phase, layout, schedule
from ..engine.workspace import Batch, Want, machine
from ..errors import DivergenceError, FastbpError
from ..kernels import structures as k
from ..kernels.program.executor import STATUSES
from ..kernels.training.order import SHARDS
from ..kernels.wide import dropout as drops
from ..model.network import MLP
from ..model.parameters import Parameters
from ..optim.optimizer import OptimizerState
from .batches import BatchSource

SHARED_ROWS = 4096  # of a batch, from which on threads select them together
SHARED_PARAMETERS = 30_000  # from which on they update them together
_READING = 2**21  # bytes that were read from a file and are not yet copied to the buffers


class Descent:
    """Training in steps that write `params` and `state` in place.

    source : where the rows of each batch come from. dropout : of the inputs and of each hidden layer, a share of the
    values in [0, 1). reduction : "mean" or "sum" of a batch's losses.
    batches : the programs of a full batch and, if an epoch ends with one, of a shorter one. feed : the arrays that
    kernels read; rows : the numbers of the batch's rows, which its first phase writes. training : the TRAINING of
    `kernels.structures`, with the addresses of all this. is_stopped : asked every 50 ms, to leave a step before it has
    an effect.
    """

    def __init__(
        self, net: MLP, params: Parameters, source: BatchSource, *, state: OptimizerState,
        batch_size: int | None = None, seed: int = 0, l1: float = 0.0, l2: float = 0.0, dropout: Sequence[float] = (),
        reduction: str = "mean", n_threads: int | None = None,
    ) -> None:  # fmt: skip
        n, vector = source.n_rows, params.vector
        self.net, self.params, self.state, self.source = net, params, state, source
        self.batch_size = min(batch_size or n, n)
        self.n_batches = math.ceil(n / self.batch_size)
        self.gradient = Parameters(net, np.empty_like(vector))
        threads = _threads.resolve_threads(n_threads)
        sizes = [self.batch_size] + ([n % self.batch_size] if n % self.batch_size else [])
        stored = source.data.stored
        self.batches = [Batch(net, rows, vector.dtype, threads, stored, drops=any(dropout)) for rows in sizes]
        self._order = source.order_of(self.batch_size, self.n_batches)
        gathers_inputs = self.batches[0].layout.family == "small" or source.data.stored > 0
        self.feed = source.data if self._order == k.WHOLE else source.buffers(self.batch_size, gathers_inputs)
        self.rows = np.empty(self.batch_size, np.int64)
        self._shuffle = np.empty(SHARDS * max(batch.schedule.n_workers for batch in self.batches), np.int64)
        self.is_stopped: Callable[[], bool] | None = None
        self._kept: list[_Kept] = []
        self._goes_back = False
        self._trainings = k.records(k.TRAINING)
        self.training = self._trainings[0]
        want = Want(k.GRADIENT, net.loss_function.code, 1.0, l1, l2)
        for batch in self.batches:
            self._prepare(batch, want, [round(share * drops.ALL) for share in dropout] or [0], gathers_inputs)
        self._describe(seed, reduction)

    def _prepare(self, batch: Batch, want: Want, dropped: list[int], gathers_inputs: bool) -> None:
        """Let a batch's program be a step of training."""
        vector, header = self.params.vector, batch.header
        batch.bind(vector, self.feed, want, self.gradient.vector, vector[:0])
        reads_rows_of_x = not (self._order == k.WHOLE or gathers_inputs)
        header.rows_address = self.rows.ctypes.data if reads_rows_of_x else 0
        header.dropped_inputs = dropped[0]
        batch.layers.dropped[: len(dropped) - 1] = dropped[1:]
        header.training_address = self._trainings.ctypes.data
        selects_together = self.batch_size >= SHARED_ROWS and not self.feed.stored  # whose rows follow each other
        select = [] if self._order == k.WHOLE else [Phase(k.SELECT, is_shared=selects_together)]
        update = Phase(k.UPDATE_PARAMETERS, is_shared=vector.size >= SHARED_PARAMETERS)
        gradient = batch.schedule.phases
        batch.set_program((*select, Phase(k.PREPARE), *gradient, Phase(k.EVALUATE), update))

    def _describe(self, seed: int, reduction: str) -> None:
        """What kernels need of all steps."""
        training, data = self.training, self.source.data
        training.n_rows, training.batch_size, training.n_batches = self.source.n_rows, self.batch_size, self.n_batches
        training.seed, training.is_mean, training.order = seed, reduction == "mean", self._order
        training.order_address, training.n_order = self.source.order.ctypes.data, len(self.source.order)
        training.subset_address = 0 if self.source.subset is None else self.source.subset.ctypes.data
        training.n_source = len(data.x)
        training.rows_address, training.shuffle_address = self.rows.ctypes.data, self._shuffle.ctypes.data
        addresses = [array.ctypes.data for array in data.flat]
        training.x_address, training.y_address, training.labels_address, training.sample_weight_address = addresses
        if data.stored:
            training.indices_address, training.starts_address = data.x.indices.ctypes.data, data.x.starts.ctypes.data
            training.n_stored = len(data.x.indices)
        training.optimizer_address = self.state.address
        training.plan_address, training.last_plan_address = self.batches[0].address, self.batches[-1].address

    @property
    def is_one_launch(self) -> bool:
        """Whether steps are so small that each is one launch: then many are made in one call, on one thread."""
        return all(len(batch.launches) == 1 for batch in self.batches)

    @property
    def steps_a_call(self) -> int:
        """How many steps take less than 50 ms."""
        return self.batches[0].schedule.repeats

    def n_samples(self, first: int, last: int) -> int:
        """The rows that the steps first to last - 1 take."""
        before, after = (
            step // self.n_batches * self.source.n_rows + step % self.n_batches * self.batch_size
            for step in (first, last)
        )
        return after - before

    def run(self, first: int, count: int) -> np.recarray:
        """Make steps first, ..., first + count - 1; returns what they leave, a RECORD of `kernels.structures` each.

        Fewer of them if it was stopped. InputError for data that the network cannot take, DivergenceError when loss,
        gradient or parameters are not finite; the parameters are then the last ones whose loss was.
        """
        records, done = k.records(k.RECORD, count), 0
        while done < count:
            self.training.first_prefetched, ready = self.source.wait_for_rows(first + done, count - done)
            made = self._run(first + done, records[done : done + ready])
            done += made
            if made < ready:
                break
        return records[:done]

    def _run(self, first: int, records: np.recarray) -> int:
        if not self._goes_back:
            self._keep(first)
        updates = self.state.optimizer.constants(self.state.step, len(records), self.state.scale)
        training = self.training
        training.step = first
        # Kernels find both by their addresses: they live as long as this call.
        training.update_address, training.record_address = updates.ctypes.data, records.ctypes.data
        is_stopped = None if self._goes_back else self.is_stopped
        run = self._run_many if self.is_one_launch else self._run_each
        return run(first, records, is_stopped)

    def _run_each(self, first: int, records: np.recarray, is_stopped: Callable[[], bool] | None) -> int:
        """Steps of several launches each, some of them on threads."""
        step, update, record = (self._trainings[name] for name in ("step", "update_address", "record_address"))
        for done in range(len(records)):
            if is_stopped is not None and is_stopped():
                return done
            is_last = (first + done + 1) % self.n_batches == 0
            status = self.batches[-1 if is_last else 0].run(self.params.vector, is_stopped)
            if status == k.STOPPED:
                return done
            if status:
                raise self._error(status, first + done, records[done])
            self.state.step += 1
            step += 1
            update += k.UPDATE.itemsize
            record += k.RECORD.itemsize
        return len(records)

    def _run_many(self, first: int, records: np.recarray, is_stopped: Callable[[], bool] | None) -> int:
        """Steps of one launch each, as many in one call as take 50 ms."""
        entries, address, done = self.batches[0].entries, self._trainings.ctypes.data, 0
        while done < len(records):
            count = min(self.steps_a_call, len(records) - done)
            n, status = divmod(entries.steps(self.params.vector, address, count), STATUSES)
            self.state.step += n
            done += n
            if status:
                raise self._error(status, first + done, records[done])
            if is_stopped is not None and is_stopped():
                break
        return done

    # -- back to the last sound parameters -------------------------------------------------------------

    def _keep(self, t: int) -> None:
        """Keep the state before step t, beside that before the last run: from it, steps can be made again."""
        if len(self._kept) < 2:
            self._kept.append(_Kept(t, self.params.vector.copy(), self.state.copy()))
            return
        self._kept.reverse()
        self._kept[1].t = t
        self._kept[1].vector[...] = self.params.vector
        self._kept[1].state.assign(self.state)

    def _go_back(self, t: int) -> None:
        """Bring parameters and state to what they were before step t, or as near to it as is known."""
        kept = next((kept for kept in reversed(self._kept) if kept.t <= t), self._kept[0])
        self.params.vector[...] = kept.vector
        self.state.assign(kept.state)
        if t > kept.t:
            self._goes_back = True
            self.run(kept.t, t - kept.t)

    # -- errors ----------------------------------------------------------------------------------------

    def _error(self, status: int, t: int, record: np.record) -> FastbpError:
        if not status & (k.BAD_LOSS | k.BAD_UPDATE):
            return self.source.data_error(self.net, status)
        loss = record.data_loss + record.penalty
        where = _first_not_finite(self.net, self.params, self.gradient)
        self._go_back(t if status & k.BAD_UPDATE else t - 1)
        rate = float(self.state.optimizer.schedule(self.state.step)) * self.state.scale
        batch = f", batch {t % self.n_batches + 1} of epoch {t // self.n_batches + 1}" if self.n_batches > 1 else ""
        return DivergenceError(
            f"the training diverged at step {t + 1:,}{batch}, loss {loss:.4g}: {where}. The learning rate {rate:g} is "
            f"most likely too large; try {rate / 10:g}, or clip_norm=1 in the optimizer. The parameters are those of "
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
    """Parameters and optimizer's state before step t."""

    t: int
    vector: np.ndarray
    state: OptimizerState


def own_bytes(
    params: Parameters, state: OptimizerState, batch_size: int, n_threads: int | None, drops: bool
) -> int:  # fmt: skip
    """What the training takes beside the rows: parameters, gradient, state, and the kernels' memory."""
    vector = params.vector
    threads = _threads.resolve_threads(n_threads)
    plan = schedule(layout(params.net, batch_size, vector.dtype, machine(), drops=drops), threads)
    kernels = plan.n_memory * vector.itemsize + plan.n_accumulated * 8
    return 3 * vector.nbytes + state.memory.nbytes + 2 * kernels + _READING
