"""Models for tests of the files that hold them: every activation, link and depth, with and without bias, and tasks."""

import numpy as np

from fastbp import losses
from fastbp.data import Standardize
from fastbp.data.task import Task
from fastbp.model import activations
from fastbp.model.network import MLP
from fastbp.model.parameters import initialize

_ACTIVATIONS = (
    *activations.NAMES,
    *(activations.leaky_relu(-0.5), activations.elu(0.7)),
)
_OUTPUTS = (
    *((1, "binary_cross_entropy"), (3, "binary_cross_entropy"), (3, "cross_entropy"), (1, "squared_error")),
    *((2, "absolute_error"), (1, losses.huber(0.3)), (3, losses.quantile(0.9)), (2, "poisson")),
)
_BODIES = ((4, 7), (5, 16, 3), (3, 8, 7, 9))
_MIXED = MLP((3, 16, 15, 17, 2), activation=("relu", "tanh", "gelu"), loss="cross_entropy")
_NETWORKS = [
    *(MLP((4, n), loss=loss, bias=bias) for n, loss in _OUTPUTS for bias in (False, True)),
    *(
        MLP((*_BODIES[i % 3], _OUTPUTS[i % 8][0]), activation=a, loss=_OUTPUTS[i % 8][1], bias=i % 4 != 3)
        for i, a in enumerate(_ACTIVATIONS)
    ),
    *(MLP((2, 9, 1), activation=a, loss="squared_error", bias=False) for a in _ACTIVATIONS),
    MLP((2, 100, 1), bias=False),
    _MIXED,
]
NETWORKS = {str(net): net for net in _NETWORKS}


def make_params(net, dtype=np.float32):
    """Random weights and biases."""
    params = initialize(net, 1, dtype=dtype)
    for biases in params.biases:
        biases[...] = np.random.default_rng(2).normal(0.0, 0.5, biases.shape)
    return params


def make_rows(net, n_rows=65):
    """Random inputs, and some that are large and small."""
    x = np.random.default_rng(0).standard_normal((n_rows, net.n_inputs))
    x[1::5] *= 30
    x[2::5] *= 1e-3
    return x


def assert_close(actual, wanted, tolerance):
    """The difference is at most tolerance, or tolerance times a value beyond 1; infinities are equal."""
    assert actual.shape == wanted.shape
    same = actual == wanted
    difference = np.abs(np.where(same, 0, actual) - np.where(same, 0, wanted))
    assert (difference <= tolerance * np.maximum(1, np.abs(wanted))).all(), difference.max()


# -- tasks ---------------------------------------------------------------------------------------------

_CLASSES = {
    "two classes": (1, "binary_cross_entropy", np.array(["no", "yes, or so"])),
    "three classes": (3, "cross_entropy", np.array([-1, 2, 7])),
    "two outputs": (2, "cross_entropy", np.array([False, True])),
    "hostile names": (3, "cross_entropy", np.array(['"""', "\\", "'+__import__('os').abort()+'\n"])),
}
_NUMBERS = {"number": (1, "squared_error"), "numbers": (2, "huber"), "counts": (1, "poisson")}
TASKS = (*_CLASSES, *_NUMBERS)


def make_task(name, dtype=np.float32):
    """(net, params, task, x): a model with a task, and rows in the features' own units.

    The first feature is a time in seconds, whose changes float32 cannot tell apart.
    """
    n_outputs, loss, *classes = (_CLASSES | _NUMBERS)[name]
    net = MLP((3, 8, n_outputs), activation="tanh", loss=loss)
    inputs = Standardize(np.array([1.7e9, 0.0, -5e-7]), np.array([60.0, 1.0, 1e-8]))
    outputs = None
    if not classes:
        outputs = Standardize(np.arange(n_outputs) * 1e6, np.arange(n_outputs) + 3.5)
    features = ("time", 'b"""\\', "c\n") if name == "hostile names" else ("time", "b", "c d")
    task = Task(features, "y", inputs, classes[0] if classes else None, outputs)
    x = np.random.default_rng(3).standard_normal((40, 3)) * inputs.scale + inputs.mean
    return net, make_params(net, dtype), task, x


def answers(net, params, task, x):
    """(what forward, what predict gives in the units of the task): what the exported model must give."""
    standard = ((x - task.inputs.mean) / task.inputs.scale).astype(params.dtype)
    response, labels = net.forward(params, standard), net.predict(params, standard)
    if task.classes is not None:
        return response, task.classes[labels]
    numbers = response.astype(np.float64) * task.outputs.scale + task.outputs.mean
    return numbers, numbers[:, 0] if net.n_outputs == 1 else numbers
