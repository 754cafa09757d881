"""How many threads Numba runs kernels on, how a parallel kernel is launched, and what a fork does to them."""

from __future__ import annotations

import functools
import operator
import os
import threading
from typing import Any

import numba

from ..errors import InputError, ThreadError


class _Locks:
    """The two locks around Numba. A fork waits for both, and the child starts with new ones."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.compiling = threading.RLock()
        # Held while Numba is asked for its number of threads, for which it takes a lock of its own: one that is taken
        # at a fork is never free in the child. And held while Numba's own pool ("workqueue") runs a kernel: it aborts
        # the process when two Python threads enter it at once.
        self.pool = threading.RLock()

    def acquire(self) -> None:
        self.compiling.acquire()
        self.pool.acquire()

    def release(self) -> None:
        self.pool.release()
        self.compiling.release()


locks = _Locks()
_default_threads: int | None = None
_pool_lost = False


def _in_forked_child() -> None:
    global _pool_lost
    locks.renew()
    # GNU OpenMP does not survive a fork: the child would be killed at its first parallel kernel, or wait for ever. TBB
    # does not either if another Python thread has used it. Numba's own pool starts anew.
    _pool_lost = _pool_lost or threading_layer() in ("omp", "tbb")


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=locks.acquire, after_in_parent=locks.release, after_in_child=_in_forked_child)


def threading_layer() -> str | None:
    """The layer in use: omp, tbb or workqueue; None before Numba's threads have started."""
    try:
        return numba.threading_layer()
    except ValueError:
        return None


def max_threads() -> int:
    """As many threads as Numba starts: NUMBA_NUM_THREADS, the number of cores by default."""
    return numba.config.NUMBA_NUM_THREADS


def resolve_threads(n_threads: int | None = None) -> int:
    """The number of threads: the argument, else `set_num_threads`, else FASTBP_NUM_THREADS, else Numba's setting.

    1 in a process forked from one whose OpenMP or TBB threads had started: only the serial path is open there.
    ThreadError above Numba's maximum, InputError for what is no positive integer.
    """
    if n_threads is not None:
        n = _checked(n_threads, "n_threads")
    elif _default_threads is not None:
        n = _default_threads
    elif from_environment := threads_from_environment():
        n = from_environment
    else:
        # Asking Numba would start its threads; until they run its setting is its maximum.
        with locks.pool:
            n = numba.get_num_threads() if threading_layer() else max_threads()
    return 1 if _pool_lost else n


@functools.cache
def threads_from_environment() -> int:
    """FASTBP_NUM_THREADS as it was at the first call, 0 if it was not set."""
    text = os.environ.get("FASTBP_NUM_THREADS", "")
    return _checked(int(text) if text.isdecimal() else text, "FASTBP_NUM_THREADS") if text else 0


def set_num_threads(n_threads: int | None) -> None:
    """Set this process's default number of threads; None goes back to FASTBP_NUM_THREADS or Numba's setting."""
    global _default_threads
    _default_threads = None if n_threads is None else _checked(n_threads, "n_threads")


def _checked(value: Any, name: str) -> int:
    try:
        n = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        n = 0
    if n < 1:
        raise InputError(f"{name} must be a positive integer, got {value!r}")
    if n > max_threads():
        raise ThreadError(
            f"{name} must be at most {max_threads()}, the number of threads Numba has, got {n}; "
            f"for more, set NUMBA_NUM_THREADS={n} before Python starts"
        )
    return n


def launch(entry: Any, n_threads: int, *args: Any) -> Any:
    """Run a parallel entry on n_threads, and leave the caller's own Numba setting as it was."""
    if numba.config.DISABLE_JIT:
        return entry(*args)
    if _pool_lost:
        raise ThreadError(
            f"wanted a parallel kernel, but this process was forked after Numba's threads ({threading_layer()}) had "
            "started, and they do not survive a fork; use n_threads=1, or start processes with "
            "multiprocessing.get_context('spawn')"
        )
    kernel = entry.compile()
    with locks.pool:
        before = numba.get_num_threads()
        if before != n_threads:  # each setting costs half a microsecond
            numba.set_num_threads(n_threads)
    try:
        if threading_layer() != "workqueue":
            return kernel(*args)
        with locks.pool:
            return kernel(*args)
    finally:
        if before != n_threads:
            with locks.pool:
                numba.set_num_threads(before)
