"""Who has an own domain: one answer of the DNS decides for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.own_domains.claims import (
    AGAIN_DOUBTED,
    AGAIN_HELD,
    AGAIN_LAST,
    GONE_AFTER,
    UNKNOWN_AFTER,
    Claim,
    State,
)
from relay.own_domains.rules import own_domain
from tunnel.errors import UsageError
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_value

HOST = OwnDomain("app.example.com")


@dataclass(eq=False)
class Asker:
    name: ShareName
    key_hash: bytes


def asker(name: str, key: bytes = b"") -> Asker:
    return Asker(ShareName(name), (key or name.encode()).ljust(32, b"."))


def record(share: Asker) -> str:
    return challenge_value(share.key_hash, HOST)


def holder(claim: Claim) -> str | None:
    return claim.holder.name if claim.holder is not None else None


def test_who_proves_it_has_it_and_the_next_has_to_wait() -> None:
    claim, first, second = Claim(HOST, 0), asker("first"), asker("second")
    claim.ask(first, 0)
    assert claim.state_of(first) is State.UNANSWERED
    claim.answered(set(), 1)
    assert (claim.state_of(first), holder(claim)) == (State.UNPROVEN, None)
    claim.answered({record(first), "other"}, 2)
    assert (claim.state_of(first), holder(claim)) == (State.GOOD, "first")
    claim.ask(second, 3)
    assert claim.state_of(second) is State.UNPROVEN
    claim.answered({record(first), record(second)}, 4)
    assert (claim.state_of(first), claim.state_of(second)) == (State.GOOD, State.TAKEN)


def test_who_has_it_is_not_who_asked_first() -> None:
    claim, early, first = Claim(HOST, 0), asker("early"), asker("first")
    claim.ask(early, 0)
    claim.ask(first, 1)
    claim.answered({record(first)}, 2)
    claim.answered({record(early), record(first)}, 3)
    assert (claim.state_of(early), claim.state_of(first)) == (State.TAKEN, State.GOOD)


def test_a_record_of_another_host_or_key_is_none() -> None:
    claim, share = Claim(HOST, 0), asker("share")
    claim.ask(share, 0)
    elsewhere = challenge_value(share.key_hash, OwnDomain("www.example.com"))
    claim.answered({elsewhere, record(asker("other")), record(share).upper(), ""}, 1)
    assert holder(claim) is None


def test_the_owner_changes_it_from_one_to_the_other_at_once() -> None:
    claim, first, second = Claim(HOST, 0), asker("first"), asker("second")
    for each in (first, second):
        claim.ask(each, 0)
    claim.answered({record(first)}, 1)
    claim.answered({record(second)}, 2)
    assert (claim.state_of(first), holder(claim)) == (State.UNPROVEN, "second")


def test_a_record_that_is_gone_is_waited_for() -> None:
    claim, share = Claim(HOST, 0), asker("share")
    claim.ask(share, 0)
    claim.answered({record(share)}, 0)
    assert claim.again_in(0) == AGAIN_HELD
    claim.answered(set(), 10)
    claim.answered(set(), 9 + GONE_AFTER)
    assert (holder(claim), claim.again_in(0)) == ("share", AGAIN_DOUBTED)
    claim.answered({record(share)}, 9 + GONE_AFTER)
    claim.answered(set(), 20 + GONE_AFTER)
    assert holder(claim) == "share"  # it was back in between
    claim.answered(set(), 20 + 2 * GONE_AFTER)
    assert (holder(claim), claim.state_of(share)) == (None, State.UNPROVEN)


def test_dns_that_does_not_answer_takes_nothing_away_for_a_day() -> None:
    claim, share, late = Claim(HOST, 0), asker("share"), asker("late")
    claim.ask(share, 0)
    claim.answered({record(share)}, 0)
    claim.unanswered(UNKNOWN_AFTER - 1)
    claim.ask(late, UNKNOWN_AFTER - 1)
    assert (claim.state_of(share), claim.state_of(late)) == (State.GOOD, State.UNANSWERED)
    claim.unanswered(UNKNOWN_AFTER)
    assert (holder(claim), claim.state_of(share)) == (None, State.UNANSWERED)


def test_a_share_that_goes_keeps_it_and_one_that_gives_it_up_does_not() -> None:
    claim, share = Claim(HOST, 0), asker("share")
    claim.ask(share, 0)
    claim.answered({record(share)}, 0)
    claim.leave(share, gives_up=False)
    assert (holder(claim), claim.is_over) == ("share", False)
    again = asker("renamed", b"share")
    assert claim.is_known(again.key_hash)
    claim.ask(again, 5)
    assert (holder(claim), claim.state_of(again)) == ("renamed", State.GOOD)
    claim.leave(again, gives_up=True)
    assert claim.is_over


def test_a_change_of_name_that_fails() -> None:
    claim, share, renamed = Claim(HOST, 0), asker("share"), asker("renamed", b"share")
    claim.ask(share, 0)
    claim.answered({record(share)}, 0)
    claim.ask(renamed, 1)
    assert holder(claim) == "renamed"
    claim.leave(renamed, gives_up=True)
    assert holder(claim) == "share"


def test_it_is_looked_for_less_and_less_often() -> None:
    claim, share = Claim(HOST, 0), asker("share")
    claim.ask(share, 0)
    pauses = [claim.again_in(age) for age in (0, 61, 1000, 10_000, 10**6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == AGAIN_LAST
    claim.ask(share, 10**6)  # the same key: nothing begins anew
    assert claim.again_in(10**6) == AGAIN_LAST
    claim.ask(asker("new"), 10**6)
    assert claim.again_in(10**6) == pauses[0]


@given(st.lists(st.tuples(st.sampled_from("asluwn"), st.integers(0, 7)), max_size=40))
def test_nobody_has_it_whose_record_was_never_there(steps: list[tuple[str, int]]) -> None:
    claim, shares = Claim(HOST, 0), [asker("one"), asker("two"), asker("three")]
    proven: set[bytes] = set()
    for now, (step, number) in enumerate(steps):
        share = shares[number % 3]
        if step == "a" and share not in claim.asking:
            claim.ask(share, now)
        elif step in "sl" and share in claim.asking:
            claim.leave(share, gives_up=step == "l")
        elif step == "u":
            claim.unanswered(now)
        elif step in "wn":
            there = [each for bit, each in enumerate(shares) if number & 1 << bit]
            proven |= {each.key_hash for each in there}
            claim.answered({record(each) for each in there}, now)
            if claim.holder is not None and there:
                asked = {each.key_hash for each in claim.asking}
                known = {each.key_hash for each in there}
                assert claim.holder.key_hash in known or not asked & known
        assert claim.holder is None or claim.holder.key_hash in proven
        assert [claim.state_of(each) for each in claim.asking].count(State.GOOD) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "relay.example.org",
        "shop.relay.example.org",
        "a.b.relay.example.org",
        "example.org",
        "org.x.pages.example",
        "pages.example",
        "Shop.example.com",
        "shop.example.com.",
        "*.example.com",
    ],
)
def test_what_is_the_relays_is_nobodys(text: str) -> None:
    with pytest.raises(UsageError):
        own_domain(text, ("relay.example.org", "pages.example", ""))


def test_what_only_looks_like_the_relays() -> None:
    for text in ("notrelay.example.org", "relay.example.org.example.com", "app.example.com"):
        assert own_domain(text, ("relay.example.org", "pages.example", "")) == text
