"""Without a private hook of Numba that linking relies on: one warning, and the same bits."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys, warnings
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary
from numba.core import typed_passes

owners = {"base": CPUCodeLibrary, "library": JITCodeLibrary, "passes": typed_passes}
if len(sys.argv) > 1:
    owner, name = sys.argv[1].split(".")
    hidden = getattr(owners[owner], name)
    delattr(owners[owner], name)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from numba import float64, int64
    from fastbp.compiler import jit as _jit

    if len(sys.argv) > 1:
        setattr(owners[owner], name, hidden)  # Numba calls it, too

    @_jit.kernel
    def square(x):
        return x * x

    @_jit.kernel
    def scaled(x, factor):
        return square(x) * factor + x

    @_jit.entry(float64(float64[::1], int64), cached=False)
    def summed(values, n):
        total = 0.0
        for i in range(n):
            total += scaled(values[i], 0.1)
        return total

    values = np.random.default_rng(0).standard_normal(1000)
    result = summed(values, 1000)
print(hashlib.sha256(np.float64(result).tobytes()).hexdigest())
print(*[str(w.message) for w in caught if "compile fast" in str(w.message)], sep="\\n")
"""


def run(*arguments):
    environment = os.environ | {"FASTBP_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    digest, *warnings = done.stdout.split("\n")
    return digest, [line for line in warnings if line]


@pytest.fixture(scope="module")
def linked():
    digest, warnings = run()
    assert warnings == []
    return digest


@pytest.mark.parametrize("hook", ["base._optimize_functions", "base._get_module_for_linking", "passes.IRLegalization"])
def test_a_missing_hook_is_one_warning_and_the_same_bits(hook, linked):
    digest, (warning,) = run(hook)
    assert digest == linked
    assert hook.partition(".")[2] in warning
