"""Who may have how much, with shares and connections that are played."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

import pytest

from relay.accounts.holders import Holders
from relay.accounts.limits import Limits
from relay.accounts.meters import SO_MAX_PACING_RATE, Flow
from relay.accounts.permits import Permit, Permits
from relay.accounts.quotas import DAY, Quotas
from tunnel.names import ShareName

NOON = 20_000 * DAY + DAY // 2
UNPACED = 2**64 - 1
A_SHARE = ShareName("a-share")
NOTHING_SAID = Limits()


@dataclass(eq=False)
class PlayedShare:
    """A share; `told` is what its sharer was told."""

    holders: Holders
    name: ShareName = A_SHARE
    key_hash: bytes = b"k"
    told: list[str] = field(default_factory=list)

    def notify(self, code: str, text: str) -> None:
        self.told.append(f"{code}: {text}")


class Scene:
    """One relay's quotas: token a and b are of user 1, token c of user 2."""

    def __init__(self) -> None:
        self.now = float(NOON)
        self.permits = Permits()
        self.quotas = Quotas(self.permits, clock=lambda: self.now)
        self.set()

    def set(
        self,
        a: Limits = NOTHING_SAID,
        b: Limits = NOTHING_SAID,
        user: Limits = NOTHING_SAID,
    ) -> None:
        known = (("a", 1, a, user), ("b", 1, b, user), ("c", 2, Limits(), Limits()))
        self.permits.replace(
            {
                token: Permit(token, account, b"", frozenset({"share"}), limits, None, all_of_them)
                for token, account, limits, all_of_them in known
            }
        )

    def share(self, token: str = "a", name: str = "a-share") -> PlayedShare:
        account = 2 if token == "c" else 1
        share = PlayedShare((f"token:{token}", f"user:{account}"), ShareName(name))
        self.quotas.share_began(share)
        return share

    def visit(self, share: PlayedShare, *, is_guest: bool = True) -> PlayedVisit:
        return PlayedVisit(self.quotas, share, is_guest)


class PlayedVisit:
    """A connection, of which `moved` bytes have been."""

    def __init__(self, quotas: Quotas, share: PlayedShare, is_guest: bool) -> None:
        self.moved, self.is_cut = 0, False
        self.flow: Flow = quotas.begin(share, lambda: self.moved, self._cut, is_guest=is_guest)

    def _cut(self) -> None:
        self.is_cut = True


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_guests_and_streams_at_once_whatever_the_share_is_called(scene: Scene) -> None:
    scene.set(a=Limits(guests=1, streams=2))
    first, second, other = scene.share(), scene.share(name="another"), scene.share("c")
    scene.quotas.look()
    assert scene.quotas.refusal(first, is_guest=True) is None
    guest = scene.visit(first)
    over = scene.quotas.refusal(second, is_guest=True)
    assert over is not None
    assert over.text == "its token is for 1 connection of guests at once"
    assert not over.today
    assert scene.quotas.refusal(second) is None
    browser = scene.visit(second, is_guest=False)
    assert scene.quotas.refusal(first) is not None
    assert scene.quotas.refusal(other, is_guest=True) is None
    assert first.told == ["quota-streams: its token is for 1 connection of guests at once: more"
                          " were refused"]  # fmt: skip
    assert not other.told
    scene.quotas.end(guest.flow)
    scene.quotas.end(guest.flow)
    assert scene.quotas.refusal(first, is_guest=True) is None
    scene.quotas.end(browser.flow)


def test_a_user_has_no_more_with_two_tokens(scene: Scene) -> None:
    scene.set(user=Limits(shares=1, streams=1, bytes_per_day=100))
    one, other = scene.share("a"), PlayedShare(("token:b", "user:1"), ShareName("b"), b"other")
    assert scene.quotas.share_refusal(other.holders, other.name, other.key_hash) == (
        "its user is for 1 share at once, and has as many"
    )
    visit = scene.visit(one)
    assert scene.quotas.refusal(other) is not None
    visit.moved = 100
    scene.quotas.end(visit.flow)
    over = scene.quotas.refusal(other)
    assert over is not None
    assert over.today
    assert scene.quotas.refusal(scene.share("c")) is None


def test_a_days_bytes_end_what_uses_them_and_nothing_else(scene: Scene) -> None:
    scene.set(a=Limits(bytes_per_day=1_000))
    share, other = scene.share(), scene.share("c")
    visit, beside = scene.visit(share), scene.visit(other)
    beside.moved = 10_000
    visit.moved = 799
    scene.quotas.look()
    assert not share.told
    visit.moved = 800
    scene.quotas.look()
    scene.quotas.look()
    assert share.told == ["quota-day: 80% of today's 1 kB of its token are used"]
    assert scene.quotas.spent(share) is None
    visit.moved = 1_000
    scene.quotas.look()
    assert visit.is_cut
    assert not beside.is_cut
    assert "used up" in share.told[1]
    over = scene.quotas.refusal(share)
    assert over is not None
    assert (over.today, over.seconds) == (True, DAY // 2)
    assert scene.quotas.refusal(other) is None
    scene.now += DAY // 2
    scene.quotas.look()
    assert scene.quotas.refusal(share) is None
    assert len(share.told) == 2
    assert not other.told


def test_the_sharer_hears_of_what_was_over_before_anybody_looked(scene: Scene) -> None:
    scene.set(a=Limits(bytes_per_day=1_000))
    share = scene.share()
    visit = scene.visit(share)
    visit.moved = 5_000
    scene.quotas.end(visit.flow)
    scene.quotas.look()
    assert ["used up" in text for text in share.told] == [True]


def test_more_is_more_at_once(scene: Scene) -> None:
    scene.set(a=Limits(bytes_per_day=1_000))
    share = scene.share()
    visit = scene.visit(share)
    visit.moved = 2_000
    scene.quotas.look()
    assert scene.quotas.spent(share)
    scene.set(a=Limits(bytes_per_day=5_000))
    scene.quotas.look()
    assert scene.quotas.spent(share) is None


def test_what_was_used_is_kept_and_loaded(scene: Scene) -> None:
    scene.set(a=Limits(bytes_per_day=1_000))
    share, other = scene.share(), scene.share("b")
    visit, beside = scene.visit(share), scene.visit(other)
    visit.moved, beside.moved = 600, 50
    scene.quotas.end(visit.flow)
    scene.quotas.end(beside.flow)
    day = scene.quotas.day
    kept = scene.quotas.unsaved()
    assert sorted(kept) == [(day, "token:a", 600), (day, "token:b", 50), (day, "user:1", 650)]
    assert scene.quotas.unsaved() == []
    scene.quotas.give_back(kept)  # the disk was full
    scene.now += DAY
    scene.quotas.look()
    assert sorted(scene.quotas.unsaved()) == sorted(kept)  # of yesterday
    assert scene.quotas.used_today(share.holders) == 0
    later = Scene()
    later.set(a=Limits(bytes_per_day=1_000))
    later.quotas.load([("token:a", 600)])
    again = later.visit(later.share())
    again.moved = 400
    later.quotas.look()
    assert again.is_cut


def test_sources_of_shares_have_the_defaults_where_there_are_no_accounts() -> None:
    quotas = Quotas(None, Limits(shares=1, streams=1))
    one = PlayedShare(("source:192.0.2.1",))
    quotas.share_began(one)
    assert "where it comes from is for 1 share" in quotas.share_refusal(one.holders, "b", b"other")
    assert not quotas.share_refusal(("source:192.0.2.2",), "b", b"other")
    assert not quotas.share_refusal((), "b", b"other")  # loopback
    flow = quotas.begin(one, lambda: 5, lambda: None)
    assert quotas.refusal(one)
    quotas.end(flow)
    quotas.share_ended(one)
    assert quotas.unsaved() == []  # no addresses are kept


def pacing_of(sock: socket.socket) -> int:
    (rate,) = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8))
    assert isinstance(rate, int)
    return rate


def test_a_bandwidth_is_divided_among_sockets_as_they_come_and_go(scene: Scene) -> None:
    scene.set(a=Limits(bandwidth=1_000_000))
    share = scene.share()
    with socket.socket() as one, socket.socket() as two, socket.socket() as line:
        scene.quotas.pace_line(share, line)
        first, second = scene.visit(share), scene.visit(share)
        first.flow.pace_also(one)
        second.flow.pace_also(two)
        assert 0 < pacing_of(one) <= 1_000_000
        first.moved = second.moved = 10_000_000  # both want more
        scene.quotas.look()
        both = pacing_of(one)
        assert both == pacing_of(two) < 1_000_000 / 2 + 1
        assert pacing_of(line) == both
        scene.quotas.end(second.flow)
        assert pacing_of(two) == UNPACED
        scene.set()
        scene.quotas.look()
        assert pacing_of(one) == pacing_of(line) == UNPACED


def test_a_look_reads_no_limits_that_nobody_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 10,000 tokens that held up everybody for 65 ms, twice a second."""
    scene, read = Scene(), 0
    share = scene.share()
    scene.quotas.share_began(share)
    limits_of = scene.permits.limits_of

    def counted(token: str) -> Limits:
        nonlocal read
        read += 1
        return limits_of(token)

    monkeypatch.setattr(scene.permits, "limits_of", counted)
    scene.quotas.look()
    first = read
    scene.quotas.look()
    assert read == first
    scene.set(a=Limits(shares=1))
    scene.quotas.look()
    assert read > first
    assert scene.quotas.share_refusal(share.holders, "another", b"other")
