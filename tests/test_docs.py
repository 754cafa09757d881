"""Docstrings: examples run, names that are mentioned exist, and on the way to the reference lists stay lists."""

import ast
import doctest
import importlib
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent
to_rst = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "docstrings.py"))["to_rst"]

DOCSTRINGS = {
    "text": ("y = x_1 * |w|, of `MLP`.", r"y = x\_1 \* \|w\|, of ``MLP``."),
    "entries": (
        "x, y : (N,) data; rows\n    of it. w : numbers.",
        "``x, y``\n (N,) data; rows\n of it.\n``w``\n numbers.",
    ),
    "an entry a line long": ("x : data. w :\n    numbers.", "``x``\n data.\n``w``\n numbers."),
    "a colon in a sentence": ("There is one: x. This may be : nothing.", "There is one: x. This may be : nothing."),
    "parameters": ("Parameters\n----------\nx : data", "``x``\n data"),
    "columns": ("Names.\n\n    a  one\n    b  two", "Names.\n.. code-block:: text\n a  one\n b  two"),
    "columns of an entry": ("x : one of\n    a  one", "``x``\n one of\n .. code-block:: text\n a  one"),
    "an example": (">>> f(a_b)\n1", ">>> f(a_b)\n1"),
}


@pytest.mark.parametrize(("docstring", "wanted"), DOCSTRINGS.values(), ids=DOCSTRINGS)
def test_docstrings_become_restructured_text(docstring, wanted):
    """Line by line, but for blank lines and how far a line is indented."""
    lines = docstring.split("\n")
    to_rst(None, None, None, None, None, lines)
    assert all(line.strip() or not line for line in lines)
    got = [" " * (line[0] == " ") + line.strip() for line in lines if line.strip()]
    assert got == wanted.split("\n")


def public_examples():
    """The examples of public modules and of all they offer, by the name under which a user finds them."""
    found = {}
    modules = [name for name in fastbp.__all__ if isinstance(getattr(fastbp, name), type(ast))]
    for owner in ("fastbp", *(f"fastbp.{name}" for name in modules)):
        module = importlib.import_module(owner)
        offered = {f"{owner}.{name}": getattr(module, name) for name in module.__all__ if not name.startswith("_")}
        own = doctest.DocTestFinder(recurse=False).find(module, owner)
        parts = [doctest.DocTestFinder().find(value, name) for name, value in offered.items() if callable(value)]
        for example in (*own, *(example for part in parts for example in part)):
            if example.examples:
                found.setdefault((example.filename, example.lineno), example)
    return {example.name: example for example in found.values()}


EXAMPLES = public_examples()


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_runs(example, tmp_path, monkeypatch):
    """As it stands in the docstring, with `np` and `fastbp` as in all of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    report = []
    example.globs.update(np=np, fastbp=fastbp)
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    assert not report, "".join(report)


def test_every_method_of_a_network_has_an_example():
    """And every method of its parameters."""
    for kind in (fastbp.MLP, fastbp.Parameters):
        methods = {name for name, value in vars(kind).items() if callable(getattr(kind, name)) and name[0] != "_"}
        named = {f"fastbp.{kind.__name__}.{name}" for name in methods}
        assert named - set(EXAMPLES) == set()


def docstrings():
    """(where, text) of every docstring of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                where = f"{path.relative_to(PACKAGE)}, {getattr(node, 'name', 'module')}"
                yield where, ast.get_docstring(node) or ""


def resolves(name):
    """Whether a name with dots is a module, or a member of one."""
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def test_names_that_docstrings_mention_exist():
    """Everything in backquotes that begins with fastbp. and a name."""
    mentioned = [(where, name) for where, text in docstrings() for name in re.findall(r"`(fastbp(?:\.\w+)+)", text)]
    assert len(mentioned) > 30
    assert [(where, name) for where, name in mentioned if not resolves(name)] == []
