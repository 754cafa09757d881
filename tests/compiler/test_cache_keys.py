"""The names of files in the compile cache: what makes another file, and what does not."""

import ast
import importlib.util

import numba
import numpy as np
import pytest

from fastbp.compiler import cache, cpu, jit, linking
from tests import small_kernels

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")

MODULE = """
from fastbp.compiler.jit import kernel
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
    return jit._DiskCache(jit.entry(signature, parallel=parallel)(function)._dispatcher)._key(signature)


def changed_global(module, monkeypatch):
    module.OFFSET = 2.0


def changed_flag(module, monkeypatch):
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)


def changed_version(module, monkeypatch):
    monkeypatch.setattr(numba, "__version__", "0.0")


def changed_cpu(module, monkeypatch):
    codegen = type(cpu.cpu_target.target_context.codegen())
    monkeypatch.setattr(codegen, "magic_tuple", lambda self: ("x86_64-linux", "haswell", "+avx2"))


def changed_options(module, monkeypatch):
    monkeypatch.setitem(jit._OPTIONS, "error_model", "python")


def changed_package(module, monkeypatch):
    monkeypatch.setattr(cache, "_sources_digest", lambda: b"another")


def changed_linking(module, monkeypatch):
    monkeypatch.setattr(linking, "MISSING", "Library.a_name")


CHANGES = [
    changed_linking,
    changed_global,
    changed_flag,
    changed_version,
    changed_cpu,
    changed_options,
    changed_package,
]


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
    with pytest.raises(cache.CacheError, match=r"^n = <object object at 0x\w+> in a closure has no name that the next"):
        key_of(module.closed(object()))


@pytest.mark.parametrize("setting", sorted(jit._NEUTRAL_SETTINGS))
def test_key_does_not_depend_on_threads(monkeypatch, setting):
    """Settings that no machine code depends on leave the key as it is."""
    before = key_of(small_kernels.serial)
    monkeypatch.setattr(numba.config, setting, "other")
    assert key_of(small_kernels.serial) == before


def test_digest_of_the_sources(tmp_path, monkeypatch):
    """An edit, a new file or a renamed one among the sources changes their digest; an edit elsewhere does not."""
    for path in cache.sources():
        copy = tmp_path / path.relative_to(cache._PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path)
    digest = cache._sources_digest.__wrapped__
    digests = [digest()]
    (tmp_path / "model/losses.py").write_text("x = 2\n")
    digests.append(digest())
    (tmp_path / "compiler/jit.py").write_text("x = 2\n")
    digests.append(digest())
    (tmp_path / "kernels/wide/gemm.py").rename(tmp_path / "kernels/wide/another.py")
    digests.append(digest())
    (tmp_path / "kernels/new.py").touch()
    digests.append(digest())
    assert len(set(digests)) == len(digests)
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/plan.py").touch()
    assert digest() == digests[-1]


def test_sources_are_closed_under_import():
    """No kernel, and no module a kernel imports, imports a module of the package whose text the key leaves out."""
    covered = {path.resolve() for path in cache.sources()}
    imported = set()
    for path in covered:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                for name in ("", *(alias.name for alias in node.names)):
                    imported |= {
                        file
                        for file in ((base / name).with_suffix(".py"), base / name / "__init__.py")
                        if file.exists()
                    }
    assert imported <= covered
    assert {"jit", "errors"} <= {path.stem for path in imported}
