"""`fastbp bench`: how fast a network's loss and gradient are here, how that is planned, and where the time goes.

Everything is timed by turns in one run, and medians are reported: on a shared machine times taken one after the other
cannot be compared. Operations are those of the matrix products, without padding: 2 for each weight and row forward, 2
for its gradient, and after the first layer 2 for the gradient of its input.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from ..compiler import threads as _threads
from ..engine import backprop
from ..engine.plan import Layout, Schedule
from ..engine.workspace import Batch, Want, Workspace
from ..errors import FastbpError
from ..kernels import structures as k
from ..kernels.simd import peak
from ..model import activations
from ..model.network import MLP
from ..model.parameters import Parameters
from . import peers
from .check import random_targets

_ROUNDS = 15
_SHORTEST = 2e-3  # seconds of calls to time together


class Timing(NamedTuple):
    """A peer's time, or why there is none."""

    name: str
    seconds: float
    disagreement: float
    trouble: str = ""


class Report(NamedTuple):
    """What was measured; times in seconds, rates a second."""

    network: str
    n_rows: int
    dtype: str
    layout: Layout
    schedule: Schedule
    seconds: float  # loss and gradient
    forward_seconds: float
    peak: float  # operations a second
    bandwidth: float  # bytes a second
    operations: float  # of loss and gradient
    forward_operations: float
    parts: dict[str, float]  # shares of the time
    peers: list[Timing]

    @property
    def share_of_peak(self) -> float:
        """Of the machine's fused multiply-adds."""
        return self.operations / self.seconds / self.peak

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for machines."""
        plan = {
            "family": self.layout.family,
            "block_rows": self.layout.block_rows,
            "n_blocks": self.layout.n_blocks,
            "n_accumulators": self.layout.n_accumulators,
            "n_threads": self.schedule.n_workers,
        }
        names = ("network", "n_rows", "dtype", "seconds", "forward_seconds", "peak", "bandwidth", "operations")
        values = {name: getattr(self, name) for name in names}
        return {**values, "share_of_peak": self.share_of_peak, "plan": plan, "parts": self.parts,
                "peers": [timing._asdict() for timing in self.peers]}  # fmt: skip


def measure(
    net: MLP, n_rows: int, *, dtype: Any = np.float32, n_threads: int | None = None, with_peers=False
) -> Report:
    """Time a network on random data."""
    dtype, threads = np.dtype(dtype), _threads.resolve_threads(n_threads)
    rng = np.random.default_rng(0)
    params, x = net.init(rng, dtype=dtype), rng.standard_normal((n_rows, net.n_inputs), dtype=dtype)
    y = random_targets(net, n_rows, rng)
    y = y if y.dtype == np.int64 else y.astype(dtype)
    grad, out, workspace = params.copy(), np.empty((n_rows, net.n_outputs), dtype), Workspace()
    linear = MLP(net.layer_sizes, activation=activations.identity(), loss=net.loss_function, bias=net.bias)

    def step(network: MLP = net) -> float:
        same = Parameters(network, params.vector)
        return network.value_and_grad(same, x, y, out=Parameters(network, grad.vector), n_threads=threads,
                                      workspace=workspace)[0]  # fmt: skip

    calls: dict[str, Callable[[], Any]] = {
        "step": step,
        "forward": lambda: net.forward(params, x, out=out, n_threads=threads, workspace=workspace),
        "linear": lambda: step(linear),
        "peak": peak.multiply_adds(dtype, threads),
        "read": peak.reads(threads),
    }
    result = step(), np.array(grad.vector, np.float64)
    batch = workspace.batch(net, n_rows, dtype, threads)
    calls |= _phases(batch, net, backprop.Data(net, params, x, y), grad.vector)
    with ExitStack() as stack:
        timings, processes = [], {}
        for peer in [peer for peer in peers.PEERS if peer.installed] if with_peers else []:
            try:
                process = stack.enter_context(peers.PeerProcess(peer, net, params, x, y, threads))
            except FastbpError as error:
                timings.append(Timing(peer.name, np.nan, np.nan, str(error)))
            else:
                processes[peer.name] = process
        seconds = _by_turns(calls, {name: process.seconds for name, process in processes.items()})
        for name, process in processes.items():
            timings.append(Timing(name, seconds[name], peers.disagreement(process.result, result)))
    weights = [layer.n_in * layer.n_out for layer in net.layers]
    return Report(
        network=str(net),
        n_rows=n_rows,
        dtype=dtype.name,
        layout=batch.layout,
        schedule=batch.schedule,
        seconds=seconds["step"],
        forward_seconds=seconds["forward"],
        peak=calls["peak"]() / seconds["peak"],
        bandwidth=calls["read"]() / seconds["read"],
        operations=n_rows * (6.0 * sum(weights) - 2 * weights[0]),
        forward_operations=n_rows * 2.0 * sum(weights),
        parts=_parts(seconds),
        peers=timings,
    )


def _phases(batch: Batch, net: MLP, data: backprop.Data, grad: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Calls of the packing and of the reduction alone; samples in the lanes have next to no packing."""
    phases = {"packing": k.PACK, "merging": k.REDUCE}
    if batch.layout.family == "small":
        del phases["packing"]
    want = Want(k.GRADIENT, net.loss_function.code)

    def run(phase: int) -> None:
        batch.bind(
            data.vector, data, want, grad, data.vector[:0]
        )  # anew, as other calls of the batch want other things
        batch.run_phase(phase, data.vector)

    return {name: functools.partial(run, phase) for name, phase in phases.items()}


def _parts(seconds: dict[str, float]) -> dict[str, float]:
    """Shares of a step: measured alone, and for the activations the difference to a network without any."""
    whole = seconds["step"]
    parts = {name: min(1.0, seconds[name] / whole) for name in ("packing", "merging") if name in seconds}
    parts["activations"] = min(1.0, max(0.0, 1 - seconds["linear"] / whole))
    together = max(1.0, sum(parts.values()))  # of a step of microseconds each is measured with its call
    parts = {name: share / together for name, share in parts.items()}
    return {"products, losses and data": 1 - sum(parts.values()), **parts}


def _by_turns(calls: dict[str, Callable[[], Any]], timers: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median time of each call; timers time themselves."""
    repeats, samples = {}, {name: [] for name in (*calls, *timers)}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(_SHORTEST / max(time.perf_counter() - start, 1e-7)))
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            samples[name].append((time.perf_counter() - start) / repeats[name])
        for name, timer in timers.items():
            samples[name].append(timer())
    return {name: statistics.median(times) for name, times in samples.items()}


# -- the command -----------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    net = MLP(args.layers, activation=args.activation, loss=args.loss, bias=not args.no_bias)
    report = measure(net, args.rows, dtype=args.dtype, n_threads=args.threads, with_peers=args.peers)
    if args.json:
        json.dump(report.to_dict(), sys.stdout, indent=2)
        print()
    else:
        print(describe(report))
    return 0


def describe(report: Report) -> str:
    """The report as text."""
    plan, schedule = report.layout, report.schedule
    blocks = f"{plan.n_blocks:,} of {plan.block_rows} rows"
    if plan.n_accumulators > 1:
        blocks += f", in {plan.n_accumulators} accumulators that are summed on their own"
    if schedule.n_wave:
        blocks += f", kept {schedule.n_wave} at a time"
    lines = [
        f"{report.network}, {report.dtype}, {report.n_rows:,} rows",
        "",
        "Plan",
        f"  kernels    {plan.family}: {plan.reason}",
        f"  blocks     {blocks}",
        f"  threads    {schedule.reason}",
        "",
        f"Machine      {report.peak / 1e9:,.0f} GFLOP/s of multiply-adds, memory {report.bandwidth / 1e9:,.0f} GB/s",
        _line("Step", report.seconds, report.n_rows, report.operations, report.peak),
        _line("Forward", report.forward_seconds, report.n_rows, report.forward_operations, report.peak),
        "",
        "Where a step's time goes",
        *(f"  {name:<26} {share:6.1%}" for name, share in report.parts.items()),
    ]
    if report.peers:
        lines += ["", "Loss and gradient elsewhere", *(_peer_line(timing, report.seconds) for timing in report.peers)]
    return "\n".join(lines)


def _line(name: str, seconds: float, n_rows: int, operations: float, peak: float) -> str:
    rate = operations / seconds
    return (
        f"{name:<12} {_duration(seconds):>9}, {n_rows / seconds:,.0f} samples/s, {rate / 1e9:,.1f} GFLOP/s, "
        f"{rate / peak:.0%} of the peak"
    )


def _peer_line(timing: Timing, seconds: float) -> str:
    name = f"  {timing.name:<14}"
    if timing.trouble:
        return f"{name} not measured: {timing.trouble}"
    if not timing.disagreement <= 1e-4:
        return f"{name} {_duration(timing.seconds):>9}, no ratio: loss and gradient differ by {timing.disagreement:.1e}"
    return f"{name} {_duration(timing.seconds):>9}, {timing.seconds / seconds:.1f} x the time of fastbp"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
