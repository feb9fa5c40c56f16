"""Which port of the machine speaks HTTP: asked of each candidate, all at once.

A port counts when it answers a request with an HTTP status line, whatever the status
(RFC 9112 4). HTTPS certificates are not checked: only the protocol is of interest.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RefusedError, VshareError
from vshare.listening import Listening
from vshare.machine import LOOPBACK, SSH_PORT, Machine
from vshare.reach import Reach

PROBE_TIMEOUT_SECONDS = 2.0  # per try
PROBE_TRIES = 2
MAX_CANDIDATES = 64  # a machine with more TCP listeners names its port with --http
MAX_PARALLEL = 32  # sockets, or SSH channels, at once
MAX_ANSWER = 16 * 1024  # more than any status line, with TLS around it
COMMON_HTTP_PORTS = (80, 3000, 4567, 8000, 8080)
COMMON_HTTPS_PORTS = (443, 8443)
_HTTP, _HTTPS = 80, 443
_FAVOURITES = (_HTTP, _HTTPS)

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_NOT_HTTP = frozenset({"sshd", "dropbear", "rpcbind"})


class Origin(StrEnum):
    """Why a port is a candidate."""

    EXPLICIT = "named"
    FORWARDED = "forwarded"
    LISTENING = "listening"
    COMMON = "common"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A port to ask, as HTTPS where `tls`; host "" is the machine, else its loopback."""

    port: int
    tls: bool
    origin: Origin
    host: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What asking came to. `status` is HTTP's, None when it was not HTTP; `outcome` in words."""

    candidate: Candidate
    status: int | None
    outcome: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """All attempts, by port."""

    attempts: tuple[Attempt, ...]

    @property
    def http_port(self) -> int | None:
        """Port 80 where it speaks HTTP, else the lowest that does."""
        return self._pick(tls=False, favourite=_HTTP)

    @property
    def https_port(self) -> int | None:
        """Port 443 where it speaks HTTPS, else the lowest that does."""
        return self._pick(tls=True, favourite=_HTTPS)

    def _pick(self, *, tls: bool, favourite: int) -> int | None:
        ports = [
            each.candidate.port
            for each in self.attempts
            if each.status is not None and each.candidate.tls == tls
        ]
        return min(ports, key=lambda port: (port != favourite, port), default=None)


def candidates(
    machine: Machine,
    listening: Listening,
    *,
    http: int | None = None,
    https: int | None = None,
    loopback: Collection[int] = (),
) -> tuple[Candidate, ...]:
    """The ports worth asking: what was named; else what is forwarded and what listens.

    Those named in `loopback` are asked on the machine's loopback. The usual ports are asked
    as well when it is not known what listens. Naming one of `http`
    and `https` leaves the other to be found.
    """
    named = [
        Candidate(port, tls, Origin.EXPLICIT, LOOPBACK if port in loopback else "")
        for port, tls in ((http, False), (https, True))
        if port is not None
    ]
    silent = {each.port for each in listening.listeners if each.process in _NOT_HTTP}
    found = dict.fromkeys(listening.open_ports("tcp"), Origin.LISTENING)
    found |= {each.guest: Origin.FORWARDED for each in machine.forwarded}
    for port in silent | {SSH_PORT}:
        found.pop(port, None)
    if listening.unknown:
        found = dict.fromkeys(COMMON_HTTP_PORTS + COMMON_HTTPS_PORTS, Origin.COMMON) | found
    others = [
        Candidate(port, port in COMMON_HTTPS_PORTS, origin)
        for port, origin in sorted(found.items())
    ]
    others = [each for each in others if (https if each.tls else http) is None]
    private = [
        Candidate(port, port in COMMON_HTTPS_PORTS, Origin.EXPLICIT, LOOPBACK)
        for port in sorted(loopback)
        if port not in (http, https)
    ]
    return tuple(named + (others + private)[:MAX_CANDIDATES])


async def probe(reach: Reach, ports: Iterable[Candidate]) -> ProbeResult:
    """Ask them all, at once, each at most PROBE_TRIES times. Does not raise for a port.

    When the favourite port has answered, the others of its kind are not waited for.
    """
    room = asyncio.Semaphore(MAX_PARALLEL)
    tasks: dict[Candidate, asyncio.Task[Attempt]] = {}

    async def ask(candidate: Candidate) -> Attempt:
        async with room:
            attempt = await _ask(reach, candidate)
        if attempt.status is not None and candidate.port in _FAVOURITES:
            for other, task in tasks.items():
                if other.tls == candidate.tls and other != candidate:
                    task.cancel()
        return attempt

    async with asyncio.TaskGroup() as group:
        for each in ports:
            tasks[each] = group.create_task(ask(each), name=f"probe {each.port}")
    attempts = [
        Attempt(each, None, "not waited for") if task.cancelled() else task.result()
        for each, task in tasks.items()
    ]
    return ProbeResult(tuple(sorted(attempts, key=lambda each: each.candidate.port)))


def no_http_error(machine: Machine, result: ProbeResult) -> VshareError:
    """What to say when no port speaks HTTP: what was tried, and the four ways on."""
    tried = "; ".join(
        f"{each.candidate.port}{' (HTTPS)' if each.candidate.tls else ''}: {each.outcome}"
        for each in result.attempts
    )
    return VshareError(
        f"no HTTP port found on {machine.name}; tried {tried or 'nothing: nothing listens there'}",
        "start the web server in the machine, on all its addresses (0.0.0.0) rather than on"
        " localhost; or name the port with --http PORT; or name one that listens on the machine's"
        " localhost with --loopback PORT --http PORT; or share without a URL: --disable-http",
    )


async def _ask(reach: Reach, candidate: Candidate) -> Attempt:
    outcome = ""
    for _ in range(PROBE_TRIES):
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                status = await _status(reach, candidate)
        except TimeoutError:
            outcome = f"no answer in {PROBE_TIMEOUT_SECONDS:.0f} s"
        except RefusedError as error:
            outcome = error.code.name.lower().replace("_", " ")
            if error.code is Code.CONNECTION_REFUSED:
                break  # that will not change in a moment
        else:
            if status is None:
                return Attempt(candidate, None, "does not speak HTTP")
            return Attempt(candidate, status, f"HTTP status {status}")
    return Attempt(candidate, None, outcome)


async def _status(reach: Reach, candidate: Candidate) -> int | None:
    """The status of the port's answer to one request; None: that was not HTTP."""
    end = await reach.open_tcp(candidate.host, candidate.port)
    asker = _Asker()
    try:
        end.link(asker)
        asker.link(end)
        if candidate.tls:
            exchange = _TlsExchange()
            while not exchange.answer_is_complete:
                end.send(exchange.advance(await asker.receive_some()))
                if asker.ended:
                    break
            answer = exchange.answer
        else:
            end.send(_REQUEST)
            answer = b""
            while len(answer) < MAX_ANSWER and b"\n" not in answer and not asker.ended:
                answer += await asker.receive_some()
    except ssl.SSLError:
        return None
    finally:
        end.reset(Code.CLOSED)
        asker.reset(Code.CLOSED)
    match = _STATUS_LINE.match(answer)
    return int(match[1]) if match else None


_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: vshare\r\nAccept: */*\r\n"
    b"Connection: close\r\n\r\n"
)


class _Asker(End):
    """The peer of a port that is asked: keeps what it says, at most MAX_ANSWER."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False
        self._data = b""
        self._news = asyncio.Event()
        self._news.set()  # the one who asks speaks first

    async def receive_some(self) -> bytes:
        """What has come since the last call; the first call returns at once, with nothing."""
        await self._news.wait()
        self._news.clear()
        if self.ended:
            self._news.set()
        data, self._data = self._data, b""
        return data

    def send(self, data: Bytes) -> None:
        """See End.send."""
        self._data = (self._data + bytes(data))[:MAX_ANSWER]
        self._news.set()

    def send_eof(self) -> None:
        """See End.send_eof."""
        self.ended = True
        self._news.set()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self.closed(code)
        self.send_eof()

    def pause_reading(self) -> None:
        """A request fits any buffer."""

    def resume_reading(self) -> None:
        """Nothing is read."""


class _TlsExchange:
    """A TLS client that sends the request and reads the start of the answer. Sans-I/O."""

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._asked = False
        self._received = 0
        self.answer = b""

    @property
    def answer_is_complete(self) -> bool:
        """Whether a status line is here, or too much for one."""
        return b"\n" in self.answer or self._received >= MAX_ANSWER

    def advance(self, data: bytes) -> bytes:
        """Take what came, return what to send. Raises ssl.SSLError when it is not TLS."""
        self._received += len(data)
        self._incoming.write(data)
        try:
            if not self._asked:
                self._tls.do_handshake()
                self._asked = True
                self._tls.write(_REQUEST)
            self.answer += self._tls.read(MAX_ANSWER)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return self._outgoing.read()
