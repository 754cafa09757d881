"""`fastbp bench`: what it prints holds together, and peers are compared only where they compute the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp.cli import bench, peers
from fastbp.cli.check import random_targets
from fastbp.engine.workspace import Batch
from fastbp.errors import FastbpError
from fastbp.kernels import structures as k

NETS = [
    fastbp.MLP((2, 10, 1), bias=False),
    fastbp.MLP((20, 30, 5), activation="tanh", loss="cross_entropy"),
    fastbp.MLP((6, 40, 30, 2), activation="relu", loss="squared_error"),
]


@pytest.mark.parametrize("net", NETS, ids=str)
def test_shares_and_rates_hold_together(net):
    """Shares add up to 1; operations are counted as RESULTS.md says; rates follow from them."""
    report = bench.measure(net, 500, n_threads=1)
    assert sum(report.parts.values()) == pytest.approx(1)
    weights = [a * b for a, b in zip(net.layer_sizes, net.layer_sizes[1:], strict=False)]
    assert report.operations == 500 * (6 * sum(weights) - 2 * weights[0])
    assert report.share_of_peak == pytest.approx(report.operations / report.seconds / report.peak)
    assert min(report.seconds, report.forward_seconds, report.peak, report.bandwidth) > 0
    text = bench.describe(report)
    for part in (str(net), "Plan", report.layout.family, "GFLOP/s", "% of the peak", "activations"):
        assert part in text


def test_a_peer_that_computes_something_else_gets_no_ratio():
    """Above 1e-4 the difference is printed instead; a NaN is a difference."""
    net = NETS[0]
    report = bench.measure(net, 100, n_threads=1)
    timings = [bench.Timing("right", 1.0, 9e-5), bench.Timing("wrong", 1.0, 2e-4), bench.Timing("nan", 1.0, np.nan)]
    timings.append(bench.Timing("absent", np.nan, np.nan, "ImportError: no"))
    right, wrong, nan, absent = bench.describe(report._replace(peers=timings)).splitlines()[-4:]
    assert "x the time of fastbp" in right
    assert "no ratio: loss and gradient differ by 2.0e-04" in wrong
    assert "no ratio" in nan
    assert "not measured: ImportError: no" in absent


@pytest.mark.parametrize(
    "peer", [peer for peer in peers.PEERS if peer.module in ("numpy", "sklearn")], ids=lambda p: p.name
)
def test_peers_compute_the_same(peer):
    """Loss and gradient, in a process of its own, which is gone afterwards."""
    if not peer.installed:
        pytest.skip(f"{peer.name} is not installed")
    for net in NETS[:2]:
        if peer.name == "scikit-learn" and net.layer_sizes[1] == 40:
            continue
        rng = np.random.default_rng(0)
        params, x = net.init(rng, dtype=np.float64), rng.standard_normal((60, net.n_inputs))
        y = random_targets(net, 60, rng)
        value, grad = net.value_and_grad(params, x, y)
        before = dict(os.environ)
        with peers.PeerProcess(peer, net, params, x, y, 1) as process:
            assert peers.disagreement(process.result, (value, grad.vector)) < 1e-10
            assert 0 < process.seconds() < 60
        assert dict(os.environ) == before
        assert not process._process.is_alive()


def test_a_peer_s_own_error_is_told():
    """scikit-learn has no gelu: said in its place, and the others are measured."""
    net = fastbp.MLP((2, 3, 1), activation="gelu")
    failing = peers.PEERS[1]
    if not failing.installed:
        pytest.skip("scikit-learn is not installed")
    params = net.init(0, dtype=np.float64)
    with pytest.raises(FastbpError, match="one activation"):
        peers.PeerProcess(failing, net, params, np.ones((2, 2)), np.ones((2, 1)), 1)


def test_the_command_prints_json():
    """For machines: the numbers of the report."""
    command = [sys.executable, "-m", "fastbp", "bench", "--layers", "3,8,2", "--loss", "squared_error"]
    done = subprocess.run([*command, "--rows", "200", "--json"], capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)
    assert values["network"] == "3-8-2 sigmoid, squared_error"
    assert values["plan"]["family"] == "small"
    assert values["share_of_peak"] > 0


def test_parts_are_those_of_a_gradient(monkeypatch):
    """Packing and merging are timed as a step does them, though calls of other kinds come in between."""
    modes, run_phase = [], Batch.run_phase

    def spy(batch, phase, vector):
        modes.append(int(batch.header.mode))
        run_phase(batch, phase, vector)

    monkeypatch.setattr(Batch, "run_phase", spy)
    bench.measure(fastbp.MLP((20, 40, 3), activation="relu", loss="cross_entropy"), 3000, n_threads=1)
    assert set(modes) == {k.GRADIENT}
