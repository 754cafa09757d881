"""Systems whose `os` lacks what Linux has: all of it is hidden, and everything still works, to the same bits."""

import types

import numpy as np
import pytest

from fastbp.compiler import jit
from fastbp.data import datasets
from fastbp.errors import CheckpointError
from fastbp.training import checkpoint
from fastbp.training.checkpoint import Checkpoints
from tests.processes import run

# Of the names in `os` that Windows does not have, all that this package could want.
HIDDEN = """
import os, shutil, signal, sys
NAMES = [
    "O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "chown", "fchmod", "fchown", "fork",
    "fdatasync", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getppid", "getuid", "killpg", "lockf",
    "mkfifo", "openpty", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite", "pwritev",
    "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setsid", "statvfs",
    "sysconf", "uname", "wait", "wait4",
]
MODULES = ["fcntl", "grp", "pwd", "readline", "resource", "termios", "tty"]

def hide():
    "Called once Python's own modules and Numba, which know their system, are there."
    for name in NAMES:
        if hasattr(os, name):
            delattr(os, name)
    for module in MODULES:
        sys.modules[module] = None
    for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        delattr(signal, name)
    os.supports_dir_fd.clear()
    os.supports_fd.clear()
    def no_folder(path, flags, *rest, _open=os.open, **options):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return _open(path, flags, *rest, **options)
    os.open = no_folder
    shutil._use_fd_functions = False  # as it is where folders cannot be opened
"""

EVERYTHING = """
import hashlib, pathlib, sys
import numpy as np, numba, tempfile, secrets, shutil, concurrent.futures, subprocess, warnings
{hide}
import fastbp
from fastbp.cli.main import main
from fastbp.compiler import cache as _cache; from fastbp.compiler import jit as _jit; from fastbp.data import datasets

folder = pathlib.Path({folder!r})
rng = np.random.default_rng(0)
x, y = rng.standard_normal((500, 3)), rng.integers(2, size=500)
net = fastbp.MLP((3, 8, 1))
np.save(folder / "x.npy", x)
np.save(folder / "y.npy", y.astype(float))
rows = datasets.Npy(folder / "x.npy", folder / "y.npy")
options = dict(batch_size=32, n_threads=1, validation=0.2)
results = [
    fastbp.train(net, net.init(0, dtype=np.float64), x, y, epochs=3, **options),
    fastbp.train(net, net.init(0, dtype=np.float64), rows, epochs=3, **options),
]
for epochs in (2, 3):
    results.append(fastbp.train(
        net, net.init(0, dtype=np.float64), x, y, epochs=epochs, checkpoint=folder / "kept", resume=epochs == 3,
        **options,
    ))
del results[2]
fastbp.save(folder / "model.npz", net, results[0].params, {{}})
vectors = [result.params.vector for result in results] + [fastbp.load(folder / "model.npz")[1].vector]
fastbp.export(folder / "model.safetensors", net, results[0].params)
assert fastbp.Classifier(rng=0).fit(x[:, :2], y[:, None], n_steps=3) is not None
status = main(["train", "--samples", "200", "--steps", "5", "--out", str(folder / "run"), "--no-plots", "--quiet"])
print(status, _jit.n_compilations(), *(hashlib.sha256(vector.tobytes()).hexdigest() for vector in vectors))
print(_cache.state())
"""


def results(folder, hide):
    """(exit code, hashes of the weights, compilations, state of the cache) of a process that does it all."""
    folder.mkdir()
    source = HIDDEN + EVERYTHING.format(hide=hide, folder=str(folder))
    *_, line, cache = run(source, timeout=300).splitlines()
    status, n_compilations, *found = line.split()
    return status, set(found), int(n_compilations), cache


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_everything_works_without_what_windows_lacks(tmp_path):
    """Training, streaming, checkpoints, files and the command line: one hash, with and without; the cache is used."""
    with_all, without = results(tmp_path / "with", ""), results(tmp_path / "without", "hide()")
    assert with_all[0] == without[0] == "0"
    assert with_all[1] == without[1]
    assert len(without[1]) == 1
    assert without[2] == 0  # what the first one compiled is loaded
    assert without[3] == with_all[3]  # and no reason why it was not used


def test_rows_are_read_without_preadv(tmp_path, monkeypatch):
    """Any ranges, in any order: those of the array."""
    x = np.random.default_rng(0).standard_normal((50, 3))
    np.save(tmp_path / "x.npy", x)
    monkeypatch.delattr(datasets.os, "preadv", raising=False)
    rows = datasets.NpyRows(tmp_path / "x.npy")
    for start, stop in ((40, 50), (0, 7), (3, 4), (0, 50)):
        np.testing.assert_array_equal(rows.read(start, stop), x[start:stop])


def test_a_folder_of_checkpoints_is_locked_as_windows_locks(tmp_path, monkeypatch):
    """By msvcrt where there is no fcntl: a byte that the number of the process does not reach, tried once."""
    locked = {}

    def locking(descriptor, mode, n_bytes):
        assert (mode, n_bytes) == ("once", 1)
        place = checkpoint.os.lseek(descriptor, 0, 1)
        if place in locked.values():
            raise PermissionError(13, "Permission denied")
        locked[descriptor] = place

    monkeypatch.setattr(checkpoint, "fcntl", None)
    monkeypatch.setattr(checkpoint, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK="once"))
    with (
        Checkpoints(tmp_path),
        pytest.raises(CheckpointError, match=f"process {checkpoint.os.getpid()} is using it"),
        Checkpoints(tmp_path),
    ):
        pass
    assert min(locked.values()) > 1000
    assert (tmp_path / "lock").read_text() == str(checkpoint.os.getpid())
