# ruff: noqa: RUF001  (letters that look alike)
from __future__ import annotations

import pytest

from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from tunnel.identity import Peer, Role
from vshare.guests import MAX_GUESTS, MAX_REMOVED, Guest, Guests


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
        ("\x1b[31m\r\n", "31m"),
        ("root@host.example", "root@host.example"),
        ("Ada L.", "Ada L."),
        ("Žofie", "Žofie"),
        ("--help", "help"),
        ("- -v", "v"),
        ("'$(touch x)", "touch x"),
        ("bob (from 10.0.0.5)", "bob from 10.0.0.5"),
        ('a;b|c&d>e`f`"g"', "abcdefg"),
        ("\N{WEARY CAT FACE}", "guest"),
        ("\u202egpj", "gpj"),
        ("x" * 100, "x" * 40),
        ("   ", "guest"),
        ("Bob\u3164\uffa0", "Bob"),  # letters that nobody sees
        ("\u3164", "guest"),
        ("Zoe\u0308", "Zoë"),
        ("\uff22ob\u2063", "Bob"),
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


@pytest.mark.parametrize(
    "wanted",
    ["Alice", "аlісе", "ALlCE", "a1ice", "al ice", "\U0001d41alice", "al\u115fice", "αlιce"],
)
def test_no_guest_is_taken_for_another(wanted: str) -> None:
    guests = Guests()
    guests.add(Role.GUEST, "alice", "aa", "x")
    name = guests.free_name(wanted)
    assert name.endswith("-2")
    guests.add(Role.GUEST, name, "bb", "x")
    assert guests.free_name("alice", frozenset(["alice-3"])) == "alice-4"


@pytest.mark.parametrize("wanted", ["the sharer", "Sharer", "thе shаrer"])
def test_no_guest_is_taken_for_the_sharer(wanted: str) -> None:
    assert Guests().free_name(wanted) == f"{wanted}-2"


def test_who_was_removed_is_told_why() -> None:
    guests = Guests()
    ended: list[tuple[Guest, str]] = []
    guests.on_removed = lambda guest, why: ended.append((guest, why))
    bob = guests.add(Role.GUEST, "bob", "aa", "x")
    guests.remove(bob, "enough")
    guests.remove(bob, "again")
    assert ended == [(bob, "enough")]
    with pytest.raises(RefusedError, match="enough"):
        guests.require(Peer(Role.GUEST, "bob", "aa"))


def test_reasons_are_kept_for_so_many() -> None:
    guests = Guests()
    for number in range(MAX_REMOVED + 1):
        guests.remove(guests.add(Role.GUEST, "bob", str(number), "x"), "enough")
    with pytest.raises(RefusedError, match="not on the guest list"):
        guests.require(Peer(Role.GUEST, "bob", "0"))
    with pytest.raises(RefusedError, match="enough"):
        guests.require(Peer(Role.GUEST, "bob", "1"))


def test_a_guest_by_name() -> None:
    guests = Guests()
    bob = guests.add(Role.GUEST, "bob", "aa", "x")
    guests.add(Role.GATEWAY, "gateway", "bb", "the relay")
    assert guests.named("bob") is bob
    for stranger in ("carol", "gateway"):
        with pytest.raises(UsageError) as caught:
            guests.named(stranger)
        assert caught.value.hint == "guests: bob; see vshare guests"


def test_names_that_are_promised_are_not_given() -> None:
    guests = Guests()
    guests.add(Role.GUEST, "bob", "aa", "x")
    assert guests.free_name("bob", {"bob-2"}) == "bob-3"
