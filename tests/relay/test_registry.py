"""Who is registered, and whose a ticket is."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from relay.names import NameBook
from relay.registry import LocalRegistry, Share
from tunnel.control import Ended, FromRelay, Tickets
from tunnel.names import ShareName
from tunnel.parking import TICKET_LASTS


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with NameBook(None) as names:
        yield LocalRegistry(names)


ROUTE = "0123456789abcdef" * 2


class Line:
    """What a share was told."""

    def __init__(self) -> None:
        self.told: list[FromRelay] = []
        self.hung_up = 0

    def deliver(self, message: FromRelay) -> None:
        self.told.append(message)

    def hang_up(self) -> None:
        self.hung_up += 1


def share_of(registry: LocalRegistry, name: str = "the-name", route: str = "") -> Share:
    ends_at = time.time() + 60
    return Share(ShareName(name), b"key", True, ends_at, registry.give_tickets, route, Line())


def line_of(share: Share) -> Line:
    assert isinstance(share._line, Line)
    return share._line


def tickets_of(share: Share) -> list[bytes]:
    message = line_of(share).told.pop(0)
    assert isinstance(message, Tickets)
    return message.tickets


def run(main: Callable[[], None]) -> None:
    async def inside() -> None:
        main()

    asyncio.run(inside())


def test_a_ticket_is_its_shares_and_good_once(registry: LocalRegistry) -> None:
    def main() -> None:
        one, other = share_of(registry, "one"), share_of(registry, "other")
        for share in (one, other):
            assert registry.add(share)
            share.lot.fill()
        first, second = tickets_of(one), tickets_of(other)
        assert len(first) == len(set(first) | set(second)) - len(second)
        assert registry.park(first[0]) is one
        assert registry.park(first[0]) is None
        assert registry.park(second[3]) is other
        assert registry.park(bytes(32)) is None

    run(main)


def test_a_ticket_ends_with_its_session(registry: LocalRegistry) -> None:
    def main() -> None:
        earlier = share_of(registry)
        registry.add(earlier)
        earlier.lot.fill()
        ticket = tickets_of(earlier)[0]
        later = share_of(registry)
        registry.add(later)
        ended = line_of(earlier).told.pop(0)
        assert isinstance(ended, Ended)
        assert ended.code == "evicted"
        assert registry.park(ticket) is None
        registry.remove(earlier)  # its session notices late: the name is the later one's
        assert registry.get(ShareName("the-name")) is later

    run(main)


def test_old_tickets_are_replaced(registry: LocalRegistry) -> None:
    def main() -> None:
        share = share_of(registry)
        registry.add(share)
        share.lot.fill()
        old = tickets_of(share)
        registry.drop_old_tickets(time.monotonic())
        assert not line_of(share).told
        registry.drop_old_tickets(time.monotonic() + TICKET_LASTS + 1)
        assert registry.park(old[0]) is None
        share.lot.fill()
        fresh = tickets_of(share)
        assert len(fresh) == len(old)
        assert registry.park(fresh[0]) is share

    run(main)


def test_full() -> None:
    def main() -> None:
        registry = LocalRegistry(names, 1)
        assert registry.sole() is None
        assert registry.add(share_of(registry, "one"))
        assert not registry.add(share_of(registry, "other"))
        again = share_of(registry, "one")
        assert registry.add(again)
        assert registry.sole() is again

    with NameBook(None) as names:
        run(main)


def test_away(registry: LocalRegistry) -> None:
    def main() -> None:
        name = ShareName("the-name")
        assert not registry.is_away(name)
        registry._names.claim(name, b"key", time.time(), time.time() + 60)
        assert registry.is_away(name)
        share = share_of(registry)
        registry.add(share)
        assert not registry.is_away(name)
        registry.remove(share)
        assert registry.is_away(name)

    run(main)


def test_routes(registry: LocalRegistry) -> None:
    def main() -> None:
        earlier, other = share_of(registry, route=ROUTE), share_of(registry, "other")
        registry.add(earlier)
        registry.add(other)
        assert registry.get_by_route(ROUTE) is earlier
        assert registry.get_by_route("") is None
        later = share_of(registry, route="f" * 32)
        registry.add(later)  # the same share, started again
        assert registry.get_by_route(ROUTE) is None
        assert registry.get_by_route("f" * 32) is later
        registry.remove(earlier)  # late
        assert registry.get_by_route("f" * 32) is later
        registry.remove(later)
        assert registry.get_by_route("f" * 32) is None

    run(main)


def test_a_route_follows_its_share_to_another_name(registry: LocalRegistry) -> None:
    def main() -> None:
        first, second, third = (share_of(registry, each, ROUTE) for each in ("one", "two", "three"))
        assert registry.add(first)
        assert registry.add(second)
        assert registry.get_by_route(ROUTE) is second
        registry.remove(second)  # it was not renamed after all
        assert registry.get_by_route(ROUTE) is first
        assert registry.add(third)
        registry.remove(first)
        assert registry.get_by_route(ROUTE) is third
        registry.remove(third)
        assert registry.get_by_route(ROUTE) is None

    run(main)


def test_a_relay_of_one_share_lets_it_have_another_name() -> None:
    def main() -> None:
        with NameBook(None) as names:
            registry = LocalRegistry(names, 1)
            first, second = share_of(registry, "one", ROUTE), share_of(registry, "two", ROUTE)
            assert registry.add(first)
            assert not registry.add(share_of(registry, "stranger"))
            assert registry.add(second)
            assert not registry.add(share_of(registry, "three", ROUTE))  # not two at once
            registry.remove(first)
            assert registry.sole() is second

    run(main)


def test_no_name_is_a_route(registry: LocalRegistry) -> None:
    """A name may look like one: 32 hex digits."""

    def main() -> None:
        share = share_of(registry, "0a" * 16, route=ROUTE)
        registry.add(share)
        assert registry.get(ShareName("0a" * 16)) is share
        assert registry.get_by_route("0a" * 16) is None
        assert not registry.is_route_away("0a" * 16)

    run(main)


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def test_at_its_expiry_a_share_is_forgotten_though_its_machine_is_gone() -> None:
    """Neither connected nor away: nobody has to come and say that it is over."""

    def main() -> None:
        name = ShareName("the-name")
        ends_at = clock.now + 60
        assert names.claim(name, b"key", clock.now, ends_at, route=ROUTE)
        gone = share_of(registry, route=ROUTE)
        gone.ends_at = ends_at
        registry.add(gone)
        registry.remove(gone)  # its host lost its network, or its power
        clock.now = ends_at - 1
        assert registry.is_away(name)
        assert registry.is_site_away(name)
        assert registry.is_route_away(ROUTE)
        clock.now = ends_at
        assert not registry.is_away(name)
        assert not registry.is_site_away(name)
        assert not registry.is_route_away(ROUTE)

    clock = Clock()
    with NameBook(None) as names:
        registry = LocalRegistry(names, clock=clock)
        run(main)


def test_at_its_expiry_a_connected_share_is_ended() -> None:
    def main() -> None:
        share = share_of(registry, route=ROUTE)
        names.claim(share.name, b"key", clock.now, share.ends_at, route=ROUTE)
        registry.add(share)
        clock.now = share.ends_at - 1
        registry.expire()
        assert not share.is_over
        registry.extend(share, share.ends_at + 3600)
        clock.now += 3600
        registry.expire()
        assert registry.get(share.name) is registry.get_by_route(ROUTE) is share
        assert names.is_route_leased(ROUTE, clock.now)
        clock.now += 1
        assert registry.get(share.name) is None  # at once; the session ends a moment later
        assert registry.get_by_route(ROUTE) is None
        assert not share.over.is_set()
        registry.expire()
        assert share.over.is_set()
        ended = line_of(share).told.pop(0)
        assert isinstance(ended, Ended)
        assert ended.code == "expired"

    clock = Clock()
    with NameBook(None) as names:
        registry = LocalRegistry(names, clock=clock)
        run(main)
