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

NET = fastbp.MLP((2, 100, 1), bias=False)
N_POINTS, N_PICTURES, REPEATS = 1_000_000, 20, 5
N_WATCHED, WATCHED_STEPS, N_PAIRS = 100_000, 4000, 11  # of about three seconds each


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


def live_cost() -> float:
    """What a training run costs more in a live view that a page asks four times a second: a share of its time.

    Both in one process by turns, as two processes differ by more.
    """
    x, y = fastbp.data.spirals(N_WATCHED)
    params, view = NET.init(0, scheme="lecture"), fastbp.LiveView(x, y)
    page = subprocess.Popen([sys.executable, "-c", _PAGE, f"{view.url}state"], stderr=subprocess.DEVNULL)

    def seconds(callbacks: list[Any]) -> float:
        optimizer, start = fastbp.optim.sgd(10.0), time.perf_counter()
        fastbp.train(
            NET, params, x, y, optimizer=optimizer, batch_size=None, steps=WATCHED_STEPS, callbacks=callbacks
        )  # fmt: skip
        return time.perf_counter() - start

    try:
        seconds([])
        return statistics.median(seconds([view]) / seconds([]) for _ in range(N_PAIRS)) - 1
    finally:
        page.kill()
        page.wait()


_PAGE = """
import sys, time, urllib.request
while True:  # until nobody answers
    urllib.request.urlopen(sys.argv[1]).read()
    time.sleep(0.25)
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
