"""Docstrings on their way to the reference: lists, columns and examples stay what they are."""

import runpy
from pathlib import Path

import pytest

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
