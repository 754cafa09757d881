"""The README: what it shows, run as printed, and that a stranger can find the way."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = ("README.md", "benchmarks/RESULTS.md", "docs/command-line.md", "docs/fashion-mnist.md")


def test_it_is_short():
    """At most 150 lines, Python before line 40 and in at most eight lines of code, one table of at most eight rows."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition("```python\n")
    example = rest[: rest.index("```")]
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(text.splitlines()) <= 150
    assert len(before.splitlines()) < 40
    assert len([line for line in example.splitlines() if line]) <= 8
    assert len(tables) == 1
    assert len(tables[0].splitlines()) <= 2 + 8


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Every link and picture of a page is a file of the repository."""
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert links or page == "docs/fashion-mnist.md"
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_second_command_is_the_one_that_continuous_integration_runs():
    """A reader tests fastbp as `.ci/run` does."""
    commands = re.findall(r"```sh\n(.*?)\n```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.filterwarnings("ignore:.*cache.*")
def test_the_example_learns(capsys):
    """The Python example runs, prints an accuracy and ten labels, and gets nearly all of its points right."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    accuracy, labels = capsys.readouterr().out.split(" ", 1)
    assert 0.95 < float(accuracy) <= 1
    assert re.fullmatch(r"\[([01] ){9}[01]\]\n", labels)
    found = names["net"].predict(names["result"].params, names["x"])
    assert np.mean(found == names["y"]) > 0.97
