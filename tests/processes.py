"""Python in a process of its own: for what only a fresh process shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent


def start(source, **environment):
    """A process that runs `source` with warnings as errors; `fastbp` and the tests' modules can be imported."""
    path = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=60):
    """What it printed; an error if it failed, was killed or did not end in time."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    return out


def run(source, timeout=60, **environment):
    return finish(start(source, **environment), timeout)


def need_layer(name):
    """Skips the test if Numba's threading layer of that name cannot be loaded; `workqueue` is always there."""
    if name != "workqueue":
        pytest.importorskip(f"numba.np.ufunc.{name}pool", reason=f"{name} is not installed", exc_type=ImportError)
