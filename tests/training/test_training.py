"""Training: what a step is, which rows it takes, what is recorded of it, and when it ends."""

import json
import re

import numpy as np
import pytest

import fastbp
from fastbp import optim, reference
from fastbp.callbacks import Callback, EarlyStopping
from fastbp.errors import DivergenceError, InputError
from fastbp.model.network import MLP

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


def train(net, n_rows=100, dtype=np.float64, **options):
    x, y = make_data(net, n_rows)
    length = {} if "epochs" in options else {"steps": 20}
    return fastbp.train(net, net.init(0, dtype=dtype), x, y, **{**length, **options})


def batches_of(n_rows, batch_size, order):
    """The rows of batch after batch, for ever; the order is given, epoch after epoch."""
    epoch = 0
    while True:
        rows = np.resize(np.roll(order, -epoch * n_rows), n_rows)
        yield from (rows[start : start + batch_size] for start in range(0, n_rows, batch_size))
        epoch += 1


# -- steps -----------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_learning_rate_times_the_mean_gradient(name, batch_size):
    """Parameters and losses are those of p -= rate dL/dp on the reference, batch after batch, with all that weighs."""
    net, rng = NETWORKS[name], np.random.default_rng(1)
    x, y = make_data(net)
    order = np.concatenate([rng.permutation(100) for _ in range(3)])
    weights, penalties = rng.random(100), {"l1": 0.003, "l2": 0.01}
    result = train(
        net, optimizer=optim.sgd(0.1), batch_size=batch_size, order=order, sample_weight=weights, snapshots=range(21),
        **penalties,
    )  # fmt: skip
    wanted, losses = net.init(0, dtype=np.float64), []
    for step, rows in zip(range(1, 21), batches_of(100, batch_size or 100, order), strict=False):
        loss, grad = reference.value_and_grad(net, wanted, x[rows], y[rows], sample_weight=weights[rows], **penalties)
        wanted.vector -= 0.1 * grad.vector
        losses.append((loss, weights[rows].sum()))
        np.testing.assert_allclose(result.snapshots[step].vector, wanted.vector, rtol=1e-9, atol=1e-12)
    values, shares = np.transpose(losses[: -(-100 // (batch_size or 100))])
    assert result.history["loss"][0] == pytest.approx(np.average(values, weights=shares), rel=1e-12)
    assert result.history["data_loss"][0] < result.history["loss"][0]


def test_the_order_of_rows_follows_from_seed_and_epoch():
    """Every epoch takes all rows once, in another order; another seed gives another result."""
    net = NETWORKS["lecture"]
    runs = [train(net, epochs=3, batch_size=32, seed=seed).params.vector for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    whole = [train(net, epochs=3, batch_size=None, seed=seed).params.vector for seed in (0, 1)]
    np.testing.assert_array_equal(*whole)


def test_sequential_batches_are_given_ones():
    """order="sequential" is the order 0, 1, 2, ..."""
    net = NETWORKS["classes"]
    runs = [train(net, batch_size=30, order=order).params.vector for order in ("sequential", np.arange(100))]
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("batch_size", [None, 3000, 9000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_on_any_number_of_threads(dtype, batch_size, dropout):
    """One seed gives one result, bit by bit, for 1 and 2 threads and again, in both families of kernels."""
    for net in (MLP((2, 100, 1), bias=False), MLP((20, 150, 40, 3), activation="relu", loss="cross_entropy")):
        options = {"dtype": dtype, "batch_size": batch_size, "steps": 7, "dropout": dropout}
        runs = [train(net, 20_000, n_threads=n, **options) for n in (1, 2, 2, None)]
        assert len({run.params.vector.tobytes() for run in runs}) == 1
        assert len({run.history["loss"].tobytes() for run in runs}) == 1


def test_a_step_alone_is_a_step_of_many():
    """One by one, for a callback, or many in a compiled call: the same bits."""

    class Watch(Callback):
        def on_step(self, run):
            self.steps = [*getattr(self, "steps", []), run.step]

    watch = Watch()
    runs = [train(NETWORKS["classes"], batch_size=32, callbacks=callbacks) for callbacks in ([watch], [])]
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)
    assert watch.steps == list(range(1, 21))


def test_training_goes_on_from_its_state():
    """Two runs, the second with opt_state, are one: order, momentum and dropout go on."""
    options = {"batch_size": 32, "dropout": 0.2, "optimizer": optim.adam(optim.cosine(0.01, 50), ema_decay=0.9)}
    for net in NETWORKS.values():
        whole, first = train(net, steps=9, **options), train(net, steps=5, **options)
        x, y = make_data(net)
        second = fastbp.train(net, first.params, x, y, steps=4, opt_state=first.opt_state, **options)
        np.testing.assert_array_equal(second.params.vector, whole.params.vector)
        np.testing.assert_array_equal(second.opt_state.memory, whole.opt_state.memory)
        assert (first.opt_state.step, second.opt_state.step) == (5, 9)


def test_nothing_of_the_caller_s_is_written():
    """params, x, y, weights and order stay as they were."""
    net = NETWORKS["lecture"]
    x, y = make_data(net)
    given = (net.init(0), x, y.astype(float), np.ones(100), np.arange(100))
    before = [np.copy(array.vector if hasattr(array, "vector") else array) for array in given]
    result = fastbp.train(
        net, *given[:3], sample_weight=given[3], order=given[4], epochs=2, batch_size=9, validation=given[1:3]
    )
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array.vector if hasattr(array, "vector") else array, copy)
    assert not np.array_equal(result.params.vector, before[0])


# -- dropout and weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
def test_dropout_is_a_network_of_the_units_that_are_left(activation):
    """With one unit a layer, a step either trains the network scaled by 1 / (1 - q), or the last bias alone."""
    net = MLP((1, 1, 1), activation=activation, loss="squared_error")
    params = net.init(0, dtype=np.float64)
    params.vector[...] = [0.5, 0.2, 0.7, 0.1]
    x, y, seen = np.array([[0.8]]), np.array([[1.0]]), set()
    for seed in range(40):
        result = fastbp.train(net, params, x, y, optimizer=optim.sgd(0.1), steps=1, dropout=0.25, seed=seed)
        kept = result.history["loss"][0] != pytest.approx((0.1 - 1) ** 2 / 2)
        scaled = params.copy()
        scaled.weights[1][...] *= 4 / 3 if kept else 0
        loss, grad = reference.value_and_grad(net, scaled, x, y)
        grad.weights[1][...] *= 4 / 3 if kept else 0
        assert result.history["loss"][0] == pytest.approx(loss)
        np.testing.assert_allclose(result.params.vector, params.vector - 0.1 * grad.vector, rtol=1e-12)
        seen.add(bool(kept))
    assert seen == {True, False}


def test_dropout_of_inputs_leaves_them_out():
    """A step with input dropout is one on inputs of which some are 0, and the others 1 / (1 - q) as large."""
    net = MLP((1, 1), loss="squared_error", bias=False)
    params = fastbp.Parameters.from_vector(net, np.array([0.5]))
    x, y = np.ones((1000, 1)), np.zeros((1000, 1))
    result = fastbp.train(net, params, x, y, optimizer=optim.sgd(0.1), steps=1, input_dropout=0.2, batch_size=None)
    share = result.history["loss"][0] / (0.5 / 0.8) ** 2 * 2
    assert share == pytest.approx(0.8, abs=0.05)
    assert result.params.vector[0] == pytest.approx(0.5 - 0.1 * share * 0.5 / 0.8**2)


def test_class_weights_are_sample_weights():
    """{label: weight} and "balanced", alone and beside sample weights."""
    net = NETWORKS["classes"]
    _, y = make_data(net)
    weights, counts = np.random.default_rng(1).random(100), np.bincount(y)
    for class_weight, of_class in (({0: 3.0, 2: 0.5}, [3, 1, 0.5, 1]), ("balanced", 100 / (4 * counts))):
        runs = [
            train(net, batch_size=30, sample_weight=weights, class_weight=class_weight),
            train(net, batch_size=30, sample_weight=weights * np.array(of_class)[y]),
        ]
        np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)


# -- validation and the end ------------------------------------------------------------------------------


def test_validation_data_are_only_looked_at():
    """val_loss is the loss of the parameters after the epoch; metrics by name and by function."""
    net = NETWORKS["classes"]
    x, y = make_data(net)
    held = (x[80:], y[80:], np.arange(1.0, 21))

    def mistakes(wanted, y_pred):
        return np.sum(wanted != y_pred)

    result = fastbp.train(
        net, net.init(0), x[:80], y[:80], epochs=3, validation=held, metrics=["accuracy", "f1", mistakes],
        snapshots=[9],
    )  # fmt: skip
    history, params = result.history, result.snapshots[9]
    assert list(history) == [
        *("epoch", "step", "loss", "data_loss", "val_loss", "val_accuracy", "val_f1", "val_mistakes"),
        *("learning_rate", "seconds"),
    ]
    assert history["val_loss"][-1] == net.loss(params, *held[:2], sample_weight=held[2])
    right = net.predict(params, held[0]) == held[1]
    assert history["val_accuracy"][-1] == right.mean()
    assert history["val_mistakes"][-1] == (~right).sum()
    assert history["step"].tolist() == [3, 6, 9]


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_share_of_the_rows_is_held_out(batch_size):
    """The rest is trained on as if it were all there is, and the classes are split alike."""
    net = NETWORKS["classes"]
    x, y = make_data(net, 200)
    result = train(net, 200, validation=0.25, batch_size=batch_size, epochs=2, seed=5)
    train_rows, rows = fastbp.data.split(200, 0.25, np.random.default_rng((5, 2)), y)
    alone = fastbp.train(
        net, net.init(0, dtype=np.float64), x[train_rows], y[train_rows], validation=(x[rows], y[rows]), epochs=2,
        batch_size=batch_size, seed=5,
    )  # fmt: skip
    np.testing.assert_array_equal(result.params.vector, alone.params.vector)
    np.testing.assert_array_equal(result.history["val_loss"], alone.history["val_loss"])


@pytest.mark.parametrize("share", [0.1, 0.15, 0.25, 1 / 3])
@pytest.mark.parametrize("labels", [[1] * 40 + [2] * 3, [4] * 25, [50, 30, 13, 7], [3, 3, 3, 2]], ids=str)
def test_a_share_is_held_out_to_a_row(labels, share):
    """round(share N) rows are validated on, whatever the sizes of the classes, with early stopping as without."""
    y = np.repeat(np.arange(len(labels)), labels)
    net = MLP((2, 3, len(labels)), loss="cross_entropy")
    x, seen = np.random.default_rng(0).standard_normal((len(y), 2)), []
    for stopping in (None, 3):
        fastbp.train(
            net, net.init(0), x, y, epochs=1, validation=share, early_stopping=stopping,
            metrics=[lambda y, y_pred: seen.append(len(y)) or 0.0],
        )  # fmt: skip
    assert set(seen) == {round(share * len(y))}


def test_early_stopping_gives_back_the_best():
    """It ends `patience` epochs after the best one, whose parameters are the result."""
    net = MLP((3, 64, 1), activation="relu", loss="squared_error")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 3)), rng.standard_normal((60, 1))
    options = {"epochs": 500, "validation": 0.3, "optimizer": optim.adam(0.01)}
    result = fastbp.train(net, net.init(0), x, y, early_stopping=EarlyStopping(5), **options)
    losses = result.history["val_loss"]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 5
    assert result.stopped == f"val_loss has not improved for 5 epochs; the best was epoch {best}"
    again = fastbp.train(net, net.init(0), x, y, **{**options, "epochs": best})
    np.testing.assert_array_equal(result.params.vector, again.params.vector)
    last = fastbp.train(net, net.init(0), x, y, early_stopping=EarlyStopping(5, restore_best=False), **options)
    assert not np.array_equal(last.params.vector, result.params.vector)


def test_callbacks_hear_of_what_happens_and_can_stop_it():
    """A function after each epoch, an object at each event; True or stop() end the run after the epoch."""
    heard = []

    class Listener(Callback):
        def on_start(self, run):
            heard.append(("start", run.step))

        def on_end(self, run):
            heard.append(("end", run.step))

    def after_epoch(run):
        heard.append(("epoch", run.epoch))
        return run.epoch == 3

    result = train(NETWORKS["lecture"], epochs=10, batch_size=50, callbacks=[Listener(), after_epoch])
    assert heard == [("start", 0), ("epoch", 1), ("epoch", 2), ("epoch", 3), ("end", 6)]
    assert result.stopped == "a callback stopped it"
    assert len(result.history["epoch"]) == 3


def test_history_is_columns():
    """To CSV, JSON and a frame; an epoch that was not finished has a row, too."""
    history = train(NETWORKS["lecture"], steps=7, batch_size=30).history
    assert history["epoch"].tolist() == [1, 2]
    assert history["step"].tolist() == [4, 7]
    lines = history.to_csv().splitlines()
    assert lines[0] == "epoch,step,loss,data_loss,learning_rate,seconds"
    assert lines[2].startswith(f"2,7,{history['loss'][1]!r},".replace("np.float64(", "").replace(")", ""))
    assert json.loads(history.to_json())["step"] == [4, 7]
    frame = history.to_frame()
    assert frame["loss"].tolist() == history["loss"].tolist()
    assert 0 < history["seconds"][0] <= history["seconds"][1]


def test_the_plateau_lowers_the_rate():
    """reduce_on_plateau watches the loss of the epochs; the history shows the rate."""
    schedule = optim.reduce_on_plateau(0.1, factor=0.5, patience=0, min_delta=0.9)
    rates = train(NETWORKS["lecture"], epochs=4, optimizer=optim.sgd(schedule)).history["learning_rate"]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.025])


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_steps", "rate"), [(50, 1e3), (1, 1e38), (2, 1e30)])
@pytest.mark.parametrize("n_rows", [100, 20_000])
def test_divergence_leaves_the_last_sound_parameters(n_steps, rate, n_rows):
    """DivergenceError names step, batch, layer and learning rate; nothing of it reaches the caller's parameters."""
    net = MLP((3, 80, 50, 1), activation="identity", loss="squared_error")
    rng = np.random.default_rng(0)
    x, y = 10 * rng.standard_normal((n_rows, 3)), rng.standard_normal((n_rows, 1))
    params = net.init(0)
    before = params.vector.copy()
    training = fastbp.training.loop.Training(net, params, x, y, optimizer=optim.sgd(rate), batch_size=n_rows // 2)
    with pytest.raises(DivergenceError) as error:
        training.run(n_steps)
    found = re.fullmatch(
        r"the training diverged at step (\d+), batch [12] of epoch \d+, loss .*: overflow in the .*of 3\. "
        r"The learning rate .* is most likely too large; try .*, or clip_norm=1 in the optimizer\. "
        r"The parameters are those of the last step whose loss was finite",
        str(error.value),
    )
    assert 1 <= int(found[1]) <= n_steps
    assert np.isfinite(net.loss(training.params, x, y))
    np.testing.assert_array_equal(params.vector, before)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_bad_numbers_are_named_by_their_row(batch_size):
    """NaN in x, and a label that is none, wherever the batch has them."""
    net = NETWORKS["classes"]
    x, y = make_data(net)
    x[63, 1] = np.nan
    with pytest.raises(InputError, match="x must be finite; got nan at row 63, column 1"):
        fastbp.train(net, net.init(0), x, y, epochs=1, batch_size=batch_size)
    x[63, 1], y[41] = 0, 4
    with pytest.raises(InputError, match=r"y must hold labels 0 to 3.* got 4 at row 41"):
        fastbp.train(net, net.init(0), x, y, epochs=1, batch_size=batch_size)
