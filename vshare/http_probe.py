"""Which ports of the machine speak HTTP: asked of each candidate, all at once.

A port counts when it answers a request with an HTTP status line, whatever the status
(RFC 9112 4). What refuses plain HTTP is asked again with TLS. HTTPS certificates are not checked:
only the protocol is of interest.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RefusedError, VshareError
from vshare.listening import Listening
from vshare.machine import LOOPBACK, SSH_PORT, Machine
from vshare.reach import Reach
from vshare.web.tls_end import machine_context

PROBE_TIMEOUT_SECONDS = 2.0  # per try
PROBE_TRIES = 2
PROBE_WITHIN_SECONDS = 6.0  # for all: two rounds of ports that are silent, people wait for it
MAX_CANDIDATES = 64  # a machine with more TCP listeners names its port with --http
MAX_PARALLEL = 32  # sockets, or SSH channels, at once
MAX_ANSWER = 16 * 1024  # more than any status line, with TLS around it
COMMON_HTTP_PORTS = (80, 3000, 4567, 8000, 8080)
COMMON_HTTPS_PORTS = (443, 8443)
_HTTP, _HTTPS = 80, 443
_FAVOURITES = (_HTTP, _HTTPS)

_BAD_REQUEST = 400  # what servers answer that want TLS
# They rule the machine, or have all of its data, and let in whoever comes (Docker, etcd, the
# kubelet, Elasticsearch, debuggers): a public URL leads there only if the sharer names the port.
PRIVATE_PORTS = frozenset(
    {2375, 2376, 2379, 2380, 4243, 5984, 6443, 8086, 8200, 8500, 9200, 9222, 9229, 10250, 10255}
)

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_NOT_HTTP = frozenset({"sshd", "dropbear", "rpcbind"})
_PRIVATE = frozenset({"dockerd", "etcd", "kubelet", "kube-apiserver", "cupsd"})  # as PRIVATE_PORTS


class Origin(StrEnum):
    """Why a port is a candidate."""

    NAMED = "named"  # as the main site's
    EXPLICIT = "allowed"
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
        """The named port, else port 80 where it speaks HTTP, else the lowest that does."""
        return self._pick(tls=False, favourite=_HTTP)

    @property
    def https_port(self) -> int | None:
        """The named port, else port 443 where it speaks HTTPS, else the lowest that does."""
        return self._pick(tls=True, favourite=_HTTPS)

    @property
    def spoken(self) -> tuple[Candidate, ...]:
        """All that answered, as they speak."""
        return tuple(each.candidate for each in self.attempts if each.status is not None)

    def _pick(self, *, tls: bool, favourite: int) -> int | None:
        asked = [each.candidate for each in self.attempts if each.candidate.tls == tls]
        named = [each for each in asked if each.origin is Origin.NAMED]
        ports = [each.port for each in named or asked if each in self.spoken]
        return min(ports, key=lambda port: (port != favourite, port), default=None)


def candidates(
    machine: Machine,
    listening: Listening,
    *,
    http: int | None = None,
    https: int | None = None,
    loopback: Collection[int] = (),
    ports: Collection[int] = (),
) -> tuple[Candidate, ...]:
    """The ports worth asking: what was named; else what is forwarded and what listens.

    Those of `ports` are asked whatever is known of them, those of `loopback` on the machine's
    loopback. The usual ports are asked as well when it is not known what listens. Naming one of
    `http` and `https` leaves the other to be found.
    """
    named = [
        Candidate(port, tls, Origin.NAMED, LOOPBACK if port in loopback else "")
        for port, tls in ((http, False), (https, True))
        if port is not None
    ]
    found = _found(machine, listening)
    found |= dict.fromkeys(ports, Origin.EXPLICIT)
    silent = {each.port for each in listening.listeners if each.process in _NOT_HTTP}
    others = [
        Candidate(port, port in COMMON_HTTPS_PORTS, origin)
        for port, origin in sorted(found.items())
        if port not in silent | {SSH_PORT, http, https, *loopback}
    ]
    others = [
        each
        for each in others
        if each.origin is Origin.EXPLICIT or (https if each.tls else http) is None
    ]
    private = [
        Candidate(port, port in COMMON_HTTPS_PORTS, Origin.EXPLICIT, LOOPBACK)
        for port in sorted(loopback)
        if port not in (http, https)
    ]
    return tuple(named + (others + private)[:MAX_CANDIDATES])


def _found(machine: Machine, listening: Listening) -> dict[int, Origin]:
    found = dict.fromkeys(listening.open_ports("tcp"), Origin.LISTENING)
    found |= {each.guest: Origin.FORWARDED for each in machine.forwarded}
    if listening.unknown:
        found = dict.fromkeys(COMMON_HTTP_PORTS + COMMON_HTTPS_PORTS, Origin.COMMON) | found
    private = {each.port for each in listening.listeners if each.process in _PRIVATE}
    return {port: found[port] for port in found if port not in PRIVATE_PORTS | private}


async def probe(reach: Reach, ports: Iterable[Candidate]) -> ProbeResult:
    """Ask them all, at once, within PROBE_WITHIN_SECONDS. Does not raise for a port.

    Each is asked at most PROBE_TRIES times; once a favourite port has answered, or one that was
    named, nobody who is silent is asked again.
    """
    room = asyncio.Semaphore(MAX_PARALLEL)
    enough = asyncio.Event()
    tasks: dict[Candidate, asyncio.Task[Attempt]] = {}

    async def ask(candidate: Candidate) -> Attempt:
        async with room:
            attempt = await _ask(reach, candidate, enough)
        named = candidate.origin is Origin.NAMED
        if attempt.status is not None and (named or candidate.port in _FAVOURITES):
            enough.set()
        return attempt

    try:
        async with asyncio.timeout(PROBE_WITHIN_SECONDS), asyncio.TaskGroup() as group:
            for each in ports:
                tasks[each] = group.create_task(ask(each), name=f"probe {each.port}")
    except TimeoutError:
        pass  # who has not answered by now is told as such
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


async def _ask(reach: Reach, candidate: Candidate, enough: asyncio.Event) -> Attempt:
    outcome = ""
    for _ in range(PROBE_TRIES):
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                return await _speak(reach, candidate)
        except TimeoutError:
            outcome = f"no answer in {PROBE_TIMEOUT_SECONDS:.0f} s"
        except RefusedError as error:
            outcome = error.code.name.lower().replace("_", " ")
            if error.code is Code.CONNECTION_REFUSED:
                break  # that will not change in a moment
        if enough.is_set():
            break
    return Attempt(candidate, None, outcome)


async def _speak(reach: Reach, candidate: Candidate) -> Attempt:
    """Ask once; with TLS as well where plain HTTP is not what is wanted. Raises RefusedError."""
    status = await _status(reach, candidate)
    if (
        not candidate.tls
        and candidate.origin is not Origin.NAMED
        and status in (None, _BAD_REQUEST)
    ):
        with_tls = replace(candidate, tls=True)
        try:
            secure = await _status(reach, with_tls)
        except RefusedError:
            secure = None
        if secure is not None:
            return Attempt(with_tls, secure, f"HTTP status {secure}")
    outcome = "does not speak HTTP" if status is None else f"HTTP status {status}"
    return Attempt(candidate, status, outcome)


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
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = machine_context().wrap_bio(self._incoming, self._outgoing)
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
