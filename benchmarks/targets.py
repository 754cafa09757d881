"""Targets are a table: what each issue promised, and what the results say about it."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .results import Results

PATH = Path(__file__).parent / "targets.toml"
PEAK = "FMA peak"
BEST = ("the best peer", "the best peer, tuned")
UNITS = {"x": 1.0, "%": 0.01, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "MB": 1e6}


@dataclass(frozen=True)
class Target:
    """One row of targets.toml; its comments say what the fields mean. `code` is the list of paths."""

    id: str
    issue: int
    what: str
    kind: str
    case: str
    goal: float
    unit: str
    better: str
    code: tuple[str, ...]
    peer: str = "fastbp"
    ambition: float | None = None
    limit_ns: float = 0.0
    at_gflops: float = 0.0
    beside: tuple[str, ...] = ()
    label: str = ""  # of one among several cases

    def __post_init__(self) -> None:
        for value, allowed in ((self.kind, KINDS), (self.unit, UNITS), (self.better, ("lower", "higher"))):
            if value not in allowed:
                raise ValueError(f"target {self.id!r}: wanted one of {', '.join(allowed)}; got {value!r}")

    def source(self, results: Results) -> tuple[str, str]:
        """(case, peer) of the measurement it is read from."""
        if self.kind == "share":
            return self.case, PEAK
        return self.case, fastest(results, self.case, self.peer) if self.peer in BEST else self.peer

    def measured(self, results: Results) -> float | None:
        """The value in the target's unit; None if it was not measured."""
        measurement = results.measurements.get(self.source(results))
        if measurement is None or "skipped" in measurement:
            return None
        return KINDS[self.kind](self, measurement) / UNITS[self.unit]

    def why_not(self, results: Results) -> str:
        """What to say in place of a value."""
        reason = results.measurements.get(self.source(results), {}).get("skipped")
        return f"not measured: {reason}" if reason else "not measured"

    def reaches(self, value: float, goal: float) -> bool:
        """Whether a value in the target's unit is at least as good as `goal`."""
        return self._ratio(value, goal) <= 1 + 1e-12  # a change of units rounds

    def shortfall(self, value: float) -> float:
        """How many times worse than the goal; 1 or less where it is reached."""
        return self._ratio(value, self.goal)

    def _ratio(self, value: float, goal: float) -> float:
        return value / goal if self.better == "lower" else goal / value


def load(path: Path = PATH) -> list[Target]:
    """The table, in the order of the file."""
    with open(path, "rb") as file:
        table = tomllib.load(file)
    rows = ({**row, "code": tuple(table["code"][row["code"]])} for row in table["target"])
    targets = [Target(**{**one, "beside": tuple(one.get("beside", ()))}) for row in rows for one in _each_case(row)]
    ids = [target.id for target in targets]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path.name}: ids must differ; got {', '.join(sorted(i for i in ids if ids.count(i) > 1))}")
    return targets


def _each_case(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of several cases as one row for each: where goal and limit_ns are lists, each has its own."""
    if isinstance(row["case"], str):
        return [row]
    fields = [name for name, value in row.items() if isinstance(value, list) and name != "beside"]
    several = zip(*(row[name] for name in fields), strict=True)
    rows = [{**row, **dict(zip(fields, values, strict=True))} for values in several]
    return [{**one, "id": f"{row['id']} {one['label']}"} for one in rows]


def fastest(results: Results, case: str, kind: str) -> str:
    """The name of the fastest peer that is not fastbp, among those as installed or those tuned."""
    times = {
        peer: speedup(measurement)
        for (of_case, peer), measurement in results.measurements.items()
        if of_case == case and "fastbp_samples" in measurement and peer != PEAK
        if not peer.startswith("fastbp,") and peer.endswith(", tuned") == (kind == "the best peer, tuned")
    }
    return min(times, key=times.__getitem__, default=kind)


def speedup(measurement: dict[str, Any]) -> float:
    """The peer's time over fastbp's: the median over the rounds that the two took by turns."""
    pairs = zip(measurement["samples"], measurement["fastbp_samples"], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _median(target: Target, measurement: dict[str, Any]) -> float:
    return statistics.median(measurement["samples"])


def _share(target: Target, measurement: dict[str, Any]) -> float:
    """Of the limit, scaled from a machine of `at_gflops` to the peak that was measured by turns with fastbp."""
    operations_at_limit = target.limit_ns * target.at_gflops * measurement["n_rows"]  # ns x GFLOP/s: operations
    return speedup(measurement) * operations_at_limit / measurement["operations"]


KINDS: dict[str, Callable[[Target, dict[str, Any]], float]] = {
    "time": _median,
    "memory": _median,
    "speedup": lambda target, measurement: speedup(measurement),
    "share": _share,
    "value": _median,
    "overhead": lambda target, measurement: 1 / speedup(measurement) - 1,
}
