"""Rows of a table in memory on their way to a training: their scales, then the two parts as the network sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .scaling import Standardize
from .tables import Table
from .task import Task


class Rows(NamedTuple):
    """A part of the data as the network sees it, and its features in their own units."""

    x: np.ndarray
    y: np.ndarray
    original: np.ndarray

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return len(self.x)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """x and y, as one block."""
        yield self.x, self.y


class TableInMemory(contextlib.nullcontext):
    """A table with its features; `streaming.SpilledTable` has the same members for one that is larger than memory."""

    def __init__(self, table: Table) -> None:
        super().__init__(self)
        self.table = table

    def scales(self, rows: np.ndarray) -> Standardize:
        """The scales of the features in those rows."""
        return Standardize.fit(_picked(self.table.x, rows))

    def encode(self, task: Task, parts: Sequence[np.ndarray | None], dtype: Any) -> list[Rows | None]:
        """Those rows as the network sees them, features in `dtype`; None for a part that is None."""
        x, y = task.encode_inputs(self.table, dtype), task.encode_target(self.table)
        arrays = (x, y, self.table.x)
        return [rows if rows is None else Rows(*(_picked(array, rows) for array in arrays)) for rows in parts]


def _picked(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those rows, sorted and different; the array itself where they are all."""
    return array if len(rows) == len(array) else array[rows]
