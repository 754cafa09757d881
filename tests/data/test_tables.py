"""Data files: what is read from each kind, what each refusal says, and predictions on the way out."""

import errno
import io
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fastbp import data
from fastbp.data import csv_files
from fastbp.errors import DataError

X = np.array([[1.5, -2.0], [3.0, 4e-3], [0.1, 6.0]])
Y = np.array([0, 1, 0])
CSV = "a,b,y\n1.5,-2,0\n3.0,4e-3,1\n0.1,6,0\n"
RECORDS = np.array([(1.5, -2, 0), (3, 4e-3, 1), (0.1, 6, 0)], [("a", "f8"), ("b", ">f8"), ("y", "i4")])


def written(tmp_path, name, content):
    """A file: text as UTF-8, bytes as they are, an array as npy, a dict of arrays as npz."""
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    return path


# -- what is read --------------------------------------------------------------------------------------

AB, NUMBERED = ("a", "b"), ("0", "1")
READ = {
    "csv": ("d.csv", CSV, {}, AB, Y),
    "csv, target in front": ("d.csv", "y,a,b\n0,1.5,-2\n1,3.0,4e-3\n0,0.1,6\n", {"target": "y"}, AB, Y),
    "csv, columns in order": ("d.csv", "b,c,a\n-2,?,1.5\n4e-3,?,3\n6,?,0.1\n", {"columns": AB}, AB, None),
    "csv, no target": ("d.csv", "a,b\n1.5,-2\n3.0,4e-3\n0.1,6\n", {}, AB, None),
    "csv, target not there": ("d.csv", "a,b\n1.5,-2\n3.0,4e-3\n0.1,6\n", {"target": "y", "columns": AB}, AB, None),
    "csv, target not filled in": ("d.csv", "a,b,y\n1.5,-2,\n3.0,4e-3,\n0.1,6,\n", {"columns": AB}, AB, None),
    "csv, text": ("D.CSV", CSV.replace(",0\n", ",no \n").replace(",1\n", ",yes\n"), {}, AB, ["no", "yes", "no"]),
    "csv, floats": ("d.csv", CSV.replace(",1\n", ",0.5\n"), {}, AB, [0.0, 0.5, 0.0]),
    "csv, Windows": ("d.csv", "\ufeff" + CSV.replace("\n", "\r\n"), {}, AB, Y),
    "csv, quotes and spaces": ("d.csv", ' a ,"b", y\n"1.5", -2 ,"0"\n3.0,4e-3, 1\n0.1,6,0', {}, AB, Y),
    "csv, quoted comma": ("d.csv", '"a, b","b",y\n1.5,-2,0\n3.0,4e-3,1\n0.1,6,0', {}, ("a, b", "b"), Y),
    "csv, blank end": ("d.csv", CSV + "\n\n", {}, AB, Y),
    "csv, numbered header": ("d.csv", "0,1\n1.5,-2\n3.0,4e-3\n0.1,6\n", {}, NUMBERED, None),
    "npy": ("d.npy", np.column_stack([X, Y]), {}, NUMBERED, Y),
    "npy, F order": ("d.npy", np.asfortranarray(np.column_stack([X, Y])), {}, NUMBERED, Y),
    "npy, target by number": ("d.npy", np.column_stack([Y, X]), {"target": 0}, ("1", "2"), Y),
    "npy, no target": ("d.npy", X, {}, NUMBERED, None),
    "npy, by position": ("d.npy", X, {"columns": AB}, NUMBERED, None),
    "npy, target not looked at": ("d.npy", np.column_stack([X, Y * np.nan]), {"columns": NUMBERED}, NUMBERED, None),
    "npy, records": ("d.npy", RECORDS, {}, AB, Y),
    "npz": ("d.npz", {"x": X, "y": Y}, {}, NUMBERED, Y),
    "npz, names": ("d.npz", {"X": X, "y": Y, "feature_names": np.array(AB)}, {}, AB, Y),
    "npz, names as bytes": ("d.npz", {"x": X, "y": Y, "names": np.array(AB, "S1")}, {}, AB, Y),
    "npz, column": ("d.npz", {"x": X, "y": Y[:, None]}, {}, NUMBERED, Y),
    "npz, text": ("d.npz", {"x": X, "y": np.array([b"no", b"yes", b"no"])}, {}, NUMBERED, ["no", "yes", "no"]),
    "npz, several targets": ("d.npz", {"x": X, "y": X + 1}, {}, NUMBERED, X + 1),
    "npz, target by name": ("d.npz", {"x": X, "y": 1 - Y, "kind": Y}, {"target": "kind"}, NUMBERED, Y),
    "npz, columns in order": ("d.npz", {"x": X[:, ::-1], "names": np.array(["b", "a"])}, {"columns": AB}, AB, None),
    "npz, objects elsewhere": ("d.npz", {"x": X, "y": Y, "note": np.array([{}])}, {}, NUMBERED, Y),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", READ)
def test_features_and_target_are_read(case, dtype, tmp_path):
    """Every kind of file gives the same features, in C order and in the dtype, and its target or None."""
    name, content, options, names, target = READ[case]
    required = target is not None
    table = data.read_table(written(tmp_path, name, content), **options, target_required=required, dtype=dtype)
    assert table.names == names
    assert table.x.dtype == dtype
    assert table.x.flags.carray
    np.testing.assert_array_equal(table.x, X.astype(dtype))
    if target is None:
        assert table.target is None
        assert table.target_name is None
    else:
        np.testing.assert_array_equal(table.target, target)


# Numbers that are no target of their own kind: a column of them is a feature.
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.lists(
    st.text("ab cé,\"'_", min_size=1).filter(str.strip).map(str.strip), min_size=1, max_size=4, unique=True
)


@st.composite
def csv_files_and_what_they_hold(draw):
    """(text, names, x): cells with or without quotes and spaces, lines that end as on any system, a BOM or none."""
    names = draw(NAMES)
    x = draw(npst.arrays(np.float64, (draw(st.integers(1, 6)), len(names)), elements=FINITE))
    shapes = st.sampled_from((str, '"{}"'.format, " {} ".format, "{}\t".format))
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    lines = [",".join(quoted), *(",".join(draw(shapes)(repr(float(value))) for value in row) for row in x)]
    end = draw(st.sampled_from(("\n", "\r\n")))
    return (
        draw(st.sampled_from(("", "\ufeff"))) + end.join(lines) + draw(st.sampled_from(("", end, 2 * end))),
        tuple(names),
        x,
    )


@given(csv_files_and_what_they_hold())
def test_any_csv_file_is_read_as_it_is_written(tmp_path_factory, made):
    """Names and numbers, in every bit."""
    text, names, x = made
    path = written(tmp_path_factory.mktemp("csv"), "d.csv", text)
    table = data.read_table(path, columns=names, target_required=False, dtype=np.float64)
    assert table.names == names
    np.testing.assert_array_equal(table.x, x)


@given(
    npst.arrays(st.sampled_from(("f4", ">f8", "i2", "u8", "?")), st.tuples(st.integers(1, 6), st.integers(1, 4)),
                elements=st.integers(0, 1)), st.sampled_from((np.ascontiguousarray, np.asfortranarray)),
    st.sampled_from(("d.npy", "d.npz")),
)  # fmt: skip
def test_any_array_file_is_read_as_it_is_written(tmp_path_factory, x, order, name):
    """Numbers of any type and order in memory, of any shape."""
    path = written(tmp_path_factory.mktemp("arrays"), name, {"x": order(x)} if name == "d.npz" else order(x))
    table = data.read_table(path, columns=[str(i) for i in range(x.shape[1])], target_required=False, dtype=np.float64)
    assert table.x.flags.carray
    np.testing.assert_array_equal(table.x, x.astype(np.float64))


@pytest.mark.parametrize(("name", "target"), [("d.csv", "y"), ("d.npy", "2"), ("d.npz", "y")])
def test_the_default_target_is_named(name, target, tmp_path):
    """Without a wish the target is the last column, in an npz the array y, and the table says so."""
    content = {"d.csv": CSV, "d.npy": np.column_stack([X, Y]), "d.npz": {"x": X, "y": Y}}[name]
    assert data.read_table(written(tmp_path, name, content)).target_name == target


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1", "-2", "+3"], np.array([1, -2, 3])),
        (["1", "2.0", "3"], np.array([1.0, 2.0, 3.0])),
        (["1", "99999999999999999999", "3"], np.array([1.0, 1e20, 3.0])),
        (["1", "2", "x"], np.array(["1", "2", "x"])),
        (["True", "False", "True"], np.array(["True", "False", "True"])),
    ],
)
def test_a_csv_target_is_what_all_its_cells_are(cells, wanted, tmp_path):
    """Cells become integers if all of them are, else floats if all of them are, else stay text."""
    path = written(tmp_path, "d.csv", "a,y\n" + "".join(f"0,{cell}\n" for cell in cells))
    target = data.read_table(path).target
    assert target.dtype.kind == wanted.dtype.kind
    np.testing.assert_array_equal(target, wanted)


def test_a_long_csv_file_is_read_in_pieces(tmp_path):
    """Rows on both sides of a piece's end come out in order, with their lines, and equal to what pandas wrote."""
    n = csv_files._ROWS_AT_A_TIME + 3
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(n, 2)), columns=["a", "b"])
    frame["y"] = [f"class{' x' * (i % 7)}" for i in range(n)]
    frame.to_csv(tmp_path / "d.csv", index=False)
    table = data.read_table(tmp_path / "d.csv")
    np.testing.assert_array_equal(table.x, frame[["a", "b"]])
    assert table.target.tolist() == frame["y"].tolist()
    np.testing.assert_array_equal(table.places.numbers, np.arange(2, n + 2))


def test_a_place_is_named_by_line_or_row(tmp_path):
    """A row of a CSV file is named by the line on which it ends, a row of an array by its number."""
    path = written(tmp_path, "d.csv", 'a,y\n1,"two\nlines"\n2,one\n')
    assert data.read_table(path).where(1) == f"{path}, line 4"
    path = written(tmp_path, "d.npy", np.eye(3))
    assert data.read_table(path).where(1) == f"{path}, row 1"


def test_target_numbers_are_floats_or_name_the_text(tmp_path):
    """For a regression the target is float64; text is refused by its line."""
    table = data.read_table(written(tmp_path, "d.csv", CSV))
    np.testing.assert_array_equal(table.target_numbers(), [0.0, 1.0, 0.0])
    path = written(tmp_path, "d.csv", CSV.replace(",1\n", ",l\n"))
    with pytest.raises(DataError) as caught:
        data.read_table(path).target_numbers()
    assert str(caught.value) == (
        f"{path}, line 3, column 'y': the target must be a number; got 'l'. "
        "For labels choose the loss binary_cross_entropy or cross_entropy"
    )


# -- what is refused -----------------------------------------------------------------------------------

CELL = ": a feature must be a finite number in float64; got "
DROP = (
    ". Correct or drop the row; a column of text must be encoded as numbers, left out, or named as the target "
    "(--target)"
)
SAVE_AS = ". Save it as numbers, or leave it out"
BIG = b"".join(b"0,0\n" for _ in range(csv_files._ROWS_AT_A_TIME))


def npz_bytes(**arrays):
    """The bytes of an npz file."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()


def npz_of(compression, **members):
    """The bytes of a zip file with these members, given as bytes."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return memory.getvalue()


def npy_bytes(array, allow_pickle=False):
    """The bytes of an npy file."""
    memory = io.BytesIO()
    np.lib.format.write_array(memory, array, allow_pickle=allow_pickle)
    return memory.getvalue()


OBJECTS = npy_bytes(np.array([[None]]), allow_pickle=True)
EYE = npy_bytes(np.eye(3))
SAYS = "the header says 72 bytes of data, there are"
NO_OBJECTS = "arrays of Python objects are never read, they would need pickle; got object"

REFUSED = {
    "no header": ("d.csv", "1.5,2,0\n1,2,1\n", {}, ": the first line must name the columns, but looks like "
                  "data: '1.5', '2', '0'. Put a line of names above it"),
    "empty": ("d.csv", "", {}, ": the first line must name the columns; got an empty one"),
    "header only": ("d.csv", "a,y\n", {}, ": at least one row below the header is needed; got none"),
    "semicolons": ("d.csv", "a;y\n1;2\n", {}, ": cells must be separated by commas; the first line has ';' "
                   "instead. Save it with commas between cells and points in numbers"),
    "no name": ("d.csv", ",a,y\n0,1,2\n", {}, ": every column needs a name; column 1 has none. "
                "(pandas writes its index so; use to_csv(index=False))"),
    "same name": ("d.csv", "a,a,y\n1,2,3\n", {}, ": every column needs a name of its own; 'a' came more than once"),
    "no feature": ("d.csv", "y\n1\n", {}, ": at least one feature beside the target is needed; got column 'y'"),
    "too few cells": ("d.csv", CSV + "1,2\n", {}, ", line 5: a row must have 3 cells, as the header; got 2"),
    "too many cells": ("d.csv", CSV + "1,2,3,4\n", {}, ", line 5: a row must have 3 cells, as the header; got 4"),
    "blank line": ("d.csv", CSV + "\n1,2,3\n", {}, ", line 5: a row must have 3 cells; got a blank line. Remove it"),
    "empty cell": ("d.csv", CSV + "1,,3\n", {}, f", line 5, column 'b'{CELL}an empty cell{DROP}"),
    "text": ("d.csv", CSV + "1,two,3\n", {}, f", line 5, column 'b'{CELL}'two'{DROP}"),
    "NaN": ("d.csv", CSV + "nan,2,3\nx,2,3\n", {}, f", line 5, column 'a'{CELL}'nan'{DROP}"),
    "infinity": ("d.csv", CSV + "1,1e999,3\n", {}, f", line 5, column 'b'{CELL}'1e999'{DROP}"),
    "first of several": ("d.csv", CSV + "1,x,3\ny,2,3\n", {}, f", line 5, column 'b'{CELL}'x'{DROP}"),
    "far down": ("d.csv", b"a,y\n" + BIG + b"x,1\n", {}, f", line 16386, column 'a'{CELL}'x'{DROP}"),
    "overflow": ("d.csv", CSV + "1,1e39,3\n", {"dtype": np.float32}, ", line 5, column 'b': a feature must be a "
                 f"finite number in float32; got '1e39'{DROP}"),
    "empty target": ("d.csv", CSV + "1,2,\n", {}, ", line 5, column 'y': every row needs a target; "
                     "got an empty cell. Drop the row or fill it in"),
    "NaN target": ("d.csv", CSV + "1,2,nan\n", {}, ", line 5, column 'y': every row needs a target; got 'nan'. "
                   "Drop the row or fill it in"),
    "missing target": ("d.csv", CSV, {"target": "z"}, ": missing the target 'z'; the file has columns 'a', 'b', 'y'"),
    "missing columns": ("d.csv", CSV, {"columns": ["a", "c", "d"]},
                        ": missing columns 'c', 'd'; the file has columns 'a', 'b', 'y'"),
    "open quote": ("d.csv", CSV + '1,"2,3\n', {}, ", line 5: not a row of CSV: unexpected end of data"),
    "Latin-1": ("d.csv", "a,y\n1,\xe4\n".encode("latin-1"), {}, ", line 2: a CSV file must be UTF-8 text; "
                "got byte 0xe4. Save it as UTF-8"),
    "ending": ("d.xlsx", CSV, {}, ": a data file must end in .csv, .npy, .npz or .parquet; got .xlsx"),
    "npy, no npy": ("d.npy", CSV, {}, ": not a usable .npy file: the magic string is not correct; expected "
                    r"b'\x93NUMPY', got b'a,b,y\n'"),
    "npy, cut short": ("d.npy", EYE[:-1], {}, f": not a usable .npy file: {SAYS} 71"),
    "npy, too long": ("d.npy", EYE + b"0", {}, f": not a usable .npy file: {SAYS} 73"),
    "npy, objects": ("d.npy", OBJECTS, {}, f": not a usable .npy file: {NO_OBJECTS}"),
    "npy, 1-D": ("d.npy", np.ones(3), {}, ": a 2-D array, or 1-D records of single values, is wanted; "
                 "got shape (3,), float64"),
    "npy, no columns": ("d.npy", np.ones((3, 0)), {}, ": a 2-D array, or 1-D records of single values, is wanted; "
                        "got shape (3, 0), float64"),
    "npy, no rows": ("d.npy", np.ones((0, 3)), {}, ": at least one row is needed; got shape (0, 2), float64"),
    "npy, complex": ("d.npy", np.ones((3, 2), complex), {},
                     f": column '0' must hold real numbers; got complex128{SAVE_AS}"),
    "npy, NaN": ("d.npy", np.array([[1, 2, 3], [4, np.nan, 6.0]]), {}, f", row 1, column '1'{CELL}nan{DROP}"),
    "npy, overflow": ("d.npy", np.array([[1, 1e39, 3]]), {"dtype": np.float32}, ", row 0, column '1': a feature must "
                      f"be a finite number in float32; got 1e+39{DROP}"),
    "npy, NaN target": ("d.npy", np.array([[1, 2], [4, np.inf]]), {}, ", row 1, column '1': the target must be finite; "
                        "got inf. Drop the row or fill it in"),
    "npy, target": ("d.npy", np.eye(2), {"target": 2}, ": missing the target '2'; the file has columns '0', '1'"),
    "npz, no zip": ("d.npz", CSV, {}, ": not a usable .npz file: File is not a zip file"),
    "npz, no x": ("d.npz", {"y": Y}, {}, ": missing the array 'X'; wanted are 'x' or 'X' and 'y', got 'y'"),
    "npz, no y": ("d.npz", {"x": X}, {}, ": missing the array 'y'; wanted are 'x' or 'X' and 'y', got 'x'"),
    "npz, nothing": ("d.npz", {"a": X}, {}, ": missing the array 'X'; wanted are 'x' or 'X' and 'y', got neither"),
    "npz, 1-D x": ("d.npz", {"x": Y, "y": Y}, {}, ": 'x' must have shape (N, n_features); got shape (3,), int64"),
    "npz, rows": ("d.npz", {"x": X, "y": Y[:2]}, {}, ": the target 'y' must have one entry for each of 3 rows; "
                  "got shape (2,), int64"),
    "npz, dates": ("d.npz", {"x": X, "y": Y.astype("M8[s]")}, {}, ": the target 'y' must hold numbers or text; "
                   f"got datetime64[s]{SAVE_AS}"),
    "npz, names": ("d.npz", {"x": X, "y": Y, "names": np.array(["a"])}, {}, ": 2 columns need as many names; got 1"),
    "npz, bytes": ("d.npz", {"x": X, "y": np.array([b"\xe4"] * 3)}, {}, ", row 0: text must be UTF-8; got byte 0xe4. "
                   "Save it as UTF-8"),
    "npz, objects": ("d.npz", npz_of(0, x=EYE, y=OBJECTS), {}, f": not a usable .npz file: y.npy: {NO_OBJECTS}"),
    "npz, lies": ("d.npz", npz_of(8, x=EYE.replace(b"(3, 3), }      ", b"(3, 30000000),}"), y=EYE), {},
                  ": not a usable .npz file: x.npy: the header says 720000000 bytes of data, there are 72"),
    "npz, method": ("d.npz", npz_of(zipfile.ZIP_BZIP2, x=EYE, y=EYE), {}, ": not a usable .npz file: x.npy must be "
                    "stored or deflated, as NumPy writes it"),
    "npz, flipped": ("d.npz", npz_bytes(x=X, y=Y).replace(X.tobytes(), X[::-1].tobytes()), {},
                     ": not a usable .npz file: Bad CRC-32 for file 'x.npy'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_file_place_and_remedy(case, tmp_path):
    """What cannot be used is a DataError with this text, after the name of the file."""
    name, content, options, message = REFUSED[case]
    path = written(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        data.read_table(path, **options)
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize("name", ["d.csv", "d.npy", "d.npz"])
def test_a_file_that_is_not_there_is_a_data_error(name, tmp_path):
    """A missing file, and a folder in its place with no data in it, are refused by name."""
    path = tmp_path / name
    with pytest.raises(DataError) as caught:
        data.read_table(path)
    assert str(caught.value) == f"{path} cannot be read: No such file or directory"
    path.mkdir()
    with pytest.raises(DataError) as caught:
        data.read_table(path)
    wanted = "a folder must hold data files, which end in .csv, .npy, .npz or .parquet; got none"
    assert str(caught.value) == f"{path}: {wanted}"


# -- predictions ---------------------------------------------------------------------------------------

P = np.array([[0.25], [0.1]], np.float32)
PREDICTIONS = {
    "numbers": (np.array([0.1, 1 / 3]), {}, "prediction\n0.1\n0.3333333333333333\n"),
    "float32": (np.array([0.1, 1 / 3], np.float32), {}, "prediction\n0.1\n0.33333334\n"),
    "several": (np.array([[1.0, 2.0], [3.0, 4.0]]), {}, "prediction_0,prediction_1\n1.0,2.0\n3.0,4.0\n"),
    "labels": (np.array(["cat", "a, b"]), {}, 'prediction\ncat\n"a, b"\n'),
    "one probability": (
        np.array(["no", "no"]),
        {"probability": P, "classes": np.array(["no", "yes"])},
        "prediction,probability_no,probability_yes\nno,0.75,0.25\nno,0.9,0.1\n",
    ),
    "probabilities": (
        np.array([2, 0]),
        {"probability": np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]), "classes": np.array([0, 1, 2])},
        "prediction,probability_0,probability_1,probability_2\n2,0.0,0.5,0.5\n0,1.0,0.0,0.0\n",
    ),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predictions_are_written_as_csv(case, tmp_path):
    """Each prediction has its row, floats the digits that give them back, and classes a probability each."""
    prediction, options, wanted = PREDICTIONS[case]
    data.write_predictions(tmp_path / "p.csv", prediction, **options)
    assert (tmp_path / "p.csv").read_text() == wanted


def test_many_predictions_come_back_in_every_bit(tmp_path):
    """Written floats, read again, are the same floats, across the pieces in which they are written."""
    prediction = np.random.default_rng(0).normal(size=csv_files._ROWS_AT_A_TIME + 5)
    data.write_predictions(tmp_path / "p.csv", prediction)
    np.testing.assert_array_equal(data.read_table(tmp_path / "p.csv", target_required=False).x[:, 0], prediction)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_predictions_are_whole_or_not_there(function, tmp_path, monkeypatch):
    """If the disk refuses, an old file stays as it was and nothing lies beside it."""
    path = written(tmp_path, "p.csv", "old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match="No space left"):
        data.write_predictions(path, np.ones(3))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_predictions_go_to_csv_files_only(tmp_path):
    """Another ending is refused before anything is written."""
    with pytest.raises(DataError) as caught:
        data.write_predictions(tmp_path / "p.npy", np.ones(3))
    assert str(caught.value) == (f"{tmp_path / 'p.npy'}: predictions are written to a file that ends in .csv; got .npy")
    assert list(tmp_path.iterdir()) == []
