"""Sites of what is shared by name while the share runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.loops import run, until
from tests.share_pair import Pair, TcpService, share_pair, tcp_service
from tests.vshare.guest_page.small_page import PASSCODE
from tests.vshare.web.requests import Clock, refused, request
from tests.vshare.web.test_stage import Keeper
from tunnel.follow import Server
from vshare.guest_page.served_sites import ServedSites, label_of
from vshare.policy import Policy
from vshare.reach_direct import DirectReach
from vshare.web.cookies import Cookies
from vshare.web.passcode import Passcode
from vshare.web.sites import Site, Sites
from vshare.web.tries import Tries


class Web(TcpService):
    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.close()


class Database(TcpService):
    def data_received(self, data: bytes) -> None:
        self.transport.write(b"\x00what?\n")
        self.transport.close()


@dataclass
class World:
    pair: Pair
    served: ServedSites
    web: int
    database: int
    published: list[list[str]] = field(default_factory=list)
    changes: int = 0

    async def publish(self, labels: list[str]) -> None:
        self.published.append(labels)

    def share(self, *servers: Server) -> None:
        self.pair.streams.board.set("servers", servers)


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with (
        share_pair(Policy(names=frozenset())) as pair,
        DirectReach("127.0.0.1") as reach,
        tcp_service(Web) as web,
        tcp_service(Database) as database,
    ):
        clock = Clock()
        cookies = Cookies(b"vshare", b"k" * 32, clock)
        rule = Passcode(PASSCODE, cookies, Tries(clock))
        served = ServedSites(pair.streams, (), rule, lambda: None)
        made = World(pair, served, web, database)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(served.run(reach, made.publish), name="served")
            yield made
            task.cancel()


def test_what_is_shared_by_name_becomes_a_site_that_asks() -> None:
    async def main() -> None:
        async with world() as it:
            it.share(Server("Shop.web", it.web), Server("db", it.database))
            await until(lambda: it.published)
            assert it.published == [["shop-web"]]
            streams = it.pair.streams
            site = streams.visits.sites.find("shop-web", 80)
            assert (site.port, it.served.asks(site)) == (it.web, True)
            assert it.web in streams.policy.http_ports
            assert it.database not in streams.policy.http_ports
            [rule] = streams.visits._added["shop-web"]
            assert refused(rule.request(request())).status == 403

    run(main)


def test_what_is_shared_no_more_is_no_site() -> None:
    async def main() -> None:
        async with world() as it:
            it.share(Server("web", it.web))
            await until(lambda: it.published)
            visits, visitor, machine = it.pair.streams.visits, Keeper(), Keeper()
            stage = visits.stage(visits.sites.find("web", 80), visitor)
            machine.peer = stage
            stage.link(machine)
            visitor.peer.send(request(more={"X-Vshare-Passcode": PASSCODE}).serialize())
            assert machine.sent.startswith(b"GET / ")
            it.share()
            await until(lambda: len(it.published) == 2)
            assert (visitor.is_done, machine.is_done) == (True, True)  # whatever was under way
            assert it.published[-1] == []
            assert not it.pair.streams.visits.sites.labels
            assert it.web not in it.pair.streams.policy.http_ports
            it.share(Server("web", it.web))
            await until(lambda: len(it.published) == 3)

    run(main)


def test_a_site_that_there_is_stays_what_it_is() -> None:
    async def main() -> None:
        async with world() as it:
            visits = it.pair.streams.visits
            visits.sites = Sites(others={"8000": Site("8000", it.web)})
            it.share(Server("web", it.web), Server("db", it.database))
            await asyncio.sleep(0.01)
            assert not it.published
            assert not it.served.asks(visits.sites.find("8000", 80))

    run(main)


def test_labels() -> None:
    sites = Sites(others={"web": Site("web", 80), "join": Site("join", 0, is_own=True)})
    assert label_of(Server("My_App.2", 3000), sites) == "my-app-2"
    assert label_of(Server("web", 3000), sites) == "3000"
    assert label_of(Server("join", 3000), sites) == "3000"
    assert label_of(Server("a" * 40, 3000), sites) == "aaaaaaaaaaaaaaaaa-e33cdf"
