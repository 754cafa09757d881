"""The same bits: for any number of threads, in every repetition, on every threading layer, and for each row alone."""

import numpy as np
import pytest
from cases import LECTURE, SMALL, Case, make_data
from processes import need_layer, run

from fastbp.network import MLP

THREADS = (1, 2, 3, 4, 8)

# In a process of its own, because NUMBA_NUM_THREADS counts when Numba is first imported.
REPEATS = f"""
import numpy as np, numba
from fastbp.network import MLP
import fastbp.backprop, fastbp.plan
fastbp.plan.SERIAL_BELOW = 0
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
    monkeypatch.setattr("fastbp.plan.LAUNCH", 1.0)
    for n_threads in (1, 2):
        monkeypatch.setattr("fastbp.plan.SERIAL_BELOW", 1e7 if n_threads == 1 else 0)
        from fastbp.backprop import Workspace

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
