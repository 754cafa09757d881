"""The kernels as plain Python: NUMBA_DISABLE_JIT=1 runs every line of them, with the NumPy twins of the intrinsics.

Run by itself, for coverage:  NUMBA_DISABLE_JIT=1 python -m pytest tests/test_uncompiled.py --cov=fastbp.kernels
"""

import numpy as np
import pytest
from cases import CASES, LECTURE, SMALL, Case, make_data

from fastbp import _jit, reference

pytestmark = pytest.mark.skipif(_jit.COMPILED, reason="for NUMBA_DISABLE_JIT=1")

TINY = tuple(case for case in SMALL if case.net.n_parameters <= 120)
NAMES = {case.net.activations[0].name: case for case in CASES if case.net.activations and case.n_rows <= 7}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [*TINY, *NAMES.values(), *LECTURE[:3]], ids=lambda case: case.id)
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
    outputs = case.net.forward(data.params, data.x, n_threads=1)
    wanted_outputs = reference.forward(case.net, exact.params, exact.x)
    assert np.linalg.norm(outputs - wanted_outputs) <= 10 * tolerance * np.linalg.norm(wanted_outputs)
    assert (
        case.net.predict(data.params, data.x, n_threads=1).shape
        == reference.predict(case.net, exact.params, exact.x).shape
    )
