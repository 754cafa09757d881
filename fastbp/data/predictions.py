"""Predictions as a CSV file: written block by block, whole in the end or not there at all."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

import numpy as np

from .. import files
from ..errors import DataError

_ROWS_AT_A_TIME = 16_384


def write_predictions(
    path: str | os.PathLike[str],
    prediction: np.ndarray,
    *,
    probability: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> None:
    """A CSV file with a row for each prediction, whole or not there at all.

    prediction : (N,) labels or numbers -> column `prediction`; (N, k) -> `prediction_0`, `prediction_1`, ...
    probability : (N, n_classes), or (N,) or (N, 1) for the second of two classes -> a column `probability_<class>` for
        each of `classes`. Floats are written with the digits that give the same value back.

    >>> fastbp.data.write_predictions("answers.csv", np.array([2.5, 3.0]))
    >>> with open("answers.csv") as file:
    ...     print(file.read(), end="")
    prediction
    2.5
    3.0
    """
    with Predictions(path, classes) as file:
        file.add(prediction, probability)


class Predictions:
    """What `write_predictions` writes, growing block by block, as a context; whole in the end, or not there at all."""

    def __init__(self, path: str | os.PathLike[str], classes: np.ndarray | None = None) -> None:
        self.path, self.classes, self.n_rows = files.expanded(path), classes, 0
        if self.path.suffix.lower() != ".csv":
            raise DataError(
                f"{self.path}: predictions are written to a file that ends in .csv; "
                f"got {self.path.suffix or 'no ending'}"
            )

    def __enter__(self) -> Predictions:
        self._replacing = files.replacing(self.path)
        self._file = io.TextIOWrapper(self._replacing.__enter__(), encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._file, lineterminator="\n")
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        self._file.detach()
        return self._replacing.__exit__(*exception)

    def add(
        self, prediction: np.ndarray, probability: np.ndarray | None = None, answered: np.ndarray | None = None
    ) -> None:  # fmt: skip
        """Write some more rows.

        answered : bools, one for each row to write, as many of them True as there are predictions; the other rows get
        empty cells.
        """
        prediction = np.asarray(prediction)
        if prediction.ndim == 1:
            columns = {"prediction": prediction}
        else:
            columns = {f"prediction_{k}": column for k, column in enumerate(prediction.T)}
        if probability is not None and self.classes is not None:
            p = probability if probability.ndim == 2 else probability[:, None]
            p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
            columns |= {f"probability_{label}": column for label, column in zip(self.classes, p.T, strict=True)}
        if not self.n_rows:
            self._writer.writerow(columns)
        answered = np.ones(len(prediction), bool) if answered is None else answered
        first = np.cumsum(answered) - answered  # of the prediction of each row
        for start in range(0, len(answered), _ROWS_AT_A_TIME):
            here = answered[start : start + _ROWS_AT_A_TIME]
            rows = slice(first[start], first[start] + here.sum())
            cells = [_spread(column[rows].astype(np.str_), here) for column in columns.values()]
            self._writer.writerows(zip(*cells, strict=True))
        self.n_rows += len(answered)


def _spread(text: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """The text in the rows that are answered, and none in the others."""
    cells = np.full(len(answered), "", text.dtype)
    cells[answered] = text
    return cells
