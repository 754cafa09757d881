"""Arguments of `train` that make no sense: each is refused by name, with what was wanted and what came."""

import datetime
import math

import numpy as np
import pytest
import scipy.sparse as sp

import fastbp
from fastbp.callbacks import Callback, EarlyStopping
from fastbp.data import Npy
from fastbp.errors import InputError
from fastbp.training.checkpoint import Checkpoints
from tests.says import assert_says

NET = fastbp.MLP((2, 20, 1), bias=False)
NUMBERS = fastbp.MLP((2, 20, 1), loss="squared_error")
FLAT = fastbp.MLP((2, 1))
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((100, 2)), RNG.integers(2, size=100)
SECONDS = np.timedelta64(5, "s")
HUGE = 10**400  # no float


class Listener(Callback):
    """One that hears nothing."""


def pairs(y, y_pred):
    return [1.0, 2.0]


def nothing(y, y_pred):
    return None


def loss(y, y_pred):
    return 0.0


# (arguments, facts that the error tells)
CASES = [
    ({}, ["epochs=", "steps="]),
    ({"steps": 3, "epochs": 3}, ["epochs=", "steps="]),
    *(({"steps": n}, ["steps", "whole number of at least 1", repr(n)]) for n in (0, -1, 2.0, "3", True, [3], SECONDS)),
    *(({"epochs": n}, ["epochs", "whole number of at least 1", repr(n)]) for n in (0, 1.5, "3", math.nan, True)),
    *(({"batch_size": n}, ["batch_size", "at least 1", repr(n)]) for n in (0, -5, 32.0, True, [32], SECONDS)),
    ({"batch_size": "all"}, ["batch_size", '"auto"', "None", "'all'"]),
    ({"order": "random"}, ["order", '"shuffled"', '"sequential"', "'random'"]),
    ({"order": [0, 1]}, ["order", "100", "int64", "(2,)"]),
    ({"order": None}, ["order", "object"]),
    ({"order": [[0, 1], [2]]}, ["order", "ragged", "2 in row 0", "1 in row 1"]),
    ({"order": np.full(100, 100)}, ["order", "0 to 99", "100 to 100"]),
    *(({"dropout": q}, ["dropout", "at least 0", "below 1", repr(q)])
      for q in (1.0, -0.1, "0.5", None, True, math.nan, {0: 0.1}, SECONDS, HUGE, 1j, np.array(0.5))),
    ({"dropout": [0.1, 0.2]}, ["dropout", "1 hidden layers", "got 2"]),
    ({"dropout": []}, ["dropout", "1 hidden layers", "got 0"]),
    ({"dropout": ["0.5"]}, ["dropout", "below 1", "'0.5'"]),
    ({"dropout": [[0.1], [0.1, 0.2]]}, ["dropout", "[0.1]"]),
    ({"net": FLAT, "dropout": "0.5"}, ["dropout", "below 1", "'0.5'"]),
    *(({"input_dropout": q}, ["input_dropout", "below 1", repr(q)]) for q in (1, "0.1", [0.1], None)),
    ({"input_dropout": 0.1, "x": sp.csr_array(X)}, ["input_dropout", "dense", "sparse"]),
    *(({"seed": seed}, ["seed", "at least 0", repr(seed)]) for seed in (-1, "a", 1.5, None)),
    ({"seed": 2**63}, ["seed", "2^63", str(2**63)]),
    *(({name: value}, [name, ">= 0", repr(value)]) for name in ("l1", "l2")
      for value in (-1.0, "0.1", None, True, math.inf, HUGE, 1j, [0.1], np.array([0.1]), SECONDS)),
    ({"validation": (1,)}, ["validation", "(x, y)", "share", "got 1"]),
    *(({"validation": v}, ["validation", "(x, y)", "share", repr(v)]) for v in ("0.2", True, {})),
    *(({"validation": v}, ["validation", "above 0", "below 1", repr(v)]) for v in (0, 1, -0.1, 1.5, math.nan)),
    ({"validation": 0.5, "x": X[:1], "y": Y[:1]}, ["validation", "2 rows", "got 1"]),
    *(({"metrics": m}, ["metrics", "names", "functions", repr(m)]) for m in (5, None, 0.5, np.array(5), b"f1")),
    ({"metrics": ["auc"]}, ["metric", "accuracy, balanced_accuracy, f1, r2, rmse, mae", "'auc'"]),
    ({"metrics": [5]}, ["metric", "function", "got 5"]),
    ({"metrics": ["r2"]}, ["r2", "binary_cross_entropy", "accuracy, balanced_accuracy, f1"]),
    ({"metrics": ["f1", "f1"]}, ["metric", "'f1'", "more than once"]),
    ({"metrics": loss}, ["metric", "'loss'", "history", "Rename"]),
    ({"metrics": pairs}, ["metric", "pairs", "one number", "[1.0, 2.0]"]),
    ({"metrics": nothing}, ["metric", "nothing", "one number", "None"]),
    ({"optimizer": "adamm"}, ["optimizer", "'sgd', 'adam'", "fastbp.optim", "'adamm'"]),
    ({"optimizer": None}, ["optimizer", "None"]),
    ({"opt_state": 3}, ["opt_state", "TrainResult", "int"]),
    *(({"early_stopping": n}, ["early_stopping", "at least 1", repr(n)]) for n in (0, 2.5, "5", True)),
    ({"early_stopping": EarlyStopping(monitor="r2")}, ["'r2'", "no column", "loss"]),
    ({"callbacks": [3]}, ["callback", "function", "on_epoch", "got 3"]),
    ({"callbacks": 5}, ["callback", "function", "got 5"]),
    ({"callbacks": None}, ["callback", "function", "got None"]),
    ({"callbacks": "log"}, ["callback", "function", "got 'log'"]),
    ({"callbacks": np.array(5)}, ["callback", "function", "array(5)"]),
    ({"callbacks": Listener}, ["callback", "function", "class"]),
    *(({"snapshots": s}, ["snapshots", "list of steps", repr(s)]) for s in (5, None, "5", b"5", np.array(5))),
    *(({"snapshots": [s]}, ["snapshots", "whole number", repr(s)]) for s in ("a", 2.5, -1, True, None, [1], SECONDS)),
    *(({"memory_limit": n}, ["memory_limit", "at least 1", repr(n)]) for n in ("1GB", 0, 1e9, True)),
    *(({"n_threads": n}, ["n_threads", "positive integer", repr(n)]) for n in (0, "2", 1.5)),
    ({"resume": True}, ["resume", "checkpoint="]),
    *(({"resume": r}, ["resume", "True or False", repr(r)]) for r in ("no", 1, None)),
    *(({"checkpoint": c}, ["checkpoint", "folder", repr(c)]) for c in (5, "", [1])),
    ({"net": "mlp"}, ["net", "fastbp.MLP", "str"]),
    ({"params": np.ones(3)}, ["params", "net.init()", "ndarray"]),
    *(({"class_weight": w}, ["class_weight", "{label: weight}", '"balanced"', repr(w)]) for w in (2, "even", [1, 2])),
    *(({"class_weight": {label: 1.0}}, ["class_weight", repr(label), "0 to 1"]) for label in (7, -1, "0", 0.5, None)),
    *(({"class_weight": {1: 1.0, 0: w}}, ["class_weight", "class 0", repr(w)])
      for w in (-1, "2", None, math.nan, math.inf, True, 1e300)),
    ({"class_weight": {0: 1.0}, "net": NUMBERS}, ["class_weight", "label", "squared_error"]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "facts"), CASES, ids=lambda value: None)
def test_senseless_arguments_are_refused(options, facts):
    """An InputError that names the argument, what was wanted and what came."""
    net = options.get("net", NET)
    params = (NET if isinstance(net, str) else net).init(0)
    length = {} if {"epochs", "steps"} & set(options) or not options else {"epochs": 1}
    with pytest.raises(InputError) as error:
        fastbp.train(**{"net": net, "params": params, "x": X, "y": Y} | length | options)
    assert_says(error, *facts)


@pytest.mark.parametrize(("options", "facts"), [
    ({"keep": 0}, ["keep", "at least 1", "got 0"]),
    ({"keep": 2.5}, ["keep", "at least 1", "got 2.5"]),
    ({"every": -1}, ["every", "at least 0", "got -1"]),
    ({"every": "10"}, ["every", "at least 0", "got '10'"]),
    ({"every": datetime.timedelta(1)}, ["every", "datetime.timedelta"]),
])  # fmt: skip
def test_senseless_arguments_of_checkpoints_are_refused(options, facts, tmp_path):
    """When they are made: not one checkpoint is lost to them."""
    with pytest.raises(InputError) as error:
        Checkpoints(tmp_path, **options)
    assert_says(error, *facts)


@pytest.mark.parametrize(("options", "facts"), [
    ({"memory_limit": "1GB"}, ["memory_limit", "at least 1", "'1GB'"]),
    ({"class_weight": "balanced"}, ["data set", "class_weight"]),
    ({"y": Y}, ["data set", "y"]),
    ({"validation": 2}, ["validation", "below 1", "got 2"]),
    ({"metrics": "accuracy"}, ["metrics", "validation="]),
])  # fmt: skip
def test_senseless_arguments_beside_a_data_set_are_refused(options, facts, tmp_path):
    """The same for rows that are read from files."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    rows = Npy(tmp_path / "x.npy", tmp_path / "y.npy")
    with pytest.raises(InputError) as error:
        fastbp.train(NET, NET.init(0), rows, epochs=1, **options)
    assert_says(error, *facts)


def test_one_callback_needs_no_list():
    """A function or an object with methods, by itself."""
    heard = []

    class Hears(Callback):
        def on_end(self, run):
            heard.append("end")

    for callbacks in (Hears(), lambda run: heard.append("epoch")):
        fastbp.train(NET, NET.init(0), X, Y, epochs=1, callbacks=callbacks)
    assert heard == ["end", "epoch"]
