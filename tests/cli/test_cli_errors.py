"""What the command line cannot do: one line that names file and row, exit code 2, and nothing written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli.main import main
from fastbp.model.network import MLP

GOOD = "a,b,y\n" + "".join(f"{i},{i * i % 7},{('no', 'yes')[i % 2]}\n" for i in range(20))
FILES = {
    "good.csv": GOOD,
    "short.csv": GOOD.replace("3,2,yes\n", "3,yes\n"),
    "text.csv": GOOD.replace("3,2,yes\n", "3,two,yes\n"),
    "nan.csv": GOOD.replace("3,2,yes\n", "nan,2,yes\n"),
    "empty-cell.csv": GOOD.replace("3,2,yes\n", ",2,yes\n"),
    "no-label.csv": GOOD.replace("3,2,yes\n", "3,2,\n"),
    "empty.csv": "",
    "header.csv": "a,b,y\n",
    "one-class.csv": "a,y\n1,p\n2,p\n",
    "three.csv": "a,y\n" + "1,p\n2,q\n3,r\n" * 4,
    "mixed.csv": "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(9)) + "9,oops\n",
    "typo.csv": "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(9)) + "9,O\n",
    "numbers.csv": "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(9)),
    "negative.csv": "a,y\n" + "".join(f"{i},{i - 4}\n" for i in range(9)),
    "nan-target.csv": "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(9)) + "9,nan\n",
    "names.csv": "a,y\n" + "".join(f"{i},{name}\n" for i, name in enumerate("pqrstu")),
    "one-row.csv": "a,y\n1,2.5\n",
    "huge.csv": "a,b,y\n1,1e300,yes\n",
    "unseen.csv": "a,b,y\n1,2,yes\n3,4,maybe\n",
    "missing.csv": "b,y\n1,yes\n",
    "data.xlsx": "?",
    "text.npz": "not an archive",
    "notes/todo.txt": "mine",
}
CORRECT = (
    "Correct or drop the row; a column of text must be encoded as numbers, left out, or named as the target (--target)"
)

TRAIN = {
    "missing file": (["--data", "nowhere.csv"], "nowhere.csv cannot be read: No such file or directory"),
    "other ending": (
        ["--data", "data.xlsx"],
        "data.xlsx: a data file must end in .csv, .npy, .npz or .parquet; got .xlsx",
    ),
    "not an npz": (["--data", "text.npz"], "text.npz: not a usable .npz file: File is not a zip file"),
    "short row": (["--data", "short.csv"], "short.csv, line 5: a row must have 3 cells, as the header; got 2"),
    "text cell": (
        ["--data", "text.csv"],
        f"text.csv, line 5, column 'b': a feature must be a finite number in float64; got 'two'. {CORRECT}",
    ),
    "nan": (
        ["--data", "nan.csv"],
        f"nan.csv, line 5, column 'a': a feature must be a finite number in float64; got 'nan'. {CORRECT}",
    ),
    "empty cell": (
        ["--data", "empty-cell.csv"],
        "empty-cell.csv, line 5, column 'a': a feature must be a finite number in float64; got an empty cell. "
        f"{CORRECT}",
    ),
    "no label": (
        ["--data", "no-label.csv"],
        "no-label.csv, line 5, column 'y': every row needs a target; got an empty cell. Drop the row or fill it in",
    ),
    "nan target": (
        ["--data", "nan-target.csv"],
        "nan-target.csv, line 11, column 'y': every row needs a target; got 'nan'. Drop the row or fill it in",
    ),
    "momentum of adam": (
        ["--data", "good.csv", "--optimizer", "adam", "--momentum", "0.9"],
        "--momentum goes with sgd and rmsprop; adam has none. Leave it out",
    ),
    "empty file": (["--data", "empty.csv"], "empty.csv: the first line must name the columns; got an empty one"),
    "no rows": (["--data", "header.csv"], "header.csv: at least one row below the header is needed; got none"),
    "one row": (
        ["--data", "one-row.csv"],
        "one-row.csv: at least 2 rows are needed to hold some out; got 1. Use --test-fraction 0",
    ),
    "a label for every row": (
        ["--data", "names.csv"],
        "names.csv: the classes of 'y' need more than a row each to hold some out; got 6 rows of 6 classes. "
        "Name another column with --target, or use --test-fraction 0",
    ),
    "missing target": (
        ["--data", "good.csv", "--target", "z"],
        "good.csv: missing the target 'z'; the file has columns 'a', 'b', 'y'",
    ),
    "one class": (
        ["--data", "one-class.csv"],
        "one-class.csv: at least two classes are needed in 'y'; every row is 'p'. "
        "By default the last column is the target, in an .npz y; name another with --target",
    ),
    "three classes": (
        ["--data", "three.csv", "--loss", "binary_cross_entropy"],
        "three.csv: binary_cross_entropy needs a target with two classes; 'y' has 3: 'p', 'q', 'r'. "
        "Use --loss cross_entropy",
    ),
    "text among numbers": (
        ["--data", "mixed.csv"],
        "mixed.csv, line 11, column 'y': the target must be a number; got 'oops'. "
        "For labels choose the loss binary_cross_entropy or cross_entropy",
    ),
    "text among whole numbers": (
        ["--data", "typo.csv"],
        "typo.csv, line 11, column 'y': the target must be a number; got 'O'. "
        "For labels choose the loss binary_cross_entropy or cross_entropy",
    ),
    "labels for a number": (
        ["--data", "good.csv", "--loss", "squared_error"],
        "good.csv, line 2, column 'y': the target must be a number; got 'no'. "
        "For labels choose the loss binary_cross_entropy or cross_entropy",
    ),
    "numbers for labels": (
        ["--data", "numbers.csv", "--loss", "cross_entropy"],
        "numbers.csv, line 2: a label must be text or a whole number; got 0.5. "
        "To predict numbers choose a loss such as squared_error",
    ),
    "negative counts": (
        ["--data", "negative.csv", "--loss", "poisson"],
        "negative.csv, line 2: the target of poisson must be a count >= 0; got -4",
    ),
    "out is a file": (
        ["--data", "good.csv", "--out", "good.csv"],
        "good.csv: --out must be a folder; there is a file of that name",
    ),
    "out is foreign": (
        ["--data", "good.csv", "--out", "notes"],
        "notes: --out must be a new or empty folder or that of an earlier run; it holds 'todo.txt'. "
        "Choose another with --out",
    ),
    "out cannot be": (["--data", "good.csv", "--out", "good.csv/run"], "good.csv/run: Not a directory"),
    "threads": (["--data", "good.csv", "--threads", "1000"], None),
    "learning rate": (["--learning-rate", "0"], "learning_rate must be a finite number above 0; got 0.0"),
    "hidden": (
        ["--hidden", "100,x"],
        "argument --hidden: must be positive integers, such as 100 or 128,64; got '100,x' (see fastbp train --help)",
    ),
    "steps": (
        ["--steps", "0"],
        "argument --steps: must be a whole number of at least 1; got '0' (see fastbp train --help)",
    ),
    "both lengths": (
        ["--steps", "5", "--epochs", "5"],
        "argument --epochs: not allowed with argument --steps (see fastbp train --help)",
    ),
    "fraction": (
        ["--test-fraction", "1"],
        "argument --test-fraction: must be a number from 0 to below 1; got '1' (see fastbp train --help)",
    ),
    "no such option": (["--date", "x.csv"], "unrecognized arguments: --date x.csv (see fastbp --help)"),
}

PREDICT = {
    "missing model": (["none.npz", "good.csv"], "none.npz cannot be read: No such file or directory"),
    "no model": (["good.csv", "good.csv"], None),
    "damaged model": (["damaged.npz", "good.csv"], None),
    "other model": (
        ["bare.npz", "good.csv"],
        "bare.npz: a model written by `fastbp train` is wanted; it does not say which features and classes it is for. "
        "Models saved from Python are applied with net.predict",
    ),
    "model that does not fit itself": (
        ["unfit.npz", "good.csv"],
        "unfit.npz: a model written by `fastbp train` is wanted; it does not say which features and classes it is for. "
        "Models saved from Python are applied with net.predict",
    ),
    "missing data": (["model.npz", "none.csv"], "none.csv cannot be read: No such file or directory"),
    "missing column": (
        ["model.npz", "missing.csv"],
        "missing.csv: missing column 'a'; the file has columns 'b', 'y'",
    ),
    "nan": (
        ["model.npz", "nan.csv"],
        f"nan.csv, line 5, column 'a': a feature must be a finite number in float64; got 'nan'. {CORRECT}",
    ),
    "too large": (
        ["model.npz", "huge.csv"],
        f"huge.csv, line 2, column 'b': a feature must be a finite number in float32; got 1e+300. {CORRECT}",
    ),
    "label never seen": (
        ["model.npz", "unseen.csv", "--target", "y"],
        "unseen.csv, line 3: the label 'maybe' was never seen in training; known are 'no', 'yes'. "
        "Correct or drop the row, or train again with such rows",
    ),
    "missing target": (
        ["model.npz", "good.csv", "--target", "z"],
        "good.csv: missing the target 'z'; the file has columns 'a', 'b', 'y'",
    ),
    "out is no csv": (
        ["model.npz", "good.csv", "--out", "out.txt"],
        "out.txt: predictions are written to a file that ends in .csv; got .txt",
    ),
    "out in no folder": (
        ["model.npz", "good.csv", "--out", "no/where.csv"],
        "no/where.csv cannot be written: there is no folder no; make it first",
    ),
}

OTHER = {
    "no command": (
        [],
        "the following arguments are required: train | predict | export | graph | check | bench | config "
        "(see fastbp --help)",
    ),
    "unknown command": (["tarin"], None),
    "one output": (
        ["check", "--loss", "cross_entropy"],
        "cross_entropy needs at least two outputs, one per class; got layer_sizes ending in 1. "
        "For a binary problem with one output use loss='binary_cross_entropy'",
    ),
    "predict without model": (
        ["predict", "--data", "good.csv", "--out", "o.csv"],
        "the following arguments are required: --model (see fastbp predict --help)",
    ),
}


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """A folder with all the files and models; messages hold no machine's paths."""
    monkeypatch.chdir(tmp_path)
    Path("notes").mkdir()
    for name, text in FILES.items():
        Path(name).write_text(text)
    net = MLP((2, 3, 1), activation="tanh")
    params = net.init(0)
    task = {
        "features": ["a", "b"], "target": "y", "mean": np.zeros(2), "scale": np.array([1.0, 1e-3]),
        "classes": np.array(["no", "yes"]),
    }  # fmt: skip
    fastbp.save("model.npz", net, params, {"task": task})
    fastbp.save("bare.npz", net, params)
    fastbp.save("unfit.npz", net, params, {"task": task | {"classes": np.array(["no", "yes", "x"])}})
    damaged = bytearray(Path("model.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path("damaged.npz").write_bytes(damaged)


def listing():
    return {str(path): path.is_file() and path.read_bytes() for path in Path().rglob("*")}


def assert_refused(argv, message, capsys):
    """One line on stderr, exit code 2, and the folder as it was."""
    before = listing()
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastbp: ")
    assert err.count("\n") == 1
    if message is not None:
        assert err == f"fastbp: {message}\n"
    assert listing() == before
    return err


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, capsys):
    """Data, options and folders that cannot be used; no folder is made and no earlier one touched."""
    options, message = TRAIN[case]
    assert_refused(["train", *options], message, capsys)


@pytest.mark.parametrize("case", PREDICT)
def test_predict_refuses(case, capsys):
    """Models and data that cannot be used; no answers are written."""
    (model, data, *options), message = PREDICT[case]
    options = options if "--out" in options else ["--out", "answers.csv", *options]
    err = assert_refused(["predict", "--model", model, "--data", data, *options], message, capsys)
    assert model in err or data in err or options[1] in err


@pytest.mark.parametrize("case", OTHER)
def test_other_commands_refuse(case, capsys):
    """Commands and options that do not exist, and networks that cannot be."""
    argv, message = OTHER[case]
    assert_refused(argv, message, capsys)


def test_an_earlier_run_survives_bad_data(capsys):
    """The folder of an earlier run is emptied only when the new one can begin."""
    assert main(["train", "--samples", "100", "--steps", "5", "--quiet", "--no-plots"]) == 0
    for options, message in (TRAIN["nan"], TRAIN["threads"], TRAIN["learning rate"]):
        assert_refused(["train", "--out", "fastbp-run", *options], message, capsys)


@pytest.mark.parametrize("name", ["model.npz", "history.csv", "learning-curve.png", "boundary-step-000005.png"])
def test_a_full_disk_leaves_no_part_of_a_file(name, capsys, monkeypatch):
    """When a file cannot be written, exit code 2 names it; it is not there, nor is a temporary one."""
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert main(["train", "--samples", "100", "--steps", "5", "--quiet"]) == 2
    assert capsys.readouterr().err == f"fastbp: fastbp-run/{name}: No space left on device\n"
    assert name not in os.listdir("fastbp-run")
    assert not [entry for entry in os.listdir("fastbp-run") if entry.endswith(".tmp")]


def test_predictions_stay_when_a_new_file_cannot_be_written(capsys):
    """An error leaves the answers of an earlier call as they were."""
    assert main(["predict", "--model", "model.npz", "--data", "good.csv", "--out", "answers.csv"]) == 0
    assert capsys.readouterr().out == "20 rows: answers.csv\n"
    assert_refused(
        ["predict", "--model", "model.npz", "--data", "nan.csv", "--out", "answers.csv"], PREDICT["nan"][1], capsys
    )


def test_the_models_of_the_table_are_what_they_should_be():
    """The table's good model predicts; so its damaged twin fails for its damage alone."""
    assert main(["predict", "--model", "model.npz", "--data", "good.csv", "--target", "y", "--out", "o.csv"]) == 0
    _, _, meta = fastbp.load("unfit.npz")
    assert json.dumps(meta["task"]["features"]) == '["a", "b"]'
