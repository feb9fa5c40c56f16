"""What the relay says over HTTPS: that it is one, how far away, what time it has; WebSocket."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator

import h11
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from tunnel import control
from tunnel.address import RelayAddress
from tunnel.doctor.finding import FailedError, Finding, State, Step
from tunnel.proxy_connect import authority
from tunnel.relay_tls import server_hostname

RECEIVE = 64 * 1024  # bytes
MAX_BODY = 64 * 1024  # bytes of an answer; a relay's has 20
HEALTH = "/healthz"
ROUND_TRIPS = 5
LARGE = 8 * 1024  # bytes of a request that fills several packets; a relay takes 16 KiB
SKEW_NOTED, SKEW_HARMS = 60.0, 86_400.0  # seconds; certificates are backdated by a day
_MTU = {socket.AF_INET: (socket.IPPROTO_IP, 14), socket.AF_INET6: (socket.IPPROTO_IPV6, 24)}

Dial = Callable[[], Awaitable[socket.socket]]


class RelayHttp:
    """Steps over one HTTPS connection. Without `context` there is no TLS: all are skipped."""

    def __init__(
        self, relay: RelayAddress, dial: Dial, context: ssl.SSLContext | None, patience: float
    ) -> None:
        self._relay, self._dial, self._context = relay, dial, context
        self._patience = patience
        self.place = authority(relay.host, relay.port)
        self._date: tuple[float, float] | None = None  # seconds since the epoch: theirs, ours
        self._mtu = 0  # bytes

    def steps(self, *, sharing: bool) -> Iterator[Step]:
        """Every step, in order; the control channel's is for shares."""
        yield Step("relay", self._answer)
        yield Step("round trip", self._round_trip)
        yield Step("large packets", self._large)
        if sharing:
            yield Step("WebSocket", self._web_socket)
        yield Step("clock", self._clock)

    async def _answer(self) -> Finding:
        if self._context is None:
            return Finding("relay", State.SKIPPED, "there is no TLS connection")
        try:
            (status, body), *_ = await self._ask([{}])
        except FailedError:
            self._context = None
            raise
        if status != 200 or not body.startswith(b"ok"):
            self._context = None
            raise FailedError(
                f"what answers at {self.place} is not a relay (HTTP {status} for {HEALTH})",
                "check the relay's host and port; or a page that blocks answers in its place",
                f"requests to https://{self.place} have to reach it",
            )
        return Finding("relay", State.OK, "it answers")

    async def _round_trip(self) -> Finding:
        if self._context is None:
            return Finding("round trip", State.SKIPPED, "the relay does not answer")
        times: list[float] = []
        await self._ask([{}] * ROUND_TRIPS, times)
        best, typical = min(times) * 1000, statistics.median(times) * 1000
        text = f"{best:.0f} ms at best, {typical:.0f} ms typically"
        return Finding("round trip", State.OK, text)

    async def _large(self) -> Finding:
        if self._context is None:
            return Finding("large packets", State.SKIPPED, "the relay does not answer")
        try:
            (status, _), *_ = await self._ask([{"X-Padding": "x" * LARGE}])
        except FailedError as error:
            raise FailedError(
                f"small requests pass, one of {LARGE} bytes does not: full packets get lost",
                "a VPN or tunnel with a smaller MTU: lower this host's, to 1280 for a try",
                "ICMP `fragmentation needed` and `packet too big` have to pass, or tunnels on the"
                " way have to clamp the MSS",
            ) from error
        if status != 200:
            return Finding("large packets", State.WARNING, f"HTTP {status} for {LARGE} bytes")
        return Finding("large packets", State.OK, f"{LARGE} bytes at once; path MTU {self._mtu}")

    async def _web_socket(self) -> Finding:
        """What `vshare up` begins with, up to the relay's challenge."""
        name = "WebSocket"
        if self._context is None:
            return Finding(name, State.SKIPPED, "the relay does not answer")
        ask = f"WebSocket (RFC 6455, HTTP Upgrade) has to pass to wss://{self.place}{control.PATH}"
        try:
            async with asyncio.timeout(self._patience):
                sock = await self._dial()
                try:
                    channel = await connect(
                        f"wss://{self.place}{control.PATH}",
                        sock=sock,
                        ssl=self._context,
                        server_hostname=server_hostname(self._relay) or "",
                        max_size=control.MAX_MESSAGE,
                        close_timeout=1,
                        proxy=None,
                    )
                except BaseException:
                    sock.close()
                    raise
                try:
                    control.parse_from_relay(await channel.recv())
                finally:
                    channel.transport.abort()
        except TimeoutError:
            raise FailedError("it opens no control channel: no answer", ask=ask) from None
        except InvalidStatus as error:
            text = f"the upgrade was answered with HTTP {error.response.status_code}"
            raise FailedError(text, "something in between speaks no WebSocket", ask) from error
        except (InvalidHandshake, WebSocketException, OSError) as error:
            raise FailedError(f"it does not open: {error}", ask=ask) from error
        return Finding(name, State.OK, "the control channel opens")

    async def _clock(self) -> Finding:
        if self._date is None:
            return Finding("clock", State.SKIPPED, "the relay did not say what time it is")
        skew = self._date[1] - self._date[0]
        if abs(skew) <= SKEW_NOTED:
            return Finding("clock", State.OK, "as the relay's, within a minute")
        way = "ahead of" if skew > 0 else "behind"
        text = f"this host's clock is {_duration(abs(skew))} {way} the relay's"
        state = State.FAILED if abs(skew) > SKEW_HARMS else State.WARNING
        return Finding("clock", state, text, "set the clock, with NTP for instance")

    async def _ask(
        self, requests: list[dict[str, str]], times: list[float] | None = None
    ) -> list[tuple[int, bytes]]:
        """Status and body of one GET for each of `requests` (more headers), on one connection."""
        loop = asyncio.get_running_loop()
        answers = []
        try:
            async with asyncio.timeout(self._patience):
                reader, writer = await self._connect()
                try:
                    http = h11.Connection(h11.CLIENT)
                    for headers in requests:
                        started = loop.time()
                        answers.append(await self._exchange(http, reader, writer, headers))
                        if times is not None:
                            times.append(loop.time() - started)
                    self._mtu = _path_mtu(writer.get_extra_info("socket"))
                finally:
                    writer.transport.abort()
        except TimeoutError:
            raise FailedError("no answer over HTTPS", ask=self._pass()) from None
        except (h11.ProtocolError, OSError, EOFError) as error:
            raise FailedError(f"no HTTP answer: {error}", ask=self._pass()) from error
        return answers

    def _pass(self) -> str:
        return f"requests to https://{self.place} have to reach it"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await self._dial()
        try:
            return await asyncio.open_connection(
                sock=sock, ssl=self._context, server_hostname=server_hostname(self._relay) or ""
            )
        except BaseException:
            sock.close()
            raise

    async def _exchange(
        self,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        more: dict[str, str],
    ) -> tuple[int, bytes]:
        headers = [("Host", self.place), ("User-Agent", "vshare"), *more.items()]
        request = h11.Request(method="GET", target=HEALTH, headers=headers)
        writer.write((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(RECEIVE))
            elif isinstance(event, h11.Response):
                status = event.status_code
                self._note_date(event)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise h11.RemoteProtocolError("an answer without an end")
            elif isinstance(event, h11.EndOfMessage):
                if http.their_state is h11.DONE:
                    http.start_next_cycle()
                return status, body
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("the connection was closed")

    def _note_date(self, answer: h11.Response) -> None:
        for name, value in answer.headers:
            if name == b"date":
                try:
                    theirs = email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp()
                except (ValueError, TypeError, OverflowError):
                    return
                self._date = theirs, time.time()


def _path_mtu(sock: socket.socket) -> int:
    """What the kernel has learned of the way by now (ip(7), ipv6(7)); bytes."""
    return sock.getsockopt(*_MTU[sock.family])


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
