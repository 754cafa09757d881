"""`fastbp graph`: the computation graph of a model on one row of a file, as a table and a picture."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, files, graph, plot
from ..data.tables import BadRows, Places, Table
from ..data.task import Task
from ..errors import DataError, InputError
from ..formats import npz
from ..graph import text as graph_text
from ..plot.style import has_matplotlib
from .run_folder import naming

PICTURES = (".png", ".svg", ".pdf")
_TEXTS = {".dot": graph.Graph.to_dot, ".json": graph.Graph.to_json, ".tex": graph.Graph.latex}
_N_POINTS, _SPIRALS = 1_000_000, "two spirals"  # as `fastbp train` makes them by default


def run(args: argparse.Namespace) -> int:
    """Print the row, and the table or the derivation of a node; write the picture."""
    _check_out(args)
    net, params, meta = npz.load(args.model)
    task = Task.from_meta(args.model, net, meta.get("task"))
    table = _row(args, task)
    x, y = task.encode_inputs(table, np.float64), task.encode_target(table)
    g = graph.trace(net, params.astype(np.float64), x, y, reduction="sum")  # of one row
    text = g.table() if args.explain is None else g.explain(args.explain)
    print(f"{args.model} on {_about(task, table)}\n\n{text}")
    if args.out is not None:
        with naming(args.out):
            _write(Path(args.out), g, f"{net}; {table.where(0)}")
        print(f"\n{args.out}")
    return 0


def _check_out(args: argparse.Namespace) -> None:
    out = args.out
    if out is not None:
        files.check_output(out, {"--data": args.data, "--model": args.model})
    endings = (*PICTURES, *_TEXTS)
    if out is not None and Path(out).suffix not in endings:
        raise InputError(f"--out must end in {', '.join(endings)}; got {out}")
    if out is not None and Path(out).suffix in PICTURES and not has_matplotlib():
        raise InputError(
            f'--out {out} needs matplotlib: pip install "fastbp[plot]"; without it write {", ".join(_TEXTS)}'
        )


def _about(task: Task, table: Table) -> str:
    """The place of the row, its target, and in which units the network sees it."""
    target = table.target[0]
    value = graph_text.row(target, 15) if np.asarray(target).dtype.kind == "f" else str(target)
    scales = {"x": task.inputs, "y": task.outputs}
    scaled = [name for name, by in scales.items() if by is not None and (by.mean.any() or (by.scale != 1).any())]
    units = " and ".join(scaled) + f" {'is' if len(scaled) == 1 else 'are'} standardized, (value - mean) / scale"
    return f"{table.where(0)}: {task.target} = {value}" + (f"\n{units} of the training rows" if scaled else "")


def _row(args: argparse.Namespace, task: Task) -> Table:
    """The one row that is wanted, of the file or of the two spirals."""
    if args.data is not None:
        return _row_of_file(args, task)
    if task.target != "spiral":
        raise InputError("--data, the file with the row, is needed; only a model of the two spirals does without")
    if args.row >= _N_POINTS:
        raise InputError(
            f"--row must be one of the {_N_POINTS:,} points of the two spirals, 0 to {_N_POINTS - 1}; got {args.row}"
        )
    x, y = data.spirals(_N_POINTS, rng=0)
    row = slice(args.row, args.row + 1)
    places = Places.in_file(_SPIRALS, "row", [args.row])
    return Table(task.features, x[row], y[row], task.target, _SPIRALS, places)


def _row_of_file(args: argparse.Namespace, task: Task) -> Table:
    """The row of that number; DataError if there is none."""
    wanted, n_rows = {"target": args.target or task.target, "columns": task.features}, 0
    try:
        for table in data.read_blocks(args.data, **wanted):
            if args.row < n_rows + len(table.x):
                return _only(table, args.row - n_rows)
            n_rows += len(table.x)
    except DataError as error:
        if Path(args.data).is_dir():  # whose rows are counted through all files
            raise
        return _row_beside_bad_ones(args, wanted, error)
    raise DataError(f"{args.data}: --row must be one of the {n_rows:,} rows, 0 to {n_rows - 1}; got {args.row}")


def _row_beside_bad_ones(args: argparse.Namespace, wanted: dict[str, Any], first: DataError) -> Table:
    """A good row of a file with bad ones: of arrays read one by one, of a CSV found by its line."""
    for table in data.read_blocks(args.data, **wanted, bad=BadRows(skip=True), n_rows=1):
        numbers = table.places.numbers - (2 if table.places.files[0][2] == "line" else 0)
        if args.row in numbers:
            return _only(table, int(np.flatnonzero(numbers == args.row)[0]))
    raise DataError(f"{args.data}: --row {args.row} is not there or is a bad row; the first bad row: {first}")


def _only(table: Table, i: int) -> Table:
    places = table.places.kept(np.arange(len(table.x)) == i)
    return replace(table, x=table.x[i : i + 1], target=table.target[i : i + 1], places=places)


def _write(path: Path, g: graph.Graph, title: str) -> None:
    with files.replacing(path) as file:
        if path.suffix in _TEXTS:
            file.write((_TEXTS[path.suffix](g) + "\n").encode())
        else:
            plot.computation_graph(g, title=title).figure.savefig(file, format=path.suffix[1:], dpi=150)
