"""Python in a process of its own: for what only a fresh process shows."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent

# Where `pip install tbb` puts its library, and where the loader does not look by itself.
_LIBRARIES = str(Path(sys.prefix) / "lib")


def start(source, **environment):
    """A process that runs `source` with warnings as errors; `fastbp` and the tests' modules can be imported."""
    path = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    libraries = os.pathsep.join(filter(None, [os.environ.get("LD_LIBRARY_PATH"), _LIBRARIES]))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source],
        env={**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": libraries, **environment},
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


@functools.cache
def _can_load(module):
    with start(f"import {module}") as process:
        process.communicate()
    return process.returncode == 0


def need_layer(name):
    """Skips the test if a process cannot load Numba's threading layer of that name; `workqueue` is always there."""
    if name != "workqueue" and not _can_load(f"numba.np.ufunc.{name}pool"):
        pytest.skip(f"{name} is not installed")
