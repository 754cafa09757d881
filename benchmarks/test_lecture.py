"""Loss and gradients, every case through the public call beside every peer, all in this process."""

import pytest

from .cases import CASES
from .peers import FASTBP, TUNED, peers_of

# A compiler for each case takes its time: with `-m ""`. And tuning is a matter of a process's environment.
_SLOW = {"torch.compile"}

PAIRS = [
    pytest.param(
        case,
        peer,
        id=f"{case.network}-{case.dtype}-{case.n_rows}-{peer.name}",
        marks=[pytest.mark.slow] if peer.name in _SLOW else [],
    )
    for case in CASES
    for peer in (FASTBP, *peers_of(case))
    if peer not in TUNED
]


@pytest.mark.parametrize(("case", "peer"), PAIRS)
def test_value_and_grad(benchmark, validated_call, case, peer):
    """A peer agrees with fastbp, and takes the time that is shown."""
    benchmark.group = case.id
    benchmark(validated_call(peer, case))
