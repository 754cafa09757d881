"""Without a private name of Numba that linking relies on: one warning, and the same bits."""

import ast
import os
import subprocess
import sys

import pytest

from fastbp.compiler import linking

# In a process of its own: a name is taken away while fastbp is imported, and what the rest of the program prints is
# compared. Numba itself calls some of these names, so they come back.
HEAD = """
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
    from fastbp.compiler import jit
if len(sys.argv) > 1:
    setattr(owners[owner], name, hidden)
print([str(w.message) for w in caught])

import fastbp, numpy as np
def show(array):
    print(hashlib.sha256(array.tobytes()).hexdigest())
"""

SMALL = """
from numba import float64, int64

@jit.kernel
def square(x):
    return x * x

@jit.kernel
def scaled(x, factor):
    return square(x) * factor + x

@jit.entry(float64(float64[::1], int64), cached=False)
def summed(values, n):
    total = 0.0
    for i in range(n):
        total += scaled(values[i], 0.1)
    return total

show(np.float64(summed(np.random.default_rng(0).standard_normal(1000), 1000)))
"""

# Both families of kernels: for small networks, and for wide ones.
REAL = """
rng = np.random.default_rng(0)
for net in (fastbp.MLP((2, 100, 1)), fastbp.MLP((20, 40, 33, 3), activation="tanh", loss="cross_entropy")):
    x = rng.standard_normal((1000, net.n_inputs)).astype(np.float32)
    y = rng.integers(0, max(net.n_outputs, 2), 1000)
    params = net.init(0)
    show(net.value_and_grad(params, x, y)[1].vector)
    show(fastbp.train(net, params, x, y, optimizer="adam", batch_size=64, epochs=2).params.vector)
"""


def printed(program, hook=None):
    """The digests that a program prints, and the warnings at the import of fastbp without `hook`."""
    environment = os.environ | {"FASTBP_CACHE": "0"}
    command = [sys.executable, "-c", HEAD + program, *([hook] if hook else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    warnings, *digests = done.stdout.splitlines()
    return digests, ast.literal_eval(warnings)


@pytest.fixture(scope="module")
def linked():
    digests, warnings = printed(SMALL)
    assert warnings == []
    return digests


@pytest.mark.smoke
@pytest.mark.parametrize("hook", ["base._optimize_functions", "base._get_module_for_linking", "passes.IRLegalization"])
def test_a_missing_hook_is_one_warning_and_the_same_bits(hook, linked):
    """The warning names the hook, and the version that has it."""
    digests, (warning,) = printed(SMALL, hook)
    assert digests == linked
    assert hook.partition(".")[2] in warning
    assert f"numba=={linking.TESTED_NUMBA}" in warning


@pytest.mark.slow
def test_gradients_and_trained_weights_are_the_same_without_linking():
    """Two gradients and two trainings, compiled Numba's way: the bits of the linked form."""
    digests, warnings = printed(REAL, "base._optimize_functions")
    assert (digests, len(warnings)) == (printed(REAL)[0], 1)
    assert len(set(digests)) == 4
