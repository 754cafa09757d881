"""Optimizers where numbers and states are unusual: copies of a state, gradients whose squares are out of range."""

import copy
import pickle

import numpy as np
import pytest

from fastbp import optim
from fastbp.optim.optimizer import kernel_of


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copied_state_has_memory_of_its_own(copied):
    """By `copy` and by pickle, too: a step of the twin leaves the original alone, and is the original's next step."""
    optimizer, vector = optim.adam(ema_decay=0.9), np.arange(5.0)
    state = optimizer.init(vector)
    optimizer.update(vector, np.ones(5), state)
    twin, before, other = copied(state), state.memory.copy(), vector.copy()
    optimizer.update(other, np.ones(5), twin)
    np.testing.assert_array_equal(state.memory, before)
    optimizer.update(vector, np.ones(5), state)
    np.testing.assert_array_equal(twin.memory, state.memory)
    np.testing.assert_array_equal(other, vector)
    assert (twin.step, state.step) == (2, 2)


@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e200), (np.float64, 1e-200), (np.float32, 1e-30)])
def test_clipping_of_gradients_whose_squares_are_out_of_range(dtype, size):
    """The norm is right, however large or small the gradient."""
    vector, gradient = np.zeros(2, dtype), np.array([3, 4], dtype) * dtype(size)
    optimizer = optim.sgd(1.0, clip_norm=size)
    optimizer.update(vector, gradient, optimizer.init(vector))
    np.testing.assert_allclose(vector, [-0.6 * size, -0.8 * size], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optim.adam(), optim.rmsprop(), optim.adagrad(), optim.amsgrad()], ids=str)
def test_an_average_that_overflows_is_noticed(optimizer):
    """The square of a float32 gradient of 1e21 is infinite, which would keep its parameter where it is for good."""
    vector, gradient = np.zeros(20, np.float32), np.zeros(20, np.float32)
    gradient[17] = 1e21
    state = optimizer.init(vector)
    constants = optimizer.constants(0, 1)
    assert kernel_of(vector.dtype)(state.address, constants.ctypes.data, vector, gradient) == 1


DECAYING = {
    "momentum": optim.sgd(0.01, momentum=0.9),
    "nesterov": optim.sgd(0.01, momentum=0.9, nesterov=True),
    "adam": optim.adam(0.01),
    "nadam": optim.nadam(0.01),
    "amsgrad": optim.amsgrad(0.01),
    "rmsprop": optim.rmsprop(0.01, momentum=0.9),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", DECAYING.values(), ids=DECAYING)
def test_averages_of_gradients_that_became_zero_end_at_zero(optimizer, dtype):
    """No number too small for a whole mantissa stays, which would slow the step; the parameters do not feel it."""
    tiny = np.finfo(dtype).tiny
    first = np.geomspace(tiny, 1, 331).astype(dtype)  # 1 is left in a tail of 16 lanes
    vectors = []
    for precision in (dtype, np.float64):
        vector = np.ones(first.size, precision)
        state = optimizer.init(vector)
        for step in range(300):
            optimizer.update(vector, (first if step == 0 else np.zeros_like(first)).astype(precision), state)
            if precision is dtype:
                assert not ((np.abs(state.moments) < tiny) & (state.moments != 0)).any()
        vectors.append(vector)
    np.testing.assert_allclose(*vectors, rtol=0, atol=100 * np.finfo(dtype).eps)
