"""The live view: what it serves, to whom, and that it is the run."""

import base64
import json
import math
import urllib.error
import urllib.request

import numpy as np
import pytest

import fastbp
from fastbp import live
from fastbp.cli import main
from fastbp.data import Standardise
from fastbp.errors import InputError

NET = fastbp.MLP((2, 6, 1), bias=False)
X, Y = fastbp.data.spirals(3000)
CLASSES = fastbp.MLP((2, 5, 3), activation="tanh", loss="cross_entropy")


@pytest.fixture
def watch(monkeypatch):
    """Makes views that take a state at every chance, and are closed behind the test."""
    monkeypatch.setattr(live, "SECONDS", 0.0)
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
    assert (state["net"], state["step"], state["last_step"], state["is_over"]) == (str(NET), 30, 30, True)
    assert set(state["curves"]) == {"step", "loss", "W1", "W2"}
    assert state["curves"]["step"][0] == 0
    assert state["curves"]["loss"][0] is None
    assert state["curves"]["step"][-1] == 30
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
    assert set(json.loads(view.state)["curves"]["step"]) == {0, 5}


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
    """Standardised on its way to the network."""
    standardise = Standardise(np.array([3.0, -1.0]), np.array([0.5, 2.0]))
    view = watch(X, Y, standardise=standardise)
    inputs = standardise.apply(X, np.float32)
    params = fastbp.train(NET, NET.init(0), inputs, Y, steps=3, callbacks=[view]).params
    grid = json.loads(fetched(view, "state"))["boundary"]
    wanted = 255 * NET.forward(params, standardise.apply(np.array([grid["low"]]), np.float32))[0, 0]
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


def test_states_are_rare(monkeypatch):
    """Between two of them lies SECONDS, however often there is a chance."""
    view = fastbp.LiveView(X, Y)
    states = []
    monkeypatch.setattr(view, "_take", lambda run, is_over: states.append(is_over))
    monkeypatch.setattr(view, "_taken_at", math.inf)
    fastbp.train(NET, NET.init(0), X, Y, steps=30, batch_size=100, callbacks=[view])
    assert states == [False, True]
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
    """And takes a state while it trains."""
    monkeypatch.chdir(tmp_path)
    states = []
    monkeypatch.setattr(live.LiveView, "on_progress", lambda view, run: states.append(fetched(view, "data")))
    assert main(["train", "--samples", "200", "--steps", "3", "--no-plots", "--live"]) == 0
    assert "watch it at http://127.0.0.1:" in capsys.readouterr().out
    assert states
    assert main(["train", "--samples", "200", "--steps", "3", "--no-plots", "--live", "--memory-limit", "1GB"]) == 2
    assert "--live needs the data in memory" in capsys.readouterr().err
