"""Checkpoints that fastbp 0.1 wrote, with its names of options: they load, and a training goes on from them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import optim

FOLDER = Path(__file__).parent / "checkpoints-of-0.1"  # six steps of each of these
OPTIMIZERS = {
    "adam": optim.adam(optim.step_decay(0.05, 4), ema_decay=0.9),
    "rprop": optim.rprop(0.02, eta_plus=1.5, eta_minus=0.3, step_min=0.01, step_max=0.05),
}
NET = fastbp.MLP((2, 3, 1))
X = np.random.default_rng(0).standard_normal((20, 2))
Y = (X[:, 0] > X[:, 1]).astype(float)


def train(name, **options):
    batch_size = None if name == "rprop" else 8
    return fastbp.train(
        NET, NET.init(0), X, Y, optimizer=OPTIMIZERS[name], batch_size=batch_size, steps=12, seed=3, **options
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on(name, tmp_path):
    """From step 6 of 0.1 to step 12, as if this version had made them all, but for the roundings of another CPU."""
    shutil.copy(FOLDER / f"{name}.npz", tmp_path / "checkpoint-000000000006.npz")
    resumed, whole = train(name, checkpoint=tmp_path, resume=True), train(name)
    assert len(resumed.history["step"]) == len(whole.history["step"])
    np.testing.assert_allclose(resumed.params.vector, whole.params.vector, rtol=1e-5)
    np.testing.assert_allclose(resumed.opt_state.memory, whole.opt_state.memory, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_model_is_loaded(name):
    """As any file of `fastbp.save`, with the optimizer it was trained by."""
    net, params, meta = fastbp.load(FOLDER / f"{name}.npz")
    assert (net, params.dtype) == (NET, np.float32)
    state = optim.OptimizerState.from_meta(params, meta["training"]["state"])
    assert (state.optimizer, state.step) == (OPTIMIZERS[name], 6)
