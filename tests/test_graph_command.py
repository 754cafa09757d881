"""`fastbp graph`: the table, the derivation and the files of a model on one row."""

import json

import numpy as np
import pytest

import fastbp
from fastbp.cli import main


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A folder with a table of three classes and a model of it."""
    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'abc'[i % 3]}" for i, (a, b) in enumerate(rng.standard_normal((60, 2)))]
    (folder / "flowers.csv").write_text("\n".join(["length,width,species", *rows]) + "\n")
    options = ["--epochs", "2", "--hidden", "4,3", "--quiet", "--no-plots", "--out", str(folder / "run")]
    assert main(["train", "--data", str(folder / "flowers.csv"), *options]) == 0
    return folder


def run(folder, *options):
    """The exit code."""
    return main(["graph", "--model", str(folder / "run/model.npz"), *options])


@pytest.mark.parametrize("row", [0, 7, 59])
def test_the_graph_is_that_of_the_row(flowers, row, capsys):
    """Inputs, standardised, and label of that row; the gradient of the model there."""
    out = flowers / f"graph{row}.json"
    assert run(flowers, "--data", str(flowers / "flowers.csv"), "--row", str(row), "--out", str(out)) == 0
    net, params, meta = fastbp.load(flowers / "run/model.npz")
    cells = (flowers / "flowers.csv").read_text().splitlines()[row + 1].split(",")
    x = (np.array(cells[:2], float) - meta["task"]["mean"]) / meta["task"]["scale"]
    _, gradient = net.value_and_grad(params.astype(np.float64), x[None], np.array(["abc".index(cells[2])]))
    nodes = {node["name"]: node for node in json.loads(out.read_text())["nodes"]}
    np.testing.assert_allclose(nodes["x"]["value"], x[None])
    np.testing.assert_allclose(nodes["W2"]["grad"], gradient.weights[1], rtol=1e-10, atol=1e-16)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:17]] == list(nodes)


@pytest.mark.parametrize(("ending", "start"), [
    ("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("dot", b"digraph"), ("tex", b"\\begin{align*}"),
])  # fmt: skip
def test_files_of_every_kind(flowers, ending, start, capsys):
    """Written whole, and named."""
    out = flowers / f"graph.{ending}"
    assert run(flowers, "--data", str(flowers / "flowers.csv"), "--out", str(out)) == 0
    assert out.read_bytes().startswith(start)
    assert capsys.readouterr().out.endswith(f"\n{out}\n")


def test_a_derivation(flowers, capsys):
    """In place of the table."""
    assert run(flowers, "--data", str(flowers / "flowers.csv"), "--explain", "b1") == 0
    text = capsys.readouterr().out
    assert text.startswith("sample 0 of 1: x = [")
    assert "  dL/db1 = sum_i dL/dz1\n" in text


def test_a_model_of_the_spirals_needs_no_file(tmp_path, monkeypatch, capsys):
    """The default of `fastbp train`, with the defaults of both."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--samples", "500", "--epochs", "1", "--quiet", "--no-plots"]) == 0
    assert main(["graph", "--row", "3"]) == 0
    assert "\ny      data" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [
    (["--row", "0"], "--data, the file with the row, is needed; only a model of the two spirals does without"),
    (["--data", "flowers.csv", "--row", "60"], "flowers.csv: --row must be one of the 60 rows, 0 to 59; got 60"),
    (["--out", "graph.jpg"], "--out must end in .png, .svg, .pdf, .dot, .json, .tex; got graph.jpg"),
    (["--data", "flowers.csv", "--explain", "W9"], "the graph has no node 'W9'; its nodes are x, W1, b1, z1, h1, W2"),
    (["--data", "flowers.csv", "--target", "colour"], "flowers.csv: missing the target 'colour'"),
])  # fmt: skip
def test_what_is_wrong_is_said(flowers, options, message, monkeypatch, capsys):
    """In one line, with exit code 2, and nothing written."""
    monkeypatch.chdir(flowers)
    assert run(flowers, *options) == 2
    assert capsys.readouterr().err.startswith(f"fastbp: {message}")
    assert not (flowers / "graph.jpg").exists()
