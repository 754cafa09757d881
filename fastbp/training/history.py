"""What a training run was like: one row an epoch, kept as columns."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import files


class History(Mapping[str, np.ndarray]):
    """Columns by name, all of one length: `history["loss"]` is a float64 array with a number for each epoch.

    epoch, step : counted from 1, at the end of the epoch. loss : mean over the epoch's samples, each before its step,
    with penalties; data_loss : without. val_... : on the validation data after the epoch. learning_rate : of the last
    step. seconds : since the start. NaN where a number was not taken.
    """

    def __init__(self, columns: Mapping[str, Any] | None = None) -> None:
        self._columns = {name: np.asarray(values, np.float64) for name, values in (columns or {}).items()}

    def extend(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as columns; what is missing on either side is NaN."""
        new = {name: np.asarray(values, np.float64) for name, values in columns.items()}
        if not new:
            return
        n_old, n_new = len(self.epochs), len(next(iter(new.values())))
        for name in dict.fromkeys([*self._columns, *new]):
            old = self._columns.get(name, np.full(n_old, math.nan))
            self._columns[name] = np.concatenate([old, new.get(name, np.full(n_new, math.nan))])

    @property
    def epochs(self) -> np.ndarray:
        """The column `epoch`."""
        return self._columns.get("epoch", np.empty(0))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def row(self, i: int = -1) -> dict[str, float]:
        """One row, the last by default."""
        return {name: float(values[i]) for name, values in self._columns.items()}

    def rows(self) -> Iterator[dict[str, float]]:
        """Row after row."""
        return (self.row(i) for i in range(len(self.epochs)))

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """As CSV text with a header, empty cells for NaN; also written to `path`, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self)
        for values in zip(*self._columns.values(), strict=True):
            writer.writerow([_cell(name, value) for name, value in zip(self, values, strict=True)])
        return _written(path, text.getvalue())

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """As JSON text, a list for each column, null for NaN; also written to `path`, whole or not at all."""
        columns = {
            name: [None if math.isnan(value) else _number(name, value) for value in values.tolist()]
            for name, values in self._columns.items()
        }
        return _written(path, json.dumps(columns))

    def to_frame(self) -> Any:
        """As a pandas DataFrame; ImportError without pandas."""
        import pandas

        return pandas.DataFrame(dict(self._columns))

    def __repr__(self) -> str:
        return f"History({len(self.epochs)} epochs: {', '.join(self)})"


def _number(name: str, value: float) -> float | int:
    return int(value) if name in ("epoch", "step") else float(value)


def _cell(name: str, value: float) -> Any:
    return "" if math.isnan(value) else _number(name, value)


def _written(path: str | os.PathLike[str] | None, text: str) -> str:
    if path is not None:
        with files.replacing(path) as file:
            file.write(text.encode())
    return text
