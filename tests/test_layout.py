"""The shape of the package: one direction of imports, one door to Numba, short files, public names that exist."""

import ast
import re
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A module may import what stands above it, never below.
ORDER = [
    *(
        "errors",
        "elementary",
        "functions",
        "records",
        "activation_records",
        "link_records",
        "loss_records",
        "activations",
        "losses",
        "formulas",
        "arrays",
        "csr",
        "network",
        "parameters",
        "reference",
    ),
    *("files", "tables", "csv_files", "array_files", "parquet_files", "data", "datasets", "saving"),
    *("_cache", "_cpu", "_linking", "_threads", "_jit", "config"),
    *(
        "kernels.fields",
        "kernels.addresses",
        "kernels.vector",
        "kernels.operations",
        "kernels.simd",
        "kernels.across",
        "kernels.power",
    ),
    *("kernels.tile", "kernels.scalar", "kernels.elementwise"),
    *(
        "kernels.gemm",
        "kernels.order",
        "kernels.dropout",
        "kernels.rules",
        "kernels.update",
        "kernels.custom",
        "kernels.sparse",
        "kernels.calls",
        "kernels.strips",
        "kernels.outputs",
        "kernels.few",
        "kernels.tiles",
        "kernels.sums",
        "kernels.lanes",
    ),
    *("kernels.blocks", "kernels.reduction", "kernels.fused", "kernels.descent", "kernels.machine"),
    *("memory", "plan", "workspace", "backprop", "gradcheck"),
    *("schedules", "optimizers", "scipy_objective", "optim", "descent", "feeding", "classifier"),
    *("metrics", "options", "history", "callbacks", "checkpoint", "interrupts", "training", "task"),
    *("safetensors_files", "onnx_files", "python_files", "exporting"),
    "peers",
    *("graph_text", "graph"),
    *("plot.style", "plot.boundary", "plot.curves", "plot.graphs", "plot.layers", "plot.scores", "plot.animation"),
    *(
        "plot",
        "live",
        "runs",
        "streaming",
        "preparing",
        "progress",
        "config_file",
        "train_command",
        "small_commands",
        "graph_command",
        "bench",
        "cli",
    ),
]
# The methods of a network are calls of modules below it, imported on first use: `network._late`.
MAY_NOT_IMPORT_NUMBA = [m for m in ORDER if not m.startswith(("_jit", "_cpu", "_linking", "_threads", "kernels"))]


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Modules of the package that a file imports anywhere, at the top or in a function; TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    package = module_name(path).split(".")[:-1] if path.name != "__init__.py" else [module_name(path)]
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in hidden:
            base = package[: len(package) - (node.level - 1)] if package else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                whole = ".".join(filter(None, [*stem, alias.name]))
                yield whole if (PACKAGE / (whole.replace(".", "/") + ".py")).exists() else ".".join(filter(None, stem))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_one_way(path):
    """What a module imports stands above it in ORDER."""
    name = module_name(path)
    if name in ("", "kernels", "__main__"):
        return
    assert name in ORDER, f"{name} has no place in ORDER"
    for imported in imports_of(path):
        if imported not in ("", "kernels"):
            assert ORDER.index(imported) < ORDER.index(name), f"{name} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_one_door_to_numba(path):
    """`njit` is called in _jit.py alone, and only it, its helper and the kernels import Numba at their top."""
    text = path.read_text()
    if module_name(path) != "_jit":
        assert "njit" not in text
    if module_name(path) in MAY_NOT_IMPORT_NUMBA:
        top = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [alias.name for node in top for alias in node.names] + [
            getattr(node, "module", "") or "" for node in top
        ]
        assert not any(name.split(".")[0] in ("numba", "llvmlite", "matplotlib", "rich", "sklearn") for name in names)


@pytest.mark.parametrize("path", [*FILES, *sorted(Path(__file__).parent.glob("*.py"))], ids=lambda path: path.name)
def test_files_are_short(path):
    """At most 400 lines; functions outside the kernels at most 60."""
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    if "kernels" not in path.parts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                documented = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                assert node.end_lineno - documented <= 60, node.name


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
    home = getattr(getattr(fastbp, name), "__module__", "").removeprefix("fastbp.")
    whole = rf":: fastbp\.({home}\n   :members:\n|{name}\n)"
    assert re.search(whole, reference)
