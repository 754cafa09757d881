"""The last layer where its outputs are few, samples in the lanes: forward, and dZ of the layer below, against NumPy."""

import numpy as np
import pytest

from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import GROUP_REGISTERS, lanes
from fastbp.kernels.structures import Block, Rows, call_of, layer_of, plan_at
from fastbp.kernels.wide import layers, narrow_output
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, Call, assert_sums, compiled, matrix_in, put, unchanged

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@compiled
def forward(vector, plan_address, n_rows):
    call = call_of(plan_at(plan_address, 0), pointer(vector))
    layers.pack_weights(call, 0, call.plan.n_packed)
    narrow_output.forward_narrow(call, Block(call.plan.regions_offset, 0, 0, n_rows))


@compiled
def deltas(vector, plan_address, n_rows, is_masked):
    plan, memory = plan_at(plan_address, 0), call_of(plan_at(plan_address, 0), pointer(vector)).memory
    block, below = Block(plan.regions_offset, 0, 0, n_rows), layer_of(plan, plan.n_layers - 2)
    values_at = block.region_offset + below.values_offset
    narrow_output.deltas_of_narrow(plan, memory, block, layers.slopes_of(below, block), values_at, is_masked != 0)


N_ROWS = 75  # more than a group, not whole microtiles
PARAMETERS = [
    pytest.param(n_hidden, n_out, dtype, id=f"{n_hidden}-{n_out}, {dtype.__name__}")
    for dtype in DTYPES
    for n_hidden, n_out in ((1, 1), (lanes(dtype), 2), (2 * lanes(dtype) + 3, lanes(dtype) // 2))
]


def block_in_memory(n_hidden, n_out, dtype):
    """A call with a block's hidden values and slopes; these, the weights and biases of the last layer, and its z."""
    net, rng = MLP((20, n_hidden, n_out), activation="tanh", loss="squared_error"), np.random.default_rng(0)
    params = net.init(0, dtype=dtype)
    params.vector[:] = rng.standard_normal(params.vector.size)
    call = Call(net, params, np.zeros((1024, 20), dtype), np.zeros((1024, n_out), dtype), mode=0)
    assert call.layers[-1].has_narrow_output
    assert call.plan.block_rows > N_ROWS
    below, region = call.layers[0], int(call.plan.regions_offset)
    hidden, slopes = (
        Rows(region + int(offset), int(below.stride), N_ROWS, n_hidden)
        for offset in (below.values_offset, below.slopes_offset)
    )
    a, slope = rng.standard_normal((2, N_ROWS, n_hidden)).astype(dtype)
    put(call.memory, hidden, a)
    put(call.memory, slopes, slope)
    return call, hidden, slopes, params.weights[1].astype(np.float64), params.biases[1].astype(np.float64)


def groups_of(call):
    """Where output j of row m lies among the outputs of a block: groups of samples, a row for each output."""
    group, layer = GROUP_REGISTERS * lanes(call.memory.dtype), call.layers[-1]
    n_out, m = int(layer.n_out), np.arange(N_ROWS)[:, None]
    start = int(call.plan.regions_offset + layer.values_offset)
    return start + (m // group * n_out + np.arange(n_out)) * group + m % group


@pytest.mark.parametrize(("n_hidden", "n_out", "dtype"), PARAMETERS)
def test_outputs_are_numpy_s(n_hidden, n_out, dtype):
    """z = A W + b of the rows there are, though what follows a row of A in its last register is NaN."""
    call, hidden, _, w, b = block_in_memory(n_hidden, n_out, dtype)
    a = matrix_in(call.memory, hidden).astype(np.float64)
    forward(call.vector, call.address, N_ROWS)
    places = groups_of(call)
    assert_sums(call.memory[places], a @ w + b, n_hidden, np.abs(a) @ np.abs(w) + np.abs(b))
    end = int(call.plan.regions_offset + call.plan.region_size)
    assert np.isnan(call.memory[end:]).all()


@pytest.mark.parametrize("is_masked", [1, 0])
@pytest.mark.parametrize(("n_hidden", "n_out", "dtype"), PARAMETERS)
def test_deltas_of_the_layer_below_are_numpy_s(n_hidden, n_out, dtype, is_masked):
    """dZ W^T where values are above 0, or times the slopes; over the slopes of the rows there are, and nowhere else."""
    call, hidden, slopes, w, _ = block_in_memory(n_hidden, n_out, dtype)
    forward(call.vector, call.address, N_ROWS)
    d = np.random.default_rng(1).standard_normal((N_ROWS, n_out)).astype(dtype)
    call.memory[groups_of(call)] = d
    a, slope = matrix_in(call.memory, hidden), matrix_in(call.memory, slopes).astype(np.float64)
    before = call.memory.copy()
    deltas(call.vector, call.address, N_ROWS, is_masked)
    factor = (a > 0) * 1.0 if is_masked else slope
    sizes = np.abs(d).astype(np.float64) @ np.abs(w.T) * np.abs(factor)
    assert_sums(matrix_in(call.memory, slopes), d.astype(np.float64) @ w.T * factor, n_out, sizes)
    padded = -(-n_hidden // lanes(dtype)) * lanes(dtype)
    places = (
        slopes.offset + slopes.stride * np.arange(N_ROWS)[:, None] + np.arange(max(padded, call.layers[-1].padded_in))
    )
    assert unchanged(before, call.memory, places)
