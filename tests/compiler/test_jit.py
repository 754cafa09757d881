"""How functions are compiled: one signature each, by stated options, or not at all."""

import json
import threading

import numpy as np
import pytest
from numba import types

from fastbp.compiler import cpu, jit
from fastbp.config import set_num_threads, show_config
from tests import small_kernels
from tests.processes import run

compiled = pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")


def readonly(array):
    array.flags.writeable = False
    return array


# -- entries ----------------------------------------------------------------------------------------------------------

ARRAYS = {
    "its own": lambda: np.arange(4.0),
    "read-only": lambda: readonly(np.arange(4.0)),
    "a view": lambda: np.arange(8.0)[4:] - 4,
    "a subclass": lambda: np.arange(4.0).view(np.memmap),
    "not owned": lambda: np.frombuffer(np.arange(4.0).tobytes()),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_one_signature_for_every_array(make):
    """A read-only argument takes writable and read-only arrays; no second signature appears, nothing is compiled."""
    small_kernels.serial_f64(np.zeros(4), np.arange(4.0))
    before = jit.n_compilations(), jit.signatures_compiled()
    y = np.zeros(4)
    small_kernels.serial_f64(y, make())
    np.testing.assert_array_equal(y, small_kernels.expected(np.arange(4.0)))
    assert (jit.n_compilations(), jit.signatures_compiled()) == before


@compiled
@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros(4, np.float32), np.zeros(4)),
        (np.zeros(4), np.zeros(4, np.int64)),
        (np.zeros(8)[::2], np.zeros(4)),
        (readonly(np.zeros(4)), np.zeros(4)),
        (np.zeros((2, 2)), np.zeros(4)),
    ],
    ids=["another dtype", "integers", "strided", "read-only output", "two axes"],
)
def test_other_arguments_are_an_error(arguments):
    """Arrays of another kind raise TypeError; they do not compile a second signature."""
    small_kernels.serial_f64.compile()
    before = jit.n_compilations()
    with pytest.raises(TypeError, match="No matching definition"):
        small_kernels.serial_f64(*arguments)
    assert jit.n_compilations() == before


@pytest.mark.parametrize(
    ("entry", "dtype"), [(small_kernels.serial_f32, np.float32), (small_kernels.serial_f64, np.float64)]
)
def test_one_function_in_each_dtype(entry, dtype):
    """One Python function makes an entry per dtype, which computes in that dtype."""
    x = np.array([2.0, 3.0], dtype)
    y = np.zeros(2, dtype)
    entry(y, x)
    np.testing.assert_array_equal(y, x * dtype(3) + np.sqrt(x))


@compiled
def test_compiled_on_the_first_call(monkeypatch):
    """An entry compiles on its first call or `compile()`, from several Python threads once."""
    monkeypatch.setenv("FASTBP_CACHE", "0")

    @jit.entry(types.intp(types.intp))
    def double(n):
        return 2 * n

    before = jit.n_compilations()
    threads = [threading.Thread(target=double.compile) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jit.n_compilations() == before + 1
    assert double(21) == 42
    assert jit.n_compilations() == before + 1


def test_entry_keeps_name_and_text():
    """An entry has the name, the docstring and the module of its function, and is made from a kernel as well."""

    @jit.kernel
    def half(x):
        """x / 2"""
        return x / 2

    half_f64 = jit.entry(types.float64(types.float64))(half)
    assert (half_f64.__name__, half_f64.__doc__, half_f64.__module__) == ("half", "x / 2", __name__)
    assert half_f64(3.0) == 1.5


def test_entries_call_entries():
    """Compiled code calls an entry by its name, without a second signature."""

    @jit.entry(types.void(small_kernels.vector(types.float64), small_kernels.vector(types.float64)))
    def twice(y, x):
        small_kernels.serial_f64(y, x)
        small_kernels.serial_f64(x, y)

    small_kernels.serial_f64(np.zeros(1), np.zeros(1))
    before = jit.signatures_compiled().get("small_kernels.serial")
    x, y = np.ones(3), np.zeros(3)
    twice(y, x)
    np.testing.assert_array_equal(x, small_kernels.expected(small_kernels.expected(np.ones(3))))
    assert jit.signatures_compiled().get("small_kernels.serial") == before


# -- options ----------------------------------------------------------------------------------------------------------


@compiled
def test_division_by_zero_is_numpys():
    """x / 0 is inf or nan, not an exception."""

    @jit.entry(types.float64(types.float64, types.float64))
    def divide(a, b):
        return a / b

    assert divide(1.0, 0.0) == np.inf
    assert np.isnan(divide(0.0, 0.0))


@compiled
def test_sums_are_not_reordered():
    """The compiler keeps the order of a sum: no fastmath."""

    @jit.entry(types.float64(small_kernels.vector(types.float64)))
    def total(x):
        result = 0.0
        for i in range(x.size):
            result += x[i]
        return result

    x = np.tile([1e16, 1.0, -1e16, 1.0], 250)
    in_order = np.cumsum(x)[-1]
    assert in_order != 500  # rounded at every step
    assert total(x) == in_order


@compiled
def test_nan_is_seen():
    """A test for NaN stays in the code: no fastmath."""

    @jit.entry(types.boolean(types.float64))
    def is_nan(x):
        return x != x

    assert is_nan(np.nan)
    assert not is_nan(1.0)


@compiled
def test_other_python_threads_run_meanwhile():
    """A kernel releases the interpreter: another Python thread runs on before it ends."""

    @jit.entry(types.float64(types.float64, types.intp))
    def iterate(x, n):
        for _ in range(n):
            x = np.sqrt(x + 1.0)
        return x

    iterate.compile()
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.002):
            ticks.append(None)

    thread = threading.Thread(target=tick)
    thread.start()
    before = len(ticks)
    iterate(1.0, 5_000_000)  # every step waits for the one before: 20 ns or so
    during = len(ticks) - before
    done.set()
    thread.join()
    assert during > 3


# -- intrinsics and runs without the compiler -------------------------------------------------------------------------


def test_intrinsic_is_its_twin():
    """The twin of an intrinsic is in TWINS and gives the same number."""

    @jit.entry(types.float64(types.float64))
    def tripled(x):
        return small_kernels.triple(x)

    assert jit.TWINS["triple"](0.1) == tripled(0.1)


def test_without_the_compiler():
    """With NUMBA_DISABLE_JIT=1 the same code runs as plain Python and gives the same numbers."""
    source = """
import numpy as np
from tests import small_kernels as s
from fastbp.compiler import jit as _jit; from fastbp.compiler import threads as _threads
x, y, z = np.arange(9.0), np.zeros(9), np.zeros(9)
s.serial_f64(y, x)
_threads.launch(s.parallel_f64, 2, z, x, 4)
assert (y == s.expected(x)).all() and (z == y).all()
assert s.triple is _jit.TWINS["triple"]
assert s.fill.__class__.__name__ == "function"
print(_jit.COMPILED, _jit.n_compilations(), _jit.signatures_compiled())
"""
    assert run(source, NUMBA_DISABLE_JIT="1") == "False 0 {}\n"


# -- the CPU ----------------------------------------------------------------------------------------------------------

CPUS = [
    ("znver4", "+avx2,+fma,+avx512f", 64),
    ("znver4", "", 64),
    ("haswell", "", 32),
    ("haswell", "-fma", 16),
    ("skylake-avx512", "-avx512f", 32),
    ("generic", "", 16),
    ("generic", "+avx2,+fma", 32),
    ("generic", "+avx2", 16),
    ("a-cpu-of-tomorrow", "+avx512f", 64),
]


@pytest.mark.parametrize(("name", "flags", "vector_bytes"), CPUS)
def test_vector_bytes(name, flags, vector_bytes):
    """64 bytes with AVX-512, 32 with AVX2 and FMA, else 16, whether features are listed or follow from the name."""
    assert cpu._cpu(name, flags).vector_bytes == vector_bytes


def test_cpu_is_what_numba_compiles_for():
    """NUMBA_CPU_NAME and NUMBA_CPU_FEATURES decide; the answer is one frozen value."""
    source = "from fastbp.compiler import jit as _jit; assert _jit.cpu() is _jit.cpu(); print(_jit.cpu())"
    output = run(source, NUMBA_CPU_NAME="x86-64-v3", NUMBA_CPU_FEATURES="+fma,+avx2")
    features = output.partition("{")[2].partition("}")[0]
    assert output.startswith("CPU(name='x86-64-v3', ")
    assert set(features.replace("'", "").split(", ")) == {"avx2", "fma"}
    assert output.endswith(", vector_bytes=32)\n")


# -- settings ---------------------------------------------------------------------------------------------------------


def test_show_config(capsys):
    """Versions, CPU, threads and cache, one a line; the same as a dict."""
    config = show_config(as_dict=True)
    assert list(config) == [
        *("fastbp", "python", "numpy", "numba", "llvmlite", "cpu"),
        *("vector_bytes", "threads", "max_threads", "threading_layer", "cache"),
    ]
    assert config["numpy"] == np.__version__
    assert config["vector_bytes"] == jit.cpu().vector_bytes
    assert show_config() is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[name, str(value)] for name, value in config.items()]


def test_show_config_shows_the_default_number_of_threads():
    """The number shown is the one `set_num_threads` set."""
    set_num_threads(1)
    try:
        assert show_config(as_dict=True)["threads"] == 1
    finally:
        set_num_threads(None)


def test_show_config_without_numba():
    """Without Numba there is still a report, which says what does not work."""
    source = """
import sys, json
sys.modules["numba"] = None
from fastbp.config import show_config
print(json.dumps(show_config(as_dict=True)))
"""
    config = json.loads(run(source))
    assert list(config) == ["fastbp", "python", "numpy", "numba"]
    assert config["numba"].startswith("cannot be imported (")
    assert config["numba"].endswith("); only fastbp.reference works")
