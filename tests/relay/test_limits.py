import pytest

from relay.limits import RESERVE, Admission, Budget, budget_for
from tunnel.errors import LostError


@pytest.mark.parametrize("descriptors", [128, 256, 1024, 20_000, 1 << 20])
def test_a_budget_leaves_a_reserve(descriptors: int) -> None:
    budget = budget_for(descriptors)
    assert budget.connections + 2 * budget.pipes + RESERVE <= descriptors
    assert budget.undecided < budget.connections
    assert budget.per_share < budget.connections


def test_admission_counts_and_forgets() -> None:
    admission = Admission(Budget(connections=4, pipes=1, undecided=3, per_source=2, per_share=2))
    assert admission.enter("192.0.2.1")
    assert admission.enter("192.0.2.1")
    assert not admission.enter("192.0.2.1")  # its share of all
    assert admission.enter("127.0.0.1")
    assert not admission.enter("192.0.2.2")  # too many undecided
    admission.decided()
    assert admission.enter("127.0.0.1")
    admission.decided()
    assert not admission.enter("192.0.2.3")  # full
    admission.leave("192.0.2.1")
    assert admission.enter("192.0.2.1")


def test_only_so_many_shares_shake_hands_at_a_time() -> None:
    admission = Admission(Budget(connections=9, pipes=1, undecided=2, per_source=9, per_share=9))
    with admission.handshake():
        with admission.handshake(), pytest.raises(LostError), admission.handshake():
            pass
        with admission.handshake():
            pass
    assert not admission.handshakes
