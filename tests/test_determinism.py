"""The same bits: for any number of threads, in every repetition, on every threading layer, and for each row alone."""

import numpy as np
import pytest

from fastbp.model.network import MLP
from tests.cases import LECTURE, SMALL, Case, make_data
from tests.processes import need_layer, run

THREADS = (1, 2, 3, 4, 8)

# In a process of its own, because NUMBA_NUM_THREADS counts when Numba is first imported.
REPEATS = f"""
import numpy as np, numba
from fastbp.model.network import MLP
import fastbp.engine.backprop, fastbp.engine.plan
fastbp.engine.plan.SERIAL_BELOW = 0
rng = np.random.default_rng(0)
NETS = [
    MLP((2, 100, 1), bias=False),
    MLP((3, 20, 1), activation="tanh", loss="huber"),
    MLP((10, 40, 33, 5), activation="relu", loss="cross_entropy"),
]
for net in NETS:
    for dtype in (np.float32, np.float64):
        params = net.init(1, dtype=dtype)
        x = rng.standard_normal((5000, net.n_inputs)).astype(dtype)
        y = rng.integers(0, net.n_outputs, 5000) if net.n_outputs > 1 else rng.random((5000, 1)).astype(dtype)
        wanted = net.value_and_grad(params, x, y, n_threads=1)
        wanted_forward = net.forward(params, x, n_threads=1).tobytes()
        for n_threads in {THREADS}:
            for _ in range(50):
                value, grad = net.value_and_grad(params, x, y, n_threads=n_threads)
                assert value == wanted[0] and grad.vector.tobytes() == wanted[1].vector.tobytes(), (net, n_threads)
            assert net.forward(params, x, n_threads=n_threads).tobytes() == wanted_forward
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_any_number_of_threads_gives_the_same_bits(layer):
    """1, 2, 3, 4 and 8 threads, 50 times each, in both families and dtypes."""
    need_layer(layer)
    assert run(REPEATS, timeout=300, NUMBA_NUM_THREADS="8", NUMBA_THREADING_LAYER=layer).strip() == layer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [*LECTURE[::12], *SMALL[::5]], ids=lambda case: case.id)
def test_each_row_has_the_bits_it_has_alone(case, dtype):
    """forward(x)[i] equals forward(x[i:i+1])[0] in every bit, N = 1..300."""
    data = make_data(Case(case.net, 300, case.label_rows), dtype)
    alone = np.concatenate([case.net.forward(data.params, data.x[i : i + 1]) for i in range(300)])
    for n in (1, 2, 7, 31, 63, 64, 65, 128, 129, 200, 255, 299, 300):
        np.testing.assert_array_equal(case.net.forward(data.params, data.x[:n]), alone[:n])


@pytest.mark.parametrize("case", [LECTURE[0], SMALL[2]], ids=lambda case: case.id)
def test_a_launch_may_end_after_any_block(case, monkeypatch):
    """Calls cut into launches of one block give the bits of a call in one launch."""
    data = make_data(Case(case.net, 1003, case.label_rows))
    wanted, wanted_grad = case.net.value_and_grad(data.params, data.x, data.y)
    monkeypatch.setattr("fastbp.engine.plan.LAUNCH", 1.0)
    for n_threads in (1, 2):
        monkeypatch.setattr("fastbp.engine.plan.SERIAL_BELOW", 1e7 if n_threads == 1 else 0)
        from fastbp.engine.backprop import Workspace

        value, grad = case.net.value_and_grad(data.params, data.x, data.y, n_threads=n_threads, workspace=Workspace())
        assert value == wanted
        np.testing.assert_array_equal(grad.vector, wanted_grad.vector)


def test_float32_sums_over_many_rows_keep_their_digits():
    """A million rows: chunks in float32, slots in float64, so the gradient is as good as that of a thousand rows."""
    net = MLP((2, 16, 1), bias=True)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1_000_000, 2)).astype(np.float32)
    y = (x[:, :1] > 0.3).astype(np.float32)
    params = net.init(0)
    _, grad = net.value_and_grad(params, x, y)
    _, wanted = net.value_and_grad(params.astype(np.float64), x, y)
    assert np.linalg.norm(grad.vector - wanted.vector) < 2e-6 * np.linalg.norm(wanted.vector)


# Two Python threads, and then a forked child, on the real kernels and enough rows to be shared out.
COMPANY = """
import os, sys, threading, numpy as np, fastbp
net = fastbp.MLP((2, 100, 1))
params = net.init(0)
x = np.random.default_rng(0).standard_normal((20_000, 2)).astype(np.float32)
y = (x[:, :1] > 0).astype(np.float32)
wanted = net.value_and_grad(params, x, y, n_threads=1)[1].vector.tobytes()
wrong = []

def work():
    for _ in range(50):
        if net.value_and_grad(params, x, y, n_threads=2)[1].vector.tobytes() != wanted:
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong
child = os.fork()
if child == 0:
    os._exit(0 if net.value_and_grad(params, x, y)[1].vector.tobytes() == wanted else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("ok")
"""


@pytest.mark.smoke
@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_python_threads_and_forked_children_get_the_same_bits(layer):
    """No abort, no hang, no other bits, whatever the threading layer."""
    need_layer(layer)
    assert run(COMPANY, timeout=120, NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER=layer).strip() == "ok"


# Kernels for other instruction sets: 8 or 4 floats a register, another tile, powers of two without AVX-512.
OTHER_CPU = """
import numpy as np
from cases import CASES, make_data
from fastbp.compiler import jit as _jit; from fastbp import reference
for case in CASES[::9]:
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        data, exact = make_data(case, dtype), make_data(case)
        _, grad = case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight)
        _, wanted = reference.value_and_grad(
            case.net, exact.params, exact.x, exact.y, sample_weight=exact.sample_weight
        )
        error = np.linalg.norm(grad.vector - wanted.vector) / np.linalg.norm(wanted.vector)
        assert error < tolerance, (case.id, dtype, error)
print(_jit.cpu().vector_bytes)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("cpu", "vector_bytes"), [("haswell", 32), ("x86-64", 16)])
def test_kernels_for_other_cpus_are_the_reference_s(cpu, vector_bytes):
    """AVX2 and plain SSE2, compiled for and run here."""
    assert int(run(OTHER_CPU, timeout=300, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="")) == vector_bytes
