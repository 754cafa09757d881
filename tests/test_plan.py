"""The plan: what touches bits never sees threads; every block and unit has its turn once; threads have equal shares."""

import inspect
import itertools
from typing import NamedTuple

import numpy as np
import pytest

from fastbp.kernels import fields as f
from fastbp.network import MLP
from fastbp.plan import LANES_MAX_INPUTS, MAX_SLOTS, TOTALS_BYTES, layout, schedule

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


class Machine(NamedTuple):
    vector_bytes: int
    wide: tuple[int, int]
    narrow: tuple[int, int]


MACHINES = (Machine(64, (8, 2), (16, 1)), Machine(32, (4, 3), (8, 1)), Machine(16, (4, 3), (8, 1)))
NETS = (
    MLP((2, 100, 1), bias=False),
    MLP((16, 5, 1)),
    MLP((32, 64, 64, 64, 64, 3), loss="squared_error"),
    MLP((784, 256, 128, 10), loss="cross_entropy"),
    MLP((1024, 1024, 1024, 10), loss="cross_entropy"),
)
ROWS = (1, 7, 63, 64, 65, 511, 512, 577, 1003, 1100, 2300, 8192, 65_536, 1_000_000, 30_000_001)
THREADS = (1, 2, 3, 4, 8, 16, 64)


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
        assert batch.n_slots <= MAX_SLOTS
        if batch.family == "lanes" and batch.n_blocks >= 8:
            assert batch.n_slots >= 8
        assert batch.n_slots == 1 or batch.n_slots * 8 * batch.fields[f.N_PARAMETERS] <= TOTALS_BYTES


def shares(batch, plan):
    """For each step of a program the items that every worker takes: (step, [range of worker 0, ...])."""
    table, n = plan.fields, plan.n_workers
    for phase, stretch, first, count, _ in plan.steps:
        if phase == f.BLOCKS and plan.n_stretch:
            stop = min(stretch + plan.n_stretch, batch.n_blocks)
            bounds = [stretch + (stop - stretch) * w // n for w in range(n + 1)]
        elif phase == f.BLOCKS:
            bounds = [min(batch.n_slots * w // n * batch.slot_blocks, batch.n_blocks) for w in range(n + 1)]
        elif phase == f.UNITS:
            bounds = [int(table[f.N_UNITS]) * w // n for w in range(n + 1)]
        else:
            continue
        parts = [range(a + first, min(a + first + count, b)) for a, b in itertools.pairwise(bounds)]
        yield (phase, stretch), parts


@pytest.mark.parametrize("n_threads", THREADS)
def test_every_block_and_unit_has_its_turn_once(n_threads):
    """Over all steps of a program and all workers; every stretch has all its units after its blocks."""
    for batch in all_layouts():
        if batch.n_blocks > 20_000:
            continue
        plan = schedule(batch, n_threads)
        assert 1 <= plan.n_workers <= n_threads
        assert plan.reason
        blocks, units = [], {}
        for (phase, stretch), parts in shares(batch, plan):
            items = [i for part in parts for i in part]
            if phase == f.BLOCKS:
                blocks += items
                assert not units.get(stretch)
            else:
                units.setdefault(stretch, []).extend(items)
                assert stretch in blocks
        assert sorted(blocks) == list(range(batch.n_blocks))
        for items in units.values():
            assert sorted(items) == list(range(plan.fields[f.N_UNITS]))
        assert bool(units) == bool(plan.n_stretch)


@pytest.mark.parametrize("n_threads", THREADS)
def test_sparse_inputs_are_taken_before_their_blocks(n_threads):
    """Each step of blocks has the same one for the inputs in front of it; stored numbers touch nothing but steps."""
    for n in ROWS[:-2]:
        batch, other = (layout(NETS[3], n, F32, MACHINES[0], stored) for stored in (1, 512))
        assert (batch.fields == other.fields).all()
        steps = schedule(batch, n_threads).steps
        inputs = [step[1:] for step in steps if step[f.PHASE] == f.INPUTS]
        assert inputs == [step[1:] for step in steps if step[f.PHASE] == f.BLOCKS]
        phases = [step[f.PHASE] for step in steps]
        assert phases.index(f.INPUTS) < phases.index(f.BLOCKS)


def test_sparse_inputs_are_cut_like_dense_ones():
    """So that they have the same bits; and what they take does not follow the columns for every block."""
    nets = [MLP((n, width, 3), loss="squared_error") for n in (40, 2_300) for width in (33, 65, 100, 129)]
    for net, n, machine in itertools.product(nets, (1, 700, 4_096, 100_000), MACHINES):
        for dtype in (F32, F64):
            dense, sparse = (layout(net, n, dtype, machine, stored) for stored in (0, 8))
            assert dense.family == sparse.family == "tiles"
            for name in ("block_rows", "chunk_blocks", "slot_blocks"):
                assert getattr(dense, name) == getattr(sparse, name)
    wide = layout(MLP((1_000_000, 2), loss="squared_error"), 16_000, F32, MACHINES[0], 8)
    assert schedule(wide, 2).n_elements < 2 * 130e6 + 30e6  # dL/dx of a block for each worker, weights, sums, blocks


@pytest.mark.parametrize("n_threads", THREADS)
def test_steps_are_short(n_threads):
    """No step has more than 2.5e9 operations of one thread, unless it is a single block or unit."""
    for batch in all_layouts():
        for phase, _, _, count, _ in schedule(batch, n_threads).steps:
            if phase == f.BLOCKS:
                assert count == 1 or count * batch.operations_per_block <= 2.5e9


# Networks and batches of the README's table, large enough for 64 threads.
BUSY = (
    (MLP((2, 100, 1), bias=False), 1_000_000),
    (MLP((32, 64, 64, 64, 64, 3), loss="squared_error"), 262_144),
    (MLP((32, 128, 128, 1), loss="squared_error"), 65_536),
    (MLP((784, 256, 128, 10), loss="cross_entropy"), 8_192),
    (MLP((1024, 1024, 1024, 10), loss="cross_entropy"), 8_192),
)


@pytest.mark.parametrize("n_threads", [4, 8, 16, 32, 64])
@pytest.mark.parametrize(("net", "n_rows"), BUSY, ids=lambda value: str(value))
def test_threads_are_busy(net, n_rows, n_threads):
    """While the slowest worker of each step is at work, at most 10 % of the threads' time is idle."""
    batch = layout(net, n_rows, F32, MACHINES[0])
    plan = schedule(batch, n_threads)
    busy = spent = 0.0
    unit = batch.operations_per_block * 0.5 / float(plan.fields[f.N_UNITS] or 1)
    for (phase, _stretch), parts in shares(batch, plan):
        n_blocks = plan.n_stretch
        cost = batch.operations_per_block if phase == f.BLOCKS else unit * n_blocks
        busy += cost * sum(map(len, parts))
        spent += cost * max(map(len, parts)) * n_threads
    assert 1 - busy / spent <= 0.10


def test_memory_holds_what_the_program_uses():
    """A region for every block of a stretch or every worker."""
    for batch in all_layouts():
        for n_threads in (1, 2, 64):
            plan = schedule(batch, n_threads)
            table = plan.fields
            n_regions = max(plan.n_workers, plan.n_stretch)
            assert table[f.INPUT_DELTAS_AT] == table[f.REGIONS_AT] + n_regions * table[f.REGION_SIZE]
            assert plan.n_elements == table[f.INPUT_DELTAS_AT] + plan.n_workers * table[f.INPUT_DELTAS_SIZE]
            n_sums = 1 if plan.n_stretch else plan.n_workers
            if batch.family == "tiles":
                assert table[f.REGIONS_AT] == table[f.SUMS_AT] + n_sums * table[f.SUMS_SIZE]
            assert table[f.STRETCH_BLOCKS] == plan.n_stretch <= batch.n_blocks


def test_samples_in_lanes_depend_on_the_network_alone():
    """One hidden layer, few inputs, outputs up to half a register; all other kernels have the same bits in a row."""
    for n in ROWS:
        assert layout(NETS[0], n, F32, MACHINES[0]).family == "lanes"
        assert layout(MLP((LANES_MAX_INPUTS + 1, 5, 1)), n, F32, MACHINES[0]).family != "lanes"
        for dtype, most in ((F32, 8), (F64, 4)):
            assert layout(MLP((2, 5, most)), n, dtype, MACHINES[0]).family == "lanes"
            assert layout(MLP((2, 5, most + 1)), n, dtype, MACHINES[0]).family != "lanes"
        assert layout(MLP((2, 5, 5, 1)), n, F32, MACHINES[0]).family != "lanes"
    assert "samples in the vector lanes" in layout(NETS[0], 1, F32, MACHINES[0]).reason


def test_layout_never_sees_threads():
    """Its arguments are the network, the rows, the dtype and the CPU; and threads change nothing that touches bits."""
    assert list(inspect.signature(layout.__wrapped__).parameters) == [
        "net",
        "n_rows",
        "dtype",
        "cpu",
        "stored",
        "drops",
    ]
    free = {f.STRETCH_BLOCKS, f.N_UNITS, f.REGIONS_AT, f.INPUT_DELTAS_AT}
    of_layers = (f.FIRST_UNIT, f.UNIT_M, f.UNIT_N)
    for batch in all_layouts():
        free_of_layers = {f.record(i) + field for i in range(batch.fields[f.N_LAYERS]) for field in of_layers}
        for n_threads in THREADS:
            changed = np.flatnonzero(schedule(batch, n_threads).fields != batch.fields)
            assert set(changed.tolist()) <= free | free_of_layers
