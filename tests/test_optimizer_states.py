"""Optimisers where numbers and states are unusual: copies of a state, gradients whose squares are out of range."""

import copy
import pickle

import numpy as np
import pytest

from fastbp import optim, optimizers


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copied_state_has_memory_of_its_own(copied):
    """By `copy` and by pickle, too: a step of the twin leaves the original alone, and is the original's next step."""
    optimizer, vector = optim.adam(average=0.9), np.arange(5.0)
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
    row = optimizer.constants(0, 1)[0]
    assert optimizers.kernel_of(vector.dtype)(state.record, row, vector, gradient) == 1
