"""Where browsers' TLS ends, when the relay passes it through (docs/protocol.md 3.2).

The key is here and nowhere else. The relay says which connection is a browser's, and where it comes
from; everything after that are a stranger's bytes. There are limits of their own for browsers: a
crowd of them does not keep guests out.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self

from tunnel.clienthello import MAX_HELLO
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.http_pages import Page
from tunnel.identity import Role
from tunnel.names import ShareName, host_label
from tunnel.peek import HEAD_DEADLINE, peek_client_hello
from tunnel.source import is_loopback, source_of
from tunnel.tls_socket import handshake
from vshare.guests import Guest
from vshare.options import PassthroughOptions
from vshare.streams import Streams
from vshare.web.browser_end import BrowserEnd
from vshare.web.browser_requests import Browser
from vshare.web.site_certificate import (
    HTTP_1_1,
    SiteCertificate,
    make_certificate,
    read_certificate,
)
from vshare.web.sites import MAIN, Sites

MAX_BROWSERS = 512  # connections; a browser has 6, and the relay lets as many through
MAX_PENDING = 128  # of them without a first request; the oldest makes room for the next
MAX_OF_ONE = 128  # of one source, which may be an office
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"  # fatal alerts (RFC 8446 6.2)
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"

log = logging.getLogger(__name__)


def hosts_of(sites: Sites, name: ShareName, domain: str, own: Iterable[str] = ()) -> dict[str, str]:
    """The host name of each site of the share `name`, and its label; the main one first. `own`: the
    sharer's domains, which lead to the main one."""
    hosts = {f"{host_label(name, label)}.{domain}": label for label in sites.labels}
    return hosts | dict.fromkeys(own if MAIN in sites.labels else (), MAIN)


def make_tls_door(
    options: PassthroughOptions | None,
    streams: Streams,
    name: ShareName,
    domain: str,
    own: Iterable[str] = (),
) -> TlsDoor | None:
    """The door of the share `name`, if there is to be one. Raises VshareError."""
    hosts = hosts_of(streams.visits.sites, name, domain, own)
    if options is None or not hosts:
        return None
    return TlsDoor(hosts, certificate_for(hosts, options), streams)


def certificate_for(hosts: Mapping[str, str], options: PassthroughOptions) -> SiteCertificate:
    """The sharer's own, or one made for `hosts`. Raises VshareError."""
    if options.certificate is not None:
        return read_certificate(options.certificate, options.key)
    return make_certificate(list(hosts), datetime.datetime.now(datetime.UTC))


class TlsDoor:
    """Async context manager; give it the sockets of browsers, with `visitor`.

    `hosts` are as from `hosts_of`. Raises ssl.SSLError for a certificate that cannot be used.
    """

    def __init__(
        self, hosts: Mapping[str, str], certificate: SiteCertificate, streams: Streams
    ) -> None:
        self.hosts, self.certificate = hosts, certificate
        self._context = certificate.context()
        self._own_contexts: dict[str, ssl.SSLContext] = {}  # by host
        self._streams = streams
        self._all = Guest("browsers", Role.GATEWAY, "", "the relay")
        self._group = asyncio.TaskGroup()
        self._browsers: dict[asyncio.Task[None], str] = {}  # with the source
        self._by_source: Counter[str] = Counter()
        self._pending: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._closing = False

    def set_sites(self, name: ShareName, labels: Iterable[str]) -> list[str]:
        """The share `name` has these sites from now on; what the sharer is to be told of those
        that are new.

        A self-made certificate is for the names that there were: a new name gets one of its own,
        with the same key, so that nobody has to accept the others again."""
        own = [host for host in self.hosts if not host.endswith(f".{self._domain}")]
        hosts = {f"{host_label(name, label)}.{self._domain}": label for label in labels}
        return self._set_hosts(hosts, own)

    def set_own_domains(self, own: Iterable[str]) -> list[str]:
        """These of the sharer's lead to the main site from now on; what he is to be told."""
        ends = f".{self._domain}"
        sites = {host: label for host, label in self.hosts.items() if host.endswith(ends)}
        return self._set_hosts(sites, own)

    @property
    def _domain(self) -> str:
        """The relay's, for shares."""
        return next(iter(self.hosts)).partition(".")[2]

    def _set_hosts(self, hosts: dict[str, str], own: Iterable[str]) -> list[str]:
        told = []
        hosts |= dict.fromkeys(own if MAIN in hosts.values() else (), MAIN)
        known = self.hosts.keys() | self._own_contexts.keys()
        for host in self.certificate.lacks([each for each in hosts if each not in known]):
            if not self.certificate.is_self_made:
                told.append(f"the certificate is not for {host}: browsers will warn")
                continue
            made = self.certificate.for_host(host, datetime.datetime.now(datetime.UTC))
            self._own_contexts[host] = made.context()
            told.append(f"{host} has a certificate of its own: SHA-256 {made.fingerprint}")
        self.hosts = hosts
        return told

    def warnings(self, until: float) -> list[str]:
        """What makes browsers turn away before `until`, seconds since the epoch."""
        warnings = []
        missing = self.certificate.lacks(list(self.hosts))
        if missing:
            warnings.append(f"the certificate is not for {', '.join(missing)}: browsers will warn")
        if self.certificate.ends.timestamp() < until:
            end = f"{self.certificate.ends:%Y-%m-%d %H:%M} UTC"
            warnings.append(f"the certificate ends at {end}, before the share: browsers will warn")
        return warnings

    def move(self, hosts: Mapping[str, str], certificate: SiteCertificate) -> None:
        """Serve other hosts from now on. Raises ssl.SSLError, and then nothing has changed."""
        self._context = certificate.context()
        self.hosts, self.certificate = hosts, certificate

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        for task in list(self._browsers):
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def visitor(self, sock: socket.socket, address: str) -> None:
        """Serve a browser's connection, which is this object's from now on; `address` is the
        relay's word."""
        source = source_of(address)
        crowd = self._by_source[source] >= MAX_OF_ONE and not is_loopback(source)
        if self._closing or crowd or len(self._browsers) >= MAX_BROWSERS:
            sock.close()
            return
        if len(self._pending) >= MAX_PENDING:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.cancel()
        task = self._group.create_task(self._serve(sock, address), name="browser")
        self._browsers[task] = source
        self._by_source[source] += 1
        self._pending[task] = None
        task.add_done_callback(lambda done: self._left(done, sock))

    def _left(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        source = self._browsers.pop(task)
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
        self._pending.pop(task, None)
        sock.close()  # for one that was cancelled before it began

    def _proven(self, task: asyncio.Task[None] | None) -> None:
        """Its browser is no longer one of those who make room."""
        if task is not None:
            self._pending.pop(task, None)

    async def _serve(self, sock: socket.socket, address: str) -> None:
        try:
            browser = await self._look(sock, address)
            label = self.hosts[browser.host]
            tls = await handshake(sock, self._own_contexts.get(browser.host, self._context))
            end = BrowserEnd(tls, browser, functools.partial(self._proven, asyncio.current_task()))
            try:
                await self._carry(end, label)
            finally:
                tls.abort()
        except (VshareError, OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            log.info("a browser from %r was not served: %s", address, error)
        except Exception:
            log.exception("a browser met a fault")  # which must not end the share for all
        finally:
            sock.close()

    async def _look(self, sock: socket.socket, address: str) -> Browser:
        """Who it is, by its ClientHello, before TLS starts."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:  # it goes into the heads of requests
            raise RemoteProtocolError("the relay's word for an address is none") from None
        async with asyncio.timeout(HEAD_DEADLINE):
            hello = await peek_client_hello(sock, MAX_HELLO)
        if hello.alpn and HTTP_1_1.encode() not in hello.alpn:
            _alert(sock, NO_APPLICATION_PROTOCOL)
            raise RemoteProtocolError("a ClientHello for something else than HTTP/1.1")
        if hello.server_name is None or hello.server_name not in self.hosts:
            _alert(sock, UNRECOGNIZED_NAME)
            raise RemoteProtocolError("a ClientHello for no site of this share")
        return Browser(hello.server_name, str(ip))

    async def _carry(self, end: BrowserEnd, label: str) -> None:
        try:
            await self._streams.serve_browser(self._all, label, end)
        except RefusedError as error:
            hint = f"The shared machine's side says: {error.text}."
            end.deny(Page(HTTPStatus.FORBIDDEN, "This site is not open to browsers", [hint]))
            await asyncio.shield(end.finished)


def _alert(sock: socket.socket, alert: bytes) -> None:
    """Say why not; the caller closes."""
    sock.recv(MAX_HELLO)  # what is unread would turn the close into a reset
    sock.send(alert)
    sock.shutdown(socket.SHUT_WR)
