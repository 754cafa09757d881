"""The command line, from arguments to files: what it writes, what it says, and how it fails."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import progress
from fastbp.cli.main import main
from fastbp.cli.train import snapshot_steps
from fastbp.engine import gradcheck
from fastbp.model.network import MLP

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = ("--samples", "500", "--steps", "30")


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """Each test works in a folder of its own, so that messages hold no machine's paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_flowers(path="flowers.csv", n=90, labels=("iris", "rose", "tulip"), seed=0):
    """Three clouds in the plane, with names."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % len(labels)
    x = rng.standard_normal((n, 2)) * 0.3 + np.array([[0, 0], [2, 0], [0, 2]])[codes % 3]
    write_csv(path, ["length", "width", "kind"], [[*row, labels[code]] for row, code in zip(x, codes, strict=True)])
    return codes


def listing(folder="."):
    """Every file below, with its bytes."""
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# -- train -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [(), ("--memory-limit", "1GB")], ids=["in memory", "streamed"])
@pytest.mark.parametrize("fraction", ["0.1", "0.2", "0.35"])
def test_the_fraction_held_out_is_that_of_the_rows(fraction, limit, capsys):
    """round(F N) rows of a table with 23 small classes are held out, and of the rest the share to validate on."""
    labels = [f"c{i}" for i in range(23) for _ in range(3)]
    write_csv("t.csv", ["a", "kind"], list(zip(range(69), labels, strict=True)))
    options = ("--test-fraction", fraction, "--validation", "0.1", "--steps", "2", "--no-plots", *limit)
    assert main(["train", "--data", "t.csv", *options]) == 0
    held_out = round(float(fraction) * 69)
    out = capsys.readouterr().out
    assert f"t.csv: {69 - held_out} rows (and {held_out} held out)" in out


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_spirals_are_learnt(seed, capsys):
    """On 10,000 points of the default: wrong at step 5, at least 0.99 within 1,000 steps, and every file is there."""
    assert main(["train", "--samples", "10000", "--seed", seed]) == 0
    history = rows_of("fastbp-run/history.csv")
    assert [int(row["step"]) for row in history] == list(range(1, 1001))
    assert float(history[4]["accuracy"]) < 0.9
    assert float(history[-1]["accuracy"]) >= 0.99
    assert float(history[-1]["loss"]) < 0.05
    steps = (5, 20, 100, 300, 1000)
    pictures = [f"boundary-step-{step:06}.png" for step in steps]
    assert names_in("fastbp-run") == sorted(
        [*pictures, "config.toml", "history.csv", "learning-curve.png", "model.npz"]
    )
    files = listing("fastbp-run")
    assert all(data.startswith(PNG) and len(data) > 10_000 for path, data in files.items() if path.endswith(".png"))
    assert "accuracy 0.99" in capsys.readouterr().out.splitlines()[-2]

    net, params, _ = fastbp.load("fastbp-run/model.npz")
    assert net == MLP((2, 100, 1), bias=False)
    assert params.dtype == np.float32


def test_pictures_carry_step_and_loss_of_what_they_show(monkeypatch):
    """A boundary is titled with its step and the loss of the parameters drawn; its Axes hold line and data."""
    drawn = {}
    monkeypatch.setattr(
        "fastbp.cli.run_folder.RunFolder.save_picture", lambda self, name, axes: drawn.__setitem__(name, axes)
    )
    assert main(["train", *SMALL]) == 0
    assert list(drawn) == [*(f"boundary-step-{step:06}.png" for step in (5, 20, 30)), "learning-curve.png"]
    net, params, meta = fastbp.load("fastbp-run/model.npz")
    x, y = fastbp.data.spirals(500)
    x = ((x - meta["task"]["mean"]) / meta["task"]["scale"]).astype(np.float32)
    axes = drawn["boundary-step-000030.png"]
    assert axes.get_title() == f"step 30, loss {net.loss(params, x, y):.4f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x1", "x2")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0 (250)", "1 (250)"]
    curve = drawn["learning-curve.png"]
    assert curve.lines[0].get_xydata()[:, 0].tolist() == list(range(1, 31))
    assert curve.get_title() == "2-100-1 sigmoid, binary_cross_entropy, no bias"


@pytest.mark.parametrize(("n_steps", "steps"), [
    (3, {3}), (5, {5}), (150, {5, 20, 100, 150}), (2500, {5, 20, 100, 300, 1000, 2000, 2500}),
    (20_000, {5, 20, 100, 300, *range(1000, 10_001, 1000), 20_000}),
])  # fmt: skip
def test_steps_that_are_drawn(n_steps, steps):
    """5, 20, 100, 300, each thousand to 10,000, then each ten thousand, and the last."""
    assert snapshot_steps(n_steps) == steps


def test_a_table_with_names_is_learnt_and_predicted():
    """Text labels: a boundary of three classes, held-out accuracy, and answers in the table's own words."""
    codes = write_flowers()
    assert main(["train", "--data", "flowers.csv", "--target", "kind", "--out", "run"]) == 0
    assert float(rows_of("run/history.csv")[-1]["held_out_accuracy"]) >= 0.9
    assert "boundary-step-000005.png" in names_in("run")

    table = rows_of("flowers.csv")
    write_csv("new.csv", ["note", "width", "length"], [["x", row["width"], row["length"]] for row in table])
    assert main(["predict", "--model", "run/model.npz", "--data", "new.csv", "--out", "answers.csv"]) == 0
    answers = rows_of("answers.csv")
    assert np.mean([a["prediction"] == row["kind"] for a, row in zip(answers, table, strict=True)]) > 0.9
    assert list(answers[0]) == ["prediction", "probability_iris", "probability_rose", "probability_tulip"]
    p = np.array([[float(value) for value in list(row.values())[1:]] for row in answers])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (p.argmax(axis=1) == codes).mean() > 0.9


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz"])
def test_numbers_are_learnt_in_their_own_units(suffix, capsys):
    """A regression: R^2 on held-out rows, RMSE and answers in the units of the target."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 3)) * [1, 100, 0.01]
    y = 5000 + 1000 * x[:, 0] + 10 * x[:, 1] + rng.standard_normal(400)
    path = f"houses.{suffix}"
    if suffix == "csv":
        write_csv(path, ["a", "b", "c", "price"], np.column_stack([x, y]))
    elif suffix == "npy":
        np.save(path, np.column_stack([x, y]))
    else:
        np.savez(path, x=x, y=y)
    assert main(["train", "--data", path, "--out", "run"]) == 0
    assert float(rows_of("run/history.csv")[-1]["held_out_r2"]) > 0.98
    assert re.search(r"R\^2 0\.9\d+, RMSE \d{2,3}(\.\d+)? on 80 held-out rows", capsys.readouterr().out)
    assert "boundary-step-000005.png" not in names_in("run")
    assert main(["predict", "--model", "run/model.npz", "--data", path, "--out", "answers.csv"]) == 0
    answers = np.array([float(row["prediction"]) for row in rows_of("answers.csv")])
    assert 1 - np.var(answers - y) / np.var(y) > 0.98
    assert abs(answers.mean() - y.mean()) < 50


@pytest.mark.parametrize("options", [
    ["--hidden", "16,8", "--activation", "relu", "--epochs", "3"],
    ["--loss", "cross_entropy", "--dtype", "float64", "--batch-size", "30", "--steps", "7"],
    ["--test-fraction", "0", "--learning-rate", "0.1", "--epochs", "2", "--seed", "5"],
])  # fmt: skip
def test_options_reach_the_network(options, workdir):
    """Layers, activation, loss, dtype, steps and the split are as asked for."""
    write_flowers(n=100, labels=("yes", "no"))
    assert main(["train", "--data", "flowers.csv", "--quiet", "--no-plots", "--out", "run", *options]) == 0
    net, params, meta = fastbp.load("run/model.npz")
    asked = dict(zip(options[::2], options[1::2], strict=True))
    hidden = tuple(int(n) for n in asked.get("--hidden", "100").split(","))
    loss = asked.get("--loss", "binary_cross_entropy")
    assert net == MLP(
        (2, *hidden, 2 if loss == "cross_entropy" else 1), activation=asked.get("--activation", "tanh"), loss=loss
    )
    assert params.dtype == asked.get("--dtype", "float32")
    n_train = 100 if "--test-fraction" in asked else 80
    length = -(-n_train // int(asked.get("--batch-size", 32)))
    assert meta["steps"] == (int(asked["--steps"]) if "--steps" in asked else int(asked["--epochs"]) * length)
    history = rows_of("run/history.csv")
    assert ("held_out_accuracy" in history[0]) == (n_train == 80)
    assert (int(history[-1]["step"]), len(history)) == (meta["steps"], -(-meta["steps"] // length))
    assert meta["task"]["classes"].tolist() == ["no", "yes"]
    assert meta["task"]["features"] == ["length", "width"]
    assert names_in("run") == ["config.toml", "history.csv", "model.npz"]


@pytest.mark.parametrize(("values", "loss"), [
    (["a", "b"] * 10, "binary_cross_entropy"), ([0, 1] * 10, "binary_cross_entropy"),
    ([0.0, 1.0] * 10, "binary_cross_entropy"), (["a", "b", "c", "d"] * 5, "cross_entropy"),
    (list(range(5)) * 4, "cross_entropy"), (list(range(30)), "squared_error"), ([0.5, 1.0] * 10, "squared_error"),
])  # fmt: skip
def test_the_loss_follows_the_target(values, loss):
    """Two classes, more classes, or numbers."""
    write_csv("t.csv", ["a", "y"], [[i, value] for i, value in enumerate(values)])
    assert main(["train", "--data", "t.csv", "--steps", "1", "--quiet", "--no-plots"]) == 0
    assert fastbp.load("fastbp-run/model.npz")[0].loss_function.name == loss


def test_the_same_seed_gives_the_same_model_on_any_number_of_threads():
    """model.npz is equal byte by byte; with another seed it is not."""
    write_flowers()
    models = []
    for options in (["--threads", "1"], ["--threads", "2"], ["--seed", "1"]):
        assert main(["train", "--data", "flowers.csv", "--epochs", "2", "--quiet", "--no-plots", *options]) == 0
        models.append(listing()["fastbp-run/model.npz"])
    assert models[0] == models[1] != models[2]


def test_an_earlier_run_is_replaced_and_nothing_of_it_is_left():
    """The second run's folder holds its own files only, also where a killed run left temporary ones."""
    assert main(["train", *SMALL, "--quiet"]) == 0
    assert "boundary-step-000005.png" in names_in("fastbp-run")
    with open("fastbp-run/.model.npz.0123456789abcdef.tmp", "wb") as file:
        file.write(b"half")
    assert main(["train", *SMALL, "--quiet", "--no-plots"]) == 0
    assert names_in("fastbp-run") == ["config.toml", "history.csv", "model.npz"]


def test_quiet_says_nothing(capsys):
    """With --quiet there is no output."""
    assert main(["train", *SMALL, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_lines_say_how_it_goes(capsys):
    """Without a terminal: what is trained, a line an evaluation, the scores, and what was written where."""
    assert main(["train", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "two spirals: 500 rows, 2 features, target 'spiral' (2 classes)",
        "2-100-1 sigmoid, binary_cross_entropy, no bias, float32: 30 steps of 10 on the full batch",
    ]
    steps = [line for line in lines if line.startswith("step ")][:-1]
    speed = r"[\d.]+ M samples/s, [\d.]+ GFLOP/s"
    assert all(re.fullmatch(rf"step +\d+  loss [\d.]+  accuracy [01]\.\d{{4}}  {speed}", step) for step in steps)
    assert len(steps) == 16  # every other epoch, and step 5
    assert re.fullmatch(r"loss [\d.]+; accuracy [01]\.\d{4} on 500 training rows", lines[-2])
    assert lines[-1] == (
        "step 30 of 30: config.toml, history.csv, learning-curve.png, model.npz, 3 pictures of the boundary in "
        "fastbp-run/"
    )


def test_a_terminal_gets_a_live_bar(capsys, monkeypatch):
    """With rich and a terminal, a bar with steps, loss, accuracy and samples per second; without rich, lines."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["train", *SMALL, "--no-plots"]) == 0
    out = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert "step 30/30" in out
    assert re.search(r"loss [\d.]+  accuracy [01]\.\d{4}  [\d.]+ M samples/s", out)
    assert not re.search(r"^step +20 ", out, re.MULTILINE)
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["train", *SMALL, "--no-plots"]) == 0
    assert re.search(r"^step +20 ", capsys.readouterr().out, re.MULTILINE)


def test_without_matplotlib_it_trains_and_says_how_to_get_pictures(capsys, monkeypatch):
    """Exit code 0, no picture, one line; none at all where no pictures were wanted."""
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", *SMALL]) == 0
    assert names_in("fastbp-run") == ["config.toml", "history.csv", "model.npz"]
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'no pictures without matplotlib; to get them: pip install "fastbp[plot]"'
    assert main(["train", *SMALL, "--no-plots"]) == 0
    assert "matplotlib" not in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code", "word"), [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"),
])  # fmt: skip
def test_a_signal_saves_what_there_is(number, code, word, capsys, monkeypatch):
    """After step 8: the exit code of the signal, one line that says what was saved, and a model that can be read."""

    def interrupt(self, run):
        if run.step == 8:
            signal.raise_signal(number)

    monkeypatch.setattr(progress.Display, "step", interrupt)
    assert main(["train", *SMALL, "--quiet"]) == code
    assert capsys.readouterr().err == (
        f"fastbp: {word} at step 8 of 30: config.toml, history.csv, model.npz, 1 picture of the boundary "
        "in fastbp-run/\n"
    )
    assert len(rows_of("fastbp-run/history.csv")) == 8
    assert fastbp.load("fastbp-run/model.npz")[2]["steps"] == 8


def test_a_descent_that_diverges_says_so(capsys):
    """Exit code 2, the step and the learning rate in one line, and no model."""
    write_csv("t.csv", ["a", "y"], [[i, i * 1.5] for i in range(40)])
    assert main(["train", "--data", "t.csv", "--learning-rate", "1e20", "--out", "run", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"fastbp: the training diverged at step \d+, loss \S+: overflow in the .*of 2\. The learning rate 1e\+20 is "
        r"most likely too large; try 1e\+19, .*\n", err
    )  # fmt: skip
    assert "model.npz" not in names_in("run")


def test_a_process_of_its_own():
    """`python -m fastbp train` works as a user would call it, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-m", "fastbp", "train", "--samples", "300", "--steps", "5"]
    environment = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert names_in("fastbp-run") == [
        *("boundary-step-000005.png", "config.toml", "history.csv", "learning-curve.png", "model.npz")
    ]


# -- check, config and the rest ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    [], ["--dtype", "float32", "--no-bias"], ["--layers", "3,5,4,3", "--activation", "gelu", "--loss", "cross_entropy"],
    ["--layers", "3,5,2", "--activation", "relu", "--loss", "poisson", "--rows", "10", "--seed", "3"],
    ["--layers", "3,2", "--loss", "huber"],
])  # fmt: skip
def test_check_prints_a_table_and_succeeds(options, capsys):
    """A right gradient: exit code 0, a row for each layer's weights, and the verdict."""
    assert main(["check", *options]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "ok: the gradient agrees"
    assert re.search(r"^W1 ", out, re.MULTILINE)
    assert bool(re.search(r"^b1 ", out, re.MULTILINE)) == ("--no-bias" not in options)


def test_check_fails_on_a_wrong_gradient(capsys, monkeypatch):
    """A gradient wrong by 0.1 % in one weight: exit code 1."""
    right = MLP.value_and_grad

    def wrong(*args, **options):
        loss, grad = right(*args, **options)
        grad.vector[np.abs(grad.vector).argmax()] *= 1.001
        return loss, grad

    monkeypatch.setattr(gradcheck.MLP, "value_and_grad", wrong)
    assert main(["check"]) == 1
    assert "wrong: the gradient of" in capsys.readouterr().out


def test_config_prints_versions(capsys):
    """`fastbp config` is show_config."""
    assert main(["config"]) == 0
    assert re.search(rf"^fastbp +{re.escape(fastbp.__version__)}$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(("argv", "text"), [
    (["--version"], f"fastbp {fastbp.__version__}\n"),
    (["--help"], "train | predict | export | graph | check | bench | config"),
    (["train", "--help"], "fastbp train --data flowers.csv --target species --out flowers"),
    (["predict", "--help"], "--model flowers/model.npz --data new.csv"), (["check", "--help"], "fastbp check --layers"),
])  # fmt: skip
def test_help_and_version(argv, text, capsys):
    """They print and end with 0; help shows examples."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    assert text in capsys.readouterr().out
