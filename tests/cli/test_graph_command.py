"""`fastbp graph`: the table, the derivation and the files of a model on one row."""

import json
import sys

import numpy as np
import pytest

import fastbp
from fastbp.cli.main import main


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
    """Inputs, standardized, and label of that row; the gradient of the model there."""
    out = flowers / f"graph{row}.json"
    assert run(flowers, "--data", str(flowers / "flowers.csv"), "--row", str(row), "--out", str(out)) == 0
    net, params, meta = fastbp.load(flowers / "run/model.npz")
    cells = (flowers / "flowers.csv").read_text().splitlines()[row + 1].split(",")
    x = (np.array(cells[:2], float) - meta["task"]["mean"]) / meta["task"]["scale"]
    _, gradient = net.value_and_grad(params.astype(np.float64), x[None], np.array(["abc".index(cells[2])]))
    nodes = {node["name"]: node for node in json.loads(out.read_text())["nodes"]}
    np.testing.assert_allclose(nodes["x"]["value"], x[None])
    np.testing.assert_allclose(nodes["W2"]["grad"], gradient.weights[1], rtol=1e-10, atol=1e-16)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{flowers / 'run/model.npz'} on {flowers / 'flowers.csv'}, line {row + 2}: species = {cells[2]}"
    assert lines[1:3] == ["x is standardized, (value - mean) / scale of the training rows", ""]
    assert [line.split()[0] for line in lines[5:20]] == list(nodes)


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
    assert text.splitlines()[3].startswith("sample 0 of 1: x = [")
    assert "  dL/db1 = sum_i dL/dz1\n" in text


@pytest.fixture(scope="module")
def spirals(tmp_path_factory):
    """A folder with a model of few points."""
    folder = tmp_path_factory.mktemp("spirals")
    options = ["--samples", "500", "--epochs", "1", "--quiet", "--no-plots", "--out", str(folder / "run")]
    assert main(["train", *options]) == 0
    return folder


@pytest.mark.parametrize("row", [0, 3, 999_999])
def test_a_model_of_the_spirals_needs_no_file(spirals, row, capsys):
    """Row i is that of the million points which `fastbp train` makes by default."""
    out = spirals / "graph.json"
    assert run(spirals, "--row", str(row), "--out", str(out)) == 0
    assert f" on two spirals, row {row}: spiral = {row % 2}\n" in capsys.readouterr().out
    task = fastbp.load(spirals / "run/model.npz")[2]["task"]
    x, _ = fastbp.data.spirals()
    nodes = {node["name"]: node for node in json.loads(out.read_text())["nodes"]}
    np.testing.assert_allclose(nodes["x"]["value"][0], (x[row] - task["mean"]) / task["scale"])


def test_units_of_a_regression(tmp_path, capsys):
    """The target as it stands in the file; that it is standardized is said."""
    rows = [f"{a:.3f},{3 * a:.3f}" for a in np.random.default_rng(0).standard_normal(60)]
    (tmp_path / "houses.csv").write_text("\n".join(["size,price", *rows]) + "\n")
    data = ("--data", str(tmp_path / "houses.csv"))
    options = ["--epochs", "1", "--hidden", "2", "--quiet", "--no-plots", "--out", str(tmp_path / "run")]
    assert main(["train", *data, *options]) == 0
    assert run(tmp_path, *data, "--row", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"houses.csv, line 4: price = {rows[2].split(',')[1]}")
    assert lines[1] == "x and y are standardized, (value - mean) / scale of the training rows"


def with_bad_rows(folder, ending, bad_rows=(0, 5)):
    """The flowers with some bad rows, as a file of that kind."""
    header, *rows = (folder / "flowers.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    for bad in bad_rows:
        cells[bad][0] = "" if ending == "csv" else "nan"
    file = folder / f"bad.{ending}"
    if ending == "csv":
        file.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    else:
        np.savez(file, x=np.array([row[:2] for row in cells], float), y=np.array([row[2] for row in cells]),
                 names=np.array(["length", "width"]))  # fmt: skip
    return file, cells


@pytest.mark.parametrize(("ending", "place", "bad_rows"), [
    ("csv", "line {}", (0, 5)), ("npz", "row {}", (0, 5)), ("npz", "row {}", ()),
])  # fmt: skip
def test_bad_rows_beside_the_one_that_is_wanted(flowers, ending, place, bad_rows, capsys):
    """They change neither its number nor that it can be shown; a bad row itself is refused, and so is one beyond."""
    file, cells = with_bad_rows(flowers, ending, bad_rows)
    options = ("--data", str(file), "--target", "species" if ending == "csv" else "y")
    first = 2 if ending == "csv" else 0
    for row in (1, 4, 6, 59):
        assert run(flowers, *options, "--row", str(row)) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert f"bad.{ending}, {place.format(row + first)}: " in line
        assert line.endswith(f" = {cells[row][2]}")
    for row in (*bad_rows, 60) if bad_rows else ():
        assert run(flowers, *options, "--row", str(row)) == 2
        message = capsys.readouterr().err
        assert f"--row {row} is not there or is a bad row; the first bad row: {file}, {place.format(first)}" in message


def test_a_bad_row_in_a_folder_is_named(flowers, tmp_path, capsys):
    """Rows are counted through all files, so that none may be left out."""
    file, _ = with_bad_rows(flowers, "csv")
    (tmp_path / "a.csv").write_bytes(file.read_bytes())
    assert run(flowers, "--data", str(tmp_path), "--row", "3") == 2
    assert "a.csv, line 2, column 'length': a feature must be a finite number" in capsys.readouterr().err


def test_pictures_need_matplotlib(flowers, monkeypatch, capsys):
    """Said in one line; texts are written without."""
    data = ("--data", str(flowers / "flowers.csv"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for ending in ("png", "svg", "pdf"):
        out = flowers / f"none.{ending}"
        assert run(flowers, *data, "--out", str(out)) == 2
        assert capsys.readouterr().err == (
            f'fastbp: --out {out} needs matplotlib: pip install "fastbp[plot]"; without it write .dot, .json, .tex\n'
        )
        assert not out.exists()
    assert run(flowers, *data, "--out", str(flowers / "without.dot")) == 0


@pytest.mark.parametrize("row", ["1000000", "1e9", "10000000000000"])
def test_the_spirals_have_a_million_points(spirals, row, capsys):
    """More are not made."""
    assert run(spirals, "--row", row) == 2
    wanted = "--row must be one of the 1,000,000 points of the two spirals, 0 to 999999"
    assert capsys.readouterr().err == f"fastbp: {wanted}; got {int(float(row))}\n"


@pytest.mark.parametrize(("options", "message"), [
    (["--row", "0"], "--data, the file with the row, is needed; only a model of the two spirals does without"),
    (["--data", "flowers.csv", "--row", "60"], "flowers.csv: --row must be one of the 60 rows, 0 to 59; got 60"),
    (["--out", "graph.jpg"], "--out must end in .png, .svg, .pdf, .dot, .json, .tex; got graph.jpg"),
    (["--data", "flowers.csv", "--explain", "W9"], "the graph has no node 'W9'; its nodes are x, W1, b1, z1, h1, W2"),
    (["--data", "flowers.csv", "--target", "color"], "flowers.csv: missing the target 'color'"),
])  # fmt: skip
def test_what_is_wrong_is_said(flowers, options, message, monkeypatch, capsys):
    """In one line, with exit code 2, and nothing written."""
    monkeypatch.chdir(flowers)
    assert run(flowers, *options) == 2
    assert capsys.readouterr().err.startswith(f"fastbp: {message}")
    assert not (flowers / "graph.jpg").exists()


@pytest.mark.parametrize("row", range(4))
def test_labels_that_look_like_numbers_stay_words(row, tmp_path, capsys):
    """Where the column has words: a row, or a file, with but "01" is of the class "01"."""
    labels = ["01", "1a", "02", "1e5x"]
    rows = [f"{k % 7},{k % 5},{labels[k % 4]}" for k in range(80)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    (tmp_path / "one.csv").write_text(f"a,b,kind\n{rows[row]}\n")
    command = ["train", "--data", str(tmp_path / "data.csv"), "--epochs", "1", "--quiet", "--no-plots"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert run(tmp_path, "--data", str(tmp_path / "data.csv"), "--row", str(row)) == 0
    assert f": kind = {labels[row]}\n" in capsys.readouterr().out
    predict = ["predict", "--model", str(tmp_path / "run/model.npz"), "--data", str(tmp_path / "one.csv")]
    assert main([*predict, "--target", "kind", "--out", str(tmp_path / "answers.csv")]) == 0
