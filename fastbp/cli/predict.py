"""`fastbp predict`."""

from __future__ import annotations

import argparse

import numpy as np

from .. import data, files
from ..data.predictions import Predictions
from ..data.tables import BadRows, Places, Table
from ..data.task import Task
from ..errors import DataError
from ..formats import npz
from .run_folder import naming


def predict(args: argparse.Namespace) -> int:
    """Write the model's answers for the rows of a file; with a target, print how good they are."""
    files.check_output(args.out, {"--data": args.data, "--model": args.model})
    net, params, meta = npz.load(args.model)
    task = Task.from_meta(args.model, net, meta.get("task"))
    bad, encoded, predicted = _LeftOut(skip=args.on_bad_rows == "skip"), [], []
    blocks = data.read_blocks(
        args.data, target=args.target, target_required=args.target is not None, columns=task.features, bad=bad
    )
    with naming(args.out), Predictions(args.out, task.classes) as file:
        for table in blocks:
            answers, probability, y_pred = task.answers(net, params, task.encode_inputs(table, params.dtype))
            file.add(answers, probability, bad.answered(table))
            if args.target:
                encoded.append(task.encode_target(table))
                predicted.append(y_pred)
        if bad.places:
            file.add(answers[:0], None if probability is None else probability[:0], bad.answered(None))
    scores = task.score(np.concatenate(predicted), np.concatenate(encoded)) if encoded else {}
    told = [f", {name} " + ("needs two rows" if np.isnan(value) else f"{value:.4f}") for name, value in scores.items()]
    print(f"{file.n_rows:,} rows: {args.out}{''.join(told)}")
    if bad.count:
        print(f"{bad.report()}; their answers are empty")
    return 0


class _LeftOut(BadRows):
    """Bad rows that are left out, and the places of those since the last question."""

    def __init__(self, *, skip: bool) -> None:
        super().__init__(skip=skip)
        self.places: list[Places] = []

    def found(self, error: DataError, places: Places) -> None:
        super().found(error, places)
        self.places.append(places)

    def answered(self, table: Table | None) -> np.ndarray:
        """Of the rows left out since the last question and those of a block, in the order of the file, which are in it.

        Rows of other files than the block's stood before it.
        """
        own = Places.in_file(None, "", []) if table is None else table.places
        here = [places for places in self.places if places.files[0][1] == own.files[0][1]]
        n_before = sum(len(places.numbers) for places in self.places) - sum(len(places.numbers) for places in here)
        numbers = np.concatenate([own.numbers, *(places.numbers for places in here)])
        self.places = []
        return np.concatenate([np.zeros(n_before, bool), np.argsort(numbers) < len(own.numbers)])
