"""A training run in a web page of this machine, while it runs: the boundary, the loss, the gradient of each layer.

The page asks for a state four times a second; a state is taken between two steps and holds some thousand numbers, so
that watching costs next to nothing. Nothing is served but the page and the state, and only to this machine.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from ..errors import InputError
from ..model.network import MLP
from ..training.callbacks import Callback, Run
from . import boundary, layers
from .style import COLORS

HOST = "127.0.0.1"
SECONDS = 0.5  # between two states at the most; fewer at the beginning, where most happens
GRID = 64  # points each way at which the network is asked
_OF_THE_RUN = 0.25  # of its time so far lies between two states
_PER_COST = 100  # and so many times as long as the last one took: a percent of the run
_SAMPLE = 1000  # rows that are drawn, and whose gradient is taken
_LONGEST = 400  # points of a curve
_POLL = 0.25  # seconds after which the page asks again
_HEARS = 0.1  # seconds after which the server hears that it is to close


class LiveView(Callback):
    """A callback that shows the run at `url`, http://127.0.0.1:port/, until `close` or the end of the process.

    x, y : the data, of which up to 1,000 rows are drawn, and give the gradients shown; x may be sparse. port : 0 for
        any that is free. standardize : with `.apply(x, dtype)`, from the units of x to those of the network. classes :
        their names.

        view = fastbp.LiveView(x, y)
        print(view.url)
        fastbp.train(net, params, x, y, callbacks=[view])

    States are taken so rarely that they cost a run about 1 % of its time. InputError for a port that is taken.
    """

    def __init__(
        self, x: Any, y: Any, *, port: int = 0, standardize: Any = None, classes: Sequence[Any] | None = None
    ) -> None:  # fmt: skip
        x, y = x.tocsr() if hasattr(x, "tocsr") else np.asarray(x), np.asarray(y)
        if x.ndim != 2 or not x.shape[0] or x.shape[0] != len(y):
            raise InputError(f"x must be (N, n_inputs) with a y for each row; got shapes {x.shape} and {y.shape}")
        is_plane = x.shape[1] == 2
        x = x.toarray() if is_plane and hasattr(x, "toarray") else x
        chosen = np.random.default_rng(0).permutation(x.shape[0])[:_SAMPLE]
        self._x, self._y, self._standardize = x[chosen], y[chosen], standardize
        self._region = boundary.region(x) if is_plane else None
        self._start_anew()
        self._state, self._seen, self._looked_at = b"{}", b"", -math.inf
        self.data = self._points(classes) if is_plane else b"{}"
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"the live view cannot listen at {HOST}, port {port}: {error}; 0 takes a free one"
            ) from None
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(_HEARS,), name="fastbp live view", daemon=True
        ).start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    @property
    def state(self) -> bytes:
        """The last state, as JSON."""
        return self._state

    def look(self) -> bytes:
        """The last state, for a page that will ask again."""
        self._looked_at, self._seen = time.perf_counter(), self._state
        return self._state

    def close(self) -> None:
        """Serve no longer; a page that looks has seen the last state before."""
        looks_until = self._looked_at + 4 * _POLL  # a page that is still there has asked again
        while self._seen is not self._state and time.perf_counter() < looks_until:
            time.sleep(_POLL / 10)
        self._server.shutdown()
        self._server.server_close()

    # -- what a run tells ------------------------------------------------------------------------------

    def on_start(self, run: Run) -> None:
        """The state before the first step; the curves of a run before are over."""
        self._start_anew()
        self._take(run)
        self._cost = 0.0  # with what has to be loaded, but before the run

    def on_progress(self, run: Run) -> None:
        """A new state, if the last one is old enough."""
        now = time.perf_counter()
        wait = min(SECONDS, _OF_THE_RUN * (now - self._started_at))
        if now - self._taken_at >= max(wait, _PER_COST * self._cost):
            self._take(run)

    def on_end(self, run: Run) -> None:
        """The last state."""
        self._take(run, "done" if run.stopped is None else run.stopped)

    def on_error(self, run: Run, error: BaseException) -> None:
        """The last state, and why it is the last."""
        self._take(run, str(error) or "interrupted")

    # -- a state ---------------------------------------------------------------------------------------

    def _start_anew(self) -> None:
        self._curves = _Curves()
        self._started_at = self._taken_at = time.perf_counter()
        self._cost = 0.0

    def _points(self, classes: Sequence[Any] | None) -> bytes:
        """The rows that are drawn, as JSON, with the names and colors of the classes."""
        codes = np.asarray(self._y, np.float64).reshape(len(self._y), -1)[:, 0]
        n = int(codes.max(initial=1)) + 1
        names = [str(name) for name in (range(max(2, n)) if classes is None else classes)]
        points = np.column_stack([self._x, codes]).astype(float).tolist()
        return json.dumps({"points": points, "classes": names, "colors": COLORS}).encode()

    def _take(self, run: Run, ended: str = "") -> None:
        """Make a state; `ended` tells why no other will come."""
        self._taken_at = time.perf_counter()
        net, params = run.net, run.params
        inputs = self._x if self._standardize is None else self._standardize.apply(self._x, params.dtype)
        self._curves.add([run.step, run.loss, *layers.gradient_sizes(net, params, inputs, self._y)])
        flow = self._curves.columns(["step", "loss", *(f"W{k + 1}" for k in range(len(net.layers)))])
        state = {
            "net": str(net), "step": run.step, "last_step": run.last_step, "epoch": run.epoch, "ended": ended,
            "samples_per_second": _number(run.samples_per_second), "losses": _losses(run.history, flow), "flow": flow,
            "n_rows": len(self._y),
        }  # fmt: skip
        if self._region is not None and boundary.can_be_drawn(net):
            state["boundary"] = self._boundary(net, params)
        self._state = json.dumps(state).encode()
        self._cost = time.perf_counter() - self._taken_at

    def _boundary(self, net: MLP, params: Any) -> dict[str, Any]:
        """What the network answers on a grid, a byte a point."""
        low, high = self._region
        points = np.stack(np.meshgrid(*np.linspace(low, high, GRID).T), axis=-1).reshape(-1, 2)
        points = points if self._standardize is None else self._standardize.apply(points, params.dtype)
        response = net.forward(params, points)
        is_binary = response.shape[1] <= 2
        answers = np.rint(255 * response[:, -1]) if is_binary else response.argmax(axis=1)
        return {
            "low": low.tolist(), "high": high.tolist(), "n": GRID, "is_binary": is_binary,
            "answers": base64.b64encode(answers.astype(np.uint8).tobytes()).decode(),
        }  # fmt: skip


class _Curves:
    """Rows over the whole run, at most _LONGEST: when there are more every second one goes, and fewer come."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self._every, self._seen = 1, 0

    def add(self, row: list[float]) -> None:
        """A row; the last one is always there."""
        if self.rows and (self._seen - 1) % self._every:
            self.rows.pop()
        self.rows.append(row)
        self._seen += 1
        if len(self.rows) > _LONGEST:
            self.rows = self.rows[::2]
            self._every *= 2

    def columns(self, names: Sequence[str]) -> dict[str, list[float | None]]:
        """By name; what is no number as null."""
        return {name: [_number(row[k]) for row in self.rows] for k, name in enumerate(names)}


def _losses(history: Mapping[str, np.ndarray], flow: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Those of the epochs; while there are fewer of them than states, the losses of single steps."""
    n = len(history.get("step", ()))
    if n < len(flow["step"]):
        return {name: flow[name] for name in ("step", "loss")}
    rows = np.unique(np.linspace(0, n - 1, _LONGEST).astype(int))
    names = [name for name in ("step", "loss", "val_loss") if name in history]
    return {name: [_number(value) for value in history[name][rows]] for name in names}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _handler(view: LiveView) -> type[BaseHTTPRequestHandler]:
    """What answers requests for a view's page and state."""
    page = importlib.resources.files(__package__).joinpath("live.html").read_bytes()
    answers = {
        "/": ("text/html; charset=utf-8", lambda: page),
        "/data": ("application/json", lambda: view.data),
        "/state": ("application/json", view.look),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            # Another name is another site's, whose pages a browser would let read this one (DNS rebinding).
            if host not in (HOST, "localhost") or self.path not in answers:
                self.send_error(404)
                return
            kind, make = answers[self.path]
            content = make()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the terminal is the training's."""

    return Handler
