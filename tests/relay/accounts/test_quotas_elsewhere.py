"""What a holder has at other relays counts here; those are played."""

from __future__ import annotations

import socket

import pytest

from relay.accounts.elsewhere import NOTHING, Numbers, part_of
from relay.accounts.limits import Limits
from relay.accounts.pacing import Budget, Used
from relay.accounts.quotas import DAY
from tests.relay.accounts.test_quotas import PlayedShare, Scene, pacing_of
from tunnel.names import ShareName

RATE = 1_000_000  # bytes a second


class There:
    """Other relays, where each holder has what was put here."""

    def __init__(self, scene: Scene) -> None:
        self.had: dict[str, Numbers] = {}
        self.shared: dict[str, int] = {}
        scene.quotas.elsewhere = self

    def numbers(self, holder: str) -> Numbers:
        return self.had.get(holder, NOTHING)

    def shares(self, holder: str, name: str, key_hash: bytes, room: int) -> int:
        return self.shared.get(holder, 0)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def there(scene: Scene) -> There:
    return There(scene)


def test_guests_and_streams_elsewhere_count(scene: Scene, there: There) -> None:
    scene.set(a=Limits(guests=2), user=Limits(streams=3))
    share = scene.share()
    scene.quotas.look()
    guest = scene.visit(share)
    assert scene.quotas.refusal(share, is_guest=True) is None
    there.had["token:a"] = Numbers(guests=1)
    over = scene.quotas.refusal(share, is_guest=True)
    assert over is not None
    assert over.text == "its token is for 2 connections of guests at once"
    assert scene.quotas.refusal(share) is None
    there.had["user:1"] = Numbers(streams=2)
    over = scene.quotas.refusal(share)
    assert over is not None
    assert over.text == "its user is for 3 connections of visitors at once"
    assert scene.quotas.refusal(scene.share("c"), is_guest=True) is None
    there.had.clear()
    assert scene.quotas.refusal(share, is_guest=True) is None
    scene.quotas.end(guest.flow)


def test_bytes_elsewhere_end_what_uses_them_here(scene: Scene, there: There) -> None:
    scene.set(a=Limits(bytes_per_day=1_000))
    share, other = scene.share(), scene.share("c")
    visit, beside = scene.visit(share), scene.visit(other)
    visit.moved = 300
    there.had["token:a"] = Numbers(moved=500)
    scene.quotas.look()
    assert share.told == ["quota-day: 80% of today's 1 kB of its token are used"]
    assert scene.quotas.spent(share) is None
    there.had["token:a"] = Numbers(moved=700)
    assert scene.quotas.spent(share)
    scene.quotas.look()
    assert visit.is_cut
    assert not beside.is_cut
    day = scene.quotas.day
    assert (day, "token:a", 300) in scene.quotas.unsaved()  # what is kept is this relay's own
    there.had.clear()
    scene.now += DAY
    scene.quotas.look()
    assert scene.quotas.spent(share) is None


def test_a_users_shares_elsewhere_count(scene: Scene, there: There) -> None:
    scene.set(user=Limits(shares=2))
    scene.share()
    new = PlayedShare(("token:b", "user:1"), ShareName("new"), b"other")
    scene.quotas.look()
    assert not scene.quotas.share_refusal(new.holders, new.name, new.key_hash)
    there.shared["user:1"] = 1
    assert scene.quotas.share_refusal(new.holders, new.name, new.key_hash) == (
        "its user is for 2 shares at once, and has as many"
    )
    assert not scene.quotas.share_refusal(new.holders, "a-share", b"k")  # it comes again


def test_others_hear_of_what_has_limits_and_of_nothing_else(scene: Scene) -> None:
    scene.set(a=Limits(bytes_per_day=1_000), user=Limits(guests=9, streams=9, bandwidth=RATE))
    share, other = scene.share(), scene.share("c")
    visit, beside = scene.visit(share), scene.visit(other)
    visit.moved = beside.moved = 100
    scene.quotas.look()
    present = dict(scene.quotas.present(9))
    assert present["token:a"] == Numbers(moved=100)
    assert (present["user:1"].guests, present["user:1"].streams) == (1, 1)
    assert present["user:1"].rate > 0  # it might have more
    assert len(present) == 2
    assert [holder for holder, _ in scene.quotas.present(1)] == ["user:1"]  # uses bandwidth
    scene.quotas.end(visit.flow)
    assert dict(scene.quotas.present(9)) == {"token:a": Numbers(moved=100)}


def test_a_limit_in_sight_is_said_before_others(scene: Scene) -> None:
    scene.set(a=Limits(guests=2), b=Limits(guests=10))
    shares = [scene.share("a"), scene.share("b", "b-share")]
    visits = [scene.visit(share) for share in (shares[0], *[shares[1]] * 3)]
    scene.quotas.look()
    assert scene.quotas.present(1) == [("token:a", Numbers(guests=1))]
    for visit in visits:
        scene.quotas.end(visit.flow)


def test_who_begins_where_others_have_much_begins_with_a_part(scene: Scene, there: There) -> None:
    scene.set(a=Limits(bandwidth=RATE))
    share = scene.share()
    scene.quotas.look()
    there.had["token:a"] = Numbers(wanting=3)
    with socket.socket() as one, socket.socket() as line:
        visit = scene.visit(share)
        visit.flow.pace_also(one)
        scene.quotas.pace_line(share, line)
        assert 0 < pacing_of(one) <= RATE / 4
        assert pacing_of(line) == RATE / 4
        scene.quotas.end(visit.flow)


def test_a_part_is_what_others_leave_and_never_nothing() -> None:
    assert part_of(RATE, 1, 0, NOTHING) == RATE
    assert part_of(RATE, 0, RATE / 4, NOTHING) == RATE
    assert part_of(RATE, 1, 0, Numbers(wanting=1)) == RATE / 2
    assert part_of(RATE, 0, 0, Numbers(wanting=3)) == RATE / 4  # who is about to begin
    assert part_of(RATE, 1, 0, Numbers(wanting=1, rate=RATE // 2)) == RATE / 4
    assert part_of(RATE, 1, 0, Numbers(rate=10 * RATE)) == RATE / 10


class PlayedRelay:
    """With connections of one holder, each of which takes all that it is given up to `wants`."""

    def __init__(self, wants: list[float]) -> None:
        self.budget, self.wants = Budget(), wants
        self.rates = [float(RATE) / (1 + len(wants))] * len(wants)
        self.moved = 0.0  # bytes in the last look

    def look(self, there: Numbers) -> None:
        moved = [min(pair) / 2 for pair in zip(self.rates, self.wants, strict=True)]
        self.moved = sum(moved)
        used = [Used(int(each), rate) for each, rate in zip(moved, self.rates, strict=True)]
        self.rates = self.budget.divide(RATE, 0.5, used, there)

    @property
    def numbers(self) -> Numbers:
        return Numbers(wanting=self.budget.wanting, rate=int(self.budget.modest))


def play(relays: list[PlayedRelay], looks: int) -> float:
    """Let each hear of the others at every other look; bytes a second of all at the end."""
    said, moved = [each.numbers for each in relays], 0.0
    for number in range(looks):
        if number % 2 == 0:
            said = [each.numbers for each in relays]
        for relay in relays:
            there = NOTHING
            for other, numbers in zip(relays, said, strict=True):
                there = there.plus(numbers) if other is not relay else there
            relay.look(there)
        moved = moved + sum(each.moved for each in relays) if number >= looks - 4 else 0.0
    return moved / 2


def test_relays_have_the_bandwidth_together_and_each_its_part() -> None:
    one, two, idle = PlayedRelay([9e9]), PlayedRelay([9e9, 9e9, 9e9]), PlayedRelay([0.0])
    relays = [one, two, idle]
    assert play(relays, 20) == pytest.approx(RATE, rel=0.1)
    assert one.moved * 3 == pytest.approx(two.moved, rel=0.2)  # each connection has the same
    two.wants = [RATE / 10, 0.0, 0.0]
    assert play(relays, 20) == pytest.approx(RATE, rel=0.1)
    assert one.moved * 2 > 0.8 * RATE  # what is not used there is here
    idle.wants = [9e9]
    assert play(relays, 20) == pytest.approx(RATE, rel=0.1)
    assert idle.moved == pytest.approx(one.moved, rel=0.2)
