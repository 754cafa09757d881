"""What is written never destroys what is read; a folder that is not there is named; a ~ is the home folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import fontManager

import fastbp
from fastbp import data
from fastbp.cli.main import main
from fastbp.errors import CheckpointError, InputError
from fastbp.formats.safetensors import load_safetensors
from fastbp.model.network import MLP

NET = MLP((2, 3, 1), activation="tanh")
ROWS = "a,b,y\n" + "".join(f"{i},{i * i % 7},{('no', 'yes')[i % 2]}\n" for i in range(20))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder that is the working folder, with a table, a folder of tables and a model."""
    assert fontManager.ttflist  # found before the home folder moves
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for folder in ("parts", "run", "other"):
        Path(folder).mkdir()
    for name in ("t.csv", "parts/p0.csv", "run/history.csv", "run.csv"):
        Path(name).write_text(ROWS)
    Path("run/config.toml").write_text('data = "t.csv"\n')
    task = {"features": ["a", "b"], "target": "y", "mean": np.zeros(2), "scale": np.ones(2)}
    fastbp.save("m.npz", NET, NET.init(0), {"task": task | {"classes": np.array(["no", "yes"])}})
    return tmp_path


def listing():
    return {str(path): path.is_file() and path.read_bytes() for path in Path().rglob("*")}


def linked(path):
    Path("other/link" + Path(path).suffix).symlink_to(Path(path).resolve())
    return "other/link" + Path(path).suffix


def hard_linked(path):
    os.link(path, "other/twin" + Path(path).suffix)
    return "other/twin" + Path(path).suffix


def through_a_folder(path):
    Path("shortcut").symlink_to(Path(path).resolve().parent)
    return f"shortcut/{Path(path).name}"


WAYS = {
    "as it is": lambda path: path,
    "relative": lambda path: f"./other/../{path}",
    "absolute": lambda path: str(Path(path).resolve()),
    "by ~": lambda path: f"~/{path}",
    "a link": linked,
    "a hard link": hard_linked,
    "through a folder that is a link": through_a_folder,
}
# What is run, with OUT in place of the output; the option that reads, the input, the file that would be written over.
PREDICT = ["predict", "--model", "m.npz", "--data", "t.csv", "--out", "OUT"]
OVERWRITING = {
    "predict over its data": (PREDICT, "--data", "t.csv"),
    "predict over its model": (PREDICT, "--model", "m.npz"),
    "predict over a file of its folder": ([*PREDICT[:4], "parts", "--out", "OUT"], "--data", "parts/p0.csv"),
    "export over its model": (["export", "--model", "m.npz", "--out", "OUT"], "--model", "m.npz"),
    "graph over its data": (["graph", "--model", "m.npz", "--data", "t.csv", "--out", "OUT"], "--data", "t.csv"),
    "graph over its model": (["graph", "--model", "m.npz", "--data", "t.csv", "--out", "OUT"], "--model", "m.npz"),
}


@pytest.mark.parametrize(
    ("case", "way"),
    # The twin of a file in a folder is not found, and need not be: it is replaced, and the file stays.
    [(case, way) for case in OVERWRITING for way in WAYS if (way, "folder" in case) != ("a hard link", True)],
)
def test_an_output_is_never_an_input(case, way, capsys):
    """However its path is written: one line that names both, exit code 2, nothing read and nothing written."""
    argv, option, path = OVERWRITING[case]
    out, before = WAYS[way](path), listing()
    assert main([out if text == "OUT" else text for text in argv]) == 2
    err = capsys.readouterr().err
    assert f"would be written over what {option} reads" in err
    assert Path(os.path.expanduser(out)).name in err
    assert err.count("\n") == 1
    assert listing() == before


def test_an_output_is_no_new_file_in_a_folder_of_data(capsys):
    """It would be data the next time."""
    before = listing()
    assert main(["predict", "--model", "m.npz", "--data", "parts", "--out", "parts/answers.csv"]) == 2
    assert "--data reads, parts" in capsys.readouterr().err
    assert listing() == before


def test_nothing_is_read_before_the_output_is_refused(capsys):
    """Neither model nor data need to exist."""
    assert main(["predict", "--model", "none.npz", "--data", "t.csv", "--out", "t.csv"]) == 2
    assert "would be written over" in capsys.readouterr().err


EMPTYING = {
    "data": (["--data", "run/history.csv", "--out", "run"], "--data"),
    "a folder of data": (["--data", "run", "--out", "run"], "--data"),
    "data, by a link": (["--data", "run/history.csv", "--out", "shortcut"], "--data"),
    "data that is a link": (["--data", "link.csv", "--out", "run"], "--data"),
    "the options": (["--config", "run/config.toml", "--out", "run"], "--config"),
    "checkpoints": (["--data", "t.csv", "--out", "run", "--checkpoint", "run"], "--checkpoint"),
    "checkpoints further in": (["--data", "t.csv", "--out", "new", "--checkpoint", "new/states"], "--checkpoint"),
}


@pytest.mark.parametrize("case", EMPTYING)
def test_a_run_never_empties_what_it_reads(case, capsys):
    """A table, options or checkpoints in the folder of --out: refused, and still there."""
    options, name = EMPTYING[case]
    Path("shortcut").symlink_to("run")
    Path("link.csv").symlink_to("run/history.csv")
    before = listing()
    assert main(["train", *options]) == 2
    err = capsys.readouterr().err
    assert f"would be emptied, and {name} is in it" in err
    assert listing() == before


def test_outputs_beside_their_inputs_are_written():
    """A name that begins alike, and a folder beside the data, are no reason to refuse."""
    assert main(["predict", "--model", "m.npz", "--data", "parts", "--out", "parts.csv"]) == 0
    assert main(["train", "--data", "run.csv", "--out", "run", "--steps", "2", "--no-plots", "--quiet"]) == 0
    assert main(["predict", "--model", "run/model.npz", "--data", "t.csv", "--out", "run/p.csv"]) == 0
    assert Path("parts.csv").read_text().count("\n") == 21


def test_open_table_does_not_overwrite_its_table():
    """Neither by the name of a file that it writes, nor as one of the files in the folder that it reads."""
    np.save("other/train.npy", np.arange(40.0).reshape(20, 2))
    for path, folder in (("other/train.npy", "other"), ("parts", "parts")):
        before = listing()
        with pytest.raises(InputError, match=r"would be written over what path reads"):
            fastbp.open_table(path, folder)
        assert listing() == before


# -- folders that are not there ------------------------------------------------------------------------


def film(path):
    net = MLP((2, 3, 1))
    result = fastbp.train(net, net.init(0), np.eye(2), np.array([0, 1]), steps=2, snapshots=[1, 2])
    fastbp.plot.animate(net, result, np.eye(2), np.array([0, 1]), path=path)


WRITERS = {
    "save": lambda folder: fastbp.save(f"{folder}/m.npz", NET, NET.init(0)),
    **{
        f"export {ending}": lambda folder, ending=ending: fastbp.export(f"{folder}/m.{ending}", NET, NET.init(0))
        for ending in ("npz", "safetensors", "py")
    },
    "write_predictions": lambda folder: data.write_predictions(f"{folder}/p.csv", np.arange(3)),
    "animate": lambda folder: film(f"{folder}/film.gif"),
    "history": lambda folder: fastbp.train(
        NET, NET.init(0), np.eye(2), np.array([0, 1]), steps=2
    ).history.to_csv(f"{folder}/h.csv"),
}  # fmt: skip


@pytest.mark.parametrize("folder", ["no", "no/such", "t.csv"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_missing_folder_is_named(writer, folder):
    """An InputError with the folder and what to do, and nothing is made."""
    before = listing()
    with pytest.raises(InputError, match=rf"cannot be written: there is no folder {folder}; make it first"):
        WRITERS[writer](folder)
    assert listing() == before


def test_checkpoints_whose_folder_is_taken_away_say_so(tmp_path):
    """The error is one of checkpoints, which a training passes over with a warning."""
    with fastbp.Checkpoints(tmp_path / "states") as checkpoints:
        (tmp_path / "states/lock").unlink()
        (tmp_path / "states").rmdir()
        with pytest.raises(CheckpointError, match=r"there is no folder .*states"):
            checkpoints.write(1, NET, NET.init(0), {})


# -- the home folder -----------------------------------------------------------------------------------


def test_the_command_line_knows_the_home_folder(home, monkeypatch):
    """~ stands for it in every option with a path, after = and in a --config file, too; no folder is called ~."""
    Path("other/options.toml").write_text('data = "~/t.csv"\nout = "~/made"\nsteps = 2\ncheckpoint = "~/states"\n')
    monkeypatch.chdir(home / "other")
    assert main(["train", "--config=~/other/options.toml", "--quiet", "--no-plots"]) == 0
    assert (home / "states").is_dir()
    assert f'data = "{home.resolve() / "t.csv"}"' in (home / "made/config.toml").read_text()
    assert main(["predict", "--model=~/made/model.npz", "--data=~/t.csv", "--out=~/p.csv"]) == 0
    assert main(["export", "--model=~/made/model.npz", "--out=~/m.py"]) == 0
    assert main(["graph", "--model=~/made/model.npz", "--data=~/t.csv", "--out=~/g.dot"]) == 0
    assert all((home / name).is_file() for name in ("p.csv", "m.py", "g.dot"))
    assert not list(home.rglob("~*"))


def test_python_knows_the_home_folder(home, monkeypatch):
    """So do the functions that take a path."""
    monkeypatch.chdir(home / "other")
    params = NET.init(0)
    fastbp.save("~/s.npz", NET, params)
    assert (fastbp.load("~/s.npz")[1].vector == params.vector).all()
    fastbp.export("~/e.safetensors", NET, params)
    assert (load_safetensors("~/e.safetensors")[1].vector == params.vector).all()
    assert fastbp.open_table("~/t.csv", "~/other", target="y")[1].n_rows == 20
    assert len(data.read_table("~/t.csv").x) == len(next(data.read_blocks("~/t.csv")).x) == 20
    data.write_predictions("~/w.csv", np.arange(3))
    assert fastbp.data.NpyRows("~/other/train.npy").n_rows == 20
    x, y = np.eye(2), np.array([0, 1])
    result = fastbp.train(NET, params, x, y, steps=2, checkpoint="~/kept", snapshots=[1, 2])
    result.history.to_csv("~/h.csv")
    fastbp.plot.animate(NET, result, x, y, path="~/f.gif")
    assert all((home / name).exists() for name in ("s.npz", "e.safetensors", "w.csv", "kept", "h.csv", "f.gif"))
    assert not list(home.rglob("~*"))
