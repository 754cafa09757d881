"""The names of files in the compile cache: what makes another file, and what does not."""

import ast
import importlib.util

import numba
import numpy as np
import pytest
import small_kernels

from fastbp import _cache, _cpu, _jit

pytestmark = pytest.mark.skipif(not _jit.COMPILED, reason="nothing is compiled")

MODULE = """
from fastbp._jit import kernel
OFFSET = 1.0
def closed(n):
    @kernel
    def inner(y): y[0] = n
    def outer(y): inner(y)
    return outer
@kernel
def inner(y): y[0] = OFFSET
def outer(y): inner(y)
"""


def load_module(path, text=MODULE):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("a_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def key_of(function, signature="void(f8[:])", parallel=False):
    if not hasattr(function, "__code__"):
        function = function.py_func
    return _jit._DiskCache(_jit.entry(signature, parallel=parallel)(function)._dispatcher)._key(signature)


def changed_global(module, monkeypatch):
    module.OFFSET = 2.0


def changed_flag(module, monkeypatch):
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)


def changed_version(module, monkeypatch):
    monkeypatch.setattr(numba, "__version__", "0.0")


def changed_cpu(module, monkeypatch):
    codegen = type(_cpu.cpu_target.target_context.codegen())
    monkeypatch.setattr(codegen, "magic_tuple", lambda self: ("x86_64-linux", "haswell", "+avx2"))


def changed_options(module, monkeypatch):
    monkeypatch.setitem(_jit._OPTIONS, "error_model", "python")


def changed_package(module, monkeypatch):
    monkeypatch.setattr(_cache, "_sources_digest", lambda: b"another")


CHANGES = [changed_global, changed_flag, changed_version, changed_cpu, changed_options, changed_package]


@pytest.mark.parametrize("change", CHANGES)
def test_key_changes(tmp_path, monkeypatch, change):
    """Whatever decides the machine code gives another key."""
    module = load_module(tmp_path / "a_module.py")
    before = key_of(module.outer)
    assert key_of(module.outer) == before
    change(module, monkeypatch)
    assert key_of(module.outer) != before


def test_key_of_another_function_signature_or_closure(tmp_path):
    """Functions, signatures, options and values in a closure each have a key of their own."""
    module = load_module(tmp_path / "a_module.py")
    keys = [
        key_of(module.outer),
        key_of(module.inner),
        key_of(module.outer, signature="void(f4[:])"),
        key_of(module.outer, parallel=True),
        key_of(module.closed(1)),
        key_of(module.closed(2)),
        key_of(module.closed(1.0)),
        key_of(module.closed(np.array([1.0]))),
        key_of(module.closed(np.array([2.0]))),
        key_of(module.closed({"a": (1, 2)})),
        key_of(module.closed({"a": (1, 3)})),
        key_of(module.closed(np.float32)),
        key_of(module.closed(numba.types.float32)),
        key_of(load_module(tmp_path / "a_module.py", MODULE + "# edited\n").outer),
    ]
    assert len(set(keys)) == len(keys)
    assert list({0, 8}) != list({8, 0})
    assert key_of(module.closed({0, 8})) == key_of(module.closed({8, 0}))


def test_closure_over_a_nameless_value(tmp_path):
    """A value that the next process could not recognise is refused: two functions would share a file."""
    module = load_module(tmp_path / "a_module.py")
    with pytest.raises(
        _cache.CacheError, match=r"^n = <object object at 0x\w+> in a closure has no name that the next"
    ):
        key_of(module.closed(object()))


@pytest.mark.parametrize("setting", sorted(_jit._NEUTRAL_SETTINGS))
def test_key_does_not_depend_on_threads(monkeypatch, setting):
    """Settings that no machine code depends on leave the key as it is."""
    before = key_of(small_kernels.serial)
    monkeypatch.setattr(numba.config, setting, "other")
    assert key_of(small_kernels.serial) == before


def test_digest_of_the_sources(tmp_path, monkeypatch):
    """An edit, a new file or a renamed one among the sources changes their digest; an edit elsewhere does not."""
    for path in _cache.sources():
        copy = tmp_path / path.relative_to(_cache._PACKAGE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(_cache, "_PACKAGE", tmp_path)
    digest = _cache._sources_digest.__wrapped__
    digests = [digest()]
    (tmp_path / "losses.py").write_text("x = 2\n")
    digests.append(digest())
    (tmp_path / "_jit.py").write_text("x = 2\n")
    digests.append(digest())
    (tmp_path / "kernels/simd.py").rename(tmp_path / "kernels/another.py")
    digests.append(digest())
    (tmp_path / "kernels/new.py").touch()
    digests.append(digest())
    assert len(set(digests)) == len(digests)
    (tmp_path / "cli.py").touch()
    assert digest() == digests[-1]


def test_sources_are_closed_under_import():
    """No kernel, and no module a kernel imports, imports a module of the package whose text the key leaves out."""
    covered = {path.stem for path in _cache.sources()} | {"kernels"}
    imported = set()
    for path in _cache.sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                imported |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    assert imported <= covered
    assert {"_jit", "errors"} <= imported
