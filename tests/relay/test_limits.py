import pytest

from relay.limits import RESERVE, Admission, Budget, budget_for, source_of


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


def test_sources() -> None:
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2:ffff::1")
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("fe80::1%eth0") == "fe80::/64"
