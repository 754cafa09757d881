"""Data: tables read from files, what they need on their way to a network and back, and data larger than memory.

Rows are samples, columns are features.
"""

from .datasets import Dataset, Joined, Npy, NpyRows
from .examples import spirals
from .labels import encode_labels, encode_with
from .predictions import write_predictions
from .reading import read_blocks, read_table
from .scaling import Standardize
from .splitting import n_held_out, split
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
    "n_held_out",
    "read_blocks",
    "read_table",
    "spirals",
    "split",
    "write_predictions",
]
