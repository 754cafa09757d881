"""The order of rows and what is dropped out: permutations, spread evenly, the same for any cut, and fair."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types

from fastbp.compiler.jit import entry
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.structures import HEADER, Rows, plan_at, records
from fastbp.kernels.training import order
from fastbp.kernels.wide import dropout

# Fewer rows than shards, a few windows, and many; powers of two and their neighbors are drawn often.
SIZES = st.one_of(st.integers(1, 200), st.integers(1, 9000), st.sampled_from((4095, 4096, 4097, 4161, 60_000, 100_003)))
SEEDS, EPOCHS = st.integers(0, 2**62), st.integers(0, 2**40)


def rows_entry(rows, n, seed, epoch, first, last, slots):
    key = order.key_of_epoch(seed, epoch)
    order.rows_of_epoch(pointer(rows), 0, n, key, first, last, pointer(slots))


def permuted_entry(places, key):
    for i in range(places.size):
        places[i] = order.permuted(i, places.size, np.uint64(key))


def drop_entry(plan, dropped, layer, a, at, stride, row, n_rows, n):
    dropout.drop(plan_at(plan, 0), dropped, layer, pointer(a), Rows(at, stride, n_rows, n), row)


_WHOLE, _WHOLES = types.int64, types.Array(types.int64, 1, "C")
_rows = entry(types.void(_WHOLES, *[_WHOLE] * 5, _WHOLES), cached=False)(rows_entry)
_permuted = entry(types.void(_WHOLES, _WHOLE), cached=False)(permuted_entry)
_drop = {
    dtype: entry(
        types.void(_WHOLE, _WHOLE, _WHOLE, types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C"), *[_WHOLE] * 5),
        cached=False,
    )(drop_entry)
    for dtype in (np.float64, np.float32)
}


def rows_of(n, seed=0, epoch=0, first=0, last=None):
    """The rows at the positions first to last - 1."""
    rows = np.full((n if last is None else last) - first, -1)
    _rows(rows, n, seed, epoch, first, first + rows.size, np.empty(order.SHARDS, np.int64))
    return rows


# -- the order of rows -------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(SIZES, SEEDS, EPOCHS)
def test_every_epoch_is_a_permutation(n, seed, epoch):
    """Each row once."""
    np.testing.assert_array_equal(np.sort(rows_of(n, seed, epoch)), np.arange(n))


@settings(max_examples=200)
@given(SIZES, SEEDS, EPOCHS, st.data())
def test_any_window_is_the_same_part_of_the_whole(n, seed, epoch, data):
    """Batches of any size, and places within them, get the rows of the whole epoch."""
    whole = rows_of(n, seed, epoch)
    first, last = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)), label="window"))
    np.testing.assert_array_equal(rows_of(n, seed, epoch, first, last), whole[first:last])
    size = data.draw(st.integers(1, 600), label="batch size")
    parts = [rows_of(n, seed, epoch, start, min(start + size, n)) for start in range(first, last, size)[:50]]
    np.testing.assert_array_equal(np.concatenate([[], *parts]), whole[first : first + sum(map(len, parts))])


@pytest.mark.parametrize("n", [64, 200, 1000, 60_000])
def test_other_seeds_and_epochs_give_other_orders(n):
    """None of 50 equals another, and two agree in about one position, as orders that know nothing of one another."""
    orders = np.array([rows_of(n, seed, epoch) for seed in range(5) for epoch in range(10)])
    equal = (orders[:, None] == orders[None]).sum(axis=2)
    pairs = equal[np.triu_indices(len(orders), 1)]
    assert pairs.max() < n / 4
    # A pair's number of equal positions has mean and variance 1; rows that are left over keep some orders alike.
    assert abs(pairs.mean() - 1) < 0.5


def test_every_batch_has_its_share_of_each_shard():
    """512 of 60,000 rows: 8 of each of the 64 shards, one more or less."""
    n, size = 60_000, 512
    bounds = np.cumsum([n // 64 + (shard < n % 64) for shard in range(64)])
    for seed in (0, 1, 12_345, 2**62):
        rows = rows_of(n, seed)
        for start in range(0, n - size + 1, size):
            shards = np.searchsorted(bounds, rows[start : start + size], side="right")
            counts = np.bincount(shards, minlength=64)
            assert counts.min() >= 7
            assert counts.max() <= 9


def test_what_is_read_at_a_time_is_a_window_of_each_shard():
    """The rows of 64 rounds in a row come from two or three windows of 64 of each shard: those behind one another."""
    n, shard_rows = 64 * 960, 960
    rows = rows_of(n, 9)
    for start in range(0, n - 64 * 64 + 1, 64 * 64):
        part = rows[start : start + 64 * 64]
        windows = np.unique(part // shard_rows * 15 + part % shard_rows // 64)
        assert len(windows) <= 3 * 64


def chi_squared(counts):
    """How many standard deviations chi-squared of counts that should be equal, (k, n), lies above its mean."""
    k, n = counts.shape
    expected = counts.sum() / counts.size
    return (((counts - expected) ** 2).sum() / expected - k * (n - 1)) / math.sqrt(2 * k * (n - 1))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 64, 128])
def test_each_row_is_anywhere_equally_often(n):
    """Positions of rows over 4,000 epochs, where shards are equal: chi-squared at most 5 deviations above its mean."""
    counts = np.zeros((n, n))
    for epoch in range(4000):
        counts[rows_of(n, 7, epoch), np.arange(n)] += 1
    assert chi_squared(counts) < 5


@pytest.mark.parametrize("n", [1000, 4096])
def test_parts_of_the_data_are_anywhere_equally_often(n):
    """The same of tenths of the rows and of the epoch, where single ones would be too seldom together."""
    counts = np.zeros((10, 10))
    for epoch in range(2000):
        np.add.at(counts, (rows_of(n, 11, epoch) * 10 // n, np.arange(n) * 10 // n), 1)
    assert chi_squared(counts) < 5


def test_all_orders_of_three_rows_are_equally_frequent():
    """Six of them, over 6,000 epochs."""
    codes = [int(rows_of(3, 5, epoch) @ [9, 3, 1]) for epoch in range(6000)]
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 6
    assert chi_squared(counts[None].astype(float)) < 5


@pytest.mark.parametrize("key", [0, 1, -1, 0x1234_5678_9ABC_DEF0])
def test_permuted_is_a_bijection(key):
    """Of 0 .. n - 1, for every n up to 200."""
    for n in range(1, 201):
        places = np.empty(n, np.int64)
        _permuted(places, key)
        np.testing.assert_array_equal(np.sort(places), np.arange(n))


GOLDEN = {
    (1000, 0, 0): [83, 414, 0, 130, 716, 841, 555, 201, 706, 114, 256, 697, 664, 865, 502, 990, 357, 683, 802, 24],
    (1000, 1, 3): [480, 573, 633, 526, 844, 762, 682, 952, 733, 496, 134, 148, 305, 818, 112, 908, 588, 594, 939, 960],
    (100_003, 12_345, 7): [28027, 93908, 25330, 64001, 11107, 36809, 43616, 14447, 13688, 19893, 79084, 4966],
}


@pytest.mark.parametrize(("n", "seed", "epoch"), GOLDEN)
def test_orders_stay_what_they_are(n, seed, epoch):
    """The first rows, once and for all: a training is repeated, and goes on, by its seed."""
    wanted = GOLDEN[n, seed, epoch]
    assert rows_of(n, seed, epoch, 0, len(wanted)).tolist() == wanted


# -- dropout -----------------------------------------------------------------------------------------------------------


def dropped_out(a, share, key=5, layer=1, row=0):
    """The rows of a batch from `row` on, after dropout."""
    plan, a = records(HEADER), a.copy()
    plan.drop_key = key
    n_rows, n = a.shape
    _drop[a.dtype.type](plan.ctypes.data, round(share * dropout.ALL), layer, a.reshape(-1), 0, n, row, n_rows, n)
    return a


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.8, 0.99])
def test_the_share_of_dropped_values(share, dtype):
    """Within 4 standard deviations of what was asked for, over all, and over rows and units; the rest is scaled up."""
    a = np.random.default_rng(0).uniform(1, 2, (400, 250)).astype(dtype)
    got = dropped_out(a, share)
    is_kept = got != 0
    np.testing.assert_allclose(got[is_kept], (a / dtype(1 - share))[is_kept], rtol=1e-6)
    sigma = math.sqrt(share * (1 - share) / a.size)
    assert abs((~is_kept).mean() - share) < 4 * sigma
    for axis in (0, 1):
        shares = (~is_kept).mean(axis=axis)
        scaled = (shares - share) / math.sqrt(share * (1 - share) / a.shape[axis])
        assert (
            abs((scaled**2).mean() - 1) < 5 * math.sqrt(2 / len(shares)) + 0.1 / (share * (1 - share) * a.size) ** 0.5
        )


@given(st.integers(1, 80), st.integers(1, 70), st.integers(1, 80), st.integers(0, 9), st.integers(0, 9))
def test_what_is_dropped_does_not_depend_on_the_blocks(n_rows, n, size, offset, gap):
    """Rows cut into blocks of any size, or further apart in memory, lose the values they lose in the whole batch."""
    a = np.ones((n_rows, n))
    whole = dropped_out(a, 0.4)
    parts = [dropped_out(a[start : start + size], 0.4, row=start) for start in range(0, n_rows, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    memory = np.ones(offset + n_rows * (n + gap))
    plan = records(HEADER)
    plan.drop_key = 5
    _drop[np.float64](plan.ctypes.data, round(0.4 * dropout.ALL), 1, memory, offset, n + gap, 0, n_rows, n)
    rows = memory[offset:].reshape(n_rows, n + gap)
    np.testing.assert_array_equal(rows[:, :n], whole)
    assert (rows[:, n:] == 1).all()


def test_keys_and_layers_drop_other_values():
    """As coins that know nothing of one another; the same key and layer drop the same."""
    a, masks = np.ones((200, 100)), []
    for key in (0, 1, 2, -1):
        for layer in (0, 1, 2, 3):
            masks.append(dropped_out(a, 0.5, key, layer).reshape(-1) == 0)
    correlation = np.corrcoef(masks) - np.eye(len(masks))
    assert np.abs(correlation).max() < 5 / math.sqrt(a.size)
    np.testing.assert_array_equal(dropped_out(a, 0.5, 2, 3).reshape(-1) == 0, masks[11])


@pytest.mark.parametrize("lag", [1, 2, 100, 101])
def test_neighbours_are_dropped_independently(lag):
    """Units beside one another, and rows."""
    is_dropped = (dropped_out(np.ones((300, 100)), 0.5) == 0).reshape(-1)
    assert abs(np.corrcoef(is_dropped[lag:], is_dropped[:-lag])[0, 1]) < 4 / math.sqrt(is_dropped.size)


def test_what_is_dropped_stays_what_it_is():
    """The first 24 values of key 5, layer 1, once and for all."""
    values = dropped_out(np.ones((1, 24)), 0.5)[0]
    assert "".join("0" if value else "1" for value in values) == "101011000000001001011101"
