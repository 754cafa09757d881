"""fastbp/kernels/README.md speaks of kernels, files and words that exist."""

import ast
import re
from pathlib import Path

import pytest

import fastbp

KERNELS = Path(fastbp.__file__).parent / "kernels"
TEXT = (KERNELS / "README.md").read_text()
TREES = {path: ast.parse(path.read_text()) for path in sorted(KERNELS.rglob("*.py"))}
FUNCTIONS = [node for tree in TREES.values() for node in tree.body if isinstance(node, ast.FunctionDef)]
CONTRACTS = dict(re.findall(r"^\*\*`(\w+)\(([^)]*)\)", TEXT, re.MULTILINE))


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_names_a_kernel_s_arguments(name):
    """As a function of that name has them, in their order."""
    arguments = [[a.arg for a in node.args.args] for node in FUNCTIONS if node.name == name]
    assert CONTRACTS[name] in [", ".join(names) for names in arguments]


def test_every_kernel_that_one_would_replace_has_a_contract():
    """And there is something to find."""
    assert {"add_products", "block_product", "losses_of_group", "merge", "update", "rows_of_epoch"} <= set(CONTRACTS)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", TEXT))))
def test_folders_and_files_are_there(path):
    """Named from the folder of kernels or, with fastbp/ or tests/, from the top of the repository."""
    is_whole = path.startswith(("fastbp/", "tests/"))
    assert ((KERNELS.parent.parent if is_whole else KERNELS) / path).exists()


def test_imports_follow_the_table():
    """A file imports from its own folder and from what stands above it, never from below."""
    table = re.findall(r"^\| `([\w.]+?)(?:/|\.py)` \|", TEXT, re.MULTILINE)
    assert len(table) == 7
    for path, tree in TREES.items():
        here = path.relative_to(KERNELS).with_suffix("").parts[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == len(path.relative_to(KERNELS).parts):
                for name in [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]:
                    assert here not in table or table.index(name) < table.index(here), f"{path} imports {name}"
