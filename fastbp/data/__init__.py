"""Data: tables read from files, what they need on their way to a network and back, and data larger than memory.

Rows are samples, columns are features.
"""

from .datasets import Dataset, Joined, Npy, NpyRows
from .reading import (
    BadRows,
    Standardise,
    Table,
    encode_labels,
    encode_with,
    n_held_out,
    read_blocks,
    read_table,
    spirals,
    split,
    write_predictions,
)

__all__ = [
    "BadRows",
    "Dataset",
    "Joined",
    "Npy",
    "NpyRows",
    "Standardise",
    "Table",
    "encode_labels",
    "encode_with",
    "n_held_out",
    "read_blocks",
    "read_table",
    "spirals",
    "split",
    "write_predictions",
]
