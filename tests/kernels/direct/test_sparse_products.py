"""Sparse inputs: products with the first layer's weights, and rows of their gradient, against NumPy's of dense ones."""

import numpy as np
import pytest

from fastbp.engine import plan as plans
from fastbp.kernels.program.blocks import block_of
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import GROUP_REGISTERS, lanes
from fastbp.kernels.structures import Rows, call_of, plan_at
from fastbp.kernels.wide import sparse
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, Call, assert_sums, compiled, matrix_in, poisoned, put, unchanged

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@compiled
def products(vector, plan_address, number, status):
    call = call_of(plan_at(plan_address, 0), pointer(vector))
    block = block_of(call.plan, number, 0, 0)
    status[0] = 1 if sparse.scan_block(call, block) else 0
    if status[0]:
        for first_slice in range(0, call.plan.n_slices, sparse.TOGETHER):
            sparse.add_sparse_products(call, block, first_slice)


@compiled
def rows_of_the_gradient(vector, plan_address, number, k, n_k):
    call = call_of(plan_at(plan_address, 0), pointer(vector))
    sparse.add_sparse_rows(call, block_of(call.plan, number, 0, 0), k, n_k)


N_IN, N_ROWS = 41, 45  # 45 rows are a block of 32 and one of 13


def sparse_call(n_out, dtype, monkeypatch):
    """A call with sparse inputs, among them rows without a number and with all; the inputs made dense; W and b."""
    monkeypatch.setattr(plans, "SLICE_BYTES", 2**10)  # several slices
    plans.layout.cache_clear()
    rng = np.random.default_rng(n_out)
    dense = np.where(rng.random((N_ROWS, N_IN)) < 0.2, rng.standard_normal((N_ROWS, N_IN)), 0).astype(dtype)
    dense[[0, 40]], dense[[3, 44]] = 0, rng.standard_normal((2, N_IN))
    columns = np.nonzero(dense)[1].astype(np.int32)
    starts = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    net = MLP((N_IN, n_out, 1), activation="tanh", loss="squared_error")
    params = net.init(0, dtype=dtype)
    params.biases[0][:] = rng.standard_normal(n_out)
    call = Call(net, params, (dense[dense != 0], columns, starts), np.zeros((N_ROWS, 1), dtype))
    plans.layout.cache_clear()
    assert call.plan.n_slices > 1
    at = int(call.layers[0].packed_biases_offset)
    call.memory[at : at + int(call.layers[0].padded_out)] = 0
    call.memory[at : at + n_out] = params.biases[0]
    return call, dense, params.weights[0], params.biases[0]


def widths(dtype):
    """Outputs that are part of a register, one and some, a group, more than one, and more than two."""
    size, group = lanes(dtype), GROUP_REGISTERS * lanes(dtype)
    return (1, size, size + 3, group - 1, group, group + 1, 2 * group, 2 * group + 5)


PARAMETERS = [
    pytest.param(n_out, dtype, id=f"{n_out}, {dtype.__name__}") for dtype in DTYPES for n_out in widths(dtype)
]


def rows_of_layer(call, offset):
    """Where a layer's values, or slopes, of a block in the first region lie."""
    layer = call.layers[0]
    return Rows(int(call.plan.regions_offset + offset), int(layer.stride), 32, int(layer.padded_out))


@pytest.mark.parametrize(("n_out", "dtype"), PARAMETERS)
def test_sparse_products_are_those_of_dense_inputs(n_out, dtype, monkeypatch):
    """z = b + x W of each block; only z of its rows is written, and where the slices start."""
    call, dense, w, b = sparse_call(n_out, dtype, monkeypatch)
    for number, rows in enumerate((slice(0, 32), slice(32, 45))):
        x, status = dense[rows].astype(np.float64), np.zeros(1, np.int64)
        region = int(call.plan.regions_offset)
        call.memory[region:] = poisoned(call.memory.size - region, dtype)
        values = rows_of_layer(call, call.layers[0].values_offset)._replace(n_rows=len(x))
        call.memory[values.offset : values.offset + 64 * values.stride] = 7  # what is written back as it was
        before = call.memory.copy()
        products(call.vector, call.address, number, status)
        assert status[0] == 1
        z = matrix_in(call.memory, values)
        assert_sums(z[:, :n_out], b + x @ w, N_IN, np.abs(b) + np.abs(x) @ np.abs(w))
        places = values.offset + values.stride * np.arange(len(x))[:, None] + np.arange(values.n)
        bounds = int(call.plan.regions_offset + call.plan.bounds_offset) + np.arange(
            len(x) * int(call.plan.n_slices + 1)
        )
        assert unchanged(before, call.memory, places, bounds)


@pytest.mark.parametrize(("n_out", "dtype"), PARAMETERS)
def test_rows_of_the_gradient_are_added_to_the_sums(n_out, dtype, monkeypatch):
    """dW[k] += x[:, k]^T dZ for some rows k, wherever slices begin; the other rows of the sums stay as they were."""
    call, dense, *_ = sparse_call(n_out, dtype, monkeypatch)
    layer, rng, status = call.layers[0], np.random.default_rng(0), np.zeros(1, np.int64)
    height, padded = int(layer.sums_height), int(layer.sums_padded)
    sums = Rows(int(layer.weight_sums_offset), padded, height, n_out)
    for number, rows in enumerate((slice(0, 32), slice(32, 45))):
        x, d = dense[rows].astype(np.float64), rng.standard_normal((len(dense[rows]), n_out)).astype(dtype)
        products(call.vector, call.address, number, status)
        deltas = rows_of_layer(call, layer.slopes_offset)
        put(call.memory, deltas, poisoned(32 * deltas.n, dtype).reshape(32, -1))
        put(call.memory, deltas, d)
        for k, n_k in ((0, N_IN), (5, 7), (N_IN - 1, 1)):
            old = rng.standard_normal((height, n_out)).astype(dtype)
            put(call.memory, sums, old)
            before = call.memory.copy()
            rows_of_the_gradient(call.vector, call.address, number, k, n_k)
            got, taken = matrix_in(call.memory, sums), slice(k, k + n_k)
            wanted, sizes = old[taken] + x.T[taken] @ d, np.abs(old[taken]) + np.abs(x).T[taken] @ np.abs(d)
            assert_sums(got[taken], wanted, len(x), sizes)
            np.testing.assert_array_equal(np.delete(got, np.r_[taken], axis=0), np.delete(old, np.r_[taken], axis=0))
            assert unchanged(before, call.memory, sums.offset + padded * k + np.arange(padded * n_k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("array", "bad"),
    [("x", np.nan), ("x", -np.inf), ("columns", -1), ("columns", N_IN), ("columns", 2**31 - 1)],
)
def test_a_row_that_is_not_sound_is_said(array, bad, dtype, monkeypatch):
    """A number that is not finite, or a column outside of x or not in order, wherever it stands in its block."""
    call, *_ = sparse_call(3, dtype, monkeypatch)
    numbers, status = getattr(call, array), np.zeros(1, np.int64)
    for i in range(int(call.starts[32])):
        good, numbers[i] = numbers[i], bad
        products(call.vector, call.address, 0, status)
        assert status[0] == 0
        numbers[i] = good
    products(call.vector, call.address, 0, status)
    assert status[0] == 1
