"""What is compiled, and when: one signature an entry, nothing for a second network, shape or kind of array."""

import numpy as np
import pytest

from fastbp.compiler import jit
from tests.cases import LECTURE, SMALL, make_data
from tests.processes import run

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="compilation is off")


def test_a_second_call_compiles_nothing():
    """New networks, activations, losses, shapes, numbers of rows and kinds of arrays reuse what is compiled."""
    for dtype in (np.float32, np.float64):
        data = make_data(LECTURE[0], dtype)
        LECTURE[0].net.value_and_grad(data.params, data.x, data.y)
        LECTURE[0].net.forward(data.params, data.x)
    before = jit.n_compilations(), jit.signatures_compiled()
    for case in SMALL:
        for dtype in (np.float32, np.float64):
            data = make_data(case, dtype)
            case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight)
            case.net.loss(data.params, data.x, data.y, reduction="none")
            case.net.predict(data.params, data.x)
    frozen = data.x.copy()
    frozen.setflags(write=False)
    kinds = (
        frozen,
        data.x.tolist(),
        np.asfortranarray(data.x),
        data.x[::-1],
        data.x.astype(">f8"),
        data.x.astype("f2"),
    )
    for x in kinds:
        case.net.forward(data.params, x)
    assert (jit.n_compilations(), jit.signatures_compiled()) == before


@pytest.mark.smoke
def test_each_entry_has_one_signature():
    """However often it was called."""
    from fastbp.kernels.program import executor

    for dtype in (np.float32, np.float64):
        for entry in executor.entries(np.dtype(dtype)):
            entry.compile()
            assert len(entry._dispatcher.signatures) == 1


def test_importing_reads_no_numba():
    """`import fastbp`, a network and its parameters, and the reference need neither Numba nor a compiler."""
    source = """
import sys
sys.modules["numba"] = None
import fastbp, numpy as np
net = fastbp.MLP((2, 3, 1))
value, grad = fastbp.reference.value_and_grad(net, net.init(0), np.ones((4, 2)), np.ones(4))
heavy = {"matplotlib", "sklearn", "scipy", "pandas", "rich", "llvmlite"} & set(sys.modules)
print(sorted(heavy))
"""
    assert run(source).strip() == "[]"


def test_warmup_compiles_ahead(tmp_path):
    """After warmup() the first call compiles nothing; a second process compiles nothing at all."""
    source = """
import numpy as np, fastbp
from fastbp.compiler import jit as _jit
fastbp.warmup(np.float32)
warm = _jit.n_compilations()
net = fastbp.MLP((2, 3, 1))
net.value_and_grad(net.init(0), np.ones((4, 2), np.float32), np.ones(4, np.float32))
print(warm, _jit.n_compilations() - warm)
"""
    first, later = (run(source, timeout=120, FASTBP_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert int(first[0]) > 10
    assert (first[1], *later) == ("0", "0", "0")
