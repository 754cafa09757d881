"""How many threads, on whose behalf, and that nobody else notices."""

import re
import threading

import numba
import numpy as np
import pytest

from fastbp.compiler import jit, threads
from fastbp.errors import InputError, ThreadError
from tests import small_kernels
from tests.processes import need_layer, run

compiled = pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
several = pytest.mark.skipif(threads.max_threads() < 2, reason="Numba has one thread")


def set_environment(monkeypatch, value):
    """FASTBP_NUM_THREADS as if the process had started with it."""
    if value is None:
        monkeypatch.delenv("FASTBP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("FASTBP_NUM_THREADS", value)
    threads.threads_from_environment.cache_clear()


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch):
    # `team_size` asks Numba's pool through an address of this process, which no file can keep.
    monkeypatch.setenv("FASTBP_CACHE", "0")
    set_environment(monkeypatch, None)
    monkeypatch.setattr(threads, "_default_threads", None)
    yield
    threads.threads_from_environment.cache_clear()


# -- how many ---------------------------------------------------------------------------------------------------------


@several
def test_where_the_number_comes_from(monkeypatch):
    """The argument comes before `set_num_threads`, that before FASTBP_NUM_THREADS, that before Numba's setting."""
    threads.launch(small_kernels.team_size, 1, np.zeros(1), 1)
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        assert threads.resolve_threads() == 2
        numba.set_num_threads(1)
        assert threads.resolve_threads() == 1
        set_environment(monkeypatch, "2")
        assert threads.resolve_threads() == 2
        threads.set_num_threads(1)
        assert threads.resolve_threads() == 1
        assert threads.resolve_threads(2) == 2
        threads.set_num_threads(None)
        assert threads.resolve_threads(np.int64(1)) == 1
        assert threads.resolve_threads() == 2
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("bad", [0, -1, 1.0, 2.5, True, "2", np.array([1, 2])], ids=repr)
def test_no_positive_integer(bad):
    """What is no positive integer is refused by name and value."""
    text = f"^{re.escape(f'n_threads must be a positive integer, got {bad!r}')}$"
    with pytest.raises(InputError, match=text):
        threads.resolve_threads(bad)
    with pytest.raises(InputError, match=text):
        threads.set_num_threads(bad)


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5"])
def test_bad_environment(monkeypatch, bad):
    """A FASTBP_NUM_THREADS that is no positive integer is refused by name and value."""
    set_environment(monkeypatch, bad)
    with pytest.raises(InputError, match=r"^FASTBP_NUM_THREADS must be a positive integer, got '?" + bad + "'?$"):
        threads.resolve_threads()


def test_too_many(monkeypatch):
    """More threads than Numba has are refused; the message names the maximum and the way to have more."""
    most = threads.max_threads()
    text = (
        f"must be at most {most}, the number of threads Numba has, got {most + 1}; "
        f"for more, set NUMBA_NUM_THREADS={most + 1} before Python starts$"
    )
    with pytest.raises(ThreadError, match=f"^n_threads {text}"):
        threads.resolve_threads(most + 1)
    with pytest.raises(ThreadError, match=f"^n_threads {text}"):
        threads.set_num_threads(most + 1)
    set_environment(monkeypatch, str(most + 1))
    with pytest.raises(ThreadError, match=f"^FASTBP_NUM_THREADS {text}"):
        threads.resolve_threads()
    assert threads.resolve_threads(most) == most


def test_asking_starts_no_threads():
    """Asking for the number of threads leaves Numba's pool alone: a later fork is still safe."""
    source = (
        "from fastbp.compiler import threads as _threads; print(_threads.resolve_threads(), _threads.threading_layer())"
    )
    assert run(source, NUMBA_NUM_THREADS="3") == "3 None\n"


# -- launches ---------------------------------------------------------------------------------------------------------


@compiled
@several
@pytest.mark.parametrize("own", [1, 2])
@pytest.mark.parametrize("asked", [1, 2])
def test_caller_keeps_its_setting(own, asked):
    """A launch runs on as many threads as asked for; the caller's own Numba setting is then as before."""
    before = numba.get_num_threads()
    numba.set_num_threads(own)
    try:
        sizes = np.zeros(3)
        threads.launch(small_kernels.team_size, asked, sizes, 3)
        assert set(sizes) == {asked}
        assert numba.get_num_threads() == own
    finally:
        numba.set_num_threads(before)


@compiled
@several
def test_caller_keeps_its_setting_after_an_error():
    """The caller's Numba setting is as before when the launch fails."""
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        with pytest.raises(TypeError):
            threads.launch(small_kernels.team_size, 1, "not an array", 3)
        with pytest.raises(ValueError, match="number of threads must be between 1 and"):
            threads.launch(small_kernels.team_size, 10_000, np.zeros(3), 3)
        assert numba.get_num_threads() == 2
    finally:
        numba.set_num_threads(before)


@compiled
@several
def test_other_python_threads_keep_their_setting():
    """A launch in one Python thread leaves the setting of another alone."""
    seen = []
    thread = threading.Thread(
        target=lambda: (
            threads.launch(small_kernels.team_size, 1, np.zeros(3), 3),
            seen.append(numba.get_num_threads()),
        )
    )
    numba.set_num_threads(2)
    thread.start()
    thread.join()
    assert seen == [threads.max_threads()]
    assert numba.get_num_threads() == 2


TWO_PYTHON_THREADS = """
import sys, threading, numpy as np
from tests import small_kernels as s
from fastbp.compiler import threads as _threads
sys.setswitchinterval(1e-6)
x = np.arange(1000.0)
wanted = s.expected(x)
right = []
def work():
    for _ in range(300):
        y = np.zeros(1000)
        _threads.launch(s.parallel_f64, 2, y, x, 8)
        right.append((y == wanted).all())
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(_threads.threading_layer(), len(right), all(right))
"""


@compiled
@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_python_threads_at_once(layer):
    """Several Python threads launch parallel entries at once on every threading layer, the first launch included."""
    need_layer(layer)
    output = run(TWO_PYTHON_THREADS, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert output == f"{layer} 900 True\n"


INTERRUPTED = """
import signal, threading, time, numpy as np
from tests import small_kernels as s
from fastbp.compiler import threads as _threads
x, y = np.arange(1e5), np.zeros(100_000)
_threads.launch(s.parallel_f64, 2, y, x, 8)
def interrupt():
    global sent
    sent = time.perf_counter()
    signal.raise_signal(signal.SIGINT)
threading.Timer(0.1, interrupt).start()
try:
    stop = time.perf_counter() + 20
    while time.perf_counter() < stop:
        _threads.launch(s.parallel_f64, 2, y, x, 8)
except KeyboardInterrupt:
    assert time.perf_counter() - sent < 0.2
    _threads.launch(s.parallel_f64, 2, y, x, 8)
    assert (y == s.expected(x)).all()
    print("interrupted")
"""


@compiled
@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_interrupt_between_launches(layer):
    """Ctrl-C ends a loop of launches at once, and the next launch works."""
    need_layer(layer)
    assert run(INTERRUPTED, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2") == "interrupted\n"
