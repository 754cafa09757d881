"""A training run in a web page of this machine, while it runs: the boundary, the loss, the gradient of each layer.

The page asks for a state twice a second; a state is taken between two steps and holds some thousand numbers, so that
watching costs next to nothing. Nothing is served but the page and the state, and only to this machine.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from .callbacks import Callback, Run
from .errors import InputError
from .network import MLP
from .plot import boundary, layers
from .plot.style import COLOURS

HOST = "127.0.0.1"
SECONDS = 0.5  # between two states
GRID = 64  # points each way at which the network is asked
_SAMPLE = 1000  # rows that are drawn, and whose gradient is taken
_LONGEST = 400  # points of a curve


class LiveView(Callback):
    """A callback that shows the run at `url`, http://127.0.0.1:port/, until `close` or the end of the process.

    x, y : the data, of which up to 1,000 rows are drawn, and give the gradients shown. port : 0 for any that is free.
    standardise : with `.apply(x, dtype)`, from the units of x to those of the network. classes : their names.

        view = fastbp.LiveView(x, y)
        print(view.url)
        fastbp.train(net, params, x, y, callbacks=[view])

    InputError for a port that is taken.
    """

    def __init__(
        self, x: Any, y: Any, *, port: int = 0, standardise: Any = None, classes: Sequence[Any] | None = None
    ) -> None:  # fmt: skip
        x, y = np.asarray(x), np.asarray(y)
        chosen = np.random.default_rng(0).permutation(len(x))[:_SAMPLE]
        self._x, self._y, self._standardise = x[chosen], y[chosen], standardise
        self._region = boundary.region(x) if x.ndim == 2 and x.shape[1] == 2 else None
        self._curves = _Curves()  # of the run that is on
        self._taken_at = 0.0
        self._state = b"{}"
        self.data = b"{}" if self._region is None else self._points(classes)
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"the live view cannot listen at {HOST}, port {port}: {error}; 0 takes a free one"
            ) from None
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="fastbp live view", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    @property
    def state(self) -> bytes:
        """The last state, as JSON."""
        return self._state

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()

    def on_start(self, run: Run) -> None:
        """The state before the first step; the curves of a run before are over."""
        self._curves = _Curves()
        self._take(run, is_over=False)

    def on_progress(self, run: Run) -> None:
        """A new state, if the last one is old enough."""
        if time.perf_counter() - self._taken_at >= SECONDS:
            self._take(run, is_over=False)

    def on_end(self, run: Run) -> None:
        """The last state."""
        self._take(run, is_over=True)

    def _points(self, classes: Sequence[Any] | None) -> bytes:
        """The rows that are drawn, as JSON, with the names and colours of the classes."""
        codes = np.asarray(self._y, np.float64).reshape(len(self._x), -1)[:, 0]
        n = int(codes.max(initial=1)) + 1
        names = [str(name) for name in (range(max(2, n)) if classes is None else classes)]
        points = np.column_stack([self._x, codes]).astype(float).tolist()
        return json.dumps({"points": points, "classes": names, "colours": COLOURS}).encode()

    def _take(self, run: Run, *, is_over: bool) -> None:
        self._taken_at = time.perf_counter()
        net, params = run.net, run.params
        inputs = self._x if self._standardise is None else self._standardise.apply(self._x, params.dtype)
        self._curves.add([run.step, run.loss, *layers.gradient_sizes(net, params, inputs, self._y)])
        names = ("step", "loss", *(f"W{k + 1}" for k in range(len(net.layers))))
        state = {
            "net": str(net), "step": run.step, "last_step": run.last_step, "epoch": run.epoch, "is_over": is_over,
            "samples_per_second": _number(run.samples_per_second), "curves": self._curves.columns(names),
        }  # fmt: skip
        if self._region is not None and boundary.can_be_drawn(net):
            state["boundary"] = self._boundary(net, params)
        self._state = json.dumps(state).encode()

    def _boundary(self, net: MLP, params: Any) -> dict[str, Any]:
        """What the network answers on a grid, a byte a point."""
        low, high = self._region
        points = np.stack(np.meshgrid(*np.linspace(low, high, GRID).T), axis=-1).reshape(-1, 2)
        points = points if self._standardise is None else self._standardise.apply(points, params.dtype)
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


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _handler(view: LiveView) -> type[BaseHTTPRequestHandler]:
    """What answers requests for a view's page and state."""
    page = importlib.resources.files(__package__).joinpath("live.html").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/": ("text/html; charset=utf-8", page),
                "/data": ("application/json", view.data),
                "/state": ("application/json", view.state),
            }
            host = self.headers.get("Host", "").rpartition(":")[0]
            # Another name is another site's, whose pages a browser would let read this one (DNS rebinding).
            if host not in (HOST, "localhost") or self.path not in answers:
                self.send_error(404)
                return
            kind, content = answers[self.path]
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
