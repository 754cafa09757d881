"""When a measurement no longer speaks for the code.

A measurement is out of date once a room that decides it holds a statement which the measured commit had in none of its
files. So a file or a function may move, imports, comments and docstrings may change, code may be deleted, and nothing
has to be measured again; whatever else changes may change a time, even where trained weights keep their bits.
"""

from __future__ import annotations

import ast
import functools
import io
import subprocess
import tarfile
from collections.abc import Iterable

from . import results


def changed_files(since: str, rooms: Iterable[str]) -> list[str]:
    """The files of these rooms, today, that hold a statement the commit `since` did not have anywhere."""
    before = set().union(*_files(since).values())
    return [
        path
        for path, statements in _files("HEAD").items()
        if any(path == room or path.startswith(f"{room}/") for room in rooms) and not statements <= before
    ]


def statements_of(path: str, text: str) -> frozenset[str]:
    """What a file computes, statement by statement and method by method; of a file that is not Python all its text."""
    if not path.endswith(".py"):
        return frozenset([text])
    found = set()
    for node in ast.parse(text).body:
        _without_docstrings(node)
        if isinstance(node, ast.ClassDef):
            found |= {ast.unparse(part) for part in node.body}
            node.body = [ast.Pass()]
        if not _is_no_work(node):
            found.add(ast.unparse(node))
    return frozenset(found)


def _without_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.body = [part for part in node.body if not _is_no_work(part)] or [ast.Pass()]


def _is_no_work(node: ast.stmt) -> bool:
    """Whether it is an import or a docstring."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@functools.cache
def _files(commit: str) -> dict[str, frozenset[str]]:
    """The statements of every file of a commit that a target can name."""
    archive = subprocess.run(["git", "archive", commit], cwd=results.ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [m for m in tar if m.isfile() and m.name.startswith(("fastbp/", "tests/", ".ci/", "pyproject.toml"))]
        return {m.name: statements_of(m.name, tar.extractfile(m).read().decode(errors="replace")) for m in members}
