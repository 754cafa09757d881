"""Trainings in real processes: locked out, ended by signals, killed at any moment."""

import signal
import time

import numpy as np
import pytest

import fastbp
from fastbp.errors import CheckpointError
from fastbp.training.checkpoint import Checkpoints
from tests.processes import run, start

NET = fastbp.MLP((3, 8, 4), activation="tanh", loss="cross_entropy")
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((100, 3)), RNG.integers(4, size=100)

HOLD = """
import sys, time
from fastbp.training.checkpoint import Checkpoints
with Checkpoints(sys.argv[1] if len(sys.argv) > 1 else {folder!r}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_training_a_folder(tmp_path):
    """A second one is refused, with the number of the process; one that was killed leaves no lock behind."""
    process = start(HOLD.format(folder=str(tmp_path)))
    assert process.stdout.readline() == "held\n"
    with pytest.raises(CheckpointError, match=rf"only one training at a time .*; process {process.pid} is using it"):
        fastbp.train(NET, NET.init(0), X, Y, epochs=1, checkpoint=tmp_path)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    fastbp.train(NET, NET.init(0), X, Y, epochs=1, checkpoint=tmp_path)
    assert Checkpoints(tmp_path).latest() is not None


# -- real processes --------------------------------------------------------------------------------------

TRAINING = """
import sys, numpy as np, fastbp
rng = np.random.default_rng(0)
net = fastbp.MLP((20, 50, 1), activation="tanh", loss="squared_error")
x, y = rng.standard_normal((400, 20)), rng.standard_normal((400, 1))
def train(folder=None, **options):
    where = {{}} if folder is None else {{"checkpoint": fastbp.Checkpoints(folder, every={every}), "resume": True}}
    return fastbp.train(net, net.init(0), x, y, batch_size=32, dropout=0.1, n_threads=1, **where, **options)
"""
ENDLESS = (
    TRAINING.format(every=3600)
    + """
def ready(run):
    if run.epoch == 3:
        print("ready", flush=True)
train({folder!r}, epochs=10**9, callbacks=[ready])
"""
)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_a_checkpoint(number, code, tmp_path):
    """Soon, with the signal's exit code, and a checkpoint of the step it came at."""
    process = start(ENDLESS.replace("{folder!r}", repr(str(tmp_path))))
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        begin = time.monotonic()
        process.send_signal(number)
        try:
            process.wait(timeout=10)
        finally:
            process.kill()  # which leaving the context would wait for
        seconds = time.monotonic() - begin
        process.stderr.read()
    assert process.returncode in (code, 1 if number == signal.SIGINT else code)
    assert seconds < 5
    assert Checkpoints(tmp_path).latest().meta["training"]["step"] > 3 * 13


# A process that has compiled forks trainings and kills them: as many real processes, without as many imports.
KILLS = (
    TRAINING.format(every=0.01)
    + """
import os, random, signal, time, warnings
from fastbp.training.checkpoint import Checkpoints
warnings.simplefilter("error")
folder, n_kills = sys.argv[1], int(sys.argv[2])
train(epochs=1)
train(folder + "-warm", epochs=1, callbacks=[lambda run: None])
random.seed(n_kills)
last, stalls = -1, 0
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        train(folder, epochs=10**9, callbacks=[lambda run: None])
        os._exit(0)
    time.sleep(random.uniform(0.005, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    found = Checkpoints(folder).latest()  # a warning would be an error
    step = -1 if found is None else found.meta["training"]["step"]
    assert step >= last, "a checkpoint was lost"
    stalls += step == last
    last = step
assert stalls < n_kills / 2, (stalls, n_kills)
epochs = last // 13 + 2
assert train(folder, epochs=epochs).params.vector.tobytes() == train(epochs=epochs).params.vector.tobytes()
print(n_kills, "of", n_kills)
"""
)


def kill(folder, n):
    return run(KILLS.replace("sys.argv[1]", repr(str(folder))).replace("sys.argv[2]", str(n)), timeout=300)


def test_a_killed_training_goes_on(tmp_path):
    """kill -9 at 10 random moments: each time it goes on from the last checkpoint, to the bits of a whole run."""
    assert kill(tmp_path / "run", 10) == "10 of 10\n"


@pytest.mark.slow
def test_a_training_killed_200_times_goes_on(tmp_path):
    """The same, 200 of 200."""
    assert kill(tmp_path / "run", 200) == "200 of 200\n"
