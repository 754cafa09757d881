"""The shape of the package: rooms with one direction of imports, one door to Numba, public names that exist."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent

# A room may import from those after it, never from one before it.
ROOMS = (
    *("cli", "lecture", "plot", "sklearn", "graph", "training", "formats", "data", "metrics", "config", "optim"),
    *("engine", "kernels", "compiler", "reference", "model", "files", "errors"),
)
# A network's methods call the engine, loaded on first use: the only import that goes up.
LAZY = ("model.network", "engine.backprop")
FACES = {"activations": "model", "losses": "model", "callbacks": "training"}
PUBLIC = {
    *("activations", "callbacks", "data", "errors", "graph", "lecture", "losses", "metrics", "optim", "plot"),
    "reference",
}
ENTRANCES = {"", "__main__"}
NUMBA = {"compiler", "kernels"}


def name_of(path):
    """`room.module` of a file; of a package, its own name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def room_of(module):
    first = module.partition(".")[0]
    return FACES.get(first, first)


def statements(module):
    """The imports of a module anywhere in it, those for type checkers left out."""
    unread = {
        id(inner)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    return [n for n in ast.walk(TREES[module]) if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in unread]


def imports_of(module):
    """Modules of the package that a module imports; `from . import name` is a module's or the package's own name."""
    here = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in statements(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {name.partition(".")[2] for name in names if name.partition(".")[0] == "fastbp"}
        elif node.level or (node.module or "").partition(".")[0] == "fastbp":
            base = here[: len(here) - node.level + 1] if node.level else []
            inside = (node.module or "").split(".") if node.level else node.module.split(".")[1:]
            source = ".".join(filter(None, [*base, *inside]))
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                found.add(whole if whole in MODULES else source)
    return found - {"", module}


def outside_of(module):
    """Libraries that a module imports."""
    for node in statements(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ENTRANCES])
def test_imports_go_one_way(module):
    """What a module imports is in its own room or in one after it."""
    assert room_of(module) in ROOMS, f"{module} is in no room"
    place = ROOMS.index(room_of(module))
    upward = {m for m in imports_of(module) if (module, m) != LAZY and ROOMS.index(room_of(m)) < place}
    assert not upward


def test_the_lazy_import_is_there():
    """The exception above is of use."""
    assert LAZY[1] in imports_of(LAZY[0])


def test_no_circles():
    """No file imports itself by way of others."""
    imports = {m: {i for i in imports_of(m) if (m, i) != LAZY} for m in MODULES if m not in ENTRANCES}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) not in NUMBA])
def test_one_door_to_numba(module):
    """Only the compiler and the kernels import Numba."""
    assert not {"numba", "llvmlite"} & set(outside_of(module))


@pytest.mark.parametrize("module", MODULES)
def test_extras_are_imported_when_used(module):
    """NumPy and Numba are installed with the package; every other library is imported in the function that needs it."""
    top = ast.Module([node for node in TREES[module].body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    names = {alias.name for node in top.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top.body if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.partition(".")[0] for name in names} <= {"numpy", "numba", "llvmlite", *sys.stdlib_module_names}


@pytest.mark.parametrize("module", [m for m in MODULES if m != "compiler.jit"])
def test_one_compiler(module):
    """`njit` is called in `compiler.jit` alone."""
    names = {node.id for node in ast.walk(TREES[module]) if isinstance(node, ast.Name)}
    assert "njit" not in names | {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)}


def test_few_modules_outside_the_rooms():
    assert len(list(PACKAGE.glob("*.py"))) <= 11


def test_public_modules():
    """They are importable by exactly these paths, and each says what it offers."""
    assert {name for name in fastbp.__all__ if isinstance(getattr(fastbp, name), type(ast))} == PUBLIC
    for name in PUBLIC:
        module = importlib.import_module(f"fastbp.{name}")
        assert module.__doc__
        assert module.__all__ == sorted(module.__all__)
        for offered in module.__all__:
            assert hasattr(module, offered)


@pytest.mark.parametrize("face", FACES)
def test_faces_hold_no_code(face):
    """A small public module is one import and __all__."""
    assert [type(node) for node in TREES[face].body] == [ast.ImportFrom, ast.Assign]


def test_public_names():
    """__all__ is sorted and every name in it is there."""
    assert fastbp.__all__ == sorted(fastbp.__all__)
    for name in fastbp.__all__:
        assert getattr(fastbp, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fastbp.nothing


@pytest.mark.parametrize("name", [name for name in fastbp.__all__ if not name.startswith("_")])
def test_the_reference_has_every_public_name(name):
    """Each stands in docs/reference.rst, as a module, by itself or, as in `activations.Activation`, in its module."""
    reference = (PACKAGE.parent / "docs" / "reference.rst").read_text()
    documented = set(re.findall(r"auto\w+:: fastbp\.([\w.]+)", reference))
    value = getattr(fastbp, name)
    homes = {
        module
        for module in documented & PUBLIC
        if getattr(importlib.import_module(f"fastbp.{module}"), name, None) is value
    }
    assert name in documented or homes


def test_what_computes_nothing_loads_no_numba():
    """Numba comes with the first kernel, not with the import of what describes, reads, draws or measures."""
    names = ("", ".activations", ".callbacks", ".data", ".errors", ".graph", ".losses", ".metrics", ".plot")
    program = "import sys, " + ", ".join(f"fastbp{name}" for name in names)
    program += "; print({'numba', 'llvmlite', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
