import contextlib

import pytest

from relay.limits import (
    HANDSHAKE_BURST,
    HANDSHAKE_REFILL_SECONDS,
    RESERVE,
    Admission,
    Budget,
    budget_for,
)
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
    admission.decided("192.0.2.1")
    assert admission.enter("127.0.0.1")
    admission.decided("127.0.0.1")
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


WIDE = Budget(connections=100, pipes=1, undecided=40, per_source=20, per_share=9)


def test_who_says_nothing_leaves_room_for_others() -> None:
    admission = Admission(WIDE)
    assert all(admission.enter("192.0.2.1") for _ in range(10))
    assert not admission.enter("192.0.2.1")  # a quarter of what is awaited
    assert admission.enter("192.0.2.2")
    admission.decided("192.0.2.1")
    assert admission.enter("192.0.2.1")
    assert all(admission.enter("127.0.0.1") for _ in range(20))


def test_a_network_that_has_many_sources_is_one() -> None:
    admission = Admission(WIDE)
    sources = [f"2001:db8:1:{number:x}::/64" for number in range(10)]
    assert all(admission.enter(source) for source in sources)
    assert not admission.enter("2001:db8:1:ff::/64")  # a quarter of what is awaited
    for source in sources:
        admission.decided(source)
    assert all(admission.enter(source) for source in sources)
    assert not admission.enter("2001:db8:1:ff::/64")  # half of all
    assert admission.enter("2001:db8:2:1::/64")
    for source in sources:
        admission.decided(source)
        admission.leave(source)
        admission.leave(source)
    assert admission.enter("2001:db8:1:ff::/64")


def test_handshakes_of_one_source_leave_room_for_others() -> None:
    admission = Admission(WIDE)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(admission.handshake("192.0.2.1"))
        with pytest.raises(LostError):
            stack.enter_context(admission.handshake("192.0.2.1"))
        stack.enter_context(admission.handshake("192.0.2.2"))
    with admission.handshake("192.0.2.1"):
        pass


def test_handshakes_are_not_without_end() -> None:
    admission = Admission(WIDE)
    took = sum(admission.may_shake_hands("192.0.2.1", 0.0) for _ in range(HANDSHAKE_BURST + 5))
    assert took == HANDSHAKE_BURST
    assert admission.may_shake_hands("192.0.2.2", 0.0)
    assert admission.may_shake_hands("127.0.0.1", 0.0)
    assert admission.may_shake_hands("192.0.2.1", 2 * HANDSHAKE_REFILL_SECONDS)
