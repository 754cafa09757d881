"""Answers of `fastbp predict`: they stay with their rows, and labels keep their text."""

import csv
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli.main import main
from fastbp.data.predictions import Predictions
from fastbp.model.network import MLP

N = 33_000  # more than two blocks
GOOD = np.random.default_rng(0).standard_normal((N, 2)).round(3)
BAD = {
    "none": [],
    "the first and the last ones": [0, 1, 2, N - 3, N - 2, N - 1],
    "one of many": [17, 18, 16_383, 16_384, 32_768],
    "blocks of them": [*range(16_000, 32_900)],
    "all but one": [i for i in range(N) if i != 20_000],
}


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """A model of classes and one of numbers, of the columns a and b."""
    monkeypatch.chdir(tmp_path)
    task = {"features": ["a", "b"], "target": "y", "mean": np.zeros(2), "scale": np.ones(2), "classes": None}
    net = MLP((2, 3, 1), activation="tanh")
    fastbp.save("classes.npz", net, net.init(0), {"task": task | {"classes": np.array(["no", "yes"])}})
    net = MLP((2, 3, 2), activation="tanh", loss="squared_error")
    scales = {"target_mean": np.array([1.0, 2.0]), "target_scale": np.array([3.0, 4.0])}
    fastbp.save("numbers.npz", net, net.init(0), {"task": task | scales})


def with_gaps(bad):
    x = GOOD.copy()
    x[list(bad), 1] = np.nan
    return x


def write_csv(path, bad):
    """A bad row has a word, too few cells, or is blank; a text in several lines stands beside it all."""
    bad, rows = set(bad), []
    for i, (a, b) in enumerate(GOOD):
        wrong = (f"{a},word,-", f"{a}", "")[i % 3] if i < N - 1 else f"{a}"
        rows.append(wrong if i in bad else f'{a},{b},"a text\nin lines"' if i % 7 == 0 else f"{a},{b},-")
    Path(path).write_text("a,b,note\n" + "\n".join(rows) + "\n")


def write_npy(path, bad):
    np.save(path, with_gaps(bad))


def write_records(path, bad):
    x = with_gaps(bad)
    records = np.zeros(N, [("b", "f8"), ("other", "U3"), ("a", "f8")])
    records["a"], records["b"] = x.T
    np.save(path, records)


def write_npz(path, bad):
    np.savez(path, x=with_gaps(bad), names=np.array(["a", "b"]))


def write_parquet(path, bad):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    b = [None if np.isnan(value) else value for value in with_gaps(bad)[:, 1].tolist()]
    parquet.write_table(pyarrow.table({"a": GOOD[:, 0], "b": b}), path)


WRITERS = {
    "t.csv": write_csv, "t.npy": write_npy, "r.npy": write_records, "t.npz": write_npz, "t.parquet": write_parquet,
}  # fmt: skip


def answers_of(model, path, *options):
    assert main(["predict", "--model", model, "--data", path, "--out", "p.csv", *options]) == 0
    with open("p.csv", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", WRITERS)
def test_answers_stand_where_their_rows_do(name, bad, capsys):
    """As many rows as came; a row that was left out has an empty answer, every other one that of its features."""
    np.save("good.npy", GOOD)
    model = "numbers.npz" if name == "t.npy" else "classes.npz"
    header, wanted = answers_of(model, "good.npy")
    WRITERS[name](name, BAD[bad])
    capsys.readouterr()
    for i in BAD[bad]:
        wanted[i] = [""] * len(header)
    assert answers_of(model, name, "--on-bad-rows", "skip") == (header, wanted)
    out = capsys.readouterr().out
    assert f"{N:,} rows: p.csv" in out
    assert (f"{len(BAD[bad]):,} bad rows were left out; their answers are empty" in out) == bool(BAD[bad])


def test_answers_of_a_folder_stand_where_their_rows_do():
    """File after file, also where one ends with bad rows and the next one begins with some."""
    Path("parts").mkdir()
    files = {"p0.csv": [], "p1.npy": [0, 5, N - 1], "p2.csv": [0, 1, N - 2, N - 1], "p3.npy": range(20_000)}
    for name, bad in files.items():
        WRITERS["t" + Path(name).suffix](f"parts/{name}", bad)
    _, rows = answers_of("classes.npz", "parts", "--on-bad-rows", "skip")
    empty = [i for i, row in enumerate(rows) if row == ["", "", ""]]
    assert len(rows) == 4 * N
    assert empty == [k * N + i for k, bad in enumerate(files.values()) for i in bad]


def test_a_row_without_its_target_has_no_answer_either():
    """With --target it is left out, and scored are the others."""
    Path("t.csv").write_text("a,b,y\n1,2,no\n3,4,\n5,6,NA\n7,8,yes\n")
    _, rows = answers_of("classes.npz", "t.csv", "--target", "y", "--on-bad-rows", "skip")
    assert [bool(row[0]) for row in rows] == [True, False, False, True]


def test_an_empty_answer_is_a_row_for_other_programs():
    """A single empty cell is quoted, so that no reader takes the row for a blank line."""
    pandas = pytest.importorskip("pandas")
    with Predictions("e.csv") as file:
        file.add(np.array([1.5, 2.5]), answered=np.array([True, False, True, False]))
    assert Path("e.csv").read_text() == 'prediction\n1.5\n""\n2.5\n""\n'
    assert len(pandas.read_csv("e.csv")) == 4


# -- labels --------------------------------------------------------------------------------------------

LABELS = {
    "padded": ["01", "02", "10"],
    "padded, the same number": ["1", "01", "001"],
    "padded, two": ["00", "01"],
    "words": ["a", "b ö", "ç,d"],
    "numbers": ["1", "2", "30"],
    "negative": ["-1", "1"],
}
ROWS = [(i, i * i % 5) for i in range(60)]


def write_labels_csv(labels):
    with open("l.csv", "w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "y"), *((*row, labels[i % len(labels)]) for i, row in enumerate(ROWS))])
    return "l.csv"


def write_labels_npz(labels):
    np.savez("l.npz", x=np.array(ROWS), y=np.resize(np.array(labels), 60), names=np.array(["a", "b"]))
    return "l.npz"


def write_labels_npy(labels):
    records = np.zeros(60, [("a", "f8"), ("b", "f8"), ("y", "S8")])
    records["a"], records["b"] = np.array(ROWS).T
    records["y"] = [label.encode() for label in np.resize(np.array(labels), 60)]
    np.save("l.npy", records)
    return "l.npy"


def write_labels_parquet(labels):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    a, b = (list(column) for column in zip(*ROWS, strict=True))
    parquet.write_table(pyarrow.table({"a": a, "b": b, "y": np.resize(np.array(labels), 60).tolist()}), "l.parquet")
    return "l.parquet"


LABEL_WRITERS = {"csv": write_labels_csv, "npz": write_labels_npz, "npy": write_labels_npy}
LABEL_WRITERS["parquet"] = write_labels_parquet


@pytest.mark.parametrize("limit", [(), ("--memory-limit", "1GB")], ids=["in memory", "streamed"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", LABEL_WRITERS)
def test_labels_keep_their_text(kind, labels, limit):
    """From any file, through the model, into the answers and the names of their columns: `01` stays `01`."""
    path = LABEL_WRITERS[kind](LABELS[labels])
    options = ("--data", path, "--target", "y", "--epochs", "2", "--no-plots", "--quiet", *limit)
    assert main(["train", *options]) == 0
    classes = fastbp.load("fastbp-run/model.npz")[2]["task"]["classes"]
    assert sorted(map(str, classes)) == sorted(LABELS[labels])
    header, rows = answers_of("fastbp-run/model.npz", path, "--target", "y")
    assert sorted(header[1:]) == sorted(f"probability_{label}" for label in LABELS[labels])
    assert {row[0] for row in rows} <= set(LABELS[labels])
    assert len(rows) == 60
