"""Tables as people have them: the right values, or a refusal that says where and what to do; in memory and streamed."""

import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastbp
from fastbp import data
from fastbp.cli.main import main
from fastbp.data import streaming
from fastbp.data.tables import BadRows
from fastbp.errors import DataError
from tests.says import assert_says

WAYS = ["in memory", "streamed"]


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    (tmp_path / "scratch").mkdir()
    return tmp_path


def write(files):
    """Files in the folder t: text or bytes, an array, a dict of arrays, a frame, an Arrow table. The file, or t."""
    for name, content in files.items():
        path = f"t/{name}"
        if isinstance(content, str | bytes):
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        elif isinstance(content, dict):
            np.savez(path, **content)
        elif isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        elif isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=3000)
        else:
            np.save(path, content)
    return f"t/{next(iter(files))}" if len(files) == 1 else "t"


def read(way, path, bad=None, **options):
    """(names, features as lists, targets as a list) of all rows."""
    if way == "in memory":
        table = data.read_table(path, bad=bad, **options)
        return table.names, table.x.tolist(), table.target.tolist()
    task, rows = fastbp.open_table(path, "scratch", dtype=np.float64, bad=bad, **options)
    x, y = rows.read(0, len(rows))
    y = y[:, 0] * task.outputs.scale + task.outputs.mean if task.classes is None else task.classes[y]
    return task.features, (x * task.inputs.scale + task.inputs.mean).tolist(), y.tolist()


# -- the right values ------------------------------------------------------------------------------------

X = [[1.0, 100.0], [2.0, 200.0], [3.0, 300.0], [4.0, 400.0]]
AB, NAMES = np.array(X), np.array(["a", "b"])
WORDS, DIGITS, PADDED = ["no", "yes", "no", "yes"], ["0", "1", "0", "1"], ["01", "02", "01", "10"]
ORDER = {"p0.csv": "a,b,y\n1,100,0\n2,200,1\n", "p1.csv": "b,a,y\n300,3,0\n400,4,1\n"}
RIGHT = {
    "files with columns in another order": (ORDER, [0, 1, 0, 1]),
    "the target elsewhere": (ORDER | {"p1.csv": "y,b,a\n0,300,3\n1,400,4\n"}, [0, 1, 0, 1]),
    "named arrays in another order": (
        {"p0.npz": {"x": AB[:2], "y": [0, 1], "names": NAMES},
         "p1.npz": {"x": AB[2:, ::-1], "y": [0, 1], "names": NAMES[::-1]}},
        [0, 1, 0, 1],
    ),
    "records and Parquet": (
        {"p0.npy": np.array([(1, 100, 0), (2, 200, 1)], [("a", "f8"), ("b", "f8"), ("y", "i8")]),
         "p1.parquet": pa.table({"y": [0, 1], "b": [300.0, 400.0], "a": [3.0, 4.0]})},
        [0, 1, 0, 1],
    ),
    "numbers in one file, words in the other": (
        ORDER | {"p1.csv": "a,b,y\n3,300,01\n4,400,1a\n"}, ["0", "1", "01", "1a"]
    ),
    "numbers in an array, words in the other file": (
        {"p0.npy": np.array([(1, 100, 1), (2, 200, 2)], [("a", "f8"), ("b", "f8"), ("y", "f8")]),
         "p1.csv": "a,b,y\n3,300,1a\n4,400,no\n"},
        ["1", "2", "1a", "no"],
    ),
    "labels with zeros in front": (
        {"p0.csv": "a,b,y\n1,100,01\n2,200,02\n", "p1.csv": "a,b,y\n3,300,01\n4,400,10\n"}, PADDED
    ),
    "numbers with zeros in front": ({"d.csv": "a,b,y\n1,100,01.5\n2,200,2.5\n3,300,3\n4,400,5\n"}, [1.5, 2.5, 3, 5]),
    "text digits, npz": ({"d.npz": {"x": AB, "y": DIGITS, "names": NAMES}}, DIGITS),
    "text digits, bytes": ({"d.npz": {"x": AB, "y": np.array(PADDED, "S2"), "names": NAMES}}, PADDED),
    "text digits, npy": (
        {"d.npy": np.array([(*x, y) for x, y in zip(X, PADDED, strict=True)], [("a", "f8"), ("b", "f8"), ("y", "U2")])},
        PADDED,
    ),
    "text digits, Parquet": ({"d.parquet": pa.table({"a": AB[:, 0], "b": AB[:, 1], "y": DIGITS})}, DIGITS),
    "categories, Parquet": (
        {"d.parquet": pd.DataFrame({"a": AB[:, 0], "b": AB[:, 1], "y": pd.Categorical(WORDS)})}, WORDS
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", RIGHT)
def test_columns_are_joined_by_name_and_labels_keep_their_text(case, way):
    """Whatever the order of columns in the files, each value is in its column; a column has one type over all files."""
    files, wanted = RIGHT[case]
    names, x, y = read(way, write(files), target="y")
    assert names == ("a", "b")
    np.testing.assert_allclose(x, X, rtol=1e-12)
    assert y == wanted


def test_text_digits_are_numbers_where_the_loss_is_one_of_numbers():
    """A loss chosen for numbers takes digits that were saved as text."""
    path = write({"d.npz": {"x": AB, "y": np.array(["1", "2.5", "3", "10"])}})
    np.testing.assert_array_equal(data.read_table(path).target_numbers(), [1, 2.5, 3, 10])
    task, _ = fastbp.open_table(path, "scratch", loss="squared_error")
    np.testing.assert_allclose(task.outputs.mean, 16.5 / 4)


def test_the_command_line_keeps_labels_as_they_are_written(capsys):
    """Training on 01 and 1a answers with 01 and 1a, also for files in which all labels are digits."""
    write({"p0.csv": "x,code\n0.5,01\n0.7,02\n0.1,01\n", "p1.csv": "x,code\n0.4,01\n0.9,1a\n0.2,02\n"})
    train = ["train", "--data", "t", "--epochs", "1", "--no-plots", "--test-fraction", "0"]
    for out, options in (("a", []), ("b", ["--memory-limit", "50MB"])):
        assert main([*train, "--out", out, *options]) == 0
        assert "target 'code' (3 classes)" in capsys.readouterr().out
        predict = ["predict", "--model", f"{out}/model.npz", "--data", "t/p0.csv", "--target", "code", "--out", "p.csv"]
        assert main(predict) == 0
        with open("p.csv") as file:
            assert file.readline() == "prediction,probability_01,probability_02,probability_1a\n"


@pytest.mark.parametrize("columns", [None, ["a", "b"]])
def test_data_without_names_are_refused_when_a_model_is_applied_too(columns):
    """What looks like data is said, rather than which names are missing; but names that are wanted are names."""
    path = write({"d.csv": "5.1,3.5,x\n4.9,3.0,y\n"})
    with pytest.raises(DataError, match="looks like data"):
        data.read_table(path, columns=columns, target_required=False)
    path = write({"d.csv": "0.5,0.25,y\n4.9,3.0,1\n"})
    assert data.read_table(path, columns=["0.25", "0.5"]).x.tolist() == [[3.0, 4.9]]


@pytest.mark.parametrize("header", ["country,2019,2020", "0,1,2", "1,2,3", "a 1,b 2.5,c", "name,1,kind"])
def test_names_with_numbers_are_names(header):
    """Columns that are counted, or years beside words, are a header."""
    path = write({"d.csv": f"{header}\n1,2,3\n4,5,6\n"})
    assert data.read_table(path).names == tuple(header.split(",")[:2])


def test_a_long_cell_in_a_column_that_nobody_needs_stops_nothing():
    """200,000 characters of text."""
    path = write({"d.csv": f"a,note,y\n1,{'x' * 200_000},0\n"})
    assert data.read_table(path, target="y", columns=["a"]).x.tolist() == [[1.0]]


# -- left out, and said ----------------------------------------------------------------------------------

INDEXED = pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}, index=[7, 9])
LEFT_OUT = {
    "a column without name and values": ({"d.csv": "a,y,\n1,0,\n2,1,\n"}, ["column 3", "left out"]),
    "several": ({"d.csv": "a,y,,\n1,0,,\n2,1,,\n"}, ["column 3", "column 4", "left out"]),
    "the index of pandas": ({"d.parquet": INDEXED}, ["'__index_level_0__'", "index", "left out"]),
    "an index with a name": ({"d.parquet": INDEXED.rename_axis("id")}, ["'id'", "index", "left out"]),
    "an index whose origin is lost": (
        {"d.parquet": pa.table({"a": [1.0, 2.0], "y": [0, 1], "__index_level_0__": [7, 9]})},
        ["'__index_level_0__'", "index", "left out"],
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", LEFT_OUT)
def test_columns_that_are_none_are_left_out_and_this_is_said(case, way, capsys):
    """The last column with a name and values is the target; the command line has a line about what was left out."""
    files, said = LEFT_OUT[case]
    path, bad = write(files), BadRows()
    assert read(way, path, bad=bad) == (("a",), [[1.0], [2.0]], [0, 1])
    for fact in (path, *said):
        assert fact in bad.report()
    options = ["--memory-limit", "50MB"] if way == "streamed" else []
    assert main(["train", "--data", path, "--epochs", "1", "--no-plots", "--test-fraction", "0", *options]) == 0
    assert bad.report() in capsys.readouterr().out


def test_an_index_that_is_asked_for_is_read():
    """By name, as the target or as a feature."""
    path = write({"d.parquet": INDEXED.rename_axis("id")})
    assert data.read_table(path, target="id").target.tolist() == [7, 9]
    assert data.read_table(path, target="y", columns=["id"]).x.tolist() == [[7.0], [9.0]]


# -- missing targets -------------------------------------------------------------------------------------

MISSING = ["", "NA", "?", "NULL", "nan", "N/A", "null", " "]
GAPS = {
    **{f"csv, words, {cell!r}": {"d.csv": f"a,y\n1,yes\n2,{cell}\n3,no\n"} for cell in MISSING},
    **{f"csv, numbers, {cell!r}": {"d.csv": f"a,y\n1,1\n2,{cell}\n3,0\n"} for cell in MISSING},
    **{f"npz, {cell!r}": {"d.npz": {"x": [[1.0], [2], [3]], "y": ["yes", cell, "no"]}} for cell in MISSING},
    "npz, bytes": {"d.npz": {"x": [[1.0], [2], [3]], "y": [b"yes", b"NA", b"no"]}},
    "npy, numbers": {"d.npy": np.array([[1, 1], [2, np.nan], [3, 0]])},
    "npy, records": {"d.npy": np.array([(1, "yes"), (2, "?"), (3, "no")], [("a", "f8"), ("y", "U3")])},
    "Parquet, words": {"d.parquet": pa.table({"a": [1.0, 2.0, 3.0], "y": ["yes", None, "no"]})},
    "Parquet, NA": {"d.parquet": pa.table({"a": [1.0, 2.0, 3.0], "y": ["yes", "NA", "no"]})},
    "Parquet, whole numbers": {"d.parquet": pa.table({"a": [1.0, 2.0, 3.0], "y": [1, None, 0]})},
    "Parquet, booleans": {"d.parquet": pa.table({"a": [1.0, 2.0, 3.0], "y": [True, None, False]})},
    "Parquet, a gap in a feature": {"d.parquet": pa.table({"a": [1, None, 3], "y": ["yes", "no", "no"]})},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", GAPS)
def test_missing_values_are_no_class(case, way):
    """The row is named with its column, or left out, counted and told."""
    path = write(GAPS[case])
    place = f"{path}, line 3, column '" if path.endswith(".csv") else f"{path}, row 1, column '"
    with pytest.raises(DataError) as caught:
        read(way, path)
    assert str(caught.value).startswith(place)
    bad = BadRows(skip=True)
    _, x, y = read(way, path, bad=bad)
    assert np.ravel(x).tolist() == pytest.approx([1, 3])
    assert y in (["yes", "no"], [1, 0])
    assert bad.count == 1
    assert f"left out: {place}" in bad.report()


# -- what is refused -------------------------------------------------------------------------------------

LONG = np.arange(10_000.0)
WITH_GAP = np.where(LONG == 9000, np.nan, LONG)
HALVES = np.where(LONG == 9000, 0.5, LONG % 2)
NOON = [pd.Timestamp("2024-01-01 12:00")] * 2
REFUSED = {
    "a column is missing in a file": (
        ORDER | {"p1.csv": "a,y\n3,0\n4,1\n"}, ["t/p1.csv", "t/p0.csv", "column 'b' missing"]),
    "a column more": (
        ORDER | {"p1.csv": "a,b,c,y\n3,1,w,0\n"}, ["t/p1.csv", "t/p0.csv", "column 'c' more"]),
    "another name": (
        ORDER | {"p1.csv": "a,c,y\n3,1,0\n"}, ["t/p1.csv", "column 'b' missing", "column 'c' more"]),
    "another target": (ORDER | {"p1.csv": "a,b,z\n3,1,0\n"}, ["t/p1.csv", "missing the target 'y'"]),
    "a name is missing in an npz": (
        {"p0.npz": {"x": AB, "y": [0, 1, 0, 1], "names": NAMES}, "p1.npz": {"x": AB, "y": [0, 1, 0, 1]}},
        ["t/p1.npz", "t/p0.npz", "columns 'a', 'b' missing", "columns '0', '1' more"]),
    "one target, then two": (
        {"p0.npz": {"x": AB, "y": [0.5, 1, 0, 1]}, "p1.npz": {"x": AB, "y": AB}},
        ["t/p1.npz", "t/p0.npz", "the target must be like"]),
    "a cell of the second file": (ORDER | {"p1.csv": "b,a,y\n300,x,0\n"}, ["t/p1.csv, line 2, column 'a'", "'x'"]),
    "a label of the second file": (
        {"p0.csv": "a,y\n1,5\n2,6\n3,7\n", "p1.csv": "a,y\n3,7\n4,oops\n"}, ["t/p1.csv, line 3, column 'y'", "'oops'"]),
    "an endless number in the second file": (
        {"p0.csv": "a,y\n1,5.5\n2,6\n", "p1.csv": "a,y\n3,7\n4,inf\n"}, ["t/p1.csv, line 3, column 'y'", "inf"]),
    "no header": (
        {"d.csv": "6.1,2.9,4.7,1.4,versi\n5.0,3.4,1.5,0.2,seto\n"}, ["looks like data", "'6.1'", "line of names"]),
    "no header, decimals that grow": ({"d.csv": "2.9,6.1,versi\n3.4,5.0,seto\n"}, ["looks like data", "'2.9'"]),
    "no header, whole numbers": ({"d.csv": "63,1,145,neg\n67,1,160,pos\n"}, ["looks like data", "'63'"]),
    "no header, numbers that grow": ({"d.csv": "63,145,neg\n67,160,pos\n41,130,neg\n"}, ["looks like data", "'neg'"]),
    "the first column is the target": (
        {"d.csv": "label,p0,p1\n5,0,0\n0,7,0\n3,9,0\n"}, ["'p1'", "two classes", "the last column", "--target"]),
    "the first column is the target, in words": (
        {"d.csv": "label,p0,p1\ncat,0,0\ndog,7,0\n"}, ["column 'label'", "'cat'", "--target"]),
    "a value under no name": ({"d.csv": "a,y,\n1,0,\n2,1,x\n"}, ["line 3", "column 3", "no name", "'x'", "first line"]),
    "a name is missing": ({"d.csv": "a,,y\n1,0,1\n"}, ["column 2 has none"]),
    "not UTF-8": (
        {"d.csv": "a,länge,y\n".encode() + b"1,2,ok\n" * 5000 + "1,2,schön\n".encode("cp1252")},
        ["line 5002", "0xf6", "Save it as UTF-8"]),
    "not UTF-8, the header": ({"d.csv": "länge,y\n1,2\n".encode("cp1252")}, ["line 1", "0xe4", "Save it as UTF-8"]),
    "semicolons, quoted": ({"d.csv": '"acid";"grade"\n7.1;5\n6.8;6\n'}, ["commas", "';'"]),
    "decimal commas": ({"d.csv": "carat;price\n0,23;326\n0,31;335\n"}, ["commas", "';'", "points"]),
    "tabs": ({"d.csv": "carat\tprice\n0.23\t326\n"}, ["commas", r"'\t'"]),
    "a number of Python": ({"d.csv": "a,y\n1,0\n1_0,1\n"}, ["line 3, column 'a'", "'1_0'"]),
    "the row of an npz": (
        {"d.npz": {"x": WITH_GAP[:, None], "y": LONG % 2}}, ["d.npz, row 9000, column '0'", "nan"]),
    "the row of an npy": ({"d.npy": np.column_stack([WITH_GAP, LONG % 2])}, ["d.npy, row 9000, column '0'", "nan"]),
    "the row of a Parquet": ({"d.parquet": pa.table({"a": WITH_GAP, "y": LONG % 2})}, ["row 9000, column 'a'", "nan"]),
    "dates in a Parquet": (
        {"d.parquet": pa.table({"when": NOON, "y": [0, 1]})},
        ["column 'when'", "timestamp", "numbers", "leave it out"]),
    "text in a Parquet": ({"d.parquet": pa.table({"a": ["x", "y"], "y": [0, 1]})}, ["column 'a'", "string"]),
    "lists in a Parquet": ({"d.parquet": pa.table({"a": [[1], [2]], "y": [0, 1]})}, ["column 'a'", "list<"]),
    "decimals with a gap": (
        {"d.parquet": pa.table({"a": [decimal.Decimal("1.5"), None], "y": [0, 1]})},
        ["column 'a'", "decimal128(2, 1)"]),
    "a date as the target": ({"d.parquet": pa.table({"a": [1, 2], "y": NOON})}, ["the target 'y'", "timestamp"]),
    "bytes as the target": ({"d.parquet": pa.table({"a": [1, 2], "y": [b"x", b"y"]})}, ["the target 'y'", "binary"]),
    "dates in an npy": (
        {"d.npy": np.array([("2024-01-01", 0)], [("when", "M8[D]"), ("y", "i8")])},
        ["column 'when'", "datetime64[D]", "numbers", "leave it out"]),
    "not UTF-8, an npz": ({"d.npz": {"x": AB, "y": [b"a", b"b", b"\xf6", b"b"]}}, ["row 2", "0xf6", "UTF-8"]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_file_the_place_and_the_remedy(case, way):
    """The facts of the error, the same for both ways of reading."""
    files, facts = REFUSED[case]
    path = write(files)
    with pytest.raises(DataError) as caught:
        data.encode_labels(*labels_of(path)) if way == "in memory" else read(way, path)
    for fact in (*(["t/"] if path == "t" else [path]), *facts):
        assert fact in str(caught.value)


def labels_of(path):
    """The target and its table, as the loss that fits wants them."""
    table = data.read_table(path)
    if fastbp.data.task.default_loss(table) == "squared_error":
        table.target_numbers()
    return table.target, table


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "parquet"])
def test_rows_after_those_left_out_keep_their_numbers(kind, way):
    """A label that is none, in a file with a bad row in front of it."""
    x, y = np.where(LONG == 4, np.nan, LONG), np.where(LONG == 9000, 3.5, LONG % 2)
    columns = {"a": x, "b": LONG, "y": y}
    if kind == "csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        content = "a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows)
    else:
        content = {"npy": np.column_stack(list(columns.values())), "npz": {"x": np.column_stack([x, LONG]), "y": y},
                   "parquet": pa.table(columns)}[kind]  # fmt: skip
    path, bad = write({f"d.{kind}": content}), BadRows(skip=True)
    with pytest.raises(DataError) as caught:
        labels(way, path, bad)
    assert str(caught.value).startswith(f"{path}, line 9002: " if kind == "csv" else f"{path}, row 9000: ")
    assert bad.count == 1


def labels(way, path, bad):
    """Read the target as classes."""
    if way == "streamed":
        return fastbp.open_table(path, "scratch", loss="cross_entropy", bad=bad)
    table = data.read_table(path, bad=bad)
    return data.encode_labels(table.target, table)


@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_blocks_without_a_row_that_can_be_used_are_passed_over(kind):
    """Every block has rows; if none has, that is an error."""
    x = np.full((20_000, 2), np.nan)
    x[-1] = 1, 2
    for rows in (x, x[:-1]):
        content = rows if kind == "npy" else "a,y\n" + "".join(f"{a},{b}\n" for a, b in rows)
        bad, path = BadRows(skip=True), write({f"d.{kind}": content})
        if len(rows) == len(x):
            (block,) = data.read_blocks(path, bad=bad)
            assert block.x.tolist() == [[1.0]]
            assert block.where(0) == (f"{path}, line 20001" if kind == "csv" else f"{path}, row 19999")
            assert bad.count == len(x) - 1
        else:
            with pytest.raises(DataError, match="at least one row that can be used is needed; got none"):
                list(data.read_blocks(path, bad=bad))


def test_a_data_set_on_the_disk_names_the_places_of_its_rows(workdir):
    """Rows of two files, in two parts, without those that were left out for a cell or for the type of the column."""
    second = np.array([(5, 1), (6, 0)], [("a", "f8"), ("y", "f8")])
    path = write({"p0.csv": "a,y\n1,0.5\n2,\n3,inf\n4,1\n", "p1.npy": second})
    halves = np.array([0, 2]), np.array([1, 3])
    with streaming.SpilledTable(path, None, workdir / "scratch", BadRows(skip=True)) as spilled:
        task = data.Task.fit(spilled.table, "squared_error", halves[0], inputs=spilled.scales(halves[0]))
        train, held_out = spilled.encode(task, halves, np.float64)
    assert [train.where(i) for i in range(2)] == ["t/p0.csv, line 2", "t/p1.npy, row 0"]
    assert [held_out.where(i) for i in range(2)] == ["t/p0.csv, line 5", "t/p1.npy, row 1"]


@pytest.mark.parametrize(("path", "folder"), [("t/nowhere.csv", "scratch"), ("t/p0.csv", "no folder"), ("none", ".")])
def test_files_and_folders_that_are_not_there_are_data_errors(path, folder):
    """The one with the data, and the one for the data set; nothing is left lying about."""
    write(ORDER)
    with pytest.raises(DataError) as caught:
        fastbp.open_table(path, folder)
    assert_says(caught, folder if folder == "no folder" else path)


def test_a_data_set_that_cannot_be_made_leaves_no_file(workdir):
    """The rows read before the bad one are removed again."""
    with pytest.raises(DataError):
        fastbp.open_table(write({"d.csv": "a,y\n" + "1,0\n" * 20_000 + "x,1\n"}), "scratch")
    assert list((workdir / "scratch").iterdir()) == []
