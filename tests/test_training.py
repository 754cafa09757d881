"""Gradient descent: what a step is, which rows it takes, and what happens when it diverges."""

import itertools
import re

import numpy as np
import pytest

from fastbp import reference
from fastbp.errors import DivergenceError, FastbpError, InputError
from fastbp.network import MLP
from fastbp.training import gradient_descent, steps_in

NETWORKS = {
    "lecture": MLP((2, 20, 1), bias=False),
    "classes": MLP((3, 8, 8, 4), activation="tanh", loss="cross_entropy"),
    "numbers": MLP((3, 8, 2), activation="relu", loss="squared_error"),
}
BATCHES = (None, 32, 7, 100, 1000)


def make_data(net, n_rows=100):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, net.n_inputs))
    if net.loss_function.name == "squared_error":
        return x, rng.standard_normal((n_rows, net.n_outputs))
    return x, rng.integers(max(2, net.n_outputs), size=n_rows)


def batches_of(n_rows, batch_size, seed):
    """The rows of batch after batch: in order if one holds them all, else as (seed, epoch) permutes them."""
    for epoch in itertools.count(1):
        order = np.arange(n_rows)
        if batch_size < n_rows:
            order = np.random.default_rng((seed, epoch)).permutation(n_rows)
        for start in range(0, n_rows, batch_size):
            yield order[start : start + batch_size]


def train(net, x, y, dtype=np.float64, **options):
    """(parameters, every Progress) of a descent from the same start."""
    params = net.init(0, dtype=dtype)
    return params, list(gradient_descent(net, params, x, y, **{"learning_rate": 0.1, "n_steps": 20, **options}))


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_learning_rate_times_the_mean_gradient(name, batch_size):
    """Parameters and losses are those of W -= learning_rate dL/dW on the reference, batch after batch."""
    net = NETWORKS[name]
    x, y = make_data(net)
    params, made = train(net, x, y, batch_size=batch_size, seed=3)

    wanted, losses = net.init(0, dtype=np.float64), []
    for rows in itertools.islice(batches_of(100, batch_size or 100, seed=3), 20):
        loss, grad = reference.value_and_grad(net, wanted, x[rows], y[rows])
        wanted.vector -= 0.1 * grad.vector
        losses.append(loss)
    np.testing.assert_allclose(params.vector, wanted.vector, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose([progress.loss for progress in made], losses, rtol=1e-12)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("batch_size", BATCHES)
def test_an_epoch_takes_every_row_once(batch_size):
    """Batches of an epoch add up to all rows, the last one smaller; steps and epochs are counted from 1."""
    net = NETWORKS["lecture"]
    x, y = make_data(net)
    length = steps_in(1, 100, batch_size)
    _, made = train(net, x, y, batch_size=batch_size, n_steps=2 * length + 1)
    assert [progress.step for progress in made] == list(range(1, 2 * length + 2))
    assert [progress.epoch for progress in made] == [1] * length + [2] * length + [3]
    assert sum(progress.n_rows for progress in made[:length]) == 100
    assert {progress.n_rows for progress in made[: length - 1]} <= {batch_size}
    assert all(progress.samples_per_second > 0 for progress in made)


@pytest.mark.parametrize(("epochs", "n_rows", "batch_size", "steps"), [
    (3, 100, None, 3), (3, 100, 100, 3), (3, 100, 1000, 3), (3, 100, 32, 12), (2, 1, 1, 2), (2, 101, 100, 4),
])  # fmt: skip
def test_steps_in_epochs(epochs, n_rows, batch_size, steps):
    """An epoch has as many steps as batches are needed to cover the rows."""
    assert steps_in(epochs, n_rows, batch_size) == steps


@pytest.mark.parametrize("batch_size", [None, 3000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_on_any_number_of_threads(dtype, batch_size):
    """One seed gives one result, bit by bit, for 1 and 2 threads and again; another seed gives another."""
    net = MLP((2, 100, 1), bias=False)
    x, y = make_data(net, 20_000)
    options = {"dtype": dtype, "batch_size": batch_size, "n_steps": 5}
    runs = [train(net, x, y, n_threads=n, **options) for n in (1, 2, 2, None)]
    assert len({params.vector.tobytes() for params, _ in runs}) == 1
    assert len({tuple(progress.loss for progress in made) for _, made in runs}) == 1
    if batch_size:
        other, _ = train(net, x, y, seed=1, **options)
        assert other.vector.tobytes() != runs[0][0].vector.tobytes()


def test_parameters_are_written_in_place_and_inputs_are_not():
    """`params` holds the result after each step; x and y stay as they were."""
    net = NETWORKS["lecture"]
    x, y = make_data(net)
    x_before, y_before = x.copy(), y.copy()
    params = net.init(0, dtype=np.float64)
    vector, seen = params.vector, []
    for _ in gradient_descent(net, params, x, y, learning_rate=0.1, n_steps=3, batch_size=10):
        seen.append(vector.copy())
    assert params.vector is vector
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(x, x_before)
    assert np.array_equal(y, y_before)


@pytest.mark.parametrize(("n_steps", "rate"), [(50, 1e3), (1, 1e39), (2, 1e30)])
def test_divergence_leaves_the_last_sound_parameters(n_steps, rate):
    """DivergenceError names step and learning rate, also at the last step; parameters keep a finite loss."""
    net = MLP((3, 8, 1), activation="identity", loss="squared_error")
    x, y = make_data(MLP((3, 8, 1), loss="squared_error"))
    params = net.init(0)
    steps = gradient_descent(net, params, 10 * x, y, learning_rate=rate, n_steps=n_steps)
    with pytest.raises(DivergenceError) as error:
        list(steps)
    assert isinstance(error.value, FastbpError)
    step = re.match(
        r"the descent diverged at step (\d+), loss .*: the learning rate .* is most likely too large; try ",
        str(error.value),
    )
    assert 1 <= int(step[1]) <= n_steps
    assert np.isfinite(params.vector).all()
    assert np.isfinite(net.loss(params, 10 * x, y))


@pytest.mark.parametrize(("options", "message"), [
    ({"learning_rate": 0.0}, "learning_rate must be a positive number; got 0.0"),
    ({"learning_rate": -1.0}, "learning_rate must be a positive number; got -1.0"),
    ({"learning_rate": float("nan")}, "learning_rate must be a positive number; got nan"),
    ({"learning_rate": float("inf")}, "learning_rate must be a positive number; got inf"),
    ({"n_steps": 0}, "n_steps must be a positive integer; got 0"),
    ({"batch_size": 0}, "batch_size must be a positive integer; got 0"),
])  # fmt: skip
def test_senseless_arguments_are_refused_at_once(options, message):
    """The call itself refuses them, before the first step is asked for."""
    net = NETWORKS["lecture"]
    x, y = make_data(net)
    with pytest.raises(InputError) as error:
        gradient_descent(net, net.init(0), x, y, **{"learning_rate": 0.1, "n_steps": 1, **options})
    assert str(error.value) == message
