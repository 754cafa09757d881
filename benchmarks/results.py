"""Raw results as files: what was measured, on what, from which commit.

    python -m benchmarks.results    brings the folder to the rule below

Every machine, which is a CPU and how many of it, has one file, named after it: a list of runs,
{"run": facts about it, "measurements": [...]}. Of each (case, peer) the file keeps the newest measurement alone, and a
run of which none is left goes; older ones are in the history of git. A measurement is a dict with

    case, peer        what was measured, by name
    samples           seconds or bytes; for timings, the median of each round
    fastbp_samples    fastbp's in the same rounds, where the two took turns
    n_rows            rows of the case, where it has rows
    operations        floating-point operations of a call, for the machine's peak
    skipped           in place of samples: why there are none
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "results"
_LIBRARIES = ("fastbp", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "scikit-learn", "scipy")


class Results(NamedTuple):
    """The newest measurement of every (case, peer), and the run it is from."""

    measurements: dict[tuple[str, str], dict[str, Any]]
    runs: dict[tuple[str, str], dict[str, Any]]

    @classmethod
    def of(cls, files: list[dict[str, Any]]) -> Results:
        """From the contents of result files, in any order."""
        results = cls({}, {})
        for content in sorted(files, key=lambda content: content["run"]["time"]):
            for measurement in content["measurements"]:
                key = measurement["case"], measurement["peer"]
                results.measurements[key], results.runs[key] = measurement, content["run"]
        return results

    def samples(self, case: str, peer: str) -> list[float]:
        """[] if it was not measured."""
        return self.measurements.get((case, peer), {}).get("samples", [])


def read(folder: Path = FOLDER) -> Results:
    """All result files of a folder."""
    return Results.of([run for path in sorted(folder.glob("*.json")) for run in _runs(path)])


def write(run: dict[str, Any], measurements: list[dict[str, Any]], folder: Path = FOLDER) -> Path:
    """Add a run to the file of its machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_machine(run)}.json"
    runs = _runs(path) if path.exists() else []
    return _write(path, [*runs, {"run": run, "measurements": measurements}])


def tidy(folder: Path = FOLDER) -> list[Path]:
    """Merge all files of each machine into its one file."""
    machines: dict[str, list[dict[str, Any]]] = {}
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        for one in _runs(path):
            machines.setdefault(_machine(one["run"]), []).append(one)
    written = [_write(folder / f"{machine}.json", runs) for machine, runs in machines.items()]
    for path in {*paths} - {*written}:
        path.unlink()
    return written


def newest(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs by time, each with the measurements that no later one replaces."""
    kept, seen = [], set()
    for one in sorted(runs, key=lambda one: one["run"]["time"], reverse=True):
        measurements = [m for m in one["measurements"] if (m["case"], m["peer"]) not in seen]
        seen |= {(m["case"], m["peer"]) for m in measurements}
        kept += [{"run": one["run"], "measurements": measurements}] if measurements else []
    return kept[::-1]


def _runs(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    return content if isinstance(content, list) else [content]


def _write(path: Path, runs: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(newest(runs), indent=1) + "\n")
    return path


def _machine(run: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{run['n_cpus']} x {run['cpu']}".lower()).strip("-")


def describe_run(n_threads: int, n_cpus: int) -> dict[str, Any]:
    """When, on which machine, with which versions, from which commit."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short=10", "HEAD"),
        "uncommitted": git("status", "--porcelain", "--untracked-files=all", "--", "fastbp", "benchmarks/*.py") != "",
        "cpu": _cpu(),
        "n_cpus": n_cpus,
        "n_threads": n_threads,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def git(*arguments: str) -> str:
    """What git prints in this repository; "" where it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    import llvmlite.binding

    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found.group(1).strip() if found else model
    return f"{model or platform.machine()} ({llvmlite.binding.get_host_cpu_name()})"


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    for written in tidy():
        print(written.name)
