"""SIGINT and SIGTERM while a training runs: seen at once, but never in the middle of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Terminated(SystemExit):
    """SIGTERM came; the process ends with 128 + 15, unless someone catches this."""

    def __init__(self, message: str = "") -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message


class Interrupts:
    """As a context: turns signals into KeyboardInterrupt and `Terminated`, outside of `held` at once, else after it.

    Does nothing outside of the main thread, where Python delivers no signals.
    """

    def __init__(self) -> None:
        self._is_held, self._came = False, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # What someone has chosen to ignore, or to handle otherwise, stays so.
                if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @property
    def came(self) -> bool:
        """Whether a signal is waiting."""
        return self._came != 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What runs inside is not interrupted, but asked to end early by `came`."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._came:
            self._raise(self._came)

    def _handle(self, number: int, frame: Any) -> None:
        if self._is_held:
            self._came = self._came or number
            return
        self._raise(number)

    def _raise(self, number: int) -> None:
        self._came = 0
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated
