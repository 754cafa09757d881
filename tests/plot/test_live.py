"""The live view: what it serves, to whom, and that it is the run."""

import base64
import contextlib
import json
import signal
import threading
import types
import urllib.error
import urllib.request

import numpy as np
import pytest
from scipy import sparse

import fastbp
from fastbp import callbacks
from fastbp.cli.main import main
from fastbp.data import Standardize
from fastbp.errors import DivergenceError, InputError
from fastbp.plot import live

NET = fastbp.MLP((2, 6, 1), bias=False)
X, Y = fastbp.data.spirals(3000)
CLASSES = fastbp.MLP((2, 5, 3), activation="tanh", loss="cross_entropy")


@pytest.fixture
def watch(monkeypatch):
    """Makes views that take a state at every chance, and are closed behind the test."""
    monkeypatch.setattr(live, "SECONDS", 0.0)
    monkeypatch.setattr(live, "_PER_COST", 0.0)
    views = []

    def make(*arguments, **options):
        views.append(fastbp.LiveView(*arguments, **options))
        return views[-1]

    yield make
    for view in views:
        view.close()


def fetched(view, path="", host=None):
    """What a path of the page holds."""
    headers = {} if host is None else {"Host": host}
    with urllib.request.urlopen(urllib.request.Request(view.url + path, headers=headers)) as answer:
        return answer.read()


def test_the_state_is_that_of_the_run(watch):
    """Step, curves, and what the network answers on the grid; as the parameters are at the end."""
    view = watch(X, Y)
    assert json.loads(fetched(view, "state")) == {}
    result = fastbp.train(NET, NET.init(0), X, Y, steps=30, batch_size=100, callbacks=[view])
    state = json.loads(fetched(view, "state"))
    assert (state["net"], state["step"], state["last_step"], state["ended"]) == (str(NET), 30, 30, "done")
    assert set(state["flow"]) == {"step", "loss", "W1", "W2"}
    assert state["n_rows"] == 1000
    assert state["flow"]["step"][0] == 0
    assert state["flow"]["loss"][0] is None
    assert state["flow"]["step"][-1] == 30
    _, gradient = NET.value_and_grad(result.params, view._x, view._y)
    wanted = [float(np.sqrt(np.mean(w.astype(float) ** 2))) for w in gradient.weights]
    np.testing.assert_allclose([state["flow"][name][-1] for name in ("W1", "W2")], wanted, rtol=1e-6)
    grid = state["boundary"]
    n, low, high = grid["n"], grid["low"], grid["high"]
    answers = np.frombuffer(base64.b64decode(grid["answers"]), np.uint8).reshape(n, n)
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]])
    wanted = 255 * NET.forward(result.params, corners)[:, 0]
    np.testing.assert_allclose(answers[[0, 0, -1, -1], [0, -1, 0, -1]], wanted, atol=0.51)


def test_each_run_has_its_own_curves(watch):
    """A view of a second run shows nothing of the first."""
    view = watch(X, Y)
    for steps in (30, 5):
        fastbp.train(NET, NET.init(0), X, Y, steps=steps, callbacks=[view])
    assert set(json.loads(view.state)["flow"]["step"]) == {0, 5}


@pytest.mark.parametrize(("options", "names", "n"), [
    ({"epochs": 50, "batch_size": None}, {"step", "loss"}, 50),
    ({"epochs": 1000, "batch_size": None, "validation": 0.5}, {"step", "loss", "val_loss"}, 400),
])  # fmt: skip
def test_losses_are_those_of_the_epochs(options, names, n, watch):
    """All of them, or 400 from the first to the last."""
    view = watch(X, Y)
    x, y = X[:200], Y[:200]
    history = fastbp.train(NET, NET.init(0), x, y, callbacks=[view], **options).history
    losses = json.loads(view.state)["losses"]
    assert set(losses) == names
    assert len(losses["step"]) == n
    assert (losses["step"][0], losses["step"][-1]) == (1, options["epochs"])
    for name in names:
        np.testing.assert_array_equal(losses[name], history[name][np.array(losses["step"], int) - 1])


def test_losses_within_an_epoch_are_those_of_steps(watch):
    """As long as there is no epoch behind the run."""
    view = watch(X, Y)
    run = callbacks.Run(NET, NET.init(0), None, {}, loss=0.5)
    for step in (0, 10, 20):
        run.step = step
        view.on_progress(run)
    assert json.loads(view.state)["losses"] == {"step": [0, 10, 20], "loss": [0.5] * 3}


@pytest.mark.parametrize(("make", "ended"), [
    (lambda run: run.stop("it is enough"), "it is enough"),
    (lambda run: 1 / 0, "division by zero"),
    (lambda run: signal.raise_signal(signal.SIGINT), "interrupted"),
])  # fmt: skip
def test_the_end_is_told(make, ended, watch):
    """Why there will be no other state; the error goes on to the caller."""
    view = watch(X, Y)
    with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt):
        fastbp.train(NET, NET.init(0), X, Y, epochs=300, callbacks=[view, make])
    assert json.loads(view.state)["ended"] == ended


def test_divergence_is_told(watch):
    """With step and reason."""
    net = fastbp.MLP((2, 4, 1), activation="relu", loss="squared_error")
    view = watch(X, X[:, :1])
    with pytest.raises(DivergenceError) as error:
        fastbp.train(net, net.init(0), X, 1e3 * X[:, :1], optimizer=fastbp.optim.sgd(1e3), steps=100, callbacks=[view])
    assert json.loads(view.state)["ended"] == str(error.value)


@pytest.mark.parametrize("n_inputs", [2, 5])
def test_sparse_inputs(n_inputs, watch):
    """The same state as of the same inputs made dense."""
    x = sparse.random_array((300, n_inputs), density=0.5, rng=np.random.default_rng(0), dtype=np.float32)
    net = fastbp.MLP((n_inputs, 4, 1))
    states = []
    for inputs in (sparse.coo_array(x), x.toarray()):
        view = watch(inputs, np.arange(300) % 2)
        fastbp.train(net, net.init(0), x.toarray(), np.arange(300) % 2, steps=3, callbacks=[view])
        states.append(json.loads(view.state))
    for name in ("W1", "W2"):
        np.testing.assert_allclose(states[0]["flow"][name], states[1]["flow"][name], rtol=1e-6)
    assert states[0].get("boundary") == states[1].get("boundary")
    assert ("boundary" in states[0]) == (n_inputs == 2)


@pytest.mark.parametrize(("x", "y", "shapes"), [
    (X, Y[:5], r"\(3000, 2\) and \(5,\)"), (X[0], Y[:2], r"\(2,\) and \(2,\)"), (X[:0], Y[:0], r"\(0, 2\) and \(0,\)"),
])  # fmt: skip
def test_data_that_cannot_be_shown_are_refused(x, y, shapes):
    """With both shapes."""
    with pytest.raises(InputError, match=rf"x must be \(N, n_inputs\) with a y for each row; got shapes {shapes}"):
        fastbp.LiveView(x, y)


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_page_that_looks_sees_the_end(is_watched, watch):
    """The view waits for it before it closes, and for nobody else."""
    view = watch(X, Y)
    if is_watched:
        fetched(view, "state")
    fastbp.train(NET, NET.init(0), X, Y, steps=3, callbacks=[view])
    closing = threading.Thread(target=view.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive() == is_watched
    if is_watched:
        assert json.loads(fetched(view, "state"))["ended"] == "done"
    closing.join(5)
    assert not closing.is_alive()
    with pytest.raises(urllib.error.URLError):
        fetched(view, "state")


def test_the_data_are_a_sample(watch):
    """At most 1,000 rows, each with its class, the names as given."""
    data = json.loads(fetched(watch(X, Y, classes=["cat", "dog"]), "data"))
    rows = {(*point, float(code)) for point, code in zip(X.astype(float).tolist(), Y, strict=True)}
    assert len(data["points"]) == 1000
    assert {tuple(point) for point in data["points"]} <= rows
    assert data["classes"] == ["cat", "dog"]


@pytest.mark.parametrize(("net", "x", "y"), [
    (CLASSES, X, np.arange(3000) % 3),
    (fastbp.MLP((2, 4, 1), loss="squared_error"), X, X[:, :1]),
    (fastbp.MLP((5, 4, 2), loss="squared_error"), np.ones((40, 5)), np.ones((40, 2))),
])  # fmt: skip
def test_networks_of_every_kind(net, x, y, watch):
    """A boundary where there is one, with the class that wins."""
    view = watch(x, y)
    params = fastbp.train(net, net.init(0), x, y, steps=3, callbacks=[view]).params
    state = json.loads(fetched(view, "state"))
    assert state["step"] == 3
    assert ("boundary" in state) == (net is CLASSES)
    if net is CLASSES:
        assert not state["boundary"]["is_binary"]
        answers = np.frombuffer(base64.b64decode(state["boundary"]["answers"]), np.uint8)
        assert answers[0] == net.predict(params, np.array([state["boundary"]["low"]]))[0]


def test_the_grid_is_in_the_units_of_the_data(watch):
    """Standardized on its way to the network."""
    standardize = Standardize(np.array([3.0, -1.0]), np.array([0.5, 2.0]))
    view = watch(X, Y, standardize=standardize)
    inputs = standardize.apply(X, np.float32)
    params = fastbp.train(NET, NET.init(0), inputs, Y, steps=3, callbacks=[view]).params
    grid = json.loads(fetched(view, "state"))["boundary"]
    wanted = 255 * NET.forward(params, standardize.apply(np.array([grid["low"]]), np.float32))[0, 0]
    assert abs(base64.b64decode(grid["answers"])[0] - wanted) <= 0.51


def test_the_page(watch):
    """One file that loads nothing from elsewhere."""
    page = fetched(watch(X, Y)).decode()
    assert page.startswith("<!doctype html>")
    assert "http" not in page


@pytest.mark.parametrize(("path", "host"), [("other", None), ("../cli.py", None), ("state", "evil.example:80")])
def test_nothing_else_is_served(path, host, watch):
    """No other path, and nothing under another name than that of this machine."""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(watch(X, Y), path, host)


def test_it_listens_to_this_machine_alone(watch):
    """The address of the loopback device."""
    view = watch(X, Y)
    assert view._server.socket.getsockname()[0] == "127.0.0.1"
    assert view.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_refused(watch):
    """With the port, and a way out."""
    port = int(watch(X, Y).url.rsplit(":", 1)[1][:-1])
    for wrong in (port, 70_000):
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {wrong}: .*; 0 takes a free one"):
            fastbp.LiveView(X, Y, port=wrong)


@pytest.mark.parametrize(("cost", "n"), [(0.0, 17), (0.008, 3)])
def test_states_are_rare(cost, n, monkeypatch):
    """A quarter of the time so far lies between two of them, but SECONDS at the most; and 100 times what one costs."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(live.time, "perf_counter", lambda: clock.now)
    view = fastbp.LiveView(X, Y)
    states = []

    def take(run):
        states.append(clock.now)
        view._taken_at, view._cost = clock.now, cost

    monkeypatch.setattr(view, "_take", take)
    view.on_start(None)
    view._cost = cost
    for hundredth in range(1, 260):
        clock.now = hundredth / 100
        view.on_progress(None)
    waited, wanted = np.diff(states), np.maximum(np.minimum(0.5, 0.25 * np.array(states[1:])), 100 * cost)
    assert len(waited) == n
    assert (np.abs(waited - wanted) < 0.0101).all()  # there is a chance every hundredth of a second
    monkeypatch.undo()
    view.close()


def test_curves_have_a_limited_length():
    """Spread over the whole run, in order, with the first and the last row."""
    curves = live._Curves()
    for k in range(5000):
        curves.add([k, k])
        rows = [row[0] for row in curves.rows]
        assert (rows[0], rows[-1]) == (0, k)
        assert len(rows) <= 401
    gaps = np.diff(rows)
    assert gaps[:-1].min() == gaps[:-1].max()


def test_the_command_line_names_the_address(tmp_path, monkeypatch, capsys):
    """And shows the run from its start to its end."""
    monkeypatch.chdir(tmp_path)
    close = live.LiveView.close
    states = []
    monkeypatch.setattr(live.LiveView, "close", lambda view: (states.append(json.loads(view.state)), close(view)))
    assert main(["train", "--samples", "200", "--steps", "3", "--no-plots", "--live"]) == 0
    assert "watch it at http://127.0.0.1:" in capsys.readouterr().out
    assert [(state["step"], state["ended"], state["flow"]["step"][0]) for state in states] == [(3, "done", 0)]
    assert main(["train", "--samples", "200", "--steps", "3", "--no-plots", "--live", "--memory-limit", "1GB"]) == 2
    assert "--live needs the data in memory" in capsys.readouterr().err
