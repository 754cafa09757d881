"""Scores of predictions, and that each means one thing wherever it is shown."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import metrics
from fastbp.cli.main import main
from fastbp.data import Standardize
from fastbp.data.task import Task
from fastbp.errors import InputError
from fastbp.model.network import MLP

RNG = np.random.default_rng(0)
Y = RNG.standard_normal((50, 3)) * [1.0, 100.0, 1e-3] + [0.0, 1e4, 0.1]
NOISY = Y + RNG.standard_normal((50, 3)) * [0.1, 50.0, 5e-4]
CASES = {  # y, y_pred
    "one output": (Y[:, :1], NOISY[:, :1]),
    "one output, as rows": (Y[:, 0], NOISY[:, 0]),
    "outputs of different scales": (Y, NOISY),
    "worse than the mean": (Y, -NOISY),
    "two rows": (Y[:2], NOISY[:2]),
    "constant, met": (np.full((5, 1), 0.1), np.full((5, 1), 0.1)),
    "constant, missed": (np.full((7, 1), 0.5), np.full((7, 1), 0.2)),
    "one of two is constant": (np.c_[Y[:, 0], np.full(50, 0.5)], NOISY[:, :2]),
    "float32": (Y.astype(np.float32), NOISY.astype(np.float32)),
    "constant in float32": (np.full((33, 1), 0.1, np.float32), np.full((33, 1), 0.2, np.float32)),
}


@pytest.mark.parametrize("case", CASES)
def test_r2_is_that_of_scikit_learn(case):
    """The uniform average over the outputs, also where an output does not vary."""
    y, y_pred = CASES[case]
    wanted = pytest.importorskip("sklearn.metrics").r2_score(y.astype(np.float64), y_pred.astype(np.float64))
    assert metrics.r2(y, y_pred) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n", [2, 7, 33, 1001])
def test_a_constant_whose_mean_rounds_is_constant(n):
    """0 where it is missed and 1 where it is met; divided by what rounding leaves, it would be -1e30."""
    y = np.full((n, 1), 0.1)
    assert metrics.r2(y, y) == 1.0
    assert metrics.r2(y, y + 0.1) == 0.0


def test_r2_of_two_outputs_is_the_mean_of_theirs():
    """By hand: 1 - 2 / 8 of the first and 1 - 125 / 200 of the second, whatever their units."""
    y, y_pred = np.array([[1.0, 10.0], [5.0, 30.0]]), np.array([[2.0, 15.0], [4.0, 20.0]])
    assert metrics.r2(y, y_pred) == pytest.approx(1 - (2 / 8 + 125 / 200) / 2)


@pytest.mark.parametrize("scale", [[1.0, 1.0], [1e3, 1e-3]], ids=str)
def test_a_task_scores_as_the_metrics_do(scale):
    """R^2 does not depend on units; RMSE is in the units of the target."""
    y, y_pred = Y[:, :2], NOISY[:, :2]
    task = Task(("a",), "y", Standardize(np.zeros(1), np.ones(1)), None, Standardize(np.zeros(2), np.array(scale)))
    scores = task.score(y_pred, y)
    assert scores["r2"] == metrics.r2(y, y_pred)
    assert scores["rmse"] == metrics.rmse(y * scale, y_pred * scale)
    assert metrics.r2(y * scale, y_pred * scale) == pytest.approx(scores["r2"], rel=1e-12)


@pytest.mark.parametrize("validation", ["given", "share"])
def test_r2_of_one_row_is_nan(validation):
    """It is no crash and no warning; what is defined for one row is there."""
    net, x = MLP((2, 3, 1), loss="squared_error"), RNG.standard_normal((5, 2))
    held_out = (x[:1], x[:1, 0]) if validation == "given" else 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = fastbp.train(
            net, net.init(0), x, x[:, 0], epochs=2, validation=held_out, metrics=["r2", "rmse", "mae"]
        ).history  # fmt: skip
    assert np.isnan(history["val_r2"]).all()
    assert np.isfinite(history["val_rmse"]).all()
    assert np.isfinite(history["val_mae"]).all()


def test_the_command_line_says_that_r2_needs_two_rows(tmp_path, monkeypatch, capsys):
    """With one held-out row the summary says so, and the history has an empty or NaN cell, never a wrong number."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{i}.5\n" for i in range(5)))
    assert main(["train", "--data", "t.csv", "--steps", "3", "--no-plots"]) == 0
    out = capsys.readouterr().out
    assert "R^2 needs two rows, RMSE" in out
    assert "on 1 held-out rows" in out
    assert "nan" not in out
    with open("fastbp-run/history.csv", newline="") as file:
        assert all(row["held_out_r2"] in ("", "nan") for row in csv.DictReader(file))
    Path("one.csv").write_text("a,y\n1,1.5\n")
    options = ["--data", "one.csv", "--target", "y", "--out", "p.csv"]
    assert main(["predict", "--model", "fastbp-run/model.npz", *options]) == 0
    out = capsys.readouterr().out
    assert "r2 needs two rows, rmse" in out


@pytest.mark.parametrize("name", metrics.__all__)
def test_metrics_take_lists(name):
    """As arrays of the same numbers; numbers for each row may stand in a column."""
    y, y_pred = [0, 1, 1, 0, 1, 1], [0, 1, 0, 0, 1, 1]
    metric = getattr(metrics, name)
    wanted = metric(np.array(y), np.array(y_pred))
    assert metric(y, y_pred) == metric(np.array(y), np.array(y_pred)[:, None]) == wanted
    assert wanted not in (0, 1)


@pytest.mark.parametrize("name", metrics.__all__)
def test_metrics_refuse_shapes_that_do_not_agree(name):
    """Both shapes are named; nothing is repeated to fit."""
    with pytest.raises(InputError) as caught:
        getattr(metrics, name)([0, 1, 1, 0], [0, 1, 0])
    assert "(4,)" in str(caught.value)
    assert "(3,)" in str(caught.value)
