"""Training runs to be timed: the loop beside bare gradients, small networks, Fashion-MNIST beside peers, data in files.

Fashion-MNIST is that of Debian's package `dataset-fashion-mnist`.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp.training.loop import Training

from .processes import Job, UnavailableError

Call = Callable[[], tuple[float, list[Any]]]

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_NET = fastbp.MLP((784, 256, 128, 10), activation="relu", loss="cross_entropy")
LECTURE_NET = fastbp.MLP((2, 100, 1), loss="binary_cross_entropy")
BATCH, EPOCHS, RATE = 512, 10, 1e-3
LOOP_STEPS = 100
FILE_ROWS, FILE_LIMIT = 120_000, 94_000_000  # of the streamed file, which is four times the limit


class Run(NamedTuple):
    """A case: fastbp's job, and its peers' by name."""

    case: str
    ours: Job
    peers: dict[str, Job]


def runs() -> list[Run]:
    """The cases that are timed by turns."""
    return [
        Run(
            "the loop, 784-256-128-10 float32, batch 512, Adam, shuffled", Job(loop, ()),
            {"bare gradients": Job(bare_gradients, (), is_same_function=False)},
        ),
        Run("10,000 Adam steps, 2-100-1 float32, 200 points, full batch", Job(small, (None, 10_000)), {}),
        Run("1,000 Adam steps, 2-100-1 float32, 10,000 points, batch 32", Job(small, (32, 1000)), {}),
        Run(
            "Fashion-MNIST, 784-256-128-10 float32, Adam, 10 epochs, batch 512", Job(fashion_fastbp, ()),
            {"scikit-learn": Job(fashion_sklearn, (), is_same_function=False),
             "PyTorch": Job(fashion_torch, (), is_same_function=False)},
        ),
        Run(
            "an epoch of a .npy of 4 x the memory limit, 784-256-128-10 float32", Job(epoch, (True,)),
            {"in memory": Job(epoch, (False,))},
        ),
    ]  # fmt: skip


# -- the loop ------------------------------------------------------------------------------------------------


def _images(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((n, 784), np.float32), rng.integers(10, size=n)


def loop() -> Call:
    """LOOP_STEPS steps of Adam on shuffled batches of 60,000 rows."""
    x, y = _images(60_000)
    training = Training(FASHION_NET, FASHION_NET.init(0), x, y, batch_size=BATCH)

    def call() -> tuple[float, list[Any]]:
        result = training.run(training.progress.step + LOOP_STEPS)
        return float(result.history["loss"][-1]), [result.params.vector]

    return call


def bare_gradients() -> Call:
    """As many gradients of one batch that is always the same."""
    x, y = _images(BATCH)
    params, workspace = FASHION_NET.init(0), fastbp.Workspace()
    gradient = params.copy()

    def call() -> tuple[float, list[Any]]:
        for _ in range(LOOP_STEPS):
            loss, _ = FASHION_NET.value_and_grad(params, x, y, out=gradient, workspace=workspace)
        return loss, [gradient.vector]

    return call


def small(batch_size: int | None, steps: int) -> Call:
    """A new training of the lecture's network."""
    n = 200 if batch_size is None else 10_000
    x = np.random.default_rng(1).standard_normal((n, 2)).astype(np.float32)
    y = (x[:, :1] * x[:, 1:] > 0).astype(np.float32)
    params = LECTURE_NET.init(0)

    def call() -> tuple[float, list[Any]]:
        result = fastbp.train(LECTURE_NET, params, x, y, batch_size=batch_size, steps=steps)
        return float(result.history["loss"][-1]), [result.params.vector]

    return call


# -- Fashion-MNIST ---------------------------------------------------------------------------------------------


def fashion() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, x_test, y_test): pixels from 0 to 1 in float32, labels int64."""
    if not FASHION.is_dir():
        raise UnavailableError("needs Debian's package dataset-fashion-mnist")
    parts = []
    for name in ("train", "t10k"):
        with gzip.open(FASHION / f"{name}-images-idx3-ubyte.gz") as file:
            parts.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784) / np.float32(255))
        with gzip.open(FASHION / f"{name}-labels-idx1-ubyte.gz") as file:
            parts.append(np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64))
    return tuple(parts)


def fashion_fastbp() -> Call:
    """Ten epochs from new weights; the loss is 1 - the accuracy on the test images."""
    x, y, x_test, y_test = fashion()

    def call() -> tuple[float, list[Any]]:
        result = fastbp.train(
            FASHION_NET, FASHION_NET.init(0), x, y, optimizer=fastbp.optim.adam(RATE), epochs=EPOCHS, batch_size=BATCH
        )
        return _wrong(np.mean(FASHION_NET.predict(result.params, x_test) != y_test))

    return call


def fashion_sklearn() -> Call:
    """The same by MLPClassifier."""
    from sklearn.neural_network import MLPClassifier

    x, y, x_test, y_test = fashion()

    def call() -> tuple[float, list[Any]]:
        model = MLPClassifier(
            FASHION_NET.layer_sizes[1:-1], batch_size=BATCH, learning_rate_init=RATE, max_iter=EPOCHS, alpha=0.0,
            random_state=0,
        )  # fmt: skip
        model.fit(x, y)
        return _wrong(1 - model.score(x_test, y_test))

    return call


def fashion_torch() -> Call:
    """The same by PyTorch, the data as tensors ahead, indexed by a permutation an epoch: its fastest form here."""
    import torch

    x, y, x_test, y_test = (torch.from_numpy(part.copy()) for part in fashion())

    def call() -> tuple[float, list[Any]]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU(),
            torch.nn.Linear(128, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
        for _ in range(EPOCHS):
            order = torch.randperm(len(x))
            for start in range(0, len(x), BATCH):
                rows = order[start : start + BATCH]
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            return _wrong((model(x_test).argmax(1) != y_test).float().mean())

    return call


def _wrong(share: Any) -> tuple[float, list[np.ndarray]]:
    """The share of test images that are wrong, all that different libraries have in common: it must be about 0.12."""
    if not 0.10 < share < 0.14:
        raise UnavailableError(f"{share:.3f} of the test images are wrong, where 0.12 are to be expected")
    return float(share), [np.array([share])]


def accuracy() -> float:
    """On the test images, after the ten epochs."""
    return 1 - fashion_fastbp()()[0]


# -- data in files ---------------------------------------------------------------------------------------------


def _files(folder: str) -> fastbp.data.Npy:
    x, y = _images(FILE_ROWS)
    np.save(f"{folder}/x.npy", x)
    np.save(f"{folder}/y.npy", y)
    return fastbp.data.Npy(f"{folder}/x.npy", f"{folder}/y.npy")


def epoch(streamed: bool) -> Call:
    """An epoch of Adam on a file, which is in the page cache, or on the same rows in memory."""
    folder = tempfile.TemporaryDirectory(prefix="fastbp-bench-")
    given = (_files(folder.name),) if streamed else _images(FILE_ROWS)
    params = FASHION_NET.init(0)

    def call() -> tuple[float, list[Any]]:
        call.folder = folder  # as long as the call lives
        limit = {"memory_limit": FILE_LIMIT} if streamed else {}
        result = fastbp.train(FASHION_NET, params, *given, epochs=1, batch_size=BATCH, **limit)
        return float(result.history["loss"][-1]), [result.params.vector]

    return call


def streamed_memory() -> int:
    """Bytes by which an epoch of the file raises the peak of resident memory, everything being compiled."""
    from .processes import _reset_peak, _status_bytes

    with tempfile.TemporaryDirectory(prefix="fastbp-bench-") as folder:
        dataset, params = _files(folder), FASHION_NET.init(0)
        fastbp.train(FASHION_NET, params, *_images(2 * BATCH), epochs=1, batch_size=BATCH)
        _reset_peak()
        before = _status_bytes("VmRSS")
        fastbp.train(FASHION_NET, params, dataset, epochs=1, batch_size=BATCH, memory_limit=FILE_LIMIT)
        return _status_bytes("VmHWM") - before


def seconds_to_end(number: int) -> float:
    """From a signal to the end of `fastbp train`, in the middle of its steps."""
    import signal
    import subprocess
    import sys

    with tempfile.TemporaryDirectory(prefix="fastbp-bench-") as folder:
        command = [
            sys.executable,
            "-m",
            "fastbp",
            "train",
            "--epochs",
            "100000",
            "--no-plots",
            "--out",
            f"{folder}/run",
        ]
        process = subprocess.Popen([*command, "--checkpoint", f"{folder}/kept"], stdout=subprocess.PIPE, text=True)
        while not process.stdout.readline().startswith("2-100-1"):
            pass
        time.sleep(2)
        start = time.perf_counter()
        process.send_signal(number)
        process.wait()
        seconds = time.perf_counter() - start
        process.stdout.close()
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        return seconds
