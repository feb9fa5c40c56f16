"""The steps from here to a relay: proxy, name, TCP, TLS, HTTP, and what passes through all that."""

from __future__ import annotations

import asyncio
import datetime
import errno
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping

from tunnel.address import RelayAddress
from tunnel.bio_tls import BioTls
from tunnel.client import SNI_SUFFIX
from tunnel.dialler import Address, race, reason_of, resolve
from tunnel.doctor.certificate import issuer_of, valid_until
from tunnel.doctor.finding import FailedError, Finding, State, Step
from tunnel.doctor.relay_http import RelayHttp
from tunnel.errors import LostError, VshareError
from tunnel.frames import ALPN
from tunnel.proxy import Proxy, configured
from tunnel.proxy_connect import authority
from tunnel.proxy_dial import dial_through
from tunnel.proxy_way import way_to
from tunnel.relay_tls import context_for, looking_context, matches, server_hostname

PATIENCE = 5.0  # seconds for one thing; a way that takes longer is of no use
ROUTE_BYTES = 16  # of a route that leads nowhere (docs/protocol.md 3)
_UNREACHABLE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Way:
    """What is known so far about the way to `relay`. `sharing`: also what only shares need."""

    def __init__(
        self,
        relay: RelayAddress,
        environ: Mapping[str, str],
        *,
        sharing: bool,
        patience: float = PATIENCE,
    ) -> None:
        self.relay, self._environ, self._sharing = relay, environ, sharing
        self.patience = patience
        self.place = authority(relay.host, relay.port)
        self.proxy: Proxy | None = None
        self._open = True  # so far nothing stands in the way
        self._addresses: list[Address] = []
        self._context: ssl.SSLContext | None = None  # once the relay has shown itself

    def steps(self) -> Iterator[Step]:
        """Every step, in order."""
        yield Step("proxy settings", self._proxy_settings)
        yield Step("name resolution", self._resolve)
        yield Step("TCP connection", self._tcp)
        yield Step("proxy", self._through_proxy)
        yield Step("TLS", self._tls)
        http = RelayHttp(self.relay, self._dial, self._context, self.patience)
        yield from http.steps(sharing=self._sharing)
        yield Step("end-to-end TLS", self._end_to_end)

    async def _proxy_settings(self) -> Finding:
        name = "proxy settings"
        try:
            self.proxy = way_to(self.relay.host, self._environ)
        except VshareError:
            self._open = False
            raise
        if self.proxy is not None:
            return Finding(name, State.OK, f"{self.proxy} (from {self.proxy.source})")
        try:
            other = configured(self._environ)
        except VshareError:
            other = None
        if other is None:
            return Finding(name, State.OK, "none: connections go out directly")
        text = f"{other.source} is set, but {self.relay.host} is reached without (no_proxy)"
        return Finding(name, State.OK, text)

    async def _resolve(self) -> Finding | list[Finding]:
        if not self._open:
            return _skipped("name resolution", "the proxy settings come first")
        findings = []
        wanted = [(self.relay.host, self.relay.port)]
        if self.proxy is not None:
            if self.proxy.resolves:
                text = f"{self.relay.host}: the proxy resolves it"
                findings.append(Finding("name resolution", State.SKIPPED, text))
                wanted.clear()
            wanted.append((self.proxy.host, self.proxy.port))
        for host, port in wanted:
            self._addresses, finding = await self._resolve_one(host, port)
            findings.append(finding)
        return findings

    async def _resolve_one(self, host: str, port: int) -> tuple[list[Address], Finding]:
        name = "name resolution"
        hint = "check the name, and whether this host resolves others"
        ask = f"the DNS of this network has to resolve {host}"
        try:
            async with asyncio.timeout(self.patience):
                addresses = await resolve(host, port)
        except TimeoutError:
            self._open = False
            text = f"{host}: no answer from DNS in {self.patience:g} s"
            return [], Finding(name, State.FAILED, text, hint, ask)
        except VshareError as error:
            self._open = False
            return [], Finding(name, State.FAILED, error.text, hint, ask)
        words = []
        for family, label in ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")):
            found = [str(place[0]) for kind, place in addresses if kind == family]
            words.append(f"{label} {', '.join(found) or 'none'}")
        return addresses, Finding(name, State.OK, f"{host}: {'; '.join(words)}")

    async def _tcp(self) -> Finding | list[Finding]:
        """To each address at once: whether one that fails matters depends on the others."""
        if not self._open:
            return _skipped("TCP connection", "there is no address")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._tcp_to(each), name="tcp") for each in self._addresses]
        results = [
            (address, *task.result()) for address, task in zip(self._addresses, tasks, strict=True)
        ]
        self._addresses = [address for address, error, _ in results if error is None]
        self._open = bool(self._addresses)
        return [self._tcp_finding(*each) for each in results]

    async def _tcp_to(self, address: Address) -> tuple[OSError | None, float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self.patience):
                (await race([address])).close()
        except OSError as error:  # TimeoutError is one
            return error, loop.time() - started
        return None, loop.time() - started

    def _tcp_finding(self, address: Address, error: OSError | None, seconds: float) -> Finding:
        name, place = "TCP connection", authority(str(address[1][0]), address[1][1])
        if error is None:
            return Finding(name, State.OK, place, seconds=seconds)
        what = "proxy" if self.proxy else "relay"
        if self._open and error.errno in _UNREACHABLE:
            family = "IPv6" if address[0] == socket.AF_INET6 else "IPv4"
            text = f"{place}: this host has no way into the {family} internet"
            return Finding(name, State.SKIPPED, text, seconds=seconds)
        state = State.WARNING if self._open else State.FAILED
        ask = f"outgoing TCP connections to {place} have to pass"
        if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
            text = f"{place}: no answer in {self.patience:g} s: something drops the packets"
            hint = f"a firewall, here or there, or the {what} is not running"
            return Finding(name, state, text, hint, ask, seconds)
        hint = ""
        if error.errno == errno.ECONNREFUSED:
            hint = f"nothing listens there, or a firewall says no: is the {what} running?"
        return Finding(name, state, f"{place}: {reason_of(error)}", hint, ask, seconds)

    async def _through_proxy(self) -> Finding:
        if self.proxy is None:
            return _skipped("proxy", "none is used")
        if not self._open:
            return _skipped("proxy", "it cannot be reached")
        try:
            (await self._dial()).close()
        except VshareError:
            self._open = False
            raise
        return Finding("proxy", State.OK, f"it connects to {self.place}")

    async def _dial(self) -> socket.socket:
        """A fresh connection to the relay, by the way found. Raises VshareError, OSError."""
        relay = self.relay
        if self.proxy is not None:
            return await dial_through(self.proxy, relay.host, relay.port, self.patience)
        async with asyncio.timeout(self.patience):
            return await race(self._addresses)

    async def _tls(self) -> Finding:
        """Who answers is looked at first, so that a stranger's certificate can be described."""
        if not self._open:
            return _skipped("TLS", "there is no connection")
        certificate = await self._handshake(looking_context())  # it is verified below
        text, soon = self._verify_dates(certificate)
        pin = self.relay.fingerprint
        if pin is not None and not matches(certificate, pin):
            raise self._stranger(
                "its certificate is not the one that its address names", certificate
            )
        context = context_for(certificate if pin else None, "http/1.1")
        try:
            await self._handshake(context)
        except ssl.SSLCertVerificationError as error:
            raise self._stranger(
                f"its certificate is not valid: {error.verify_message}", certificate
            ) from error
        self._context = context
        how = "pinned" if pin else f"issued by {issuer_of(certificate)}"
        state = State.WARNING if soon and not pin else State.OK
        return Finding("TLS", state, f"the relay's certificate, {how}, {text}")

    def _verify_dates(self, certificate: bytes) -> tuple[str, bool]:
        return valid_until(certificate, datetime.datetime.now(datetime.UTC))

    async def _handshake(self, context: ssl.SSLContext) -> bytes:
        """The certificate (DER) that is shown. Raises FailedError, SSLCertVerificationError."""
        try:
            async with asyncio.timeout(self.patience):
                with await self._dial() as sock:
                    tls = BioTls(sock, context, server_hostname=server_hostname(self.relay))
                    await tls.handshake()
                    return tls.peer_certificate
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            raise FailedError(
                f"what answers at {self.place} does not speak TLS ({_reason(error)})",
                "another service, or a page that blocks: check the relay's host and port",
                f"TLS connections to {self.place} have to pass unchanged",
            ) from error
        except (LostError, TimeoutError) as error:
            text = error.text if isinstance(error, LostError) else "silence"
            raise FailedError(
                f"TCP passes, but TLS does not: {text}",
                "a firewall that looks at the protocol, or packets that get lost (MTU)",
                f"TLS connections to {self.place} have to pass unchanged",
            ) from error

    def _stranger(self, what: str, certificate: bytes) -> FailedError:
        return FailedError(
            f"{what}; it was issued by {issuer_of(certificate)}",
            "take the relay's address again from who runs it; if that is no help, somebody in"
            " between opens TLS",
            f"TLS to {self.place} must not be opened on the way (the certificate shown here was"
            f" issued by {issuer_of(certificate)}): please exempt it from inspection",
        )

    async def _end_to_end(self) -> Finding:
        """A guest's ClientHello, for a share that does not exist: the relay itself says so."""
        name = "end-to-end TLS"
        if not self._open:
            return _skipped(name, "there is no connection")
        context = looking_context()  # no answer but no is right
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ALPN])
        host = f"{secrets.token_hex(ROUTE_BYTES)}.{SNI_SUFFIX}"
        ask = f"TLS to {self.place} has to pass with any server name (SNI) and ALPN {ALPN!r}"
        try:
            async with asyncio.timeout(self.patience):
                with await self._dial() as sock:
                    tls = BioTls(sock, context, server_hostname=host)
                    await tls.handshake()
                    issuer = issuer_of(tls.peer_certificate)
        except ssl.SSLError as error:
            if "UNRECOGNIZED_NAME" in _reason(error):
                text = "the relay itself answered for a share that does not exist"
                return Finding(name, State.OK, text)
            raise FailedError(f"the answer is not a relay's: {_reason(error)}", ask=ask) from error
        except (LostError, TimeoutError) as error:
            text = error.text if isinstance(error, LostError) else "silence"
            raise FailedError(
                f"a connection between guest and share does not pass: {text}",
                "a firewall that lets known protocols pass alone",
                ask,
            ) from error
        raise FailedError(
            f"somebody in between ends TLS, with a certificate issued by {issuer}", ask=ask
        )


def _reason(error: ssl.SSLError) -> str:
    return error.reason or str(error)


def steps_without_relay(environ: Mapping[str, str]) -> Iterator[Step]:
    """What can be examined while nobody said which relay."""

    async def proxy_settings() -> Finding:
        proxy = configured(environ)
        text = f"{proxy} (from {proxy.source})" if proxy else "none"
        return Finding("proxy settings", State.OK, text)

    async def relay() -> Finding:
        return _skipped("relay", "none is configured: name one with --relay or in VSHARE_RELAY")

    yield Step("proxy settings", proxy_settings)
    yield Step("relay", relay)


def _skipped(name: str, why: str) -> Finding:
    return Finding(name, State.SKIPPED, why)
