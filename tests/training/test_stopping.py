"""A step of training that is stopped between two launches has had no effect: what follows is what would have been."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastbp
from fastbp.engine import plan
from fastbp.training.batches import BatchSource
from fastbp.training.steps import Descent

NET = fastbp.MLP((40, 30, 20, 3), activation="tanh", loss="cross_entropy")
N_ROWS, N_STEPS = 700, 6


def some(is_sparse):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N_ROWS, 40)).astype(np.float32)
    if is_sparse:
        x[rng.random(x.shape) < 0.8] = 0
    return sp.csr_array(x) if is_sparse else x, rng.integers(0, 3, N_ROWS)


def descent(is_sparse, n_threads, batch_size):
    params = NET.init(0)
    x, y = some(is_sparse)
    x = fastbp.engine.csr.as_inputs(x, 40, params.dtype)
    state = fastbp.optim.adam(0.01).init(params)
    return Descent(NET, params, BatchSource(x, y), state=state, batch_size=batch_size, n_threads=n_threads)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("batch_size", [256, None])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_stopped_step_has_had_no_effect(n_threads, batch_size, is_sparse, monkeypatch):
    """Stopped after any number of questions, and gone on with, a training ends with the bits of one that was not."""
    monkeypatch.setattr(plan, "SERIAL_BELOW", 0)
    monkeypatch.setattr(plan, "LAUNCH", 1.0)  # every phase is a launch of its own
    wanted = descent(is_sparse, n_threads, batch_size)
    wanted.run(0, N_STEPS)
    stopped_within = 0
    for patience in range(1, 40, 3):
        run, questions = descent(is_sparse, n_threads, batch_size), 0

        def is_stopped(patience=patience):
            nonlocal questions
            questions += 1
            return questions == patience

        run.is_stopped, made = is_stopped, 0
        while made < N_STEPS:
            n = len(run.run(made, N_STEPS - made))
            stopped_within += made + n < N_STEPS
            made += n
        assert run.state.step == N_STEPS
        np.testing.assert_array_equal(run.params.vector, wanted.params.vector)
        np.testing.assert_array_equal(run.state.memory, wanted.state.memory)
    assert stopped_within > 5


def test_buffers_follow_the_batches_of_a_given_order():
    """One row with very many numbers takes no memory for batches that do not have it."""
    stored = np.full(1000, 2)
    stored[7] = 50_000
    starts = np.concatenate([[0], np.cumsum(stored)])
    x = fastbp.engine.csr.CSR(np.ones(starts[-1], np.float32), np.zeros(starts[-1], np.int32), starts, 3)
    for order in (np.random.default_rng(0).permutation(1000), "shuffled"):
        source = BatchSource(x, np.zeros(1000, np.int64), order=order)
        assert len(source.buffers(100, True).x.values) == 50_000 + 99 * 2
    twice = BatchSource(x, np.zeros(1000, np.int64), order=np.array([7, 7, 1]))
    assert len(twice.buffers(3, True).x.values) == 2 * 50_000 + 2


def test_an_interrupt_while_a_batch_is_described_leaves_nothing_stale():
    """The next call of the same kind describes it anew."""
    workspace, params = fastbp.Workspace(), NET.init(0)
    x, y = some(is_sparse=False)
    wanted = NET.forward(params, x)
    NET.value_and_grad(params, x, y, workspace=workspace)
    (batch,) = workspace._batches.values()
    header = batch.header

    class Interrupted:
        def __setattr__(self, name, value):
            raise KeyboardInterrupt

    batch.header = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        NET.forward(params, x, workspace=workspace)
    batch.header = header
    np.testing.assert_array_equal(NET.forward(params, x, workspace=workspace), wanted)


def test_a_batch_larger_than_the_data_takes_the_memory_of_the_data(tmp_path):
    """Batches of 5,000 rows of a data set of 300 need what batches of 300 need."""
    net, rng = fastbp.MLP((30, 300, 300, 4), activation="relu", loss="cross_entropy"), np.random.default_rng(0)
    n_rows = 300
    files = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(files[0], rng.standard_normal((n_rows, 30)).astype(np.float32))
    np.save(files[1], rng.integers(0, 4, n_rows))
    rows = fastbp.data.Npy(*files)
    needed = []
    for batch_size in (n_rows, 5000):
        with pytest.raises(fastbp.errors.InputError) as error:
            fastbp.train(net, net.init(0), rows, steps=1, batch_size=batch_size, memory_limit=1)
        needed.append(str(error.value))
    assert needed[0] == needed[1]
