"""Data: tables, tasks and data sets. Rows are samples, columns are features.

A row goes `read_table` -> `Table`, checked once -> `Task.fit`, which takes scales and classes -> `Task.encode_inputs`
and `Task.encode_target` -> `fastbp.train`. A table larger than memory goes the same way by `fastbp.open_table`; rows of
any other kind that are read as they are needed are a `Dataset`.
"""

from .datasets import Dataset, Joined, Npy, NpyRows
from .examples import spirals
from .labels import encode_labels, encode_with
from .predictions import write_predictions
from .reading import read_blocks, read_table
from .scaling import Standardize
from .splitting import split
from .tables import BadRows, Table
from .task import Task

__all__ = [
    "BadRows",
    "Dataset",
    "Joined",
    "Npy",
    "NpyRows",
    "Standardize",
    "Table",
    "Task",
    "encode_labels",
    "encode_with",
    "read_blocks",
    "read_table",
    "spirals",
    "split",
    "write_predictions",
]
