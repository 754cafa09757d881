"""Raw results as files: what was measured, on what, from which commit.

A file holds one run: {"run": facts about it, "measurements": [...]}. A measurement is a dict with

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
    return Results.of([json.loads(path.read_text()) for path in folder.glob("*.json")])


def write(run: dict[str, Any], measurements: list[dict[str, Any]], folder: Path = FOLDER) -> Path:
    """A new file, named by date and CPU; a number is added where there is one of that name."""
    stem = f"{run['time'][:10]}-{_slug(run['cpu'])}"
    taken = {path.stem for path in folder.glob("*.json")}
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    name = stem if stem not in taken else next(n for n in numbered if n not in taken)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"run": run, "measurements": measurements}, indent=1) + "\n")
    return path


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


def _slug(cpu: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
