"""Films of a training run: from Python, and by `fastbp train --animate`."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy import sparse

import fastbp
from fastbp import plot
from fastbp.cli.main import main
from fastbp.data import Standardize
from fastbp.errors import InputError

NET = fastbp.MLP((2, 6, 1), bias=False)
X, Y = fastbp.data.spirals(300)
RESULT = fastbp.train(NET, NET.init(0), X, Y, steps=20, batch_size=None, snapshots=[1, 5, 20])


def frames_of(path):
    """All pictures of a film."""
    with Image.open(path) as film:
        frames = []
        for i in range(film.n_frames):
            film.seek(i)
            frames.append(np.asarray(film.convert("RGB")))
        return frames


def test_a_picture_for_each_snapshot(tmp_path):
    """As many, all different, in a file that loops."""
    path = plot.animate(NET, RESULT, X, Y, path=tmp_path / "film.gif")
    frames = frames_of(path)
    assert path == tmp_path / "film.gif"
    assert len(frames) == 3
    assert len({frame.tobytes() for frame in frames}) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize(
    "net", [fastbp.MLP((3, 4, 1)), fastbp.MLP((2, 4, 2), loss="squared_error"), fastbp.MLP((2, 1))], ids=str
)
def test_networks_of_every_kind(net, tmp_path):
    """Without a boundary by loss and gradients alone, which is a smaller picture."""
    rng = np.random.default_rng(0)
    x, y = rng.random((50, net.n_inputs)), rng.integers(0, 2, (50, net.n_outputs)).astype(float)
    result = fastbp.train(net, net.init(0), x, y, steps=3, snapshots=[1, 3])
    frames = frames_of(plot.animate(net, result, x, y, path=tmp_path / "film.gif"))
    assert len(frames) == 2
    assert frames[0].shape[1] == (990 if net.n_inputs == 2 and net.n_outputs == 1 else 576)


def test_a_legend_of_many_classes_is_not_cut_off(tmp_path):
    """Below the last line of it there is white."""
    net = fastbp.MLP((2, 4, 10), loss="cross_entropy")
    y = np.arange(300) % 10
    result = fastbp.train(net, net.init(0), X, y, steps=3, snapshots=[1, 3])
    classes = [f"a name of class {i:02d} that is far too long" for i in range(10)]
    for frame in frames_of(plot.animate(net, result, X, y, path=tmp_path / "film.gif", classes=classes)):
        assert (frame[-4:, :500] == 255).all()
        assert (frame[-80:, :500] < 255).any()


LAYERS = fastbp.MLP((2, *[3] * 19, 1))
TEN = fastbp.MLP((2, 4, 10), loss="cross_entropy")


@pytest.mark.parametrize("net", [NET, LAYERS, TEN], ids=str)
def test_legends_hide_nothing(net, tmp_path, monkeypatch):
    """They stand below their Axes, inside the picture, and leave the boundary three quarters of its height."""
    figures = []

    def start(_, figure, path, dpi):
        figures.append(figure)
        path.touch()

    monkeypatch.setattr("matplotlib.animation.PillowWriter.setup", start)
    monkeypatch.setattr("matplotlib.animation.PillowWriter.grab_frame", lambda _: check(*figures))
    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", lambda _: None)

    def check(figure):
        figure.canvas.draw()
        legends = [(ax, ax.get_legend()) for ax in figure.axes if ax.get_legend()]
        assert len(legends) == 2
        for ax, legend in legends:
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert 0 <= box.y0 < box.y1 <= ax.xaxis.label.get_window_extent().y0
        assert figure.axes[0].get_position().height > 0.75 * 0.75

    result = fastbp.train(net, net.init(0), X, Y, steps=3, snapshots=[1, 3])
    classes = [f"a name of class {i:02d} that is far too long" for i in range(net.n_outputs)]
    plot.animate(net, result, X, Y, path=tmp_path / "film.gif", classes=classes if net is TEN else None)
    assert figures


@pytest.mark.parametrize("standardize", [None, Standardize.fit(X)], ids=["as it is", "standardized"])
def test_sparse_data_give_the_film_of_the_array(standardize, tmp_path):
    """Bit for bit."""
    paths = [tmp_path / name for name in ("sparse.gif", "dense.gif")]
    for x, path in zip((sparse.csr_matrix(X), X), paths, strict=True):
        plot.animate(NET, RESULT, x, Y, path=path, standardize=standardize)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("fps", [0, -1, float("nan"), "2"])
def test_pictures_a_second_are_positive(fps, tmp_path):
    """Others are refused, and nothing is left."""
    with pytest.raises(InputError, match="fps must be a finite number above 0; got"):
        plot.animate(NET, RESULT, X, Y, path=tmp_path / "film.gif", fps=fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "message"), [
    ("no/film.gif", "no/film.gif cannot be written: there is no folder no; make it first"),
    ("film.avi", "a film must end in .gif or .mp4; got film.avi"),
    ("film.mp4", "film.mp4: an .mp4 is made by ffmpeg, which is not there; install it, or write a .gif"),
])  # fmt: skip
def test_films_that_cannot_be_written(path, message, tmp_path, monkeypatch):
    """Said before anything is drawn; nothing is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    monkeypatch.setattr("fastbp.plot.layers.gradient_sizes", None)
    with pytest.raises(InputError, match=re.escape(message)):
        plot.animate(NET, RESULT, X, Y, path=path)
    assert list(tmp_path.iterdir()) == []


def test_a_film_needs_two_pictures():
    """And says how to get them."""
    with pytest.raises(InputError, match=re.escape("such as train(..., snapshots=[5, 20, 100])")):
        plot.animate(NET, RESULT._replace(snapshots={}), X, Y)


def test_the_command_line_writes_a_film(tmp_path, monkeypatch, capsys):
    """Beside the model, named, and replaced by the next run."""
    monkeypatch.chdir(tmp_path)
    command = ["train", "--samples", "200", "--steps", "21", "--animate", "--no-plots"]
    for _ in range(2):
        assert main(command) == 0
        assert "model.npz, training.gif in fastbp-run" in capsys.readouterr().out
    assert len(frames_of("fastbp-run/training.gif")) == 3


@pytest.mark.parametrize(("options", "code", "message"), [
    (["--steps", "3"], 0, "no animation: it needs two steps or more of those that are drawn"),
    (["--memory-limit", "100MB"], 2, "fastbp: --animate needs the data in memory; leave out --memory-limit"),
])  # fmt: skip
def test_no_film(options, code, message, tmp_path, monkeypatch, capsys):
    """It is said why."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--samples", "200", "--animate", "--no-plots", *options]) == code
    assert message in "".join(capsys.readouterr())
    assert not (tmp_path / "fastbp-run/training.gif").exists()
