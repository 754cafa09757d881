"""Real data through the command line, as a user would: a CSV file in, held-out accuracy and answers out."""

import csv

import numpy as np
import pytest
from sklearn import datasets

from fastbp.cli.main import main
from fastbp.data import split

# Name -> (loader, least held-out accuracy).
CASES = {"breast_cancer": (datasets.load_breast_cancer, 0.955), "digits": (datasets.load_digits, 0.95)}


def load(case):
    """(names, features, labels): the labels are words for breast_cancer and figures for digits."""
    bunch = CASES[case][0]()
    labels = bunch.target_names[bunch.target] if case == "breast_cancer" else bunch.target
    return list(bunch.feature_names), bunch.data, labels.astype(str)


def write_csv(path, names, x, labels=None):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names if labels is None else [*names, "label"])
        writer.writerows(
            x.tolist() if labels is None else [[*row, label] for row, label in zip(x, labels, strict=True)]
        )


def read_column(path, name):
    with open(path, newline="") as file:
        return np.array([row[name] for row in csv.DictReader(file)])


@pytest.mark.parametrize("seed", ["0", "1", "2"])
@pytest.mark.parametrize("case", CASES)
def test_held_out_accuracy_without_any_tuning(case, seed, tmp_path, capsys):
    """`fastbp train --data FILE --target NAME`, whatever the seed: accuracy on rows that were not trained on."""
    write_csv(tmp_path / "data.csv", *load(case))
    run = tmp_path / "run"
    options = ["--data", str(tmp_path / "data.csv"), "--target", "label", "--out", str(run), "--seed", seed]
    assert main(["train", *options]) == 0
    accuracy = float(read_column(run / "history.csv", "held_out_accuracy")[-1])
    assert accuracy >= CASES[case][1]
    assert (
        f"accuracy {accuracy:.4f} on {114 if case == 'breast_cancer' else 359} held-out rows" in capsys.readouterr().out
    )
    assert (run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("case", CASES)
def test_predict_on_rows_kept_apart(case, tmp_path, capsys):
    """Train on one file, predict another with shuffled columns and without labels: as accurate, in the same words."""
    names, x, labels = load(case)
    train, test = split(len(x), 0.25, rng=0, stratify=np.unique(labels, return_inverse=True)[1])
    write_csv(tmp_path / "train.csv", names, x[train], labels[train])
    order = np.random.default_rng(0).permutation(len(names))
    write_csv(tmp_path / "test.csv", [names[i] for i in order], x[test][:, order])
    write_csv(tmp_path / "labelled.csv", names, x[test], labels[test])
    run, model = str(tmp_path / "run"), str(tmp_path / "run" / "model.npz")
    assert main(["train", "--data", str(tmp_path / "train.csv"), "--test-fraction", "0", "--out", run]) == 0

    answers = str(tmp_path / "answers.csv")
    assert main(["predict", "--model", model, "--data", str(tmp_path / "test.csv"), "--out", answers]) == 0
    accuracy = np.mean(read_column(answers, "prediction") == labels[test])
    assert accuracy >= CASES[case][1]

    options = ["--data", str(tmp_path / "labelled.csv"), "--target", "label", "--out", str(tmp_path / "again.csv")]
    assert main(["predict", "--model", model, *options]) == 0
    assert f"{len(test)} rows: {tmp_path / 'again.csv'}, accuracy {accuracy:.4f}" in capsys.readouterr().out
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "answers.csv").read_bytes()


def test_a_regression_on_real_data(tmp_path):
    """diabetes, 442 rows: better than the mean on held-out rows, close to what a linear model reaches (R^2 0.5)."""
    x, y = datasets.load_diabetes(return_X_y=True)
    write_csv(tmp_path / "data.csv", [f"x{i}" for i in range(10)], x, y)
    run = tmp_path / "run"
    assert main(["train", "--data", str(tmp_path / "data.csv"), "--out", str(run), "--quiet"]) == 0
    assert float(read_column(run / "history.csv", "held_out_r2")[-1]) > 0.3
