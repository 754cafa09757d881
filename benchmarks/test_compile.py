"""What happens once in a process, importing and compiling: each round in a fresh one, whose start is left out."""

import tempfile

import pytest

from .cases import GENERAL, LECTURE
from .measure import import_seconds
from .peers import FASTBP, prepare
from .processes import first_call, run

ROUNDS = 3
_CASES = [pytest.param(case, id=case.id) for case in (LECTURE[3], GENERAL[0])]

_clock = [0.0]


def reported():
    """A timer that stands still but for the seconds which the fresh processes report."""
    return _clock[0]


def _rounds(benchmark, seconds_of_one):
    def advance():
        _clock[0] += seconds_of_one()

    benchmark.pedantic(advance, rounds=ROUNDS)


def _first_call(case, n_threads, folder):
    arguments = first_call, prepare, (FASTBP, case, n_threads)
    return run(*arguments, n_threads=n_threads, timeout=180, FASTBP_CACHE_DIR=str(folder))


@pytest.mark.benchmark(group="import", timer=reported)
@pytest.mark.parametrize("module", ["fastbp", "numpy"])
def test_import(benchmark, module):
    """`import fastbp` does not load Numba, and takes little more than NumPy."""
    _rounds(benchmark, lambda: import_seconds(module))


@pytest.mark.benchmark(group="first call, cold cache", timer=reported)
@pytest.mark.parametrize("case", _CASES)
def test_first_call_cold(benchmark, n_threads, tmp_path, case):
    """The first call with an empty cache compiles; imports are left out."""
    _rounds(benchmark, lambda: _first_call(case, n_threads, tempfile.mkdtemp(dir=tmp_path)))


@pytest.mark.benchmark(group="first call, warm cache", timer=reported)
@pytest.mark.parametrize("case", _CASES)
def test_first_call_warm(benchmark, n_threads, tmp_path, case):
    """The first call with a filled cache loads."""
    _first_call(case, n_threads, tmp_path)
    _rounds(benchmark, lambda: _first_call(case, n_threads, tmp_path))
