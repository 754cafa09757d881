"""fastbp trains dense neural networks on CPUs, straight from NumPy arrays, and shows what backpropagation does.

>>> import numpy as np, fastbp
>>> net = fastbp.MLP((2, 100, 1), bias=False)
>>> params = net.init(rng=0)
>>> x = np.random.default_rng(0).standard_normal((1000, 2)); y = (x[:, 0] > x[:, 1])
>>> loss, grad = net.value_and_grad(params, x, y)

Names are loaded when first used: importing the package reads no kernel and compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives.
_HOMES = {
    "Activation": "model.activations",
    "Checkpoints": "training.checkpoint",
    "Classifier": "lecture",
    "EarlyStopping": "training.callbacks",
    "FastbpError": "errors",
    "LiveView": "plot.live",
    "Loss": "model.losses",
    "MLP": "model.network",
    "Parameters": "model.parameters",
    "TrainResult": "training.loop",
    "Workspace": "engine.workspace",
    "check_grad": "engine.gradcheck",
    "cross_entropy": "lecture",
    "export": "formats.export",
    "load": "formats.npz",
    "open_table": "data.streaming",
    "save": "formats.npz",
    "set_num_threads": "config",
    "show_config": "config",
    "sigmoid": "lecture",
    "train": "training.loop",
    "warmup": "engine.backprop",
}
_MODULES = (
    "activations",
    "callbacks",
    "data",
    "errors",
    "graph",
    "lecture",
    "losses",
    "metrics",
    "optim",
    "plot",
    "reference",
)

__all__ = sorted(["__version__", *_HOMES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
