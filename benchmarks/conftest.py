"""How the suites run: warnings of peers are theirs, and groups put the peers of one case side by side."""

import pytest

from .peers import FASTBP, FEWER_ROWS, ROUNDING, TOLERANCE, Peer, disagreement, flat, prepare
from .processes import available_cpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def n_threads() -> int:
    """One thread for each CPU, for every peer."""
    return len(available_cpus())


@pytest.fixture(scope="module")
def validated_call(n_threads):
    """A peer's call on a case, once its result has been seen to agree with fastbp's."""
    wanted = {}

    def differs_by(call, case):
        if case not in wanted:
            wanted[case] = flat(prepare(FASTBP, case, n_threads)())
        return disagreement(flat(call()), wanted[case])

    def make(peer: Peer, case):
        if not peer.installed:
            pytest.skip(f"{peer.name} is not installed")
        call = prepare(peer, case, n_threads)
        error = differs_by(call, case)
        assert error <= ROUNDING
        if error > TOLERANCE:
            few = case._replace(n_rows=min(case.n_rows, FEWER_ROWS))
            assert differs_by(prepare(peer, few, n_threads), few) <= TOLERANCE
        return call

    return make
