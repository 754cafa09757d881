"""The benchmarks' own arithmetic: targets, verdicts, tables, markers, what is out of date. Nothing is timed here."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from benchmarks import cases, history, peers, report, results, targets, training
from benchmarks.results import Results
from benchmarks.targets import PEAK, Target
from tests.says import assert_says

CASE = cases.Case(cases.LECTURE_NET, 1_000, "float32")
RUN = {
    "time": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789",
    "uncommitted": False,
    "cpu": "Some CPU (model4)",
    "n_cpus": 4,
    "n_threads": 2,
    "system": "Linux x86_64",
    "versions": {"python": "3.11.7", "numpy": "2.4.0"},
}


def found(*measurements, **run):
    return Results.of([{"run": {**RUN, **run}, "measurements": list(measurements)}])


def timing(peer, samples, ours=None, **facts):
    by_turns = {} if ours is None else {"fastbp_samples": ours}
    return {"case": CASE.id, "peer": peer, "samples": samples, "n_rows": CASE.n_rows, **by_turns, **facts}


def target(**changes):
    fields = {
        "id": "one", "issue": 2, "what": "a call", "kind": "time", "case": CASE.id, "goal": 10, "unit": "us",
        "better": "lower", "code": ("fastbp",),
    }  # fmt: skip
    return Target(**{**fields, **changes})


# name: (target, measurements, value in the target's unit, verdict)
VERDICTS = {
    "time": (target(), [timing("fastbp", [9e-6, 7e-6, 30e-6])], 9, "met"),
    "time missed": (target(), [timing("fastbp", [25e-6])], 25, "**missed**, 2.5 times worse"),
    "on the goal": (target(), [timing("fastbp", [10e-6])], 10, "met"),
    "of a peer": (target(peer="NumPy"), [timing("fastbp", [1e-6]), timing("NumPy", [8e-6], [1e-6])], 8, "met"),
    "minutes": (target(unit="min"), [timing("fastbp", [540.0])], 9, "met"),
    "memory": (target(kind="memory", unit="MB"), [timing("fastbp", [11_000_000])], 11, "**missed**, 1.1 times worse"),
    "speed-up of pairs, not of medians": (
        target(kind="speedup", peer="JAX", unit="x", better="higher"),
        [timing("JAX", [12.0, 40.0, 90.0], [1.0, 2.0, 9.0])], 12, "met",
    ),
    "speed-up missed": (
        target(kind="speedup", peer="JAX", unit="x", better="higher"),
        [timing("JAX", [5.0], [1.0])], 5, "**missed**, 2 times worse",
    ),
    # 1,000 rows x 12 ns x 234 GFLOP/s = 2.808e6 operations at the limit; at 117 GFLOP/s they take 24 us.
    "share": (
        target(kind="share", unit="%", better="higher", goal=80, ambition=95, limit_ns=12.0, at_gflops=234),
        [timing(PEAK, [1e-3], [30e-6], operations=117e6)], 80, "met, ambition not",
    ),
    "ambition": (
        target(kind="share", unit="%", better="higher", goal=80, ambition=95, limit_ns=12.0, at_gflops=234),
        [timing(PEAK, [1e-3], [25e-6], operations=117e6)], 96, "met, ambition too",
    ),
    "nothing": (target(), [], None, "**not measured**"),
    "skipped": (
        target(peer="JAX"), [{"case": CASE.id, "peer": "JAX", "skipped": "not installed"}], None,
        "**not measured: not installed**",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(name):
    """A target's value and verdict follow from the raw samples."""
    row, measurements, value, verdict = VERDICTS[name]
    measured = row.measured(found(*measurements))
    assert measured == (value if value is None else pytest.approx(value, rel=1e-12))
    assert report.verdict(row, found(*measurements)) == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.00123456, "0.00123"), (0.25, "0.25"), (9.999, "10"), (12.34, "12.3"), (99.96, "100"),
     (1234, "1,230"), (1_000_000, "1,000,000")],
)  # fmt: skip
def test_number(value, text):
    """Numbers are written with three significant digits and no exponent."""
    assert report.number(value) == text


def test_the_table_of_targets_loads_and_names_cases_that_are_measured():
    """Every row of targets.toml has a case that the measurements produce, and paths that exist."""
    rows = targets.load()
    assert len(rows) >= 18
    by_turns = training.runs()
    known = {case.id for case in cases.CASES} | {run.case for run in by_turns}
    timed = [row for row in rows if row.kind in ("speedup", "share", "overhead")]
    assert timed
    assert {row.case for row in timed} <= known
    names = {PEAK, "numpy", *targets.BEST, *report.COLUMNS, *(peer for run in by_turns for peer in run.peers)}
    assert {peer for row in rows for peer in (row.source(Results({}, {}))[1], *row.beside)} <= names
    paths = {path for row in rows for path in row.code} - {".ci"}
    assert not [path for path in paths if not (results.ROOT / path).exists()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "speed"}, "target 'one': wanted one of time, memory, speedup, share, value, overhead; got 'speed'"),
        ({"unit": "ns"}, "target 'one': wanted one of x, %, us, ms, s, min, MB; got 'ns'"),
        ({"better": "more"}, "target 'one': wanted one of lower, higher; got 'more'"),
    ],
)
def test_a_misspelt_target_is_refused(changes, message):
    """An unknown word in the table is an error that names the known ones."""
    with pytest.raises(ValueError, match="wanted") as error:
        target(**changes)
    assert str(error.value) == message


def test_two_targets_of_one_id_are_refused(tmp_path):
    """Ids are unique."""
    row = '[[target]]\nid = "a"\nissue = 2\nwhat = "w"\nkind = "time"\ncase = "c"\ngoal = 1\nunit = "s"\n'
    row += 'better = "lower"\ncode = "all"\n'
    path = tmp_path / "targets.toml"
    path.write_text('[code]\nall = ["fastbp"]\n' + row + row)
    with pytest.raises(ValueError, match="ids must differ; got a, a"):
        targets.load(path)


def test_the_newest_measurement_counts():
    """Of two runs, each (case, peer) is read from the later one, and a partial run leaves the others alone."""
    old = {"run": RUN, "measurements": [timing("fastbp", [1.0]), timing("JAX", [2.0], [1.0])]}
    new = {"run": {**RUN, "time": "2026-01-03T00:00:00+00:00"}, "measurements": [timing("fastbp", [3.0])]}
    for files in ([old, new], [new, old]):
        both = Results.of(files)
        assert both.samples(CASE.id, "fastbp") == [3.0]
        assert both.samples(CASE.id, "JAX") == [2.0]
        assert both.runs[CASE.id, "fastbp"] == new["run"]
    assert both.samples(CASE.id, "NumPy") == []


def test_results_survive_a_file(tmp_path):
    """What is written is read again; a machine has one file, where a newer measurement replaces the old."""
    later = {**RUN, "time": "2026-01-03T00:00:00+00:00"}
    elsewhere = {**RUN, "n_cpus": 8}
    results.write(RUN, [timing("NumPy", [0.5], [0.25]), timing("JAX", [0.5], [0.25])], tmp_path)
    results.write(elsewhere, [timing("PyTorch", [0.125])], tmp_path)
    path = results.write(later, [timing("JAX", [0.75], [0.25])], tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4-x-some-cpu-model4.json", "8-x-some-cpu-model4.json"]
    again = results.read(tmp_path)
    assert [again.samples(CASE.id, peer) for peer in ("NumPy", "JAX", "PyTorch")] == [[0.5], [0.75], [0.125]]
    assert [one["run"] for one in json.loads(path.read_text())] == [RUN, later]
    results.write({**later, "time": "2026-01-04T00:00:00+00:00"}, [timing("NumPy", [1.0], [0.25])], tmp_path)
    assert RUN not in [one["run"] for one in json.loads(path.read_text())]


def test_several_files_of_a_machine_become_one(tmp_path):
    """The tidy step changes no number that the report reads, and nothing at all when repeated."""
    for day in (3, 1, 2):
        run = {**RUN, "time": f"2026-01-0{day}T00:00:00+00:00"}
        content = {"run": run, "measurements": [timing("JAX", [float(day)]), timing(f"peer {day}", [float(day)])]}
        (tmp_path / f"day-{day}.json").write_text(json.dumps(content))
    before = results.read(tmp_path)
    (path,) = results.tidy(tmp_path)
    assert [*tmp_path.iterdir()] == [path]
    assert results.read(tmp_path) == before
    assert before.samples(CASE.id, "JAX") == [3.0]
    text = path.read_text()
    assert results.tidy(tmp_path) == [path]
    assert path.read_text() == text


def test_the_folder_keeps_only_the_newest_measurement_of_each_row():
    """Every machine has one file, and of each (case, peer) it has one measurement."""
    for path in results.FOLDER.glob("*.json"):
        runs = json.loads(path.read_text())
        assert results.newest(runs) == runs
        assert {results._machine(one["run"]) for one in runs} == {path.stem}


def test_targets_table():
    """Target, value, neighbours, verdict and commit stand in a row, and below it when, where and with what."""
    rows = [target(beside=("JAX", "PyTorch")), target(id="two", what="another", case="elsewhere", unit="s")]
    table = report.targets_table(
        rows, found(timing("fastbp", [25e-6]), timing("JAX", [1e-4], [25e-6]), uncommitted=True)
    )
    assert table == (
        "| What | Target | Measured | Verdict | Commit |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| a call | at most 10 us | 25 us (JAX 100 us, PyTorch not measured) | **missed**, 2.5 times worse "
        "| 0123456789 + changes |\n"
        "| another | at most 10 s | - | **not measured** |  |\n"
        "\n"
        "Measured on 2026-01-02 at commit 0123456789 with uncommitted changes: Some CPU (model4), 2 threads on 4 CPUs, "
        "Linux x86_64; python 3.11.7, numpy 2.4.0."
    )


def test_several_cases_are_one_row_with_a_value_for_each(tmp_path):
    """Lists of cases, goals and labels become targets of their own, and one row of the table with misses in bold."""
    path = tmp_path / "targets.toml"
    path.write_text(
        """[code]
calculation = ["fastbp"]
[[target]]
id = "squares"
issue = 3
what = "two squares"
kind = "speedup"
case = ["a", "b", "c"]
label = ["16", "32", "64"]
goal = [2.0, 3.0, 1.0]
unit = "x"
better = "higher"
peer = "the best peer"
code = "calculation"
"""
    )
    rows = targets.load(path)
    assert [(row.id, row.case, row.goal) for row in rows] == [
        ("squares 16", "a", 2.0), ("squares 32", "b", 3.0), ("squares 64", "c", 1.0)
    ]  # fmt: skip
    times = {"JAX": 2.5, "PyTorch": 4.0, "JAX, tuned": 1.0, "fastbp, dense": 1.0}
    measured = found(
        *({"case": case, "peer": peer, "samples": [seconds], "fastbp_samples": [1.0]}
          for case in "ab" for peer, seconds in times.items())
    )  # fmt: skip
    values = "16: 2.5 (JAX), 32: **2.5 (JAX)**, 64: **not measured** x"
    row = report.targets_table(rows, measured).splitlines()[2]
    assert row.startswith(f"| two squares | at least 2, 3, 1 x | {values} | **1 of 3 met** |")


def test_a_peer_that_rounds_more_is_named():
    """A peer that was timed although float32 sums carry its gradient away from fastbp's is said to differ."""
    table = report.results_tables(
        {"lecture": (CASE,)}, found(timing("fastbp", [1.0]), timing("JAX", [2.0], [1.0], disagreement=2e-4))
    )
    assert table.endswith(
        "Loss and gradient of a peer agree with fastbp's within 1e-4, relative; by float32 sums over many rows differ: "
        "JAX at 2-100-1 float32 x 1,000 (2.0e-04). Over 10,000 rows they agree."
    )


def test_side_by_side_shows_where_fastbp_loses():
    """Times are per row, ratios to fastbp of the same rounds; a peer that is faster is in bold and named below."""
    measured = found(
        timing("fastbp", [2e-6]), timing("NumPy", [8e-6], [2e-6]), timing("JAX", [1e-6], [2e-6]),
        timing("fastbp, workspace", [1e-6], [2e-6]), timing("fastbp.reference", [1e-6], [4e-6]),
        {"case": CASE.id, "peer": "PyTorch", "skipped": "not installed"},
    )  # fmt: skip
    assert report.results_tables({"lecture": (CASE,)}, measured) == (
        "**The lecture's network, loss and gradients**: ns a sample\n"
        "\n"
        "| Network | N | fastbp | fastbp, workspace | NumPy | fastbp.reference | JAX |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 2-100-1, float32 | 1,000 | 2 | 1 (0.5 x) | 8 (4 x) | 1 (**0.25 x**) | 1 (**0.5 x**) |\n"
        "\n"
        "**Where fastbp loses:** fastbp.reference at 2-100-1 float32 x 1,000 (4 times as fast); "
        "JAX at 2-100-1 float32 x 1,000 (2 times as fast).\n"
        "\n"
        "Not measured, PyTorch: not installed (2-100-1 float32 x 1,000)."
    )


def test_no_results_are_said_aloud(tmp_path):
    """Without results the tables say so, and no peer is said to have lost."""
    assert report.results_tables(cases.GROUPS, results.read(tmp_path)) == (
        "Nothing measured yet: `python -m benchmarks.measure`"
    )


MARKERS = {name: f"<!-- {name}:begin -->\nold\n<!-- {name}:end -->" for name in report.PAGES}
RESULTS_PAGE = f"# T\n{MARKERS['targets']}\n{MARKERS['results']}\nafter\n"


def pages(tmp_path, text=RESULTS_PAGE):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "README.md").write_text(f"# R\n{MARKERS['summary']}\nmore\n")
    path = tmp_path / "benchmarks" / "RESULTS.md"
    path.write_text(text)
    return path


def test_the_pages_are_written_once_and_then_up_to_date(tmp_path):
    """--check fails before the tables are written and passes after, and text outside the markers stays."""
    path, folder = pages(tmp_path), tmp_path / "results"
    results.write(RUN, [timing("fastbp", [2e-6])], folder)
    assert report.main(["--check"], tmp_path, folder) == 1
    assert path.read_text() == RESULTS_PAGE
    assert report.main([], tmp_path, folder) == 0
    assert report.main(["--check"], tmp_path, folder) == 0
    text, readme = path.read_text(), (tmp_path / "README.md").read_text()
    assert text.startswith("# T\n<!-- targets:begin -->\n| What |")
    assert text.endswith("<!-- results:end -->\nafter\n")
    assert "| 1,000 | 2 |" in text
    assert readme.startswith("# R\n<!-- summary:begin -->\n| What | fastbp |")
    assert readme.endswith("<!-- summary:end -->\nmore\n")
    assert "\nold\n" not in text + readme


@pytest.mark.parametrize(
    "text",
    ["no markers", "<!-- targets:end --><!-- targets:begin -->", MARKERS["targets"] + RESULTS_PAGE],
)
def test_a_page_without_its_markers_is_refused(tmp_path, text):
    """Missing, swapped or doubled markers stop the report, which names page and markers and writes nothing."""
    path = pages(tmp_path, text)
    with pytest.raises(SystemExit) as error:
        report.main([], tmp_path, tmp_path)
    for fact in ("benchmarks/RESULTS.md", "<!-- targets:begin -->", "<!-- targets:end -->", "once"):
        assert fact in str(error.value)
    assert path.read_text() == text


def test_a_missing_page_is_refused(tmp_path):
    """Without a page the report names it and says how to see the tables."""
    with pytest.raises(SystemExit) as error:
        report.main([], tmp_path, tmp_path)
    assert_says(error, "benchmarks/RESULTS.md does not exist", "--stdout")


def test_the_tables_of_the_pages_are_those_of_the_results():
    """README.md and RESULTS.md show what results/ and targets.toml give."""
    rows, found = targets.load(), results.read()
    readme, page = ((results.ROOT / name).read_text() for name in ("README.md", "benchmarks/RESULTS.md"))
    assert f"-->\n{report.summary_table(report.SUMMARY, found)}\n<!--" in readme
    assert f"-->\n{report.targets_table(rows, found)}\n<!--" in page
    assert f"-->\n{report.results_tables(cases.GROUPS, found)}\n<!--" in page


def test_summary_table():
    """A row has fastbp's time and each peer's with its ratio: bold where fastbp loses, a dash where there is none."""
    measured = found(
        timing("fastbp", [2e-6]), timing("JAX", [1e-6], [2e-6]), timing("PyTorch", [3.0], [2e-6]),
        timing("fastbp.reference", [4e-3], [2e-3]),
    )  # fmt: skip
    assert report.summary_table({"small": CASE.id, "none": "elsewhere"}, measured).splitlines()[2:] == [
        "| small | 2 us | **1 us (0.5 x)** | 3 s (1,500,000 x) | - | 4 ms (2 x) |",
        "| none | - | - | - | - | - |",
        "",
        "Some CPU (model4), 2 threads on 4 CPUs; measured at 0123456789.",
    ]


def test_attention_names_what_is_missed_and_what_is_out_of_date(monkeypatch):
    """Misses, gaps and measurements older than their code each get a line; a good and recent one gets none."""
    known, changed = ["0123456789abcdef"], ["fastbp/a.py", "fastbp/b.py"]
    monkeypatch.setattr(results, "git", lambda *arguments: "abc" if arguments[-1] == "HEAD" else known[0])
    monkeypatch.setattr(history, "changed_files", lambda since, rooms: changed)
    rows = [target(), target(id="two", case="elsewhere")]
    measured = found(timing("fastbp", [25e-6]))
    assert report.attention(rows, measured) == [
        "one: missed, 2.5 times worse",
        "one: measured at 0123456789, before fastbp/a.py and 1 more changed",
        "two: not measured",
    ]
    changed.clear()
    assert report.attention([target(goal=30)], measured) == []
    assert report.attention([target(goal=30)], found(timing("fastbp", [25e-6]), uncommitted=True)) == [
        "one: measured with uncommitted changes"
    ]
    known[0] = ""
    assert report.attention([target(goal=30)], measured) == [
        "one: measured at 0123456789, a commit that this history does not have"
    ]


OLD = {
    "fastbp/flat.py": '"""Old."""\nfrom .b import c\nN = 3\n\ndef f(x):\n    """Twice."""\n    return 2 * x  # two\n',
    "fastbp/unused.py": "def gone():\n    return 0\n",
    "fastbp/object.py": "class A:\n    def one(self):\n        return 1\n",
    "pyproject.toml": "a = 1\n",
}
MOVED = {
    "fastbp/room/one.py": '"""New."""\nfrom ..b.d import c\n\n\ndef f(x):\n    """Two of it."""\n    return 2 * x\n',
    "fastbp/room/two.py": "N = 3\n",
    "fastbp/room/object.py": OLD["fastbp/object.py"],
    "fastbp/other.py": "def g():\n    return 5\n",
    "pyproject.toml": OLD["pyproject.toml"],
}
ROOM = ("fastbp/room", "pyproject.toml")
# What changed since the measurement: (files today, those that make a row out of date).
CHANGES = {
    "only moved, split, commented, deleted": ({}, []),
    "a number": ({"fastbp/room/two.py": "N = 4\n"}, ["fastbp/room/two.py"]),
    "a function": ({"fastbp/room/one.py": "def f(x):\n    return x + x\n"}, ["fastbp/room/one.py"]),
    "a new file": ({"fastbp/room/three.py": "def h():\n    return 1\n"}, ["fastbp/room/three.py"]),
    "a method": (
        {"fastbp/room/object.py": "class A:\n    def one(self):\n        return 2\n"}, ["fastbp/room/object.py"],
    ),
    "a decorator": ({"fastbp/room/one.py": "@fast\ndef f(x):\n    return 2 * x\n"}, ["fastbp/room/one.py"]),
    "a file that is not Python": ({"pyproject.toml": "a = 2\n"}, ["pyproject.toml"]),
    "another room": ({"fastbp/roommate.py": "def h():\n    return 1\n"}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_moving_code_makes_no_measurement_old(name, monkeypatch):
    """Code that stands elsewhere is the same code; a statement that is new in a room makes its rows out of date."""
    changes, wanted = CHANGES[name]
    commits = {"old": OLD, "HEAD": MOVED | changes}
    read = {
        commit: {path: history.statements_of(path, text) for path, text in files.items()}
        for commit, files in commits.items()
    }
    monkeypatch.setattr(history, "_files", read.__getitem__)
    assert history.changed_files("old", ROOM) == wanted


NUMPY_PEERS = [peer for peer in peers.PEERS if peer.module in ("numpy", "fastbp")]


@pytest.mark.parametrize("peer", NUMPY_PEERS, ids=lambda peer: peer.name)
def test_peers_compute_what_fastbp_computes(peer):
    """Every peer that needs nothing installed agrees with fastbp on the lecture's network."""
    case = CASE._replace(n_rows=257)
    wanted = peers.flat(peers.prepare(peers.FASTBP, case, 1)())
    assert np.abs(wanted[1]).max() > 0
    assert peers.disagreement(peers.flat(peers.prepare(peer, case, 1)()), wanted) < 1e-5


def test_a_wrong_gradient_is_not_timed():
    """One weight wrong by 1 % is more than the tolerance before timing, and so is the loss wrong by 0.1 %."""
    loss, gradient = 0.7, np.linspace(1, 2, 50)
    wrong = gradient.copy()
    wrong[-1] *= 1.01
    assert peers.disagreement((loss, gradient), (loss, gradient)) == 0
    assert peers.disagreement((loss, wrong), (loss, gradient)) > 1e-4
    assert peers.disagreement((loss * 1.001, gradient), (loss, gradient)) > 1e-4
    assert not peers.disagreement((loss, gradient * np.nan), (loss, gradient)) <= 1e-4


def test_data_are_the_same_in_every_process():
    """A case's data come from a seed alone; they have its dtype, shape and both classes."""
    for case in (CASE, cases.GENERAL[0]._replace(n_rows=64)):
        one, two = cases.data(case), cases.data(case)
        assert np.array_equal(one.x, two.x)
        assert np.array_equal(one.params.vector, two.params.vector)
        assert one.x.shape == (case.n_rows, case.net.n_inputs)
        assert one.x.dtype == one.params.dtype == case.dtype
        assert len(np.unique(one.y)) == max(2, case.net.n_outputs)


def test_targets_are_frozen():
    """A row of the table cannot be changed by the report."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        target().goal = 1


def test_every_peer_can_be_sent_to_its_process():
    """Peers are pickled."""
    for peer in (peers.FASTBP, *peers.PEERS, *peers.TUNED):
        assert pickle.loads(pickle.dumps(peer)) == peer
