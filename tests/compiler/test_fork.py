"""A forked child: it ends, it has the right bits, and it is told what it cannot have."""

import os

import pytest

from fastbp.compiler import jit
from tests.processes import need_layer, run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled"),
]

HEAD = """
import multiprocessing, os, sys, threading, warnings
import numpy as np
from tests import small_kernels as s
from fastbp.compiler import threads as _threads
from fastbp.errors import ThreadError
# A fork beside running threads is what is tested here; newer Pythons warn of it.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
x = np.arange(1000.0)

def compute(_=None):
    # As a caller does: parallel on several threads, serial on one.
    y = np.zeros(1000)
    n_threads = _threads.resolve_threads()
    if n_threads > 1:
        _threads.launch(s.parallel_f64, n_threads, y, x, 8)
    else:
        s.serial_f64(y, x)
    return n_threads, y.tobytes()

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print("failed:", repr(error))
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("status", status)
"""


def run_forking(source, layer):
    need_layer(layer)
    output = run(HEAD + source, timeout=40, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    # TBB's own remark at a fork; its children stay serial.
    return [line for line in output.splitlines() if line and not line.startswith("Unable to join threads to shut down")]


SAME_BITS = """
n, bits = compute()
print("parent", n)
def work():
    n, child_bits = compute()
    print("child", n, child_bits == bits)
in_child(work)
in_child(lambda: in_child(work))
print("parent", compute() == (n, bits))
"""


@pytest.mark.parametrize(("layer", "n_in_child"), [("omp", 1), ("workqueue", 2), ("tbb", 1)])
def test_child_after_a_parallel_kernel(layer, n_in_child):
    """A child, and a child's child, compute the parent's bits: in parallel on Numba's own pool, else serially."""
    child = [f"child {n_in_child} True", "status 0"]
    assert run_forking(SAME_BITS, layer) == ["parent 2", *child, *child, "status 0", "parent True"]


POOL = """
n, bits = compute()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print({child_bits == bits for _, child_bits in pool.map_async(compute, range(8)).get(timeout=30)})
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_pool_of_forked_processes(layer):
    """multiprocessing's Pool of forked processes does not hang, and has the same bits."""
    assert run_forking(POOL, layer) == ["{True}"]


REFUSED = """
compute()
def work():
    try:
        _threads.launch(s.parallel_f64, 2, np.zeros(1000), x, 8)
    except ThreadError as error:
        print(error)
in_child(work)
"""


@pytest.mark.parametrize("layer", ["omp", "tbb"])
def test_launch_in_a_child_is_refused(layer):
    """A parallel launch that cannot work is an error that names the ways out, not a killed process."""
    assert run_forking(REFUSED, layer) == [
        f"wanted a parallel kernel, but this process was forked after Numba's threads ({layer}) had started, and they "
        "do not survive a fork; use n_threads=1, or start processes with multiprocessing.get_context('spawn')",
        "status 0",
    ]


UNHARMED = """
assert _threads.threading_layer() is None
s.serial_f64(np.zeros(1000), x)
def work():
    print("child", compute()[0])
in_child(work)
print("parent", compute()[0])
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_fork_before_any_parallel_kernel(layer):
    """A child of a process that only ran serial kernels has all its threads."""
    assert run_forking(UNHARMED, layer) == ["child 2", "status 0", "parent 2"]


BUSY = """
def forever():
    while True:
        _threads.launch(s.parallel_f64, 2, np.zeros(1000), x, 8)
compute()
threading.Thread(target=forever, daemon=True).start()
for _ in range(20):
    in_child(lambda: print(len(compute()[1])))
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_fork_while_another_thread_launches(layer):
    """A fork waits for a launch of another Python thread; the child's own launches work."""
    assert run_forking(BUSY, layer) == ["8000", "status 0"] * 20


COMPILING = """
compiling = threading.Thread(target=s.parallel_f64.compile)
compiling.start()
def work():
    thread = threading.Thread(target=lambda: print(len(compute()[1])))
    thread.start()
    thread.join()
in_child(work)
compiling.join()
"""


def test_fork_while_another_thread_compiles(monkeypatch):
    """A fork waits for a compilation of another Python thread; every thread of the child can compile and launch."""
    monkeypatch.setenv("FASTBP_CACHE", "0")
    assert run_forking(COMPILING, "workqueue") == ["8000", "status 0"]
