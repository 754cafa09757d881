"""Accumulators merged along a binary tree, and what becomes of their total: bits for any cut, and the formula."""

import numpy as np
import pytest

from fastbp.engine import plan as plans
from fastbp.kernels.program import reduction
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.structures import LOSS_SUM, call_of, plan_at
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, Call, compiled, poisoned


@compiled
def merge(accumulators, stride, n, first, last):
    reduction.merge(pointer(accumulators), stride, n, first, last)


@compiled
def reduce(vector, plan_address, worker, n_workers):
    reduction.reduce(call_of(plan_at(plan_address, 0), pointer(vector)), worker, n_workers)


def total_of_tree(rows):
    """Neighbors added, and neighbors of those, until one is left; the last of an odd number waits."""
    while len(rows) > 1:
        pairs = [left + right for left, right in zip(rows[::2], rows[1::2], strict=False)]
        rows = pairs + ([rows[-1]] if len(rows) % 2 else [])
    return rows[0]


@pytest.mark.parametrize("n", [*range(1, 18), 63, 64])
@pytest.mark.parametrize(("first", "last"), [(0, 21), (3, 20), (7, 8), (5, 5)])
def test_accumulators_merge_along_a_tree(n, first, last):
    """Of numbers whose sum depends on its order, every bit; what a worker's part leaves out stays as it was."""
    stride, rng = 21, np.random.default_rng(n)
    rows = rng.standard_normal((n, stride)) * 10.0 ** rng.integers(-12, 12, (n, stride))
    accumulators = np.concatenate([rows.ravel(), poisoned(64, np.float64)])
    merge(accumulators, stride, n, first, last)
    got = accumulators[: n * stride].reshape(n, stride)
    part = slice(first, last)
    np.testing.assert_array_equal(got[0, part], total_of_tree(list(rows[:, part])))
    np.testing.assert_array_equal(np.delete(got, np.r_[part], axis=1), np.delete(rows, np.r_[part], axis=1))
    assert np.isnan(accumulators[n * stride :]).all()


def call_with_accumulators(dtype, l1, l2, bias, monkeypatch):
    """A call whose accumulators and losses of blocks are random, as far as they reach."""
    monkeypatch.setattr(plans, "BLOCK_ROWS", 32)
    plans.layout.cache_clear()
    net, rng = MLP((20, 17, 2), activation="tanh", loss="squared_error", bias=bias), np.random.default_rng(0)
    params = net.init(0, dtype=dtype)
    params.vector[::7] = 0
    call = Call(net, params, np.zeros((3000, 20), dtype), np.zeros((3000, 2), dtype))
    plans.layout.cache_clear()
    call.plan.l1, call.plan.l2, call.plan.scale = l1, l2, 0.3
    n = int(call.plan.n_accumulators * call.plan.n_parameters + call.plan.n_blocks)
    call.accumulators[:n] = rng.standard_normal(n)
    assert call.plan.n_accumulators > 4
    assert call.plan.wave_blocks == 0
    return call, net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.1, 0.0), (0.2, 0.5)])
def test_the_gradient_is_the_total_with_its_penalty(l1, l2, bias, dtype, monkeypatch):
    """out = scale total + l1 sign(W) + l2 W, without a penalty of biases; the loss is the blocks' total."""
    call, net = call_with_accumulators(dtype, l1, l2, bias, monkeypatch)
    n, n_accumulators, n_blocks = (int(call.plan[name]) for name in ("n_parameters", "n_accumulators", "n_blocks"))
    before = call.accumulators[: n_accumulators * n].reshape(n_accumulators, n).copy()
    losses_at = n_accumulators * n
    losses = call.accumulators[losses_at : losses_at + n_blocks].copy()
    reduce(call.vector, call.address, 0, 1)
    is_weight = np.zeros(n)
    for layer in net.layers:
        is_weight[layer.weights] = 1
    w = call.vector.astype(np.float64) * is_weight
    wanted = 0.3 * before.sum(axis=0) + l1 * np.sign(w) + l2 * w
    np.testing.assert_allclose(call.out[:n], wanted, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    assert np.isnan(call.out[n:]).all()
    assert call.accumulators[losses_at] == total_of_tree(list(losses))
    assert call.plan.penalty == pytest.approx(l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum(), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_workers", [2, 3, 40])
def test_workers_make_the_same_gradient(n_workers, dtype, monkeypatch):
    """Each its part of the parameters and no other: the bits of one worker."""
    wanted, _ = call_with_accumulators(dtype, 0.1, 0.2, True, monkeypatch)
    reduce(wanted.vector, wanted.address, 0, 1)
    got, _ = call_with_accumulators(dtype, 0.1, 0.2, True, monkeypatch)
    n = int(got.plan.n_parameters)
    for worker in range(n_workers):
        got.out[:] = np.nan
        reduce(got.vector, got.address, worker, n_workers)
        part = slice(n * worker // n_workers, n * (worker + 1) // n_workers)
        np.testing.assert_array_equal(got.out[part], wanted.out[part])
        assert np.isnan(np.delete(got.out, np.r_[part])).all()
    assert got.accumulators[got.plan.n_accumulators * n] == wanted.accumulators[wanted.plan.n_accumulators * n]


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_gradient_the_losses_alone_are_merged(dtype, monkeypatch):
    """No number is written to `out`."""
    call, _ = call_with_accumulators(dtype, 0.1, 0.2, True, monkeypatch)
    call.plan.mode = LOSS_SUM
    losses_at = int(call.plan.n_accumulators * call.plan.n_parameters)
    losses = call.accumulators[losses_at : losses_at + int(call.plan.n_blocks)].copy()
    for worker in range(2):
        reduce(call.vector, call.address, worker, 2)
    assert call.accumulators[losses_at] == total_of_tree(list(losses))
    assert np.isnan(call.out).all()
