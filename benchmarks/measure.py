"""Measure what RESULTS.md shows, and keep the raw numbers in results/.

    python -m benchmarks.measure                          everything, on all CPUs this process may use
    python -m benchmarks.measure --only cases --match "2-100-1 float32"
    python -m benchmarks.measure --only cases --groups squares outputs
    python -m benchmarks.measure --quick                  few and short rounds, small batches; nothing is kept
    python -m benchmarks.measure --record "test suite=412"   a number of seconds measured by hand

The machine should be quiet. fastbp and each peer take turns, a round each, so that drift of the machine cancels in
their ratio. A peer whose gradient differs from fastbp's is not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from . import cases, fit, pictures, results, training
from .cases import Case
from .peers import FASTBP, FEWER_ROWS, PEERS, ROUNDING, TOLERANCE, Peer, disagreement, peers_of, prepare
from .processes import Job, Process, UnavailableError, available_cpus, first_call, memory_above_input, result_of, run
from .targets import PEAK

# With the name of a network: names are loaded when first used, and an import of none of them would cost nothing.
_IMPORTS = {"fastbp": "import fastbp; fastbp.MLP", "numpy": "import numpy"}
_TIMED_IMPORT = """
import sys, time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
assert "numba" not in sys.modules, "importing must not load Numba"
"""


class Settings(NamedTuple):
    """How thoroughly to measure."""

    n_threads: int
    rounds: int = 7
    seconds: float = 0.5  # of a round
    repeats: int = 5  # of what needs a fresh process each time
    timeout: float = 180.0
    max_rows: int = 1_000_000
    fit_steps: int = 10_000
    match: str = ""
    groups: tuple[str, ...] = tuple(cases.GROUPS)


QUICK = {"rounds": 2, "seconds": 0.02, "repeats": 1, "max_rows": 1_000, "fit_steps": 100}


# -- timings, by turns -----------------------------------------------------------------------------------------------


def measure_cases(settings: Settings) -> Iterator[dict[str, Any]]:
    """Every case, fastbp beside every peer and beside the machine's peak."""
    chosen = (case for name in settings.groups for case in cases.GROUPS[name])
    shortened = (case._replace(n_rows=min(case.n_rows, settings.max_rows)) for case in chosen)
    for case in dict.fromkeys(shortened):
        if settings.match in case.id:
            jobs = {peer.name: _job(peer, case, settings) for peer in peers_of(case)}
            jobs[PEAK] = Job(_peak, (case.dtype, settings.n_threads), _instructions(case))
            for measurement in _by_turns(case.id, _job(FASTBP, case, settings), jobs, settings):
                yield {**measurement, "n_rows": case.n_rows}


def measure_fit(settings: Settings) -> Iterator[dict[str, Any]]:
    """The lecture's training run, fastbp beside the slides' code."""
    arguments = (settings.fit_steps,)
    jobs = {"NumPy": Job(fit.prepare_numpy, arguments)}
    yield from _by_turns(fit.case_id(settings.fit_steps), Job(fit.prepare_fastbp, arguments), jobs, settings)


def measure_training(settings: Settings) -> Iterator[dict[str, Any]]:
    """Training runs, by turns with what they are compared to, and what is measured once."""
    for case, ours, peers in training.runs():
        if settings.match in case:
            yield from _by_turns(case, ours, peers, settings)
    once = {
        "Fashion-MNIST, accuracy on the test images": (training.accuracy,),
        "a .npy of 4 x the memory limit, peak memory": (training.streamed_memory,),
        "from SIGINT to the end of fastbp train": (training.seconds_to_end, signal.SIGINT),
        "from SIGTERM to the end of fastbp train": (training.seconds_to_end, signal.SIGTERM),
    }
    yield from _once(once, settings)


def measure_pictures(settings: Settings) -> Iterator[dict[str, Any]]:
    """Pictures of a million points."""
    once = {
        "a decision boundary, 400 x 400 points, over 1,000,000 rows": (pictures.boundary,),
        "the same: the network's answers": (pictures.prediction,),
        "a film of 20 pictures over 1,000,000 rows": (pictures.film,),
        "the live view's cost, 2-100-1 float32 x 100,000": (pictures.live_cost,),
    }
    yield from _once(once, settings)


def _once(calls: dict[str, tuple[Any, ...]], settings: Settings) -> Iterator[dict[str, Any]]:
    """A number each, from a process of its own."""
    for case, call in calls.items():
        if settings.match in case:
            try:
                yield {"case": case, "peer": "fastbp", "samples": [_run(settings, *call)]}
            except UnavailableError as reason:
                yield {"case": case, "peer": "fastbp", "skipped": str(reason)}


def _by_turns(case: str, ours: Job, jobs: dict[str, Job | None], settings: Settings) -> Iterator[dict[str, Any]]:
    """fastbp against each job in turn, and at the end fastbp with the samples of all its rounds."""
    samples = []
    try:
        with Process(ours, settings.n_threads, settings.timeout) as fastbp:
            for name, job in jobs.items():
                measurement = _against(fastbp, ours, name, job, settings)
                samples += measurement.get("fastbp_samples", ())
                yield {"case": case, "peer": name, **measurement}
            samples = samples or [fastbp.round(settings.seconds) for _ in range(settings.rounds)]
        yield {"case": case, "peer": FASTBP.name, "samples": samples}
    except UnavailableError as reason:
        yield {"case": case, "peer": FASTBP.name, "skipped": str(reason)}


def _against(fastbp: Process, ours: Job, name: str, job: Job | None, settings: Settings) -> dict[str, Any]:
    if job is None:
        return {"skipped": "not installed"}
    try:
        with Process(job, settings.n_threads, settings.timeout) as peer:
            if name == PEAK:
                facts = {"operations": peer.loss}
            else:
                error = disagreement((peer.loss, peer.gradient), (fastbp.loss, fastbp.gradient))
                if job.is_same_function and not _same_function(error, ours, job, settings):
                    return {"skipped": f"its loss or gradient differs from fastbp's by {error:.1e}"}
                facts = {"disagreement": error}
            rounds = [(peer.round(settings.seconds), fastbp.round(settings.seconds)) for _ in range(settings.rounds)]
    except UnavailableError as reason:
        return {"skipped": str(reason)}
    theirs, of_fastbp = zip(*rounds, strict=True)
    return {"samples": theirs, "fastbp_samples": of_fastbp, **facts}


def _same_function(error: float, ours: Job, job: Job, settings: Settings) -> bool:
    """Whether results that differ by `error` are the same function's; see `peers.TOLERANCE`."""
    if error <= TOLERANCE:
        return True
    if not (error <= ROUNDING and job.fewer_rows):
        return False
    few = [_run(settings, result_of, j.prepare, j.fewer_rows, **(j.environment or {})) for j in (job, ours)]
    return disagreement(*few) <= TOLERANCE


def _job(peer: Peer, case: Case, settings: Settings) -> Job | None:
    if not peer.installed:
        return None
    few = case._replace(n_rows=min(case.n_rows, FEWER_ROWS))
    arguments, fewer_rows = ((peer, c, settings.n_threads) for c in (case, few))
    environment = {**(peer.environment or {}), **_instructions(case)}
    return Job(prepare, arguments, environment, fewer_rows, peer.is_same_function)


def _instructions(case: Case) -> dict[str, str]:
    """What makes Numba compile for another CPU."""
    return {"NUMBA_CPU_NAME": case.instructions, "NUMBA_CPU_FEATURES": ""} if case.instructions else {}


def _peak(dtype: str, n_threads: int) -> Callable[[], Any]:
    from . import roofline  # needs Numba, which no peer's process shall load

    return roofline.prepare(dtype, n_threads)


# -- what only a fresh process shows ---------------------------------------------------------------------------------


def measure_memory(settings: Settings) -> Iterator[dict[str, Any]]:
    """The peak above the inputs of one warm call on the largest case."""
    case = cases.LECTURE[4]._replace(n_rows=settings.max_rows)
    small = case._replace(n_rows=min(50_000, settings.max_rows))
    for peer in (FASTBP, *PEERS):
        measurement = {"case": f"memory, {case.id}", "peer": peer.name}
        try:
            if not peer.installed:
                raise UnavailableError("not installed")
            arguments = [(peer, c, settings.n_threads) for c in (small, case)]
            measurement["samples"] = [_run(settings, memory_above_input, prepare, *arguments)]
        except UnavailableError as reason:
            measurement["skipped"] = str(reason)
        yield measurement


def measure_first_call(settings: Settings) -> Iterator[dict[str, Any]]:
    """The first call of a process, with an empty compile cache and with a filled one."""
    for case in (cases.LECTURE[3], cases.GENERAL[0], cases.GROUPS["float64"][0]):
        cold, warm = [], []
        for _ in range(settings.repeats):
            with tempfile.TemporaryDirectory() as folder:
                for samples in (cold, warm):
                    arguments = first_call, prepare, (FASTBP, case, settings.n_threads)
                    samples.append(_run(settings, *arguments, FASTBP_CACHE_DIR=folder))
        for name, samples in (("cold", cold), ("warm", warm)):
            yield {
                "case": f"first call, {name} cache, {case.network} {case.dtype}",
                "peer": "fastbp",
                "samples": samples,
            }


def measure_import(settings: Settings) -> Iterator[dict[str, Any]]:
    """`import fastbp` in fresh processes; beside it NumPy alone, which is part of it."""
    for module in _IMPORTS:
        samples = [import_seconds(module) for _ in range(2 * settings.repeats + 1)]
        yield {"case": "import", "peer": module, "samples": samples}


def import_seconds(module: str) -> float:
    """Seconds to import fastbp or numpy in a fresh process; an error if Numba was loaded."""
    source = _TIMED_IMPORT.format(_IMPORTS[module])
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=results.ROOT)
    if done.returncode:
        raise UnavailableError(f"import {module}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def _run(settings: Settings, *call: Any, **environment: str) -> Any:
    return run(*call, n_threads=settings.n_threads, timeout=settings.timeout, **environment)


# -- command line ----------------------------------------------------------------------------------------------------

SECTIONS = {
    "cases": measure_cases,
    "fit": measure_fit,
    "memory": measure_memory,
    "first-call": measure_first_call,
    "import": measure_import,
    "training": measure_training,
    "pictures": measure_pictures,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure the chosen sections, print as we go, write one result file."""
    options = _parser().parse_args(arguments)
    settings = Settings(options.threads, match=options.match, **(QUICK if options.quick else {}))
    given = {"rounds": options.rounds, "seconds": options.seconds, "groups": options.groups}
    settings = settings._replace(**{name: value for name, value in given.items() if value})
    about = results.describe_run(settings.n_threads, len(available_cpus()))
    measurements = []
    # What is measured is kept, also when the run is interrupted.
    with contextlib.suppress(KeyboardInterrupt):
        for measurement in _recorded(options.record) if options.record else _sections(options.only, settings):
            print(_line(measurement), flush=True)
            measurements.append(measurement)
    if options.quick and options.out is None:
        print("a quick run: nothing is kept")
    elif measurements:
        print("written:", results.write(about, measurements, options.out or results.FOLDER).name)


def _sections(chosen: list[str] | None, settings: Settings) -> Iterator[dict[str, Any]]:
    for name in chosen or SECTIONS:
        try:
            yield from SECTIONS[name](settings)
        except UnavailableError as reason:
            print(f"{name}: {reason}", file=sys.stderr)


def _recorded(entries: list[str]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        name, _, seconds = entry.rpartition("=")
        yield {"case": name.strip(), "peer": "fastbp", "samples": [float(seconds)]}


def _line(measurement: dict[str, Any]) -> str:
    name = f"{measurement['case']:44} {measurement['peer']:18} "
    if "skipped" in measurement:
        return name + measurement["skipped"]
    samples = measurement["samples"]
    middle = statistics.median(samples)
    if "operations" in measurement:
        return f"{name}{measurement['operations'] / middle / 1e9:12.0f} GFLOP/s"
    ours = measurement.get("fastbp_samples")
    ratio = f"  {statistics.median(a / b for a, b in zip(samples, ours, strict=True)):8.2f} x fastbp" if ours else ""
    return f"{name}{middle:12.6g}{ratio}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.measure", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to measure (default: all)")
    parser.add_argument("--match", default="", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, default=len(available_cpus()), help="threads and CPUs for every peer")
    parser.add_argument("--groups", nargs="+", choices=cases.GROUPS, help="groups of cases to measure (default: all)")
    parser.add_argument("--seconds", type=float, help="of a round")
    parser.add_argument("--rounds", type=int, help="rounds of fastbp and a peer by turns")
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the numbers mean little")
    parser.add_argument("--record", action="append", metavar="NAME=SECONDS", help="keep a number measured by hand")
    parser.add_argument("--out", type=Path, help="folder for the result file (default: benchmarks/results)")
    return parser


if __name__ == "__main__":
    main()
