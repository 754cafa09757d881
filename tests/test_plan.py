"""The plan: what touches bits never sees threads; blocks, chunks and slots keep their bounds."""

from typing import NamedTuple

import numpy as np
import pytest

from fastbp.network import MLP
from fastbp.plan import LANES_MAX_INPUTS, MIN_SLOTS, TOTALS_BYTES, layout, schedule

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


class Machine(NamedTuple):
    vector_bytes: int
    tile: tuple[int, int]


MACHINES = (Machine(64, (8, 2)), Machine(32, (4, 3)), Machine(16, (4, 3)))
NETS = (
    MLP((2, 100, 1), bias=False),
    MLP((16, 5, 1)),
    MLP((32, 64, 64, 64, 64, 3), loss="squared_error"),
    MLP((784, 256, 128, 10), loss="cross_entropy"),
    MLP((1024, 1024, 1024, 10), loss="cross_entropy"),
)
ROWS = (1, 7, 63, 64, 65, 511, 512, 577, 1003, 1100, 2300, 8192, 65_536, 1_000_000, 30_000_001)


def all_layouts():
    return [
        layout(net, n, dtype, machine) for net in NETS for n in ROWS for dtype in (F32, F64) for machine in MACHINES
    ]


def test_blocks_cover_the_rows_once():
    """Blocks, cut into chunks and slots, hold every row, and no slot is empty."""
    for batch, n in zip(all_layouts(), [n for _ in NETS for n in ROWS for _ in range(6)], strict=True):
        assert (batch.n_blocks - 1) * batch.block_rows < n <= batch.n_blocks * batch.block_rows
        assert (batch.n_slots - 1) * batch.slot_blocks < batch.n_blocks <= batch.n_slots * batch.slot_blocks
        assert 1 <= batch.chunk_blocks <= batch.slot_blocks


def test_bounds():
    """Chunks of at most 8,192 rows, at most 64 slots, at least 8 where there are 8 blocks, bounded memory."""
    for batch in all_layouts():
        assert batch.chunk_blocks * batch.block_rows <= 8192
        assert batch.n_slots <= 64
        if batch.n_blocks >= 8:
            assert batch.n_slots >= 8
    for net in NETS:
        batch = layout(net, 1_000_000, F32, MACHINES[0])
        assert batch.n_slots <= MIN_SLOTS or batch.n_slots * 8 * (net.n_parameters + 1) <= TOTALS_BYTES


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 8, 16, 64])
def test_workers_share_the_blocks(n_threads):
    """No more workers than slots; each has its share, and every launch is short."""
    for batch in all_layouts():
        plan = schedule(batch, n_threads)
        assert 1 <= plan.n_workers <= min(n_threads, batch.n_slots)
        assert plan.n_workers * plan.blocks_per_worker >= batch.n_blocks
        assert plan.blocks_per_launch == 1 or plan.blocks_per_launch * batch.operations_per_block <= 2.5e9
        assert plan.reason


def test_family_depends_on_the_network_alone():
    """One hidden layer, few inputs, outputs up to half a register: samples in the lanes, for any number of rows."""
    for n in ROWS:
        assert layout(NETS[0], n, F32, MACHINES[0]).family == "lanes"
        assert layout(MLP((LANES_MAX_INPUTS + 1, 5, 1)), n, F32, MACHINES[0]).family == "tiles"
        for dtype, most in ((F32, 8), (F64, 4)):
            assert layout(MLP((2, 5, most)), n, dtype, MACHINES[0]).family == "lanes"
            assert layout(MLP((2, 5, most + 1)), n, dtype, MACHINES[0]).family == "tiles"
        assert layout(MLP((2, 5, 5, 1)), n, F32, MACHINES[0]).family == "tiles"
    assert "samples in the vector lanes" in layout(NETS[0], 1, F32, MACHINES[0]).reason


def test_layout_never_sees_threads():
    """Its arguments are the network, the rows, the dtype and the CPU."""
    import inspect

    assert list(inspect.signature(layout.__wrapped__).parameters) == ["net", "n_rows", "dtype", "cpu"]
