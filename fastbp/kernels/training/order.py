"""The order of rows in training: a keyed bijection of 0 .. n - 1, computed where it is needed; nothing is stored.

Rows lie in SHARDS contiguous shards, whose sizes differ by one at most, and each shard in windows of WINDOW rows, the
last of which may be shorter. An epoch goes in rounds: each takes one row from every shard, the shards in an order of
its own; one round, anywhere, takes the rows that are left over. So each batch has its share from everywhere, and what
is being read at any time is one window of each shard: files are read in large pieces, and rows come from the caches.

In a shard the windows come in a keyed order, beginning anywhere, and so do the rows in a window. Shards of one size
share those orders; each turns them by an amount of its own.
"""

import functools

import numpy as np
from numba import types

from ...compiler.jit import entry, kernel
from ..math.integers import smaller
from ..math.random import below, mixed
from ..simd.registers import pointer

SHARDS, WINDOW = 64, 64
FEISTEL_ROUNDS = 4

_ONE = np.uint64(1)


@kernel
def permuted(i, n, key):
    """The place of i in a keyed permutation of 0 .. n - 1: a Feistel network on just enough bits, repeated above n."""
    width = 0
    while 1 << width < n:
        width += 1
    low = np.uint64(width // 2)
    low_mask, high_mask = (_ONE << low) - _ONE, (_ONE << np.uint64(width - width // 2)) - _ONE
    while True:
        left, right = np.uint64(i) >> low, np.uint64(i) & low_mask
        for turn in range(FEISTEL_ROUNDS):
            left ^= mixed(key + right, 2 * turn) & high_mask
            right ^= mixed(key + left, 2 * turn + 1) & low_mask
        i = np.int64((left << low) | right)
        if i < n:
            return i


@kernel
def shuffle(order, n, key):
    """0 .. n - 1 in a keyed order, by Fisher and Yates."""
    for i in range(n):
        j = below(mixed(key, i), i + 1)
        order[i] = order[j]
        order[j] = i


@kernel
def place_in_shard(round_, size, key):
    """(window, or -1 for the short one, place in it, its length) in the common order of shards of one size."""
    n_whole, short = size // WINDOW, size % WINDOW
    round_ = turn(round_, below(mixed(key, -4), size), size)
    at_short = below(mixed(key, -1), n_whole + 1) * WINDOW
    if at_short <= round_ < at_short + short:
        return -1, permuted(round_ - at_short, short, mixed(key, -2)), short
    if round_ >= at_short:
        round_ -= short
    number = round_ // WINDOW
    window = permuted(number, n_whole, mixed(key, -3))
    return window, permuted(round_ % WINDOW, WINDOW, mixed(key, number)), WINDOW


@kernel
def rows_of_epoch(rows, at, n, key, first, last, scratch):
    """The rows at the positions first to last - 1 of an epoch of n rows with that key, written to rows[at:].

    scratch : SHARDS numbers, for the shards of a round in their order.
    """
    shards = smaller(SHARDS, n)
    whole, left = n // shards, n % shards  # the first `left` shards have a row more
    large, small, own = mixed(key, 1), mixed(key, 2), mixed(key, 3)
    at_left = below(mixed(key, 4), whole + 1) * shards  # where the round of the rows that are left begins
    position = first
    while position < last:
        if at_left <= position < at_left + left:
            start, round_, n_turns = at_left, whole, left
        else:
            round_ = (position if position < at_left else position - left) // shards
            start, n_turns = round_ * shards + (0 if position < at_left else left), shards
        large_window, large_place, large_length = place_in_shard(round_, whole + 1, large)
        small_window, small_place, small_length = large_window, large_place, large_length
        if round_ < whole:
            small_window, small_place, small_length = place_in_shard(round_, whole, small)
        shuffle(scratch, n_turns, mixed(key, 5 + round_))
        stop = smaller(start + n_turns, last)
        for turn_ in range(position - start, stop - start):
            shard = scratch[turn_]
            size, window, place, length = whole, small_window, small_place, small_length
            if shard < left:
                size, window, place, length = whole + 1, large_window, large_place, large_length
            turned = mixed(own, shard)
            if window < 0:
                window = size // WINDOW
            else:
                window = turn(window, below(turned, size // WINDOW), size // WINDOW)
            place = turn(place, below(mixed(turned, window), length), length)
            rows[at] = shard * whole + smaller(shard, left) + window * WINDOW + place
            at += 1
        position = stop


@kernel
def turn(i, by, n):
    """i + by, from the start again after n - 1."""
    return i + by - n if i + by >= n else i + by


@kernel
def key_of_epoch(seed, epoch):
    """The key of an epoch's order."""
    return mixed(mixed(np.uint64(seed), 0), epoch)


def rows_of(rows, n, seed, epoch, first, scratch):
    """The rows at the positions from `first` on of an epoch, as many as `rows` holds."""
    key = key_of_epoch(seed, epoch)
    rows_of_epoch(pointer(rows), 0, n, key, first, first + rows.size, pointer(scratch))


@functools.cache
def rows_entry():
    """`rows_of`, compiled or loaded when first called."""
    numbers, n = types.Array(types.int64, 1, "C"), types.int64
    return entry(types.void(numbers, n, n, n, n, numbers))(rows_of)
