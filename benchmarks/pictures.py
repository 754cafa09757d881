"""Pictures to be timed: a boundary over a million points, and a film of twenty pictures; on the lecture's network."""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp
from fastbp.plot.boundary import GRID

from .processes import Job
from .training import Run

NET = fastbp.MLP((2, 100, 1), bias=False)
N_POINTS, N_PICTURES, REPEATS = 1_000_000, 20, 5
N_WATCHED, WATCHED_STEPS = 100_000, 4000  # about three seconds


def runs() -> list[Run]:
    """The cases that are timed by turns."""
    watched, alone = (Job(training, (is_watched,)) for is_watched in (True, False))
    return [Run("training with a live view, 2-100-1 float32 x 100,000", watched, {"not watched": alone})]


def boundary() -> float:
    """Seconds to draw the boundary over all points and write it as PNG."""
    x, y = fastbp.data.spirals(N_POINTS)
    params = NET.init(0, scheme="lecture")

    def draw() -> None:
        ax = fastbp.plot.decision_boundary(NET, params, x, y)
        ax.figure.savefig(io.BytesIO(), format="png")

    return _seconds(draw)


def prediction() -> float:
    """Seconds to ask the network at all points of its grid."""
    x = np.random.default_rng(0).random((GRID * GRID, 2), np.float32)
    params = NET.init(0, scheme="lecture")
    return _seconds(lambda: NET.logits(params, x))


def film() -> float:
    """Seconds to write a film of a training run on all points."""
    x, y = fastbp.data.spirals(N_POINTS)
    steps = range(1, N_PICTURES + 1)
    result = fastbp.train(NET, NET.init(0), x, y, steps=N_PICTURES, batch_size=None, snapshots=steps)
    with tempfile.TemporaryDirectory(prefix="fastbp-bench-") as folder:
        start = time.perf_counter()
        fastbp.plot.animate(NET, result, x, y, path=f"{folder}/film.gif")
        return time.perf_counter() - start


def training(is_watched: bool) -> Callable[[], tuple[float, list[Any]]]:
    """A training run of a few seconds, shown in a live view that a page asks twice a second, or not."""
    x, y = fastbp.data.spirals(N_WATCHED)
    params, callbacks = NET.init(0, scheme="lecture"), []
    if is_watched:
        view = fastbp.LiveView(x, y)
        subprocess.Popen([sys.executable, "-c", _PAGE, f"{view.url}state"], stderr=subprocess.DEVNULL)
        callbacks.append(view)

    def call() -> tuple[float, list[Any]]:
        result = fastbp.train(
            NET, params, x, y, optimizer=fastbp.optim.sgd(10.0), batch_size=None, steps=WATCHED_STEPS,
            callbacks=callbacks,
        )  # fmt: skip
        return float(result.history["loss"][-1]), [result.params.vector]

    return call


_PAGE = """
import sys, time, urllib.request
while True:  # until nobody answers
    urllib.request.urlopen(sys.argv[1]).read()
    time.sleep(0.5)
"""


def _seconds(call: Callable[[], Any]) -> float:
    """The median of a few calls after the first."""
    call()
    samples = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)
