from __future__ import annotations

import pytest

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Peer, Role
from vshare.guests import BUCKET, LOCK_AFTER, MAX_GUESTS, REFILL_SECONDS, Attempts, Guests


def take(attempts: Attempts, now: float) -> bool:
    try:
        attempts.take(now)
    except RefusedError as error:
        return error.code is not Code.BUSY
    return True


def test_a_bucket_of_attempts() -> None:
    attempts = Attempts(100.0)
    assert [take(attempts, 100.0) for _ in range(BUCKET + 2)] == [True] * BUCKET + [False] * 2
    assert not take(attempts, 100.0 + REFILL_SECONDS - 0.1)
    assert take(attempts, 100.0 + REFILL_SECONDS + 0.1)
    assert not take(attempts, 100.0 + REFILL_SECONDS + 0.2)


def test_asking_too_often_does_not_hold_back_the_refill() -> None:
    attempts = Attempts(0.0)
    for _ in range(BUCKET):
        attempts.take(0.0)
    taken = sum(take(attempts, tick / 10) for tick in range(int(REFILL_SECONDS * 10) * 5 + 1))
    assert 4 <= taken <= 5


def test_the_bucket_does_not_overflow() -> None:
    attempts = Attempts(0.0)
    taken = sum(take(attempts, 1e6) for _ in range(BUCKET * 3))
    assert taken == BUCKET


def test_success_is_free() -> None:
    attempts = Attempts(0.0)
    for _ in range(BUCKET * 5):
        attempts.take(0.0)
        attempts.failed()
        attempts.succeeded()
    assert attempts.failures == 0
    assert sum(take(attempts, 0.0) for _ in range(BUCKET * 2)) == BUCKET


def test_the_lock_holds_for_good() -> None:
    attempts = Attempts(0.0)
    now = 0.0
    while attempts.failures < LOCK_AFTER:
        now += REFILL_SECONDS * 1.01
        attempts.take(now)
        attempts.failed()
    with pytest.raises(RefusedError, match="new share"):
        attempts.take(now + 1e9)
    assert now > 3600  # locking a share out takes a stranger more than an hour


def test_only_listed_certificates() -> None:
    guests = Guests()
    bob = guests.add(Role.GUEST, "bob", "aa", "x")
    assert guests.require(Peer(Role.GUEST, "bob", "aa")) is bob
    for stranger in (Peer(Role.GUEST, "bob", "bb"), Peer(Role.GATEWAY, "bob", "aa")):
        with pytest.raises(RefusedError):
            guests.require(stranger)
    guests.remove(bob)
    guests.remove(bob)
    with pytest.raises(RefusedError):
        guests.require(Peer(Role.GUEST, "bob", "aa"))


def test_a_full_list_keeps_the_gateway() -> None:
    guests = Guests()
    for number in range(MAX_GUESTS):
        guests.add(Role.GUEST, guests.free_name("bob"), str(number), "x")
    with pytest.raises(RefusedError) as caught:
        guests.add(Role.GUEST, "carol", "new", "x")
    assert caught.value.code is Code.BUSY
    gateway = guests.add(Role.GATEWAY, "gateway", "gw", "relay")
    assert guests.of_role(Role.GATEWAY) == [gateway]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("bob@laptop", "bob@laptop"),
        ("", "guest"),
        ("\x1b[31m\r\n", "[31m"),
        ("\u202egpj", "gpj"),
        ("x" * 100, "x" * 40),
        ("   ", "guest"),
    ],
)
def test_names_are_fit_for_a_terminal(wanted: str, name: str) -> None:
    assert Guests().free_name(wanted) == name


def test_two_guests_never_share_a_name() -> None:
    guests = Guests()
    names = []
    for number in range(5):
        names.append(guests.free_name("bob"))
        guests.add(Role.GUEST, names[-1], str(number), "x")
    assert names == ["bob", "bob-2", "bob-3", "bob-4", "bob-5"]
