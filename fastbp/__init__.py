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
    "Activation": "activations",
    "Checkpoints": "checkpoint",
    "Classifier": "classifier",
    "EarlyStopping": "callbacks",
    "FastbpError": "errors",
    "LiveView": "live",
    "Loss": "losses",
    "MLP": "network",
    "Parameters": "parameters",
    "TrainResult": "training",
    "Workspace": "workspace",
    "check_grad": "gradcheck",
    "cross_entropy": "classifier",
    "export": "exporting",
    "load": "saving",
    "open_table": "streaming",
    "save": "saving",
    "set_num_threads": "config",
    "show_config": "config",
    "sigmoid": "classifier",
    "train": "training",
    "warmup": "backprop",
}
_MODULES = ("activations", "callbacks", "data", "datasets", "errors", "graph", "losses", "optim", "plot", "reference")

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
