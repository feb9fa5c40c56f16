from __future__ import annotations

import random

import pytest

from tunnel.errors import RefusedError, UsageError
from tunnel.names import code_words, parse_code, plate_of
from vshare.invites import MAX_INVITES, Invites
from vshare.policy import EVERYTHING, Rights

PORTS = Rights(frozenset({5432}))


def invites() -> Invites:
    return Invites(random.Random(7).randrange)


def test_an_invite_has_a_code_that_says_which_it_is() -> None:
    table = invites()
    made = [table.make("bob", once=False, expires_at=None, rights=PORTS) for _ in range(20)]
    for invite in made:
        assert parse_code(invite.code) == invite.code
        assert plate_of(invite.code) == invite.plate
        assert table.find(invite.plate, 0.0) is invite
    assert len({invite.plate for invite in made}) == 20
    assert table.all() == made


def test_the_secret_does_not_show() -> None:
    invite = invites().make(None, once=True, expires_at=None, rights=EVERYTHING)
    assert invite.code not in repr(invite)
    assert invite.code.split("-")[1] not in repr(invite)


def test_once_is_once() -> None:
    table = invites()
    plate = table.make(None, once=True, expires_at=None, rights=EVERYTHING).plate
    invite = table.claim(plate, 0.0)
    assert table.find(plate, 0.0) is None
    with pytest.raises(RefusedError, match="has been used"):
        table.claim(plate, 0.0)
    table.give_back(invite)
    assert table.claim(plate, 0.0) is invite


def test_one_that_is_for_many_counts_them() -> None:
    table = invites()
    invite = table.make(None, once=False, expires_at=None, rights=EVERYTHING)
    for _ in range(3):
        table.claim(invite.plate, 0.0)
    assert invite.used == 3


def test_its_time_ends() -> None:
    table = invites()
    invite = table.make(None, once=False, expires_at=100.0, rights=EVERYTHING)
    assert table.claim(invite.plate, 99.9) is invite
    assert not invite.is_over(99.9)
    assert invite.is_over(100.0)
    assert table.find(invite.plate, 100.0) is None
    with pytest.raises(RefusedError, match="its time is over"):
        table.claim(invite.plate, 100.0)


def test_taken_back() -> None:
    table = invites()
    invite = table.make(None, once=False, expires_at=None, rights=EVERYTHING)
    other = table.make(None, once=False, expires_at=None, rights=EVERYTHING)
    assert table.remove(f" {invite.plate.upper()} ") is invite
    with pytest.raises(RefusedError):
        table.claim(invite.plate, 0.0)
    with pytest.raises(UsageError) as caught:
        table.remove(invite.plate)
    assert other.plate in caught.value.hint


def test_a_plate_is_never_given_twice() -> None:
    """Whoever proved the earlier secret must not come in by the later invite."""
    table = invites()
    plates = set()
    for _ in range(len(code_words())):
        invite = table.make(None, once=False, expires_at=None, rights=EVERYTHING)
        assert invite.plate not in plates
        plates.add(table.remove(invite.plate).plate)
    with pytest.raises(UsageError, match="as many invites as it can"):
        table.make(None, once=False, expires_at=None, rights=EVERYTHING)


def test_there_is_a_limit() -> None:
    table = invites()
    for _ in range(MAX_INVITES):
        table.make(None, once=False, expires_at=None, rights=EVERYTHING)
    with pytest.raises(UsageError, match="invites already"):
        table.make(None, once=False, expires_at=None, rights=EVERYTHING)
