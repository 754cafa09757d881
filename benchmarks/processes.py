"""Every measurement runs in a process of its own, with its own environment, on the same CPUs and number of threads."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import statistics
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .peers import flat

_SPAWN = multiprocessing.get_context("spawn")
_WARM_SECONDS = 0.2
_PAUSE_SECONDS = 0.02  # between rounds: thread pools spin for a while before they sleep


class UnavailableError(Exception):
    """Why something cannot be measured here."""


class Job(NamedTuple):
    """`prepare(*arguments)` in the process gives the call to be timed; see `peers`.

    `prepare(*fewer_rows)` gives a smaller call, to compare results by.
    """

    prepare: Callable[..., Callable[[], tuple[Any, list[Any]]]]
    arguments: tuple[Any, ...]
    environment: Mapping[str, str] | None = None
    fewer_rows: tuple[Any, ...] | None = None
    is_same_function: bool = True


class Process:
    """A job, prepared and warm in a process of its own; each `round` times some calls. To be used as a context."""

    def __init__(self, job: Job, n_threads: int, timeout: float):
        self._timeout = timeout
        self._process, self._connection = _start(_serve, (job.prepare, job.arguments), job.environment or {}, n_threads)
        self.loss, self.gradient = self._receive()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._connection.close()
        _end(self._process)

    def round(self, seconds: float) -> float:
        """The median time of a call, over as many calls as fit in `seconds`, at least one."""
        time.sleep(_PAUSE_SECONDS)
        self._connection.send(seconds)
        return self._receive()

    def _receive(self) -> Any:
        try:
            return _receive(self._connection, self._timeout)
        except UnavailableError:
            _end(self._process)
            raise


def run(function: Callable[..., Any], *arguments: Any, n_threads: int, timeout: float, **environment: str) -> Any:
    """function(*arguments) in a process of its own."""
    process, connection = _start(_answer, (function, arguments), environment, n_threads)
    try:
        return _receive(connection, timeout)
    finally:
        _end(process)


def available_cpus() -> list[int]:
    """The CPUs this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


# -- the parent's side -----------------------------------------------------------------------------------------------


def _start(target: Callable, arguments: tuple[Any, ...], environment: Mapping[str, str], n_threads: int) -> Any:
    """The started process, and our end of a pipe to it."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=target, args=(there, n_threads, *arguments), daemon=True)
    with _environment({**_threads(n_threads), **environment}):
        process.start()
    there.close()
    return process, here


def _threads(n_threads: int) -> dict[str, str]:
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {
        **{f"{name}_NUM_THREADS": str(n_threads) for name in names},
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(n_threads > 1).lower()}",
        "NPROC": str(n_threads),  # the size of XLA's pool
        "JAX_PLATFORMS": "cpu",
    }


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """What a process started inside sees. Allocators and thread pools read it when a process starts, not later."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _receive(connection: Any, timeout: float) -> Any:
    if not connection.poll(timeout):
        raise UnavailableError(f"not ready within {timeout:.0f} s")
    try:
        kind, answer = connection.recv()
    except EOFError:
        raise UnavailableError("its process ended without an answer") from None
    if kind == "failed":
        raise UnavailableError(answer)
    return answer


def _end(process: Any) -> None:
    process.join(1)
    if process.is_alive():
        process.kill()
        process.join()


# -- the process's side ----------------------------------------------------------------------------------------------


def _serve(connection: Any, n_threads: int, prepare: Callable, arguments: tuple[Any, ...]) -> None:
    with _reported(connection, n_threads):
        call = prepare(*arguments)
        result = flat(call())
        _timed_round(call, _WARM_SECONDS)
        connection.send(("ready", result))
        with contextlib.suppress(EOFError):
            while True:
                connection.send(("timed", _timed_round(call, connection.recv())))


def _answer(connection: Any, n_threads: int, function: Callable, arguments: tuple[Any, ...]) -> None:
    with _reported(connection, n_threads):
        connection.send(("done", function(*arguments)))


@contextlib.contextmanager
def _reported(connection: Any, n_threads: int) -> Iterator[None]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, available_cpus()[:n_threads])
    warnings.simplefilter("ignore")
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        first_line = str(error).strip().partition("\n")[0]
        connection.send(("failed", f"{type(error).__name__}: {first_line}"))


def _timed_round(call: Callable[[], Any], seconds: float) -> float:
    """Like timeit: collected before, no collection during, and the result of each call dropped after it is timed."""
    times = []
    gc.collect()
    gc.disable()
    stop = time.perf_counter() + seconds
    try:
        while not times or time.perf_counter() < stop:
            start = time.perf_counter()
            result = call()
            times.append(time.perf_counter() - start)
            del result
    finally:
        gc.enable()
    return statistics.median(times)


def memory_above_input(prepare: Callable, small: tuple[Any, ...], full: tuple[Any, ...]) -> int:
    """Bytes by which one call raises the process's peak resident memory above what it holds before, inputs included.

    small : arguments of `prepare` for a batch that compiles and warms everything; full : those for the batch.
    """
    # In a thread of its own, so that scratch memory kept for the thread goes with it and is counted below.
    warming = threading.Thread(target=lambda: prepare(*small)())
    warming.start()
    warming.join()
    call = prepare(*full)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc: what is free but held would hide as much of what the call takes
    _reset_peak()
    before = _status_bytes("VmRSS")
    call()
    return _status_bytes("VmHWM") - before


def _reset_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError as error:
        raise UnavailableError(f"the peak of resident memory cannot be reset here: {error}") from None


def _status_bytes(field: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field + ":"))
    return 1024 * int(line.split()[1])


def result_of(prepare: Callable, arguments: tuple[Any, ...]) -> tuple[float, Any]:
    """Loss and gradient of a call, as `flat` gives them."""
    return flat(prepare(*arguments)())


def first_call(prepare: Callable, arguments: tuple[Any, ...]) -> float:
    """Seconds of the first call in this process; what the call needs is imported before."""
    import fastbp.engine.backprop  # noqa: F401

    call = prepare(*arguments)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
