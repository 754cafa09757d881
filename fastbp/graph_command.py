"""`fastbp graph`: the computation graph of a model on one row of a file, as a table and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from . import data, files, graph, plot, saving
from .csv_files import with_values
from .errors import DataError, InputError
from .runs import naming
from .tables import Table
from .task import Task

PICTURES = (".png", ".svg", ".pdf")
_TEXTS = {".dot": graph.Graph.to_dot, ".json": graph.Graph.to_json, ".tex": graph.Graph.latex}


def run(args: argparse.Namespace) -> int:
    """Print the table, or the derivation of a node; write the picture."""
    endings = (*PICTURES, *_TEXTS)
    if args.out is not None and Path(args.out).suffix not in endings:
        raise InputError(f"--out must end in {', '.join(endings)}; got {args.out}")
    net, params, meta = saving.load(args.model)
    task = Task.from_meta(args.model, net, meta.get("task"))
    table = _row(args, task)
    x, y = task.encode_inputs(table, np.float64), task.encode_target(with_values(table))
    g = graph.trace(net, params.astype(np.float64), x, y, reduction="sum")  # of one row
    print(g.table() if args.explain is None else g.explain(args.explain))
    if args.out is not None:
        with naming(args.out):
            _write(Path(args.out), g, f"{net}; {table.where(0)}")
        print(f"\n{args.out}")
    return 0


def _row(args: argparse.Namespace, task: Task) -> Table:
    """The one row that is wanted, of the file or of the two spirals."""
    if args.data is None:
        if task.target != "spiral":
            raise InputError("--data, the file with the row, is needed; only a model of the two spirals does without")
        x, y = data.spirals(max(args.row + 1, 200), rng=0)
        row = slice(args.row, args.row + 1)
        return Table(task.features, x[row], y[row], task.target, "two spirals", first=args.row)
    at = 0
    for table in data.read_blocks(args.data, target=args.target or task.target, columns=task.features):
        if args.row < at + len(table.x):
            i = args.row - at
            lines = None if table.lines is None else table.lines[i : i + 1]
            return Table(
                table.names, table.x[i : i + 1], table.target[i : i + 1], table.target_name, table.source, lines,
                table.first + i,
            )  # fmt: skip
        at += len(table.x)
    raise DataError(f"{args.data}: --row must be one of the {at:,} rows, 0 to {at - 1}; got {args.row}")


def _write(path: Path, g: graph.Graph, title: str) -> None:
    with files.replacing(path) as file:
        if path.suffix in _TEXTS:
            file.write((_TEXTS[path.suffix](g) + "\n").encode())
        else:
            plot.computation_graph(g, title=title).figure.savefig(file, format=path.suffix[1:], dpi=150)
