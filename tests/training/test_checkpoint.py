"""Checkpoints: a training goes on bit for bit, and what is damaged, locked or of another run is told."""

import builtins
import os
import signal
import warnings

import numpy as np
import pytest

import fastbp
from fastbp import optim
from fastbp.callbacks import Callback
from fastbp.errors import CheckpointError
from fastbp.training.checkpoint import Checkpoints, CheckpointWarning
from fastbp.training.steps import Descent

NET = fastbp.MLP((3, 8, 8, 4), activation="tanh", loss="cross_entropy")
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((100, 3)), RNG.integers(4, size=100)
OPTIONS = {"batch_size": 16, "seed": 3, "optimizer": "adam"}
RUNS = {
    "plain": {},
    "whole batches": {"batch_size": None},
    "dropout, weights, penalties": {"dropout": 0.3, "sample_weight": RNG.random(100), "l2": 0.01},
    "average, clipping, schedule": {
        "optimizer": optim.adamw(optim.one_cycle(0.01, 50), ema_decay=0.9, clip_norm=0.5),
    },
    "plateau, early stopping": {
        "optimizer": optim.sgd(optim.reduce_on_plateau(0.5, patience=0, min_delta=0.5), momentum=0.9),
        "validation": 0.2, "metrics": ["accuracy"], "early_stopping": 3,
    },
    "rprop": {"optimizer": optim.rprop(), "batch_size": None},
    "own order": {"order": RNG.permutation(100)},
}  # fmt: skip


def train(folder=None, resume=True, **options):
    """With a checkpoint an epoch, because something is to be done at its end."""
    where = {} if folder is None else {"checkpoint": Checkpoints(folder, every=0), "resume": resume}
    options = {"epochs": 6, "callbacks": [lambda run: None], **OPTIONS, **where, **options}
    return fastbp.train(NET, NET.init(0), X, Y, **options)


class StopAt(Callback):
    """Raises what a signal would, after a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


def assert_equal_runs(first, second):
    """Every bit of the results, but for the clock."""
    np.testing.assert_array_equal(first.params.vector, second.params.vector)
    np.testing.assert_array_equal(first.opt_state.memory, second.opt_state.memory)
    assert (first.opt_state.step, first.opt_state.scale) == (second.opt_state.step, second.opt_state.scale)
    assert list(first.history) == list(second.history)
    for name in set(first.history) - {"seconds"}:
        np.testing.assert_array_equal(first.history[name], second.history[name], err_msg=name)


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_one_that_never_stopped(name, tmp_path):
    """Stopped at the start, in the middle and at the end of epochs: parameters, state and history bit for bit."""
    whole = train(**RUNS[name], snapshots=[2, 20])
    for step in (1, 3, 7, 8, 21, 35):
        if step < whole.opt_state.step:
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path, **RUNS[name], snapshots=[2, 20], callbacks=[StopAt(step)])
            assert Checkpoints(tmp_path).latest().meta["training"]["step"] == step
    resumed = train(tmp_path, **RUNS[name], snapshots=[2, 20])
    assert_equal_runs(whole, resumed)
    assert {step: params.vector.tobytes() for step, params in whole.snapshots.items()} == {
        step: params.vector.tobytes() for step, params in resumed.snapshots.items()
    }
    assert_equal_runs(train(tmp_path, **RUNS[name], snapshots=[2, 20]), whole)  # nothing is left to do


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path):
    """3 epochs, then 6 with resume, are 6."""
    train(tmp_path, epochs=3)
    assert_equal_runs(train(tmp_path, epochs=6), train(epochs=6))


def test_the_last_few_are_kept(tmp_path):
    """As many as asked for, the newest, and each can be read as a model."""
    with Checkpoints(tmp_path, keep=2, every=0) as checkpoints:
        for step in range(5):
            checkpoints.write(step, NET, NET.init(step), {"training": {"step": step}})
    assert [path.name for path in checkpoints.paths()] == [f"checkpoint-{step:012}.npz" for step in (4, 3)]
    net, params, _ = fastbp.load(checkpoints.paths()[1])
    assert net == NET
    np.testing.assert_array_equal(params.vector, NET.init(3).vector)


def test_a_checkpoint_is_due_after_thirty_times_its_duration(monkeypatch, tmp_path):
    """At least 10 seconds; so at most 1 / 30 of the time goes into them."""
    now = [0.0]
    monkeypatch.setattr("fastbp.training.checkpoint.time.monotonic", lambda: now[0])
    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr("fastbp.formats.npz.save", lambda *args: now.__setitem__(0, now[0] + 2.0))
        for seconds, is_due in ((9.9, False), (10.1, True)):
            now[0] = seconds
            assert checkpoints.is_due is is_due
        checkpoints.write(1, NET, NET.init(0), {})
        for seconds, is_due in ((59.9, False), (60.1, True)):
            now[0] = 12.1 + seconds
            assert checkpoints.is_due is is_due


# -- damage ----------------------------------------------------------------------------------------------


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def damage(folder, n_flips, seed=0):
    """How many of n_flips single flipped bits in the newest of two checkpoints are noticed, and the older one used."""
    train(folder, epochs=2)
    newest, previous = Checkpoints(folder).paths()[:2]
    sound, noticed = newest.read_bytes(), 0
    for bit in np.random.default_rng(seed).integers(8 * len(sound), size=n_flips):
        flip(newest, int(bit))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = Checkpoints(folder).latest()
        noticed += found.path == previous and newest.name in str(told[0].message)
        newest.write_bytes(sound)
    assert Checkpoints(folder).latest().path == newest
    return noticed


def test_flipped_bits_are_noticed(tmp_path):
    """50 of 50; the previous checkpoint is used, and the user is told."""
    assert damage(tmp_path, 50) == 50


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_noticed(tmp_path):
    """1,000 of 1,000."""
    assert damage(tmp_path, 1000, seed=1) == 1000


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    """Cut short at any place: the run goes on from the one before, with a warning, to the same end."""
    train(tmp_path, epochs=2)
    for path in Checkpoints(tmp_path).paths()[:2]:
        path.write_bytes(path.read_bytes()[: RNG.integers(1, path.stat().st_size)])
    with pytest.warns(CheckpointWarning, match=r"every byte of a saved model must be as it was written") as told:
        resumed = train(tmp_path)
    assert len(told) == 2
    assert_equal_runs(resumed, train())


def test_nothing_but_damage_is_an_error(tmp_path):
    """If no checkpoint can be read, nothing is started anew in silence."""
    train(tmp_path, epochs=1)
    for path in Checkpoints(tmp_path).paths():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of \d checkpoints can be read: .* Start anew in another folder"):
        train(tmp_path)


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_previous_checkpoint(operation, tmp_path, monkeypatch):
    """Fail every k-th operation of a write in turn: an error with the file's name, and the last good one is intact."""
    with Checkpoints(tmp_path, every=0) as checkpoints:
        checkpoints.write(1, NET, NET.init(1), {"training": {"step": 1}})
        n_failed = 0
        for k in range(1, 20):
            with monkeypatch.context() as patch:
                count = fail_at(patch, operation, k)
                message = written(checkpoints)
            if count[0] < k:
                break
            n_failed += message is not None
            # The fsync of the folder comes when the file is whole.
            assert checkpoints.latest().meta["training"]["step"] == (1 if message else 2)
            assert message in (None, FULL)
            assert not list(tmp_path.glob(".*tmp"))
            (tmp_path / "checkpoint-000000000002.npz").unlink(missing_ok=True)
        assert n_failed >= 1
        assert message is None
        np.testing.assert_array_equal(checkpoints.latest().params.vector, NET.init(2).vector)


FULL = (
    "checkpoint-000000000002.npz: the checkpoint cannot be written: No space left on device; the last good checkpoint "
    "is checkpoint-000000000001.npz"
)


def written(checkpoints):
    """Write the second checkpoint; returns the error's message without the folder, or None."""
    try:
        checkpoints.write(2, NET, NET.init(2), {"training": {"step": 2}})
    except CheckpointError as error:
        return str(error).removeprefix(f"{checkpoints.folder}{os.sep}")
    return None


def fail_at(patch, operation, k):
    """Let the k-th operation of its kind fail; returns how many there were, in a list."""
    count = [0]

    def failing(real):
        def call(*args, **options):
            count[0] += 1
            if count[0] == k:
                raise OSError(28, "No space left on device")
            return real(*args, **options)

        return call

    if operation in ("fsync", "replace"):
        patch.setattr(f"fastbp.files.os.{operation}", failing(getattr(os, operation)))
    elif operation == "open":
        patch.setattr("fastbp.files.open", failing(open), raising=False)
    else:

        class File:
            """A file whose writes fail."""

            def __init__(self, *args):
                self.file = builtins.open(*args)  # noqa: SIM115
                self.write = failing(self.file.write)

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                self.file.close()

            def __getattr__(self, name):
                return getattr(self.file, name)

        patch.setattr("fastbp.files.open", File, raising=False)
    return count


def test_a_disk_that_is_full_for_a_while_costs_no_training(tmp_path, monkeypatch):
    """A checkpoint in between that cannot be written is a warning, the last one an error."""
    whole, real, count = train(), fastbp.formats.npz.save, [0]

    def save(path, *args):
        count[0] += 1
        if count[0] == 3:
            raise OSError(28, "No space left on device")
        real(path, *args)

    monkeypatch.setattr("fastbp.formats.npz.save", save)
    with pytest.warns(CheckpointWarning, match="No space left on device.*The training goes on"):
        assert_equal_runs(train(tmp_path / "a"), whole)
    count[0] = 2  # the first one of a run
    with pytest.raises(CheckpointError, match="the checkpoint cannot be written: No space left on device"):
        train(tmp_path / "b")


# -- other runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 10}, "batch_size is 10, then it was 16. Use the same batch_size, or another folder"),
    ({"seed": 4}, "seed is 4, then it was 3. Use the same seed, or another folder"),
    ({"l2": 0.1}, "l2 is 0.1, then it was 0.0. Use the same l2, or another folder"),
    ({"sample_weight": np.ones(100)},
     "sample_weight is another one: shape and dtype shape (100,), float32, then none"),
    ({"optimizer": "sgd"}, None),
    ({"order": "sequential"}, "order is 'sequential', then it was 'shuffled'. Use the same order, or another folder"),
    ({"validation": 0.2}, "n_rows is 80, then it was 100. Use the same n_rows, or another folder"),
])  # fmt: skip
def test_a_run_goes_on_as_it_began(options, message, tmp_path):
    """Other settings or data are refused, by name."""
    train(tmp_path, epochs=1)
    with pytest.raises(CheckpointError) as error:
        train(tmp_path, **options)
    assert message is None or str(error.value).endswith(message)


def test_other_data_are_refused(tmp_path, monkeypatch):
    """One number that has changed in one of the blocks that are looked at."""
    train(tmp_path, epochs=1)
    x = X.copy()
    x[50, 1] += 1
    monkeypatch.setitem(globals(), "X", x)
    with pytest.raises(CheckpointError, match="with the data it started with; x is another one: its values differ"):
        train(tmp_path)


def test_checkpoints_of_another_run_are_not_overwritten(tmp_path):
    """Without resume, a folder that holds some is refused."""
    train(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match="there are checkpoints of another run; resume it, or choose another"):
        train(tmp_path, resume=False)


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGINT, signal.SIGTERM)])
def test_signals_in_a_step_leave_it_whole(numbers, tmp_path, monkeypatch):
    """One or two of them, between a step and its being counted: it is counted, with its snapshot, and goes on."""
    whole, run = train(snapshots=[7]), Descent.run

    def interrupted(self, first, count):
        notes = run(self, first, count)
        for number in numbers if first == 0 else ():
            signal.raise_signal(number)
        return notes

    with monkeypatch.context() as patch:
        patch.setattr(Descent, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, snapshots=[7])
    resumed = train(tmp_path, snapshots=[7])
    assert_equal_runs(resumed, whole)
    np.testing.assert_array_equal(resumed.snapshots[7].vector, whole.snapshots[7].vector)


def test_an_interrupt_at_the_very_end_spoils_nothing(tmp_path):
    """While callbacks hear of the end, what is there is the result; the checkpoint stays one to go on from."""

    class Late(Callback):
        def on_end(self, run):
            raise KeyboardInterrupt

    options = {"validation": 0.2, "early_stopping": 50, "optimizer": optim.adam(0.2)}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, **options, epochs=None, steps=13, callbacks=[Late()])
    assert_equal_runs(train(tmp_path, **options), train(**options))
