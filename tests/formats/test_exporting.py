"""Exported models in general: endings, what is refused, files that are whole or not there, and the command."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import losses
from fastbp.activations import Activation
from fastbp.cli.main import main
from fastbp.errors import InputError
from fastbp.formats import export, npz
from fastbp.model.network import MLP
from tests.models import make_params, make_task

NET = MLP((3, 4, 2), activation="relu", loss="cross_entropy")
STARTS = {
    "npz": lambda content: content[:4] == b"PK\x03\x04",
    "safetensors": lambda content: content[8:24] == b'{"__metadata__":',
    "onnx": lambda content: content[:10] == b"\x08\x08\x12\x06fastbp",
    "py": lambda content: content.startswith(b'"""Predictions of a trained network, written by fastbp'),
}


@pytest.fixture(params=STARTS)
def form(request):
    """Each of the formats."""
    if request.param == "onnx":
        pytest.importorskip("onnx")
    return request.param


@pytest.fixture(params=[name for name in STARTS if name != "npz"])
def foreign_form(request):
    """Each of the formats of others."""
    if request.param == "onnx":
        pytest.importorskip("onnx")
    return request.param


# -- formats ---------------------------------------------------------------------------------------------


def test_the_ending_names_the_format(form, tmp_path):
    """In any case; `format` has the last word; the package's own `export` is this one."""
    for name, options in ((f"m.{form}", {}), (f"m2.{form.upper()}", {}), ("model.py", {"format": form})):
        fastbp.export(tmp_path / name, NET, make_params(NET), {"a": 1}, **options)
        assert STARTS[form]((tmp_path / name).read_bytes())


def test_npz_is_what_save_writes(tmp_path):
    """The same bytes, and `fastbp.load` reads them."""
    export.export(tmp_path / "a.npz", NET, make_params(NET), {"a": np.arange(3)})
    npz.save(tmp_path / "b.npz", NET, make_params(NET), {"a": np.arange(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert fastbp.load(tmp_path / "a.npz")[0] == NET


def test_equal_models_make_equal_files(form, tmp_path):
    """The file is a function of the model alone."""
    net, params, task, _ = make_task("three classes")
    for name in ("a", "b"):
        export.export(tmp_path / name, net, params.copy(), {"task": task.to_meta()}, format=form)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("name", "ending"), [("m.txt", ".txt"), ("m", "no ending"), ("m.onnx.gz", ".gz")])
def test_other_endings_are_refused(name, ending, tmp_path):
    """The message names those that are known."""
    with pytest.raises(InputError) as caught:
        export.export(tmp_path / name, NET, make_params(NET))
    assert str(caught.value) == (
        f"{tmp_path / name}: a model is exported to a file that ends in .npz, .safetensors, .onnx or .py; got {ending}"
    )


def test_other_formats_are_refused(tmp_path):
    """The message names those that are known."""
    with pytest.raises(
        InputError, match=r"^format must be one of npz, safetensors, onnx, py, or None for .* 'pickle'$"
    ):
        export.export(tmp_path / "m.npz", NET, make_params(NET), format="pickle")


# -- what is refused -------------------------------------------------------------------------------------


def test_parameters_of_another_network_are_refused(form, tmp_path):
    """Network and parameters must belong together; no file appears."""
    with pytest.raises(InputError, match=r"^params must be those of 3-4-2 relu, .* parameters of 1-1 linear, "):
        export.export(tmp_path / "m", NET, make_params(MLP((1, 1))), format=form)
    assert list(tmp_path.iterdir()) == []


OWN = {
    "activation": MLP((1, 2, 1), activation=Activation("square", lambda z: z * z, lambda z: 2 * z)),
    "loss": MLP((1, 2, 1), loss=losses.Loss("fourth", lambda y, z: (z - y) ** 4, lambda y, z: 4 * (z - y) ** 3)),
}


@pytest.mark.parametrize("kind", OWN)
def test_functions_of_the_users_own_are_refused(kind, form, tmp_path):
    """No file can hold them; no file appears."""
    with pytest.raises(InputError, match=r"^(square|fourth) is a function of your own, which a file cannot hold: "):
        export.export(tmp_path / "m", OWN[kind], make_params(OWN[kind]), format=form)
    assert list(tmp_path.iterdir()) == []


TASKS = {
    "no dict": lambda task: "flowers",
    "nothing": lambda task: {},
    "no scale": lambda task: {key: value for key, value in task.items() if key != "scale"},
    "other features": lambda task: task | {"features": ["a"]},
    "features that are no text": lambda task: task | {"features": [1, 2, 3]},
    "a target that is no text": lambda task: task | {"target": 1},
    "mean of text": lambda task: task | {"mean": np.array(["0", "1", "2"])},
    "mean that is not finite": lambda task: task | {"mean": np.array([0, np.nan, 0])},
    "scale of zero": lambda task: task | {"scale": np.array([1.0, 0.0, 1.0])},
    "mean of lists": lambda task: task | {"mean": [0, 0, 0]},
    "other number of classes": lambda task: task | {"classes": np.array(["a", "b"])},
    "classes of fractions": lambda task: task | {"classes": np.array([0.5, 1.5, 2.5])},
    "numbers of a classifier": lambda task: (
        task | {"classes": None, "target_mean": np.zeros(3), "target_scale": np.ones(3)}
    ),
}


@pytest.mark.parametrize("form", ["onnx", "py"])
@pytest.mark.parametrize("case", TASKS)
def test_a_task_of_another_kind_is_refused(case, form, tmp_path):
    """A graph or a program with a wrong standardization would be wrong in silence; no file appears."""
    net, params, task, _ = make_task("three classes")
    with pytest.raises(
        InputError, match=r"^meta\['task'\] must be that of a model by `fastbp train`: .* for 3-8-3 tanh"
    ):
        export.export(tmp_path / "m", net, params, {"task": TASKS[case](task.to_meta())}, format=form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "py"])
@pytest.mark.parametrize(
    "changes", [{"target_scale": np.ones(2)}, {"target_scale": np.array([0.0])}, {"target_scale": [1.0]}]
)
def test_a_target_of_another_kind_is_refused(changes, form, tmp_path):
    """The same for numbers."""
    net, params, task, _ = make_task("number")
    with pytest.raises(InputError, match=r"^meta\['task'\] must be that of a model by `fastbp train`: "):
        export.export(tmp_path / "m", net, params, {"task": task.to_meta() | changes}, format=form)


@pytest.mark.parametrize("form", ["onnx", "py"])
def test_classes_of_several_yes_or_no_outputs_are_refused(form, tmp_path):
    """There is no one class to name."""
    _, _, task, _ = make_task("three classes")
    net = MLP((3, 3))
    with pytest.raises(InputError, match=r"^meta\['task'\] must be that of a model by `fastbp train`: "):
        export.export(tmp_path / "m", net, make_params(net), {"task": task.to_meta()}, format=form)


# -- writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(function, form, tmp_path, monkeypatch):
    """If the disk refuses, the old file stays as it was and nothing lies beside it."""
    path = tmp_path / "m"
    path.write_text("old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match="No space left"):
        export.export(path, NET, make_params(NET), format=form)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A folder with model.npz, as `fastbp train` writes it."""
    monkeypatch.chdir(tmp_path)
    net, params, task, _ = make_task("three classes")
    npz.save("model.npz", net, params, {"task": task.to_meta(), "steps": 7})
    return net, params, {"task": task.to_meta(), "steps": 7}


def test_the_command_writes_what_export_writes(saved, foreign_form, capsys):
    """The same bytes; one line says what and where."""
    assert main(["export", "--model", "model.npz", "--out", f"a.{foreign_form}"]) == 0
    assert capsys.readouterr().out == f"3-8-3 tanh, cross_entropy, float32: a.{foreign_form}\n"
    export.export(f"b.{foreign_form}", *saved)
    assert Path(f"a.{foreign_form}").read_bytes() == Path(f"b.{foreign_form}").read_bytes()


REFUSED = {
    "no out": (["--model", "model.npz"], "the following arguments are required: --out (see fastbp export --help)"),
    "no model": (["--model", "none.npz", "--out", "m.py"], "none.npz cannot be read: No such file or directory"),
    "other ending": (
        ["--model", "model.npz", "--out", "m.txt"],
        "m.txt: a model is exported to a file that ends in .npz, .safetensors, .onnx or .py; got .txt",
    ),
    "no folder": (
        ["--model", "model.npz", "--out", "no/m.py"],
        "no/m.py cannot be written: there is no folder no; make it first",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_command_refuses(case, saved, capsys):
    """One line on stderr, exit code 2, and nothing written."""
    argv, message = REFUSED[case]
    assert main(["export", *argv]) == 2
    assert capsys.readouterr().err == f"fastbp: {message}\n"
    assert os.listdir() == ["model.npz"]
