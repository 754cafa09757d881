"""The plan: what touches bits never sees threads; every block and unit has its turn once; threads have equal shares."""

import inspect
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp.engine.plan import ACCUMULATORS_BYTES, MAX_ACCUMULATORS, SMALL_MAX_INPUTS, layout, schedule
from fastbp.kernels import structures as k
from fastbp.model.network import MLP

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


# Widths around those of registers and microtiles, and up to what the README measures.
WIDTHS = st.one_of(st.integers(1, 70), st.sampled_from((100, 127, 128, 129, 256, 784, 1024)))
NETWORKS = st.one_of(
    st.sampled_from(NETS),
    st.builds(
        lambda sizes, bias: MLP(sizes, loss="squared_error", bias=bias),
        st.lists(WIDTHS, min_size=2, max_size=6),
        st.booleans(),
    ),
)
N_ROWS = st.one_of(st.sampled_from(ROWS), st.integers(1, 3000), st.integers(1, 2**25))
DTYPES = st.sampled_from((F32, F64))
LAYOUTS = st.builds(layout, NETWORKS, N_ROWS, DTYPES, st.sampled_from(MACHINES))
N_THREADS = st.one_of(st.sampled_from(THREADS), st.integers(1, 64))


@given(NETWORKS, N_ROWS, DTYPES, st.sampled_from(MACHINES))
def test_blocks_cover_the_rows_once(net, n, dtype, machine):
    """Blocks, cut into chunks and accumulators, hold every row, and no accumulator is empty."""
    batch = layout(net, n, dtype, machine)
    assert (batch.n_blocks - 1) * batch.block_rows < n <= batch.n_blocks * batch.block_rows
    covered = batch.n_accumulators * batch.accumulator_blocks
    assert covered - batch.accumulator_blocks < batch.n_blocks <= covered
    assert 1 <= batch.chunk_blocks <= batch.accumulator_blocks


@given(LAYOUTS)
def test_bounds(batch):
    """Chunks of at most 8,192 rows, at most 64 accumulators, at least 8 where there are 8 blocks, bounded memory."""
    assert batch.chunk_blocks * batch.block_rows <= 8192
    assert batch.n_accumulators <= MAX_ACCUMULATORS
    if batch.family == "small" and batch.n_blocks >= 8:
        assert batch.n_accumulators >= 8
    assert batch.n_accumulators == 1 or batch.n_accumulators * 8 * batch.header.n_parameters[0] <= ACCUMULATORS_BYTES


def shares(batch, plan):
    """For each phase of a program the items that every worker takes: (phase, [range of worker 0, ...])."""
    header, n = plan.header[0], plan.n_workers
    for phase, wave, first, count, _ in plan.phases:
        if phase == k.BLOCKS and plan.n_wave:
            stop = min(wave + plan.n_wave, batch.n_blocks)
            bounds = [wave + (stop - wave) * w // n for w in range(n + 1)]
        elif phase == k.BLOCKS:
            bounds = [
                min(batch.n_accumulators * w // n * batch.accumulator_blocks, batch.n_blocks) for w in range(n + 1)
            ]
        elif phase == k.UNITS:
            bounds = [int(header.n_units) * w // n for w in range(n + 1)]
        else:
            continue
        parts = [range(a + first, min(a + first + count, b)) for a, b in itertools.pairwise(bounds)]
        yield (phase, wave), parts


@given(LAYOUTS, N_THREADS)
def test_every_block_and_unit_has_its_turn_once(batch, n_threads):
    """Over all phases of a program and all workers; every wave has all its units after its blocks."""
    assume(batch.n_blocks <= 20_000)
    plan = schedule(batch, n_threads)
    assert 1 <= plan.n_workers <= n_threads
    assert plan.reason
    blocks, units = [], {}
    for (phase, wave), parts in shares(batch, plan):
        items = [i for part in parts for i in part]
        if phase == k.BLOCKS:
            blocks += items
            assert not units.get(wave)
        else:
            units.setdefault(wave, []).extend(items)
            assert wave in blocks
    assert sorted(blocks) == list(range(batch.n_blocks))
    for items in units.values():
        assert sorted(items) == list(range(plan.header.n_units[0]))
    assert bool(units) == bool(plan.n_wave)


@given(st.integers(1, 100_000), N_THREADS)
def test_sparse_inputs_are_read_before_their_blocks(n, n_threads):
    """Each phase of blocks has the same one for the inputs in front of it; stored numbers touch nothing but phases."""
    batch, other = (layout(NETS[3], n, F32, MACHINES[0], stored) for stored in (1, 512))
    assert not changed(batch.header, other.header) | changed(batch.layers, other.layers)
    phases = schedule(batch, n_threads).phases
    inputs = [phase[1:] for phase in phases if phase.kind == k.INPUTS]
    assert inputs == [phase[1:] for phase in phases if phase.kind == k.BLOCKS]
    kinds = [phase.kind for phase in phases]
    assert kinds.index(k.INPUTS) < kinds.index(k.BLOCKS)


def test_sparse_inputs_are_cut_like_dense_ones():
    """So that they have the same bits; and what they take does not follow the columns for every block."""
    nets = [MLP((n, width, 3), loss="squared_error") for n in (40, 2_300) for width in (33, 65, 100, 129)]
    for net, n, machine in itertools.product(nets, (1, 700, 4_096, 100_000), MACHINES):
        for dtype in (F32, F64):
            dense, sparse = (layout(net, n, dtype, machine, stored) for stored in (0, 8))
            assert dense.family == sparse.family == "wide"
            for name in ("block_rows", "chunk_blocks", "accumulator_blocks"):
                assert getattr(dense, name) == getattr(sparse, name)
    wide = layout(MLP((1_000_000, 2), loss="squared_error"), 16_000, F32, MACHINES[0], 8)
    assert schedule(wide, 2).n_memory < 2 * 130e6 + 30e6  # dL/dx of a block for each worker, weights, sums, blocks


@given(LAYOUTS, N_THREADS)
def test_phases_are_short(batch, n_threads):
    """No phase has more than 2.5e9 operations of one thread, unless it is a single block or unit."""
    for phase, _, _, count, _ in schedule(batch, n_threads).phases:
        if phase == k.BLOCKS:
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
    """While the slowest worker of each phase is at work, at most 10 % of the threads' time is idle."""
    batch = layout(net, n_rows, F32, MACHINES[0])
    plan = schedule(batch, n_threads)
    busy = spent = 0.0
    unit = batch.operations_per_block * 0.5 / float(plan.header.n_units[0] or 1)
    for (phase, _wave), parts in shares(batch, plan):
        n_blocks = plan.n_wave
        cost = batch.operations_per_block if phase == k.BLOCKS else unit * n_blocks
        busy += cost * sum(map(len, parts))
        spent += cost * max(map(len, parts)) * n_threads
    assert 1 - busy / spent <= 0.10


@given(LAYOUTS, N_THREADS)
def test_memory_holds_what_the_program_uses(batch, n_threads):
    """A region for every block of a wave or every worker."""
    plan = schedule(batch, n_threads)
    header = plan.header[0]
    n_regions = max(plan.n_workers, plan.n_wave)
    assert header.input_deltas_offset == header.regions_offset + n_regions * header.region_size
    assert plan.n_memory == header.input_deltas_offset + plan.n_workers * header.input_deltas_size
    n_sums = 1 if plan.n_wave else plan.n_workers
    if batch.family == "wide":
        assert header.regions_offset == header.sums_offset + n_sums * header.sums_size
    assert header.wave_blocks == plan.n_wave <= batch.n_blocks


def test_samples_in_lanes_depend_on_the_network_alone():
    """One hidden layer, few inputs, outputs up to half a register; all other kernels have the same bits in a row."""
    for n in ROWS:
        assert layout(NETS[0], n, F32, MACHINES[0]).family == "small"
        assert layout(MLP((SMALL_MAX_INPUTS + 1, 5, 1)), n, F32, MACHINES[0]).family != "small"
        for dtype, most in ((F32, 8), (F64, 4)):
            assert layout(MLP((2, 5, most)), n, dtype, MACHINES[0]).family == "small"
            assert layout(MLP((2, 5, most + 1)), n, dtype, MACHINES[0]).family != "small"
        assert layout(MLP((2, 5, 5, 1)), n, F32, MACHINES[0]).family != "small"
    assert "samples in the vector lanes" in layout(NETS[0], 1, F32, MACHINES[0]).reason


def test_layout_never_sees_threads():
    """Its arguments are the network, the rows, the dtype and the CPU."""
    assert list(inspect.signature(layout.__wrapped__).parameters) == [
        "net",
        "n_rows",
        "dtype",
        "cpu",
        "stored",
        "drops",
    ]


@given(LAYOUTS, N_THREADS)
def test_threads_change_nothing_that_touches_bits(batch, n_threads):
    """They decide who does what, and where it lies in memory."""
    free = {"wave_blocks", "n_units", "regions_offset", "input_deltas_offset", "n_memory", "n_accumulated"}
    of_layers = {"first_unit", "unit_rows", "unit_columns"}
    plan = schedule(batch, n_threads)
    assert changed(batch.header, plan.header) <= free
    assert changed(batch.layers, plan.layers) <= of_layers


def changed(before, after):
    """The fields that differ."""
    return {name for name in before.dtype.names if (before[name] != after[name]).any()}
