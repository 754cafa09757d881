"""`fastbp predict`, `fastbp check` and `fastbp config`."""

from __future__ import annotations

import argparse

import numpy as np

from . import data, saving
from .config import show_config
from .gradcheck import check_grad
from .network import MLP
from .runs import naming
from .task import Task


def predict(args: argparse.Namespace) -> int:
    """Write the model's answers for the rows of a file; with a target, print how good they are."""
    net, params, meta = saving.load(args.model)
    task = Task.from_meta(args.model, net, meta.get("task"))
    table = data.read_table(
        args.data, target=args.target, target_required=args.target is not None, columns=task.features
    )
    x = task.encode_inputs(table, params.dtype)
    scores = task.scores(net, params, x, task.encode_target(table)) if args.target else {}
    answers, probability = task.answers(net, params, x)
    with naming(args.out):
        data.write_predictions(args.out, answers, probability=probability, classes=task.classes)
    print(f"{len(x):,} rows: {args.out}" + "".join(f", {name} {value:.4f}" for name, value in scores.items()))
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
    shape = (n_rows, net.n_outputs)
    match net.loss_function.name:
        case "cross_entropy":
            return rng.integers(net.n_outputs, size=n_rows)
        case "binary_cross_entropy":
            return rng.integers(2, size=shape).astype(float)
        case "poisson":
            return rng.poisson(1.5, shape).astype(float)
    return rng.standard_normal(shape)
