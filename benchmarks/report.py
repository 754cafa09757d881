"""From results/ and targets.toml to the tables of RESULTS.md, and to the README's one table.

    python -m benchmarks.report             write the tables into both files, between their markers
    python -m benchmarks.report --check     write nothing; exit 1 if one of them is out of date
    python -m benchmarks.report --stdout    print the tables

All of them also name the targets that were not measured, were missed, or were measured before the code that decides
them changed (see history.py).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import history, results, targets
from .cases import GROUPS, Case
from .peers import FASTBP, FEWER_ROWS, PEERS, SPECIAL, TOLERANCE, TUNED
from .results import Results
from .targets import BEST, UNITS, Target

PAGES = {"targets": "benchmarks/RESULTS.md", "results": "benchmarks/RESULTS.md", "summary": "README.md"}
# The README's rows: what a stranger understands, and the case.
SUMMARY = {
    "2-100-1, a million rows": "2-100-1 float32 x 1,000,000",
    "32-64-64-64-64-3, 262,144 rows": "32-64-64-64-64-3 float32 x 262,144",
    "784-256-128-10, 8,192 rows": "784-256-128-10 float32 x 8,192",
    "784-256-128-10, 512 rows": "784-256-128-10 float32 x 512",
    "1024-1024-1024-10, 4,096 rows": "1024-1024-1024-10 float32 x 4,096",
    "4-32-16-4, 10,000 rows": "4-32-16-4 float32 x 10,000",
    "2-100-1, one row": "2-100-1 float32 x 1",
    "training on Fashion-MNIST, 10 epochs": "Fashion-MNIST, 784-256-128-10 float32, Adam, 10 epochs, batch 512",
}
SUMMARY_PEERS = {  # of NumPy the case's own code where there is one, otherwise fastbp.reference
    "JAX": ("JAX",), "PyTorch": ("PyTorch",), "scikit-learn": ("scikit-learn",), "NumPy": ("NumPy", "fastbp.reference"),
}  # fmt: skip
TITLES = {
    "lecture": "The lecture's network, loss and gradients",
    "general": "Any depth and width, loss and gradients",
    "small": "Small batches, loss and gradients",
    "squares": "Square networks, loss and gradients",
    "activations": "Activations beside relu, loss and gradients",
    "float64": "The same networks in float64, loss and gradients",
    "outputs": "Outputs alone",
    "avx2": "Compiled for AVX2",
    "sparse": "Sparse inputs, loss and gradients",
}
OURS = (FASTBP.name, "fastbp, workspace", *(peer.name for peer in SPECIAL))
COLUMNS = (FASTBP.name, *(peer.name for peer in (*PEERS, *SPECIAL, *TUNED)))


# -- targets ---------------------------------------------------------------------------------------------------------


def targets_table(rows: list[Target], found: Results) -> str:
    """What was promised beside what was measured, every miss in bold, and the runs the numbers are from."""
    lines = [_row(["What", "Target", "Measured", "Verdict", "Commit"]), _row(["---"] * 5)]
    sources = {target.id: target.source(found) for target in rows}
    for what, group in itertools.groupby(rows, key=lambda target: target.what):
        several = list(group)
        commits = dict.fromkeys(_commit(found.runs.get(sources[target.id])) for target in several)
        lines.append(_row([what, _promises(several), *_outcome(several, found), ", ".join(filter(None, commits))]))
    runs = {found.runs[s]["time"]: found.runs[s] for s in sources.values() if s in found.runs}
    return "\n".join([*lines, "", *_about(runs.values())])


def _commit(run: dict[str, Any] | None) -> str:
    return f"{run['commit']}{' + changes' if run['uncommitted'] else ''}" if run else ""


def _promises(several: list[Target]) -> str:
    first = several[0]
    if len({target.goal for target in several}) == 1:
        return _promise(first)
    goals = ", ".join(number(target.goal) for target in several)
    return f"{'at most' if first.better == 'lower' else 'at least'} {goals} {first.unit}"


def _outcome(several: list[Target], found: Results) -> tuple[str, str]:
    """What was measured, and the verdict; of several cases by their labels, every miss in bold."""
    if len(several) == 1:
        return _measured(several[0], found), verdict(several[0], found)
    parts, n_met = [], 0
    for target in several:
        value = target.measured(found)
        is_met = value is not None and target.reaches(value, target.goal)
        n_met += is_met
        text = "not measured" if value is None else number(value)
        text += f" ({target.source(found)[1]})" if target.peer in BEST and value is not None else ""
        parts.append(f"{target.label}: {text if is_met else f'**{text}**'}")
    return f"{', '.join(parts)} {several[0].unit}", "met" if n_met == len(
        several
    ) else f"**{n_met} of {len(several)} met**"


def verdict(target: Target, found: Results) -> str:
    """met, missed or not measured."""
    value = target.measured(found)
    if value is None:
        return f"**{target.why_not(found)}**"
    if not target.reaches(value, target.goal):
        return f"**missed**, {number(target.shortfall(value))} times worse"
    if target.ambition is None:
        return "met"
    return "met, ambition too" if target.reaches(value, target.ambition) else "met, ambition not"


def _promise(target: Target) -> str:
    relation = "at most" if target.better == "lower" else "at least"
    ambition = f", ambition {with_unit(target.ambition, target.unit)}" if target.ambition is not None else ""
    return f"{relation} {with_unit(target.goal, target.unit)}{ambition}"


def _measured(target: Target, found: Results) -> str:
    value = target.measured(found)
    text = "-" if value is None else with_unit(value, target.unit)
    if value is not None and target.peer in BEST:
        text += f" ({target.source(found)[1]})"
    if value is not None and target.kind == "share":
        text += f" ({_at_peak(target, found)})"
    others = []
    for peer in target.beside:
        samples = found.samples(target.case, peer)
        said = with_unit(statistics.median(samples) / UNITS[target.unit], target.unit) if samples else "not measured"
        others.append(f"{_beside_name(peer)} {said}")
    return f"{text} ({', '.join(others)})" if others else text


def _at_peak(target: Target, found: Results) -> str:
    measurement = found.measurements[target.source(found)]
    ours = statistics.median(measurement["fastbp_samples"]) / measurement["n_rows"] * 1e9
    peak = measurement["operations"] / statistics.median(measurement["samples"]) / 1e9
    return f"{number(ours)} ns a sample at a peak of {peak:.0f} GFLOP/s"


def _beside_name(peer: str) -> str:
    return "without a workspace" if peer == FASTBP.name else peer


def _about(runs: Iterable[dict[str, Any]]) -> list[str]:
    lines = []
    for run in sorted(runs, key=lambda run: run["time"]):
        versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        commit = run["commit"] + " with uncommitted changes" * run["uncommitted"]
        lines.append(
            f"Measured on {run['time'][:10]} at commit {commit}: {run['cpu']}, "
            f"{run['n_threads']} threads on {run['n_cpus']} CPUs, {run['system']}; {versions}."
        )
    return list(dict.fromkeys(lines))  # several runs at one commit look alike


# -- the README's table ----------------------------------------------------------------------------------------------


def summary_table(rows: dict[str, str], found: Results) -> str:
    """The time of a call, and each peer's with its ratio, bold where it is faster; and where that was measured."""
    columns = (FASTBP.name, *SUMMARY_PEERS)
    lines = [_row(["What", *columns]), _row(["---", *["---:"] * len(columns)])]
    measured = {case for case, peer in found.runs if peer == FASTBP.name}
    for name, case in rows.items():
        ours = found.samples(case, FASTBP.name)
        cells = [_time(statistics.median(ours)) if ours else "-"]
        for peers in SUMMARY_PEERS.values():
            peer = next((peer for peer in peers if found.samples(case, peer)), None)
            cells.append(_beside(found.measurements[case, peer]) if peer else "-")
        lines.append(_row([name, *cells]))
    return "\n".join(
        [*lines, *_machines([found.runs[case, FASTBP.name] for case in rows.values() if case in measured])]
    )


def _machines(runs: list[dict[str, Any]]) -> list[str]:
    """Each machine with the commits that were measured on it."""
    commits: dict[str, list[str]] = {}
    for run in runs:
        commits.setdefault(f"{run['cpu']}, {run['n_threads']} threads on {run['n_cpus']} CPUs", []).append(_commit(run))
    return [f"\n{machine}; measured at {' and '.join(dict.fromkeys(c))}." for machine, c in commits.items()]


def _beside(measurement: dict[str, Any]) -> str:
    ratio = targets.speedup(measurement)
    text = f"{_time(statistics.median(measurement['samples']))} ({number(ratio)} x)"
    return f"**{text}**" if ratio < 1 else text


def _time(seconds: float) -> str:
    unit = next((unit for unit in ("s", "ms") if seconds >= UNITS[unit]), "us")
    return with_unit(seconds / UNITS[unit], unit)


# -- side by side ----------------------------------------------------------------------------------------------------


def results_tables(groups: dict[str, tuple[Case, ...]], found: Results) -> str:
    """One table for each group of cases: ns a sample for fastbp, and for each peer with its ratio to fastbp."""
    parts = []
    for name, group in groups.items():
        measured = [case for case in group if found.samples(case.id, FASTBP.name)]
        if measured:
            parts += [f"**{TITLES[name]}**: ns a sample", "", side_by_side(measured, found), ""]
    if not parts:
        return "Nothing measured yet: `python -m benchmarks.measure`"
    cases = tuple(case for group in groups.values() for case in group)
    return "\n".join(
        [*parts, where_we_lose(cases, found), "", *_skipped(cases, found), *_rounding(cases, found)]
    ).rstrip()


def side_by_side(cases: list[Case], found: Results) -> str:
    """Rows are cases, columns peers; a column nobody was measured in is left out."""
    columns = [name for name in COLUMNS if any(found.samples(case.id, name) for case in cases)]
    lines = [_row(["Network", "N", *columns]), _row(["---", *["---:"] * (len(columns) + 1)])]
    for case in cases:
        cells = (_cell(case, name, found) for name in columns)
        lines.append(_row([f"{case.network}, {case.dtype}", f"{case.n_rows:,}", *cells]))
    return "\n".join(lines)


def _cell(case: Case, peer: str, found: Results) -> str:
    samples = found.samples(case.id, peer)
    if not samples:
        return "-"
    text = number(statistics.median(samples) / case.n_rows * 1e9)
    if peer == FASTBP.name:
        return text
    ratio = targets.speedup(found.measurements[case.id, peer])
    shown = f"{number(ratio)} x"
    return f"{text} (**{shown}**)" if ratio < 1 and peer not in OURS else f"{text} ({shown})"


def where_we_lose(cases: tuple[Case, ...], found: Results) -> str:
    """Every peer that was faster, named with its ratio."""
    losses = []
    for case, peer in itertools.product(cases, COLUMNS):
        if found.samples(case.id, peer) and peer not in OURS:
            ratio = targets.speedup(found.measurements[case.id, peer])
            if ratio < 1:
                losses.append(f"{peer} at {case.id} ({number(1 / ratio)} times as fast)")
    if not losses:
        return "No peer was faster in any of these cases."
    return f"**Where fastbp loses:** {'; '.join(losses)}."


def _skipped(cases: tuple[Case, ...], found: Results) -> list[str]:
    """Why a peer has no number, one line for each reason."""
    reasons: dict[str, list[str]] = {}
    for case, peer in itertools.product(cases, COLUMNS):
        reason = found.measurements.get((case.id, peer), {}).get("skipped")
        if reason:
            reasons.setdefault(f"{peer}: {reason}", []).append(case.id)
    return [f"Not measured, {reason} ({'; '.join(ids)})." for reason, ids in reasons.items()]


def _rounding(cases: tuple[Case, ...], found: Results) -> list[str]:
    """The peers whose float32 sums were too far from fastbp's for their gradients to agree at full size."""
    errors = {
        f"{peer} at {case.id}": found.measurements.get((case.id, peer), {}).get("disagreement", 0.0)
        for case, peer in itertools.product(cases, COLUMNS)
        if not peer.startswith("fastbp,")  # which may be another network, for its time
    }
    named = [f"{name} ({error:.1e})" for name, error in errors.items() if error > TOLERANCE]
    if not named:
        return []
    return [
        "Loss and gradient of a peer agree with fastbp's within 1e-4, relative; by float32 sums over many rows differ: "
        f"{'; '.join(named)}. Over {FEWER_ROWS:,} rows they agree."
    ]


# -- numbers ---------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three significant digits, never with an exponent: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    if rounded >= 100:
        return f"{rounded:,.0f}"
    digits = 0
    while digits < 9 and rounded * 10**digits < 100:
        digits += 1
    return f"{rounded:.{digits}f}".rstrip("0").rstrip(".")


def with_unit(value: float, unit: str) -> str:
    """31.2 x, 83 %, 18.4 us."""
    return f"{number(value)} {unit}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


# -- what needs attention --------------------------------------------------------------------------------------------


def attention(rows: list[Target], found: Results) -> list[str]:
    """One line for each target that is not measured, missed, or older than the code it measures."""
    lines = []
    for target in rows:
        said = verdict(target, found).replace("*", "")
        if not said.startswith("met"):
            lines.append(f"{target.id}: {said}")
        if target.measured(found) is not None:
            age = outdated(target, found.runs[target.source(found)])
            lines += [f"{target.id}: {age}"] if age else []
    return lines


def outdated(target: Target, run: dict[str, Any]) -> str:
    """Why a measurement no longer speaks for the code: "" if it does, or if there is no history to ask."""
    if not results.git("rev-parse", "--verify", "--quiet", "HEAD"):
        return ""
    if run["uncommitted"]:
        return "measured with uncommitted changes"
    known = results.git("rev-parse", "--verify", "--quiet", f"{run['commit']}^{{commit}}")
    if not known:
        return f"measured at {run['commit']}, a commit that this history does not have"
    changed = history.changed_files(known, target.code)
    others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"measured at {run['commit']}, before {changed[0]}{others} changed" if changed else ""


# -- the pages -------------------------------------------------------------------------------------------------------


def spliced(text: str, parts: dict[str, str], page: str) -> str:
    """A page's text with every part between its markers, `<!-- name:begin -->` and `<!-- name:end -->`."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise SystemExit(f"{page} needs the line {begin} and after it the line {end}, once each")
        before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
        text = f"{before}\n{part}\n{after}"
    return text


def main(arguments: list[str] | None = None, root: Path = results.ROOT, folder: Path = results.FOLDER) -> int:
    """Write, check or print the tables; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.report", description=__doc__.partition("\n")[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    choice.add_argument("--stdout", action="store_true", help="print the tables")
    options = parser.parse_args(arguments)
    rows, found = targets.load(), results.read(folder)
    parts = {
        "targets": targets_table(rows, found),
        "results": results_tables(GROUPS, found),
        "summary": summary_table(SUMMARY, found),
    }
    for line in attention(rows, found):
        print(line, file=sys.stderr)
    if options.stdout:
        print("\n\n".join(parts.values()))
        return 0
    before, after = {}, {}
    for page in dict.fromkeys(PAGES.values()):
        if not (root / page).exists():
            raise SystemExit(f"{page} does not exist; --stdout prints the tables")
        before[page] = (root / page).read_text()
        after[page] = spliced(before[page], {n: part for n, part in parts.items() if PAGES[n] == page}, page)
    old = [page for page in after if before[page] != after[page]]
    for page in old:
        if options.check:
            print(f"{page} is out of date: run python -m benchmarks.report", file=sys.stderr)
        else:
            (root / page).write_text(after[page])
    return int(options.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
