"""A share in this process: real link, real server, real sockets."""

import contextlib
import datetime
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel.address import RelayAddress
from tunnel.identity import Authority, load_public_der
from tunnel.names import JoinCode, ShareName
from tunnel.relay_token import RelayToken
from vshare.guests import Guests
from vshare.news import Newsroom
from vshare.own_domains import OwnDomains
from vshare.policy import Policy
from vshare.reach_direct import DirectReach
from vshare.reception import Reception
from vshare.relay_link import RelayLink
from vshare.server import ShareServer
from vshare.streams import Streams
from vshare.web.rules import Rule
from vshare.web.sites import Site, Sites
from vshare.web.visits import Visits

CODE = JoinCode("zoo-zone-zero")


@contextlib.asynccontextmanager
async def tiny_share(
    relay: RelayAddress,
    http_port: int | None,
    *,
    name: str | None = None,
    key: Ed25519PrivateKey | None = None,
    open_ports: frozenset[int] = frozenset(),
    https_port: int | None = None,
    rules: Sequence[Rule] = (),
    token: RelayToken | None = None,
    own_domains: OwnDomains | None = None,
) -> AsyncIterator[RelayLink]:
    """A share of this machine's loopback; the gateway may open `http_port` and `open_ports`."""
    server: list[ShareServer] = []
    route = secrets.token_hex(16)
    link = RelayLink(
        relay,
        key or Ed25519PrivateKey.generate(),
        ShareName(name) if name else None,
        on_visitor=lambda sock, paired: (
            server[0].visitor(sock, paired.address) if server else sock.close()
        ),
        expires_at=time.time() + 3600,
        route=route,
        token=token,
        own_domains=own_domains,
    )
    async with link:
        given = ShareName(link.registered.name)
        authority = Authority(given, datetime.datetime.now(datetime.UTC))
        ports = open_ports | {port for port in (http_port, https_port) if port}
        policy = Policy(names=frozenset(), http_ports=frozenset(ports))
        newsroom, guests = Newsroom(), Guests()
        reception = Reception(authority, guests, newsroom, route=route)
        reception.code = CODE
        sites = Sites(
            Site("", http_port) if http_port else None,
            Site("", https_port, tls=True) if https_port else None,
            {str(port): Site(str(port), port) for port in open_ports},
        )
        visits = Visits(sites, lambda _: rules)
        streams = Streams(policy, DirectReach("127.0.0.1"), {}, newsroom, visits=visits)
        identity = authority.issue_share()
        async with ShareServer(given, identity, guests, reception, streams, newsroom) as serving:
            server.append(serving)
            issued = reception.issue_gateway(load_public_der(link.gateway_key))
            pem = [ssl.DER_cert_to_PEM_cert(der) for der in issued]
            await link.publish(sites.labels, *pem)
            yield link
            server.clear()
