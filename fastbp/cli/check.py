"""`fastbp check`."""

from __future__ import annotations

import argparse

import numpy as np

from ..engine.gradcheck import check_grad
from ..model.network import MLP


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


def random_targets(net: MLP, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random targets that the loss can take."""
    return net.loss_function.record.targets.draw(rng, n_rows, net.n_outputs)
