"""A relay with a DNS of its own, shares with own domains, and visitors."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.message
import dns.rcode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import RelayConfig
from relay.registry import Share
from relay.server import Relay
from tests.loops import run, until
from tests.relay.own_domains.dns_server import answer, dns_server
from tests.relay.tiny_share import tiny_share
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain
from vshare.own_domains import DomainRow, OwnDomains
from vshare.relay_link import RelayLink

DOMAIN = "relay.example"
HOST = OwnDomain("app.example.com")
ANY_TLS = ssl.create_default_context()
ANY_TLS.check_hostname = False
ANY_TLS.verify_mode = ssl.CERT_NONE


class Zone:
    """What the DNS says. `rcode` in place of it; `asked` is how often."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}  # texts by name
        self.rcode = dns.rcode.NOERROR
        self.asked = 0

    def answers(self, query: dns.message.QueryMessage, is_tcp: bool) -> list[bytes]:
        self.asked += 1
        name = query.question[0].name.to_text().rstrip(".")
        texts = [f'{name}. 1 IN TXT "{text}"' for text in self.records.get(name, [])]
        return [answer(query, *texts, rcode=self.rcode).to_wire()]

    def prove(self, *rows: DomainRow) -> None:
        """These, and no others any more, at the first one's name."""
        self.records[rows[0].txt_name] = [row.txt_value for row in rows]


class Shared:
    """One share, and the web server behind it, which says `who` it is."""

    def __init__(self, link: RelayLink, own: OwnDomains) -> None:
        self.link, self.own = link, own

    @property
    def row(self) -> DomainRow:
        return self.own.rows[0]

    async def is_(self, state: str) -> None:
        await until(lambda: self.row.state == state)


class World:
    def __init__(self, relay: Relay, zone: Zone) -> None:
        self.relay, self.zone = relay, zone

    @contextlib.asynccontextmanager
    async def share(
        self, name: str, *hosts: str, key: Ed25519PrivateKey | None = None
    ) -> AsyncIterator[Shared]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(EOFError, OSError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    body = f"site of {name}, asked as ".encode() + head
                    fields = "Set-Cookie: a=1; Domain=app.example.com\r\n"
                    fields += "Set-Cookie: b=2; Domain=example.com\r\n"
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n".encode())
                    writer.write(fields.encode() + b"\r\n" + body)
            writer.close()

        own = OwnDomains([OwnDomain(host) for host in hosts or (HOST,)])
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with tiny_share(
                self.relay.address, port, name=name, key=key, own_domains=own
            ) as link:
                await until(lambda: self.session(link.registered.name).published)
                yield Shared(link, own)
        finally:
            server.close()

    def session(self, name: str) -> Share:
        """The share's, at the relay."""
        share = self.relay.registry.get(ShareName(name))
        assert share is not None
        return share

    async def ask(
        self, host: str = HOST, *, sni: str | None = None, tls: bool = True, path: str = "/"
    ) -> bytes:
        """What comes back."""
        async with self.visitor(sni or host, tls=tls) as (reader, writer):
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return await reader.read()

    @contextlib.asynccontextmanager
    async def visitor(
        self, sni: str = HOST, *, tls: bool = True
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.relay.port,
            ssl=ANY_TLS if tls else None,
            server_hostname=sni if tls else None,
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def with_world(test: Callable[[World], Awaitable[None]], config: RelayConfig | None = None) -> None:
    async def main() -> None:
        zone = Zone()
        async with dns_server(zone.answers) as port:
            made = config or RelayConfig(domain=DOMAIN, resolvers=(("127.0.0.1", port),))
            async with Relay(made) as relay:
                await test(World(relay, zone))

    run(main)
