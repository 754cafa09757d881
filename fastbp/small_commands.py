"""`fastbp predict`, `fastbp export`, `fastbp check` and `fastbp config`."""

from __future__ import annotations

import argparse

import numpy as np

from . import data, exporting, saving
from .config import show_config
from .csv_files import Predictions
from .gradcheck import check_grad
from .network import MLP
from .runs import naming
from .tables import BadRows
from .task import Task


def predict(args: argparse.Namespace) -> int:
    """Write the model's answers for the rows of a file; with a target, print how good they are."""
    net, params, meta = saving.load(args.model)
    task = Task.from_meta(args.model, net, meta.get("task"))
    bad, encoded, predicted = BadRows(skip=args.on_bad_rows == "skip"), [], []
    blocks = data.read_blocks(
        args.data, target=args.target, target_required=args.target is not None, columns=task.features, bad=bad
    )
    with naming(args.out), Predictions(args.out, task.classes) as file:
        for table in blocks:
            answers, probability, y_pred = task.answers(net, params, task.encode_inputs(table, params.dtype))
            file.add(answers, probability)
            if args.target:
                encoded.append(task.encode_target(table))
                predicted.append(y_pred)
    scores = task.score(np.concatenate(predicted), np.concatenate(encoded)) if encoded else {}
    print(f"{file.n_rows:,} rows: {args.out}" + "".join(f", {name} {value:.4f}" for name, value in scores.items()))
    if bad.count:
        print(bad.report())
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a model in the form that the ending of --out names."""
    net, params, meta = saving.load(args.model)
    with naming(args.out):
        exporting.export(args.out, net, params, meta)
    print(f"{net}, {params.dtype}: {args.out}")
    return 0


def check(args: argparse.Namespace) -> int:
    """Print the table of a gradient check; 1 if the gradient is wrong."""
    net = MLP(args.layers, activation=args.activation, loss=args.loss, bias=not args.no_bias)
    rng = np.random.default_rng(args.seed)
    params = net.init(rng, dtype=args.dtype)
    for biases in params.biases:
        biases[...] = rng.normal(0.0, 0.5, biases.shape)
    x, y = rng.standard_normal((args.rows, net.n_inputs)), random_targets(net, args.rows, rng)
    report = check_grad(net, params, x, y, rng=rng)
    print(report)
    return 0 if report.ok else 1


def config(args: argparse.Namespace) -> int:
    """Print versions and settings."""
    show_config()
    return 0


def random_targets(net: MLP, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random targets that the loss can take."""
    return net.loss_function.record.targets.draw(rng, n_rows, net.n_outputs)
