"""Models as Python files: what they predict where neither fastbp nor Numba is, and what is in them."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest

from fastbp.errors import InputError
from fastbp.formats import export, python_source
from fastbp.model import activations
from fastbp.model.network import MLP
from tests import processes
from tests.models import NETWORKS, TASKS, answers, assert_close, make_params, make_rows, make_task

DTYPES = ("float32", "float64")
ENDS = [-1e37, -1e30, -1e5, -100, -20, -5, 0, 5, 20, 100, 1e5, 1e30, 1e37]
_LOSSES = ("poisson", "squared_error", "cross_entropy", "binary_cross_entropy")
EXTREME = [f"{name}, {loss}" for name in activations.NAMES for loss in _LOSSES]
# Imports every file, and keeps what its functions give for the rows beside it.
_APPLY = """
import importlib.util, sys
sys.modules["fastbp"] = sys.modules["numba"] = None
import numpy as np
for name in np.load("names.npy"):
    spec = importlib.util.spec_from_file_location("predictor", f"{name}.py")
    predictor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(predictor)
    x = np.load(f"{name}-x.npy")
    np.savez(f"{name}.npz", forward=predictor.forward(x), predict=predictor.predict(x))
"""


def _models():
    """(name, net, params, task, x) of every case."""
    for dtype in DTYPES:
        for case, net in NETWORKS.items():
            x = make_rows(net).astype(dtype)
            yield f"{case}-{dtype}", net, make_params(net, dtype), None, x
        for name in TASKS:
            yield f"{name}-{dtype}", *make_task(name, np.dtype(dtype))
        for case in EXTREME:
            name, loss = case.split(", ")
            net = MLP((1, 2, 2), activation=name, loss=loss)
            params = make_params(net, dtype)
            params.vector[:2] = 1, -1
            yield f"{case}-{dtype}", net, params, None, np.array(ENDS, dtype)[:, None]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By name: (net, params, task, x, what the file gave), all from one process of its own, warnings being errors."""
    folder, models = tmp_path_factory.mktemp("files"), list(_models())
    for i, (_, net, params, task, x) in enumerate(models):
        export.export(folder / f"{i}.py", net, params, None if task is None else {"task": task.to_meta()})
        np.save(folder / f"{i}-x.npy", x)
    np.save(folder / "names.npy", [str(i) for i in range(len(models))])
    processes.run(f"import os; os.chdir({str(folder)!r})\n{_APPLY}")
    return {name: (*rest, dict(np.load(folder / f"{i}.npz"))) for i, (name, *rest) in enumerate(models)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*NETWORKS, *EXTREME])
def test_predictions_are_those_of_the_network(case, dtype, outcomes):
    """forward and predict as the network's, to 1e-5 in float32 and 1e-12 in float64, without a warning."""
    net, params, _, x, got = outcomes[f"{case}-{dtype}"]
    assert_close(got["forward"], net.forward(params, x), 1e-5 if dtype == "float32" else 1e-12)
    assert got["forward"].dtype == dtype
    labels = net.predict(params, x)
    assert got["predict"].dtype == labels.dtype
    assert got["predict"].shape == labels.shape
    if net.loss_function.is_classification:
        assert (got["predict"] == labels).mean() > 0.98  # of two that are equal to the last bits either may be it
    else:
        assert (got["predict"] == got["forward"]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_part_of_the_file(name, dtype, outcomes):
    """From features in their own units to labels, or to numbers in the units of the target."""
    net, params, task, x, got = outcomes[f"{name}-{dtype}"]
    response, labels = answers(net, params, task, x)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert_close(got["forward"], response, tolerance)
    if task.classes is None:
        assert_close(got["predict"], labels, tolerance)
    else:
        assert got["predict"].dtype == labels.dtype
        assert (got["predict"] == labels).all()


# -- what is in the file ---------------------------------------------------------------------------------


def tree_of(path, net, params, meta=None):
    """The file's syntax tree."""
    export.export(path, net, params, meta)
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TASKS)
def test_importing_runs_nothing_but_definitions_and_decoding(name, tmp_path):
    """Imports of four modules, literals, arrays of literals, functions, and one call that decodes the parameters."""
    net, params, task, _ = make_task(name)
    body = tree_of(tmp_path / "m.py", net, params, {"task": task.to_meta()}).body
    values = {}
    for node in body:
        match node:
            case ast.Expr(ast.Constant()) | ast.FunctionDef(decorator_list=[]):
                pass
            case ast.Import():
                assert {alias.name for alias in node.names} <= {"base64", "csv", "math", "sys", "numpy"}
            case ast.If():
                assert ast.unparse(node.test) == "__name__ == '__main__'"
            case ast.Assign(value=ast.Attribute()):
                assert ast.unparse(node) == "DTYPE = np.float32"
            case ast.Assign(value=ast.Call(func=ast.Name())):
                assert ast.unparse(node.value) == "decoded(PARAMETERS)"
            case ast.Assign(value=ast.Call()):
                assert ast.unparse(node.value.func) == "np.array"
                values[node.targets[0].id] = ast.literal_eval(node.value.args[0])
            case ast.Assign():
                values[node.targets[0].id] = ast.literal_eval(node.value)
            case _:
                pytest.fail(ast.unparse(node))
    assert values["FEATURES"] == list(task.features)
    assert values.get("CLASSES") == (None if task.classes is None else task.classes.tolist())


@pytest.mark.parametrize("case", NETWORKS)
def test_only_what_the_network_needs_is_written(case, tmp_path):
    """Every function, module and constant of the file is used in it; lines are short, but for many layers."""
    net = NETWORKS[case]
    tree = tree_of(tmp_path / "m.py", net, make_params(net))
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    defined += [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    ]
    for node in tree.body:
        if isinstance(node, ast.Assign):
            defined += [name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)]
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert sorted(set(defined) - loaded) in ([], ["forward"])
    assert len(defined) == len(set(defined))
    assert max(map(len, (tmp_path / "m.py").read_text().splitlines())) <= 120


def test_more_than_source_code_can_hold_is_refused(tmp_path, monkeypatch):
    """Before anything is written."""
    monkeypatch.setattr(python_source, "_MAX_BYTES", 7)
    net = MLP((1, 1))
    with pytest.raises(InputError, match=r"^a \.py file can hold parameters of at most 1 GiB; they take 8 bytes\. "):
        export.export(tmp_path / "m.py", net, make_params(net))
    assert list(tmp_path.iterdir()) == []


# -- its command line --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """By name: a file with a task, and "bare" one without."""
    folder = tmp_path_factory.mktemp("programs")
    for name in TASKS:
        net, params, task, _ = make_task(name)
        export.export(folder / f"model of {name}.py", net, params, {"task": task.to_meta()})
    export.export(folder / "model of bare.py", net, params)
    return folder


def predict(program, text):
    """(exit code, stdout, stderr) of the program for a text on stdin."""
    done = subprocess.run(
        [sys.executable, "-W", "error", program], input=text.encode(), capture_output=True, timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("name", ["two classes", "number", "numbers"])
def test_rows_from_stdin_are_predicted(name, programs):
    """A prediction a line, of rows without a header, empty lines left out."""
    net, params, task, x = make_task(name)
    text = "\n".join(",".join(map(repr, row)) for row in x.tolist()) + "\n\n"
    code, out, err = predict(programs / f"model of {name}.py", text)
    assert (code, err) == (0, "")
    wanted = answers(net, params, task, x)[1]
    if task.classes is not None:
        assert out == "".join(f'"{label}"\n' if "," in label else f"{label}\n" for label in wanted)
    else:
        got = np.loadtxt(out.splitlines(), delimiter=",")
        assert_close(got, wanted, 1e-5)


def test_columns_are_found_by_name(programs):
    """A first line names the columns, in any order, beside others that are left alone; a byte order mark is, too."""
    net, params, task, x = make_task("three classes")
    lines = [f"{c!r},left alone,{a!r},{b!r}" for a, b, c in x.tolist()]
    code, out, err = predict(programs / "model of three classes.py", "\n".join(["\ufeffc d,other, time ,b", *lines]))
    assert (code, err) == (0, "")
    assert out.split() == [str(label) for label in answers(net, params, task, x)[1]]


REFUSED = {
    "text": ("bare", "1,2,3\n1,two,3\n", "line 2: 3 cells with numbers are wanted; got ['1', 'two', '3']\n"),
    "short": ("bare", "1,2\n", "line 1: 3 cells with numbers are wanted; got ['1', '2']\n"),
    "long": ("three classes", "1,2,3,4\n", "line 1: 3 cells with numbers are wanted; got ['1', '2', '3', '4']\n"),
    "other names": ("three classes", "time,b,c\n", "line 1: 3 cells with numbers are wanted; got ['time', 'b', 'c']\n"),
    "not finite": ("bare", "1,2,3\n1,nan,3\n", "x must be finite and fit float32; got nan in row 1, column 1\n"),
    "too large for classes": (
        "two classes",
        "1,1e39,3\n",
        "x must be finite and fit float32; got 1e+39 in row 0, column 1\n",
    ),
    "too large": ("number", "1,1e39,3\n", "x must be finite and fit float32; got 1e+39 in row 0, column 1\n"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_are_no_numbers_are_refused(case, programs):
    """One line that says where, and exit code 1."""
    name, text, message = REFUSED[case]
    assert predict(programs / f"model of {name}.py", text) == (1, "", message)


def test_nothing_gives_nothing(programs):
    """No rows, no predictions."""
    assert predict(programs / "model of bare.py", "") == (0, "", "")


def test_a_byte_order_mark_is_no_part_of_a_number(programs):
    """As some spreadsheets write it, before rows without a header."""
    code, out, err = predict(programs / "model of bare.py", "\ufeff1,2,3\n")
    assert (code, err, out.count("\n")) == (0, "", 1)


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], [[1.0, 2.0]], [[[1.0, 2.0, 3.0]]]])
def test_other_shapes_are_refused(x, programs):
    """As a ValueError that says what is wanted."""
    scope = {"__name__": "predictor"}
    exec((programs / "model of bare.py").read_text(), scope)
    with pytest.raises(ValueError, match=r"^x must have shape \(N, 3\); got \("):
        scope["forward"](x)
