"""The kernels as plain Python: NUMBA_DISABLE_JIT=1 runs every line of them, with the NumPy twins of the intrinsics.

Run by itself, for coverage:  NUMBA_DISABLE_JIT=1 python -m pytest tests/test_uncompiled.py --cov=fastbp.kernels
"""

import numpy as np
import pytest
import scipy.sparse as sp
from cases import CASES, LECTURE, MIXED, SMALL, Case, make_data

import fastbp
from fastbp import _jit, reference

pytestmark = [
    pytest.mark.skipif(_jit.COMPILED, reason="for NUMBA_DISABLE_JIT=1"),
    # Rows behind a block's last one hold whatever was left there: NumPy says so where the instructions do not.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

TINY = tuple(case for case in SMALL if case.net.n_parameters <= 120)
NAMES = {case.net.activations[0].name: case for case in CASES if case.net.activations and case.n_rows <= 7}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [*TINY, *NAMES.values(), *LECTURE[:3], *MIXED], ids=lambda case: case.id)
def test_uncompiled_kernels_are_the_reference_s(case, dtype):
    """Gradient, outputs and labels of a few rows."""
    case = Case(case.net, min(case.n_rows, 33), case.label_rows)
    data = make_data(case, dtype)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    exact = make_data(case)
    value, grad = case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, n_threads=1)
    wanted, wanted_grad = reference.value_and_grad(
        case.net, exact.params, exact.x, exact.y, sample_weight=exact.sample_weight
    )
    assert value == pytest.approx(wanted, rel=10 * tolerance)
    assert np.linalg.norm(grad.vector - wanted_grad.vector) <= 10 * tolerance * np.linalg.norm(wanted_grad.vector)
    d_x = case.net.input_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, n_threads=1)
    wanted_d_x = reference.input_grad(case.net, exact.params, exact.x, exact.y, sample_weight=exact.sample_weight)
    assert np.linalg.norm(d_x - wanted_d_x) <= 10 * tolerance * np.linalg.norm(wanted_d_x)
    outputs = case.net.forward(data.params, data.x, n_threads=1)
    wanted_outputs = reference.forward(case.net, exact.params, exact.x)
    assert np.linalg.norm(outputs - wanted_outputs) <= 10 * tolerance * np.linalg.norm(wanted_outputs)
    assert (
        case.net.predict(data.params, data.x, n_threads=1).shape
        == reference.predict(case.net, exact.params, exact.x).shape
    )


@pytest.mark.parametrize("n_out", [5, 40, 70, 130])
def test_uncompiled_sparse_inputs(n_out):
    """Outputs that fill parts of a register, several of them, one strip and two: the bits of dense inputs."""
    net, rng = fastbp.MLP((30, n_out, 1)), np.random.default_rng(0)
    params, x, y = net.init(0), rng.standard_normal((5, 30)).astype(np.float32), rng.random(5).astype(np.float32)
    x[rng.random(x.shape) < 0.8] = 0
    value, grad = net.value_and_grad(params, sp.csr_array(x), y, n_threads=1)
    wanted, wanted_grad = net.value_and_grad(params, x, y, n_threads=1)
    assert value == wanted
    np.testing.assert_array_equal(grad.vector, wanted_grad.vector)
    bad = sp.csr_array(np.array([[np.nan] * 30], np.float32))
    with pytest.raises(fastbp.errors.InputError, match="must be finite"):
        net.forward(params, bad, n_threads=1)


def test_uncompiled_functions_of_the_user_s_own():
    """An activation and a loss, against the reference."""
    square = fastbp.Loss("square", lambda y, z: (z - y) ** 2 / 2, lambda y, z: z - y)
    softsign = fastbp.Activation("softsign", lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)
    net = fastbp.MLP((2, 3, 1), activation=softsign, loss=square)
    params, x = net.init(0, dtype=np.float64), np.random.default_rng(0).standard_normal((5, 2))
    value, grad = net.value_and_grad(params, x, x[:, 0], n_threads=1)
    wanted, wanted_grad = reference.value_and_grad(net, params, x, x[:, 0])
    assert value == pytest.approx(wanted)
    np.testing.assert_allclose(grad.vector, wanted_grad.vector, rtol=1e-10)
