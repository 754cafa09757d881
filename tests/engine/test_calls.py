"""A call is light: few frames of ours lie between the user's line and a kernel, and no module is returned to."""

import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.compiler import jit
from fastbp.kernels.program import executor

MOST_FRAMES = 6  # of ours on the stack when a kernel starts
PACKAGE = str(Path(fastbp.__file__).parent)
NET = fastbp.MLP((8, 64, 64, 3), loss="cross_entropy")
PARAMS = NET.init(0)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2000, 8), np.float32), RNG.integers(3, size=2000)
CLASSIFIER = fastbp.Classifier(8, 64, dtype=np.float32)
CALLS = {
    "forward": lambda: NET.forward(PARAMS, X),
    "logits": lambda: NET.logits(PARAMS, X),
    "predict": lambda: NET.predict(PARAMS, X),
    "loss": lambda: NET.loss(PARAMS, X, Y),
    "value_and_grad": lambda: NET.value_and_grad(PARAMS, X, Y),
    "input_grad": lambda: NET.input_grad(PARAMS, X, Y),
    "vjp": lambda: NET.vjp(PARAMS, X),
    "Classifier.forward": lambda: CLASSIFIER.forward(X),
    "Classifier.step": lambda: CLASSIFIER.step(X, Y == 0),
}


def modules_on_the_stack():
    """Modules of ours that were called and have not returned, the user's call first."""
    frame, found = sys._getframe(), []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found.append(Path(frame.f_code.co_filename).stem)
        frame = frame.f_back
    return found[::-1]


@pytest.fixture
def stacks(monkeypatch):
    """What lies on the stack whenever a kernel starts, by the kernel's name."""
    found = []

    def watched(entry):
        kernel = entry.compile()

        def call(*args):
            found.append((entry.function.__name__, modules_on_the_stack()))
            return kernel(*args)

        monkeypatch.setattr(entry, "_call", call)
        if jit.COMPILED:
            monkeypatch.setattr(entry, "_dispatcher", call)

    entries = executor.entries(PARAMS.dtype)
    for entry in (entries.start, entries.serial, entries.parallel):
        watched(entry)
    return found


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_few_frames_lie_before_a_kernel(call, n_threads, stacks):
    """On one thread and on several; frames of a module follow each other."""
    if n_threads > fastbp.show_config(as_dict=True)["max_threads"]:
        pytest.skip("one core")
    fastbp.set_num_threads(n_threads)
    try:
        call()
    finally:
        fastbp.set_num_threads(None)
    kernels = {kernel for kernel, _ in stacks}
    assert {"start", "parallel"} <= kernels if n_threads > 1 else "start" in kernels
    for kernel, modules in stacks:
        assert 0 < len(modules) <= MOST_FRAMES, (kernel, modules)
        visits = [module for i, module in enumerate(modules) if i == 0 or modules[i - 1] != module]
        assert len(visits) == len(set(visits)), (kernel, modules)
