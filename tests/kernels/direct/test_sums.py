"""Sums of weight gradients: a block's added to its chunk's, by layers and by units; a chunk's to an accumulator."""

import numpy as np
import pytest

from fastbp.engine import plan as plans
from fastbp.kernels.program import reduction
from fastbp.kernels.program.blocks import block_of
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import GROUP_REGISTERS, lanes
from fastbp.kernels.structures import Rows, call_of, plan_at
from fastbp.kernels.wide import sums
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, Call, assert_sums, compiled, put, unchanged

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@compiled
def add_up(vector, plan_address, n_workers):
    """Every block's dW and db added to its chunk's sums, which go to the accumulator with the chunk's last block.

    n_workers : 0 for all of a block at once, block after block; else so many workers share the units, wave after wave.
    """
    call = call_of(plan_at(plan_address, 0), pointer(vector))
    plan, memory = call.plan, call.memory
    for number in range(plan.n_blocks if n_workers == 0 else 0):
        block = block_of(plan, number, number, 0)
        if sums.starts_chunk(plan, number):
            sums.zero(memory, plan.sums_offset, plan.sums_size)
        for n in range(plan.n_layers):
            sums.add_block(plan, memory, block, n)
        if sums.ends_chunk(plan, number):
            sums.fold(call, 0, number)
    for start in range(0, plan.n_blocks, plan.wave_blocks):
        for worker in range(n_workers):
            reduction.units_of_wave(call, start, worker, n_workers, 0, plan.n_units)


NETS = {
    "wide and narrow outputs": (37, 20, 35, 1),
    "transposed": (33, 2, 40, 12),
    "one layer": (5, 19),
}
N_ROWS = 7 * 32 - 9  # the last block is not full, nor the last chunk, nor the last of two accumulators


def blocks_in_memory(sizes, bias, dtype, monkeypatch, n_accumulators=1, n_workers=1):
    """A call with all its blocks in memory, as after dZ of every layer; and A and dZ of each layer."""
    monkeypatch.setattr(plans, "BLOCK_ROWS", 32)
    monkeypatch.setattr(plans, "MAX_CHUNK_ROWS", 64)
    monkeypatch.setattr(plans, "MOST_IDLE", -9)  # which makes waves
    monkeypatch.setattr(plans, "ACCUMULATOR_BLOCKS", 7 // n_accumulators)
    monkeypatch.setattr(plans, "SERIAL_BELOW", 0)
    monkeypatch.setattr(plans, "UNIT", plans.SMALLEST_UNIT)
    plans.layout.cache_clear()
    net, rng = MLP(sizes, activation="tanh", loss="squared_error", bias=bias), np.random.default_rng(0)
    params = net.init(0, dtype=dtype)
    call = Call(
        net, params, np.zeros((N_ROWS, sizes[0]), dtype), np.zeros((N_ROWS, sizes[-1]), dtype), n_workers=n_workers
    )
    plans.layout.cache_clear()
    plan, layers = call.plan, call.layers
    assert plan.wave_blocks == plan.n_blocks == 7  # a later wave would be written over the first one
    assert (plan.chunk_blocks, plan.n_accumulators) == (2, n_accumulators)
    matrices = [rng.standard_normal((N_ROWS, n)).astype(dtype) for n in (*sizes, *sizes[1:])]
    inputs, deltas = matrices[: len(layers)], matrices[-len(layers) :]
    size = int(plan.block_rows)
    for number in range(int(plan.n_blocks)):
        region = int(plan.regions_offset + number * plan.region_size)
        rows = slice(number * size, min(N_ROWS, (number + 1) * size))
        places = [(plan.inputs_offset, plan.inputs_stride), *((lay.values_offset, lay.stride) for lay in layers)]
        for a, (offset, stride) in zip(inputs, places[:-1], strict=True):
            put(call.memory, Rows(region + int(offset), int(stride), 0, a.shape[1]), a[rows])
        for d, layer in zip(deltas, layers, strict=True):
            put_deltas(call.memory, region, layer, d[rows])
    return call, inputs, deltas


def put_deltas(memory, region, layer, d):
    """dZ of a block where a layer has them: of a narrow output vector groups of samples."""
    at, group = region + int(layer.slopes_offset), GROUP_REGISTERS * lanes(memory.dtype)
    if not layer.has_narrow_output:
        put(memory, Rows(at, int(layer.stride), 0, d.shape[1]), d)
        return
    for start in range(0, len(d), group):
        part = d[start : start + group]
        put(memory, Rows(at + start * d.shape[1], group, 0, len(part)), part.T)


def assert_gradient(call, inputs, deltas, got):
    """dW = A^T dZ and db = sum of dZ, layer by layer, of numbers in the order of the parameters."""
    for layer, a, d in zip(call.layers, inputs, deltas, strict=True):
        shape = int(layer.n_in), int(layer.n_out)
        weights = got[layer.weights_offset :][: shape[0] * shape[1]].reshape(shape)
        exact_a, exact_d = a.astype(np.float64), d.astype(np.float64)
        assert_sums(weights.astype(a.dtype), exact_a.T @ exact_d, N_ROWS, np.abs(exact_a).T @ np.abs(exact_d))
        if call.plan.has_bias:
            biases = got[layer.biases_offset :][: shape[1]]
            assert_sums(biases.astype(a.dtype), exact_d.sum(axis=0), N_ROWS, np.abs(exact_d).sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_accumulators", [1, 2])
@pytest.mark.parametrize("sizes", NETS.values(), ids=NETS)
def test_blocks_are_added_to_chunks_and_chunks_to_accumulators(sizes, n_accumulators, bias, dtype, monkeypatch):
    """dW and db of each accumulator's rows, by chunks of two blocks; nothing else is written, no later row read."""
    call, inputs, deltas = blocks_in_memory(sizes, bias, dtype, monkeypatch, n_accumulators)
    plan, before = call.plan, call.memory.copy()
    add_up(call.vector, call.address, 0)
    n, n_rows = int(plan.n_parameters), int(plan.accumulator_blocks * plan.block_rows)
    for number in range(n_accumulators):
        rows = slice(number * n_rows, (number + 1) * n_rows)
        got = call.accumulators[number * n : (number + 1) * n]
        assert_gradient(call, [a[rows] for a in inputs], [d[rows] for d in deltas], got)
    assert np.isnan(call.accumulators[n_accumulators * n :]).all()
    start = int(plan.sums_offset)
    assert unchanged(before, call.memory, np.arange(start, start + int(plan.sums_size)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_accumulators", [1, 2])
@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("sizes", NETS.values(), ids=NETS)
def test_units_have_the_bits_of_whole_sums(sizes, n_workers, n_accumulators, dtype, monkeypatch):
    """However workers cut a wave's sums, accumulators have the same bits; one alone goes to `out`, in the end."""
    call, *_ = blocks_in_memory(sizes, True, dtype, monkeypatch, n_accumulators)
    add_up(call.vector, call.address, 0)
    shared, *_ = blocks_in_memory(sizes, True, dtype, monkeypatch, n_accumulators, n_workers)
    n = int(call.plan.n_parameters)
    assert shared.plan.n_units > len(shared.layers) or sizes == NETS["one layer"]
    add_up(shared.vector, shared.address, n_workers)
    np.testing.assert_array_equal(shared.accumulators, call.accumulators)
    assert np.isfinite(call.accumulators[: n_accumulators * n]).all()
    written = call.accumulators[:n].astype(dtype) if n_accumulators == 1 else np.full(n, np.nan)
    np.testing.assert_array_equal(shared.out[:n], written)
    assert np.isnan(shared.out[n:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulators_are_wider_than_sums(dtype, monkeypatch):
    """A chunk's sums are added in float64: what float32 would round away stays."""
    call, _, deltas = blocks_in_memory((5, 19), True, dtype, monkeypatch)
    plan, layer = call.plan, call.layers[0]
    for number in range(int(plan.n_blocks)):
        region = int(plan.regions_offset + number * plan.region_size)
        rows = deltas[0][number * 32 : (number + 1) * 32]
        put_deltas(call.memory, region, layer, np.full_like(rows, 2.0**-30 if number >= 2 else 1.0))
    add_up(call.vector, call.address, 0)
    wanted = 64 + (N_ROWS - 64) * 2.0**-30
    assert (call.accumulators[layer.biases_offset :][: layer.n_out] == wanted).all()
