"""What the README shows, run as printed."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


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
