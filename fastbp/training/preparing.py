"""What a training starts from: data that are checked and split, the size and order of batches, and the steps on them.

Each is settled once: the split by `arguments`, then, by the number of rows that are left, the batch size.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .. import optim
from ..data.datasets import Dataset
from ..engine import csr, inputs
from ..model.network import MLP
from ..model.parameters import Parameters
from . import arguments
from .batches import BatchSource
from .checkpoint import fingerprint
from .prefetch import CheckedDataset, Prefetched
from .steps import Descent, own_bytes


class Setup:
    """The data of a training, and the options that decide its bits.

    settings : seed, l1, l2, dropout, batch_size, order, n_rows. validation : (x, y, weights), or None. descent : makes
    the steps.
    """

    def __init__(
        self, net: MLP, params: Parameters, state: optim.OptimizerState, settings: dict[str, Any],
        n_threads: int | None,
    ) -> None:  # fmt: skip
        self.net, self.params, self.state, self.settings, self.n_threads = net, params, state, settings, n_threads
        self.validation: arguments.Part | None = None
        self.first_step = state.step

    def use_arrays(
        self, x: Any, y: Any, weighting: tuple[Any, Any], order: Any, batch_size: Any, validation: Any
    ) -> None:
        """Train on arrays: x and y as in `train`, weighting (sample_weight, class_weight)."""
        net, dtype = self.net, self.params.dtype
        x = csr.as_inputs(x, net.n_inputs, dtype)
        y = inputs.as_targets(y, net, len(x), dtype)
        arguments.check_values(net, x, y)
        sample_weight, class_weight = weighting
        weights = None if sample_weight is None else inputs.as_sample_weight(sample_weight, len(x), dtype)
        weights, rows, self.validation = arguments.as_parts(
            net, (x, y, weights), class_weight, validation, self.settings["seed"], dtype
        )
        order = self._settle(len(x) if rows is None else len(rows), (x, y, weights), order, batch_size)
        self._start(BatchSource(x, y, weights, order=order, subset=rows))

    def use_dataset(self, dataset: Dataset, order: Any, batch_size: Any, validation: Any, memory: int) -> None:
        """Train on a data set, of whose rows at most `memory` bytes are in memory."""
        source = CheckedDataset(self.net, dataset, self.params.dtype)
        rows, self.validation = arguments.as_held_out(self.net, source, validation, self.settings["seed"])
        if isinstance(order, str) and not getattr(dataset, "shuffle", True):
            order = "sequential"
        n = source.n_rows if rows is None else len(rows)
        order = self._settle(n, (source,), order, batch_size)
        batch_size, drops = min(self.settings["batch_size"], n), any(self.settings["dropout"])
        own = own_bytes(self.params, self.state, batch_size, self.n_threads, drops)
        self._start(Prefetched(
            source, batch_size=batch_size, subset=rows, order=order, seed=self.settings["seed"], memory=memory,
            own_bytes=own,
        ))  # fmt: skip

    def _settle(self, n: int, data: tuple[Any, ...], order: Any, batch_size: Any) -> Any:
        """Settle the batch size and what identifies the run, for n rows to train on; returns the order."""
        self.settings["batch_size"] = arguments.as_batch_size(batch_size, n)
        order = arguments.as_order(order, n)
        self.settings |= {"order": order if isinstance(order, str) else "given", "n_rows": n}
        self._fingerprint = lambda: fingerprint(*data, order=order if isinstance(order, np.ndarray) else None)
        return order

    def _start(self, source: BatchSource) -> None:
        self.descent = Descent(
            self.net, self.params, source, state=self.state, n_threads=self.n_threads,
            **{name: self.settings[name] for name in ("seed", "l1", "l2", "dropout", "batch_size")},
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What tells this training from another, as it comes back from a file; the data by a fingerprint."""
        values = {
            "network": self.net.to_dict(), "dtype": str(self.params.dtype), "optimizer": self.state.optimizer.to_dict(),
            **self.settings, "dropout": list(self.settings["dropout"]), "first_step": self.first_step,
            "data": self._fingerprint(),
        }  # fmt: skip
        return json.loads(json.dumps(values))
