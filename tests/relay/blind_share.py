"""A share in this process that ends browsers' TLS itself: real relay, link, server and sockets."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import RelayConfig
from relay.server import Relay
from tunnel.identity import Authority
from tunnel.names import ShareName
from tunnel.parking import Paired
from vshare.guests import Guests
from vshare.news import News, Newsroom
from vshare.policy import Policy
from vshare.reach_direct import DirectReach
from vshare.reception import Reception
from vshare.relay_link import RelayLink
from vshare.server import ShareServer
from vshare.streams import Streams
from vshare.web.site_certificate import SiteCertificate, make_certificate
from vshare.web.sites import Site, Sites
from vshare.web.tls_door import TlsDoor, hosts_of
from vshare.web.visits import Visits

NAME = ShareName("frosty-weasel-0857")


@dataclass
class BlindShare:
    """What is running."""

    relay: Relay
    link: RelayLink
    server: ShareServer
    streams: Streams
    door: TlsDoor
    reception: Reception
    news: list[News]

    @property
    def host(self) -> str:
        return next(iter(self.door.hosts))

    @property
    def certificate(self) -> SiteCertificate:
        return self.door.certificate


@contextlib.asynccontextmanager
async def blind_share(port: int, visits: Visits | None = None) -> AsyncIterator[BlindShare]:
    """A share of this machine's loopback, whose main site is `port`, and so is `NAME--docs`."""
    servers: list[ShareServer] = []

    def visitor(sock: socket.socket, paired: Paired) -> None:
        if servers:
            servers[0].visitor(sock, paired.address, kind=paired.kind)
        else:
            sock.close()

    route = secrets.token_hex(16)
    async with Relay(RelayConfig()) as relay:
        key = Ed25519PrivateKey.generate()
        ends_at = time.time() + 3600
        link = RelayLink(
            relay.address,
            key,
            NAME,
            on_visitor=visitor,
            expires_at=ends_at,
            route=route,
            passthrough=True,
        )
        async with link:
            now = datetime.datetime.now(datetime.UTC)
            authority, newsroom, guests = Authority(NAME, now), Newsroom(), Guests()
            news: list[News] = []
            newsroom.subscribe(news.append)
            reception = Reception(authority, guests, newsroom, route=route)
            sites = Sites(Site("", port), None, {"docs": Site("docs", port)})
            visits = visits or Visits(sites)
            visits.sites = sites
            policy = Policy(names=frozenset(), http_ports=frozenset({port}))
            reach = DirectReach("127.0.0.1")
            streams = Streams(policy, reach, {}, newsroom, visits=visits)
            hosts = hosts_of(sites, NAME, link.registered.domain)
            door = TlsDoor(hosts, make_certificate(list(hosts), now), streams)
            server = ShareServer(
                NAME,
                authority.issue_share(),
                guests,
                reception,
                streams,
                newsroom,
                tls_door=door,
            )
            async with server, door:
                servers.append(server)
                yield BlindShare(relay, link, server, streams, door, reception, news)
                servers.clear()
