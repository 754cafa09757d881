"""The command line on data larger than memory, on damaged data, and with options from a file."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastbp
from fastbp.cli.main import main

N = 3000
FAST = ("--epochs", "2", "--no-plots", "--quiet")


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(form, n=N):
    """The same table in a file of some kind, or in a folder of three; returns the name of the target."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3)) * [1, 100, 1e-3]
    kinds = np.array(["ash", "elm", "oak"])[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0)]
    if form == "csv":
        write_csv("t.csv", x, kinds)
    elif form == "folder":
        from pathlib import Path

        Path("t.folder").mkdir()
        for i, part in enumerate(np.array_split(np.arange(n), 3)):
            write_csv(f"t.folder/{i}.csv", x[part], kinds[part])
    elif form == "npy":
        np.save("t.npy", np.column_stack([x, x[:, 0] + x[:, 1]]))
    elif form == "npz":
        np.savez_compressed("t.npz", x=x, y=kinds)
    else:
        columns = dict(zip("abc", x.T, strict=True))
        pq.write_table(pa.table({**columns, "kind": kinds}), "t.parquet", row_group_size=700, write_page_checksum=True)
    return {"npy": "3", "npz": "y"}.get(form, "kind")


def write_csv(path, x, kinds):
    rows = (",".join([*map(repr, row), kind]) for row, kind in zip(x.tolist(), kinds, strict=True))
    with open(path, "w") as file:
        file.write("\n".join(["a,b,c,kind", *rows, ""]))


@pytest.mark.parametrize("form", ["csv", "npy", "npz", "parquet", "folder"])
def test_a_memory_limit_changes_no_bit(form, capsys):
    """Model and standardization are those of a run in memory; predictions are streamed and scored."""
    target = write_table(form)
    for out, options in (("a", ()), ("b", ("--memory-limit", "5MB"))):
        assert main(["train", "--data", f"t.{form}", *FAST, "--out", out, "--validation", "0.2", *options]) == 0
    models = [fastbp.load(f"{out}/model.npz") for out in "ab"]
    np.testing.assert_array_equal(models[0][1].vector, models[1][1].vector)
    for name in ("mean", "scale"):
        np.testing.assert_array_equal(*(model[2]["task"][name] for model in models))
    capsys.readouterr()
    predict = ["predict", "--model", "b/model.npz", "--data", f"t.{form}", "--out", "p.csv", "--target", target]
    assert main(predict) == 0
    assert re.match(rf"{N:,} rows: p\.csv, (accuracy|r2) 0\.\d+", capsys.readouterr().out)
    with open("p.csv") as file:
        assert len(file.read().splitlines()) == N + 1


def test_damaged_parquet_is_told(capsys):
    """A flipped bit in a page is found by its checksum."""
    write_table("parquet")
    with open("t.parquet", "r+b") as file:
        file.seek(3000)
        byte = file.read(1)
        file.seek(3000)
        file.write(bytes([byte[0] ^ 1]))
    assert main(["train", "--data", "t.parquet", *FAST]) == 2
    assert re.match(r"fastbp: t\.parquet: not a usable Parquet file: .*CRC", capsys.readouterr().err)


BAD = "a,b,y\n1,2,0\n3,x,1\n5,6,1\n7,8\n9,nan,0\n2,1,\n4,5,0\n1,1,1\n2,2,0\n3,1,1\n"


@pytest.mark.parametrize("options", [(), ("--memory-limit", "5MB")])
def test_bad_rows_can_be_left_out(options, capsys):
    """Counted, the first ones told with their lines; without the option the first is an error."""
    with open("bad.csv", "w") as file:
        file.write(BAD)
    command = ["train", "--data", "bad.csv", "--epochs", "1", "--no-plots", "--test-fraction", "0", *options]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("fastbp: bad.csv, line 5: a row must have 3 cells, as the header; got 2")
    assert main([*command, "--on-bad-rows", "skip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad.csv: 6 rows, 2 features")
    told = [line for line in lines if line.startswith("left out: ")]
    assert [re.search(r"line (\d+)", line)[1] for line in told] == ["5", "3", "7"]
    assert "4 bad rows were left out" in lines
    predict = ["predict", "--model", "fastbp-run/model.npz", "--data", "bad.csv", "--out", "p.csv"]
    assert main([*predict, "--on-bad-rows", "skip"]) == 0
    out = capsys.readouterr().out
    assert "10 rows: p.csv" in out
    assert "3 bad rows were left out; their answers are empty" in out
    with open("p.csv") as file:
        assert file.read().splitlines().count(",,") == 3


def test_options_come_from_a_file(capsys):
    """--config gives what the command line does not, and config.toml of a run makes the same model."""
    write_table("csv")
    with open("c.toml", "w") as file:
        file.write('data = "t.csv"\nhidden = [16, 8]\nepochs = 2\noptimizer = "adam"\nschedule = "cosine"\nl2 = 1e-4\n')
    assert main(["train", "--config", "c.toml", "--no-plots", "--quiet", "--seed", "3", "--early-stopping"]) == 0
    net, params, _ = fastbp.load("fastbp-run/model.npz")
    assert net.layer_sizes == (3, 16, 8, 3)
    again = ["train", "--config", "fastbp-run/config.toml", "--no-plots", "--quiet", "--out", "again"]
    assert main(again) == 0
    np.testing.assert_array_equal(fastbp.load("again/model.npz")[1].vector, params.vector)
    assert main([*again, "--steps", "1"]) == 0
    assert fastbp.load("again/model.npz")[2]["steps"] == 1
    for text, message in (
        ("hiden = 3", "c.toml: there is no option 'hiden'; there are "),
        ("resume = 3", "c.toml: resume must be true or false; got 3"),
        ("epochs = {a = 1}", "c.toml: epochs must be a number, text or a list of numbers; got {'a': 1}"),
        ("=", "c.toml: a TOML file is wanted: "),
        ("epochs = 0", "argument --epochs: must be a whole number of at least 1; got '0'"),
    ):
        with open("c.toml", "w") as file:
            file.write(text)
        assert main(["train", "--config", "c.toml"]) == 2
        assert capsys.readouterr().err.startswith(f"fastbp: {message}")


@pytest.mark.parametrize("schedule", [
    "cosine", "warmup-cosine", "one-cycle", "step-decay", "exponential", "inverse-scaling", "reduce-on-plateau",
])  # fmt: skip
def test_every_schedule_trains(schedule):
    """The rate in the history is not always the same, but for a plateau."""
    write_table("csv", 300)
    command = ["train", "--data", "t.csv", *FAST, "--schedule", schedule, "--optimizer", "adamw", "--clip-norm", "1"]
    assert main(command) == 0
    with open("fastbp-run/history.csv") as file:
        header, *rows = (line.split(",") for line in file.read().splitlines())
    rates = [float(row[header.index("learning_rate")]) for row in rows]
    assert (len(set(rates)) == 1) == (schedule == "reduce-on-plateau")


def test_json_is_for_machines(capsys):
    """One object a line; the last one says where the model is."""
    write_table("csv", 300)
    assert main(["train", "--data", "t.csv", "--epochs", "2", "--no-plots", "--json"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"step", "epoch", "loss", "accuracy", "held_out_accuracy", "samples_per_second"} <= set(objects[0])
    assert objects[-1]["out"] == "fastbp-run"


def test_a_run_goes_on_from_the_command_line(monkeypatch, capsys):
    """--checkpoint and --resume: interrupted, then resumed, it is a run that never stopped; without any it starts."""
    write_table("csv", 600)
    command = ["train", "--data", "t.csv", "--epochs", "20", "--no-plots", "--quiet", "--optimizer", "adam"]
    assert main([*command, "--out", "whole"]) == 0

    def interrupt(self, run):
        if run.epoch == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastbp.cli.progress.Display.step", interrupt)
        assert main([*command, "--checkpoint", "kept", "--resume"]) == 130
    assert main([*command, "--checkpoint", "kept", "--resume"]) == 0
    np.testing.assert_array_equal(*(fastbp.load(f"{run}/model.npz")[1].vector for run in ("whole", "fastbp-run")))
    capsys.readouterr()
    assert main([*command, "--checkpoint", "kept"]) == 2
    assert "there are checkpoints of another run; resume it, or choose another folder" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 2
    assert capsys.readouterr().err == "fastbp: --resume needs --checkpoint, the folder to go on from\n"


@pytest.mark.parametrize("form", ["csv", "npz", "parquet", "folder"])
def test_a_table_is_opened_as_a_data_set(form, workdir):
    """From Python: any kind of file, on the disk; training on it is training on the table in memory."""
    target = write_table(form)
    task, rows = fastbp.open_table(f"t.{form}", workdir, target=target)
    table = fastbp.data.read_table(f"t.{form}", target=target)
    assert task.classes.tolist() == ["ash", "elm", "oak"]
    x, y = task.encode_inputs(table, np.float32), task.encode_target(table)
    net = fastbp.MLP((3, 8, 3), loss="cross_entropy")
    runs = [fastbp.train(net, net.init(0), *given, epochs=2) for given in ((rows,), (x, y))]
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)
    assert sorted(path.name for path in workdir.glob("*.npy")) == ["train.npy"]


def test_rows_without_a_target_are_left_out_alike():
    """A target that is no number among numbers: the same model with a limit and without."""
    rng = np.random.default_rng(0)
    with open("t.csv", "w") as file:
        rows = (f"{a},{b},{'nan' if i in (15, 40) else a + b}" for i, (a, b) in enumerate(rng.standard_normal((60, 2))))
        file.write("\n".join(["a,b,y", *rows, ""]))
    for out, options in (("a", ()), ("b", ("--memory-limit", "5MB"))):
        command = ["train", "--data", "t.csv", *FAST, "--on-bad-rows", "skip", "--out", out, *options]
        assert main(command) == 0
    np.testing.assert_array_equal(*(fastbp.load(f"{out}/model.npz")[1].vector for out in "ab"))
