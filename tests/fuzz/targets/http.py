"""HTTP at the gateway: requests of visitors, answers of shared machines."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable
from typing import cast

import h11

from relay.accounting import Accounting
from relay.exchange import Conversation
from relay.http_ledger import HttpLedger
from relay.http_rules import (
    HttpError,
    Origin,
    check_request,
    forwarded_target,
    has_body,
    header,
    is_upgrade,
    request_headers,
    response_headers,
)
from relay.plain_heads import PlainAnswer, PlainRequest, maybe_answer, maybe_request
from relay.registry import LocalRegistry
from relay.routes import MAX_HEAD, Answerer, Route, Site, Sites, maybe_route
from relay.source_buckets import SourceBuckets
from relay.streams import UpstreamStream, VisitorStream
from relay.upstreams import Door, Upstreams
from tests.fuzz.target import BrokenInvariantError, Target, choose, cuts_of, require
from tests.fuzz.targets import loop
from tests.fuzz.targets.accounting import Told
from tests.fuzz.targets.hello import SITES
from tunnel.clienthello import Incomplete
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError, RemoteProtocolError

HOST = "frosty-weasel-0857.relay.example"
BETWEEN = b"\0|\0"  # the visitor's bytes, then the machine's
PLAIN = Origin("203.0.113.7", False, None)
TLS = Origin("2001:db8::7", True, HOST)
MAX_SENT = 1 << 20
TURNS = 6  # of the event loop, for most requests and their answers
LAST_TURNS = 16  # for a conversation to end
_FORWARDED = re.compile(rb'for=(?:[0-9.]+|"\[[0-9a-f:]+\]");host="[^"\\,;]*";proto=https?')
_STATUS = re.compile(rb"HTTP/1\.1 [1-5]\d\d ")

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: frosty-weasel-0857.relay.example\r\n\r\n",
    b"GET /a?b=c HTTP/1.1\r\nHost: frosty-weasel-0857--api.relay.example:80\r\nCookie: a=b\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nConnection: x-secret, close\r\n"
    b"X-Secret: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: frosty-weasel-0857.relay.example\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: frosty-weasel-0857.relay.example\r\n"
    b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET http://frosty-weasel-0857.relay.example?q HTTP/1.1\r\n"
    b"Host: frosty-weasel-0857.relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nHost: frosty-weasel-0857.relay.example\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n"
    b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbytes",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b; Path=/; Domain=example\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-a=b; domain=.frosty-weasel-0857.relay.example\r\n"
    b"set-cookie: a=b;DOMAIN = example;Secure\r\nContent-Length: 2\r\n\r\nok",
)
WORDS = (
    b"Host: ", b"Host: " + HOST.encode() + b"\r\n", b"Content-Length: 5\r\n", b"\r\n", b"\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: ", b"Upgrade: ", b"close", b"keep-alive",
    b"HTTP/1.1", b"HTTP/1.0", b"http://", b"https://", b"frosty-weasel-0857", b".relay.example",
    b"--", b'"', b";", b",", b"\\", b"\xa0", b"0\r\n\r\n", b"5\r\nhello\r\n", b"GET ", b"POST ",
    b"HEAD ", b"Expect: 100-continue\r\n", b"host, content-length", b" ", b"\t", b"\r", b"\0",
    b";for=1", b"gzip, chunked", b"Set-Cookie: a=b", b"; Domain=",
    b";domain", b"=", b"relay.example", b"HTTP/1.1 100 Continue\r\n\r\n", BETWEEN,
)  # fmt: skip


def odd_request(chance: random.Random) -> bytes:
    """A request with fields that two programs may read in two ways."""
    label = chance.choice((b"", b"--api", b"--", b'--"', b'--";for=1', b"--a,b", b"--a b", b"--\\"))
    host = chance.choice((b"frosty-weasel-0857", b"\xa0frosty-weasel-0857", b"FROSTY-weasel-0857"))
    host += label + chance.choice((b".relay.example", b".relay.example.", b".RELAY.example:80"))
    target = chance.choice(
        (b"/", b"*", b"?q", b"http://" + host + b"/a", b"http://" + host, b"//a")
    )
    lines = [
        chance.choice((b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"get ")) + target
        + chance.choice((b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b""))
    ]  # fmt: skip
    fields = [
        b"Host: " + host, b"Host: " + host, b"host:" + host, b"Content-Length: 5",
        b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 05",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: x",
        b"Transfer-Encoding: chunked, chunked", b"Connection: host", b"Connection: content-length",
        b"Connection: upgrade, transfer-encoding", b"Upgrade: h2c", b"X-Forwarded-For: 1",
        b"X-FORWARDED-Host: b", b"Forwarded : for=b", b" folded", b"X_Forwarded_For: 1", b"A\r: b",
        b"Expect: 100-continue", b"Trailer: Host", b"TE: trailers",
    ]  # fmt: skip
    lines += [b"Host: " + host] if chance.random() < 0.8 else []
    lines += [chance.choice(fields) for _ in range(chance.randrange(4))]
    end = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n"))
    body = chance.choice((b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", REQUESTS[0], b"0\r\n\r\n" * 2))
    return end.join((*lines, b"", body))


def run_request(data: bytes) -> None:
    """A request that passes is forwarded as one request, with our fields and none like them."""
    which, data = choose(data)
    origin = TLS if which & 1 else PLAIN
    events = [_requests([data]), *(_requests(pieces) for pieces in cuts_of(data))]
    require(all(each == events[0] for each in events), "h11 does not mind how it is cut")
    plain = maybe_request(data)
    if not isinstance(events[0], h11.Request):
        require(plain is None, "what is plain is a request", data)
        return
    request = events[0]
    if plain is not None:
        _check_plain(plain, request)
        require(maybe_request(data, plain) == plain, "what is known changes nothing", data)
    try:
        site = check_request(request, origin, SITES)
    except HttpError:
        return
    require(site.name, "a site has a name", site)
    headers = request_headers(request, origin)
    forwarded = h11.Request(
        method=request.method, target=forwarded_target(request.target), headers=headers
    )
    sent = h11.Connection(h11.CLIENT).send(forwarded) or b""
    reader = h11.Connection(h11.SERVER, 4 * MAX_HEAD)
    reader.receive_data(sent)
    found = reader.next_event()
    if not isinstance(found, h11.Request):
        raise BrokenInvariantError("what is forwarded is a request", sent)
    require(found.method == request.method, "the method stays", sent)
    require(not found.target.lower().startswith((b"http://", b"https://")), "origin form", sent)
    require(has_body(found) == has_body(request), "a body stays a body", sent)
    for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"):
        values = [value for key, value in found.headers if key == name]
        require(len(values) == 1, "each of our fields is there once", (name, values))
        if name == b"forwarded":
            require(_FORWARDED.fullmatch(values[0]), "Forwarded says what we say", values)
    require(is_upgrade(found) == is_upgrade(request), "an upgrade stays one", sent)
    if not which & 1:
        _check_route(data, request, site)


def _check_plain(plain: PlainRequest, request: h11.Request) -> None:
    """The quick path forwards what the other would."""
    require(not is_upgrade(request), "a plain one is no upgrade", request)
    require(has_body(request) == bool(plain.length), "a body stays a body", request)
    require(header(request, b"transfer-encoding") is None, "it has a length", request)
    length = header(request, b"content-length") or b"0"
    require(int(length) == plain.length, "and that one", request)
    sent = _requests([plain.forwarded + b"\r\n"])
    if not isinstance(sent, h11.Request):
        raise BrokenInvariantError("what is forwarded is a request", plain.forwarded)
    require((sent.method, sent.target) == (request.method, request.target), "it stays", plain)
    ours = len(PLAIN.forwarding_fields(""))
    fields = [(name.lower(), value) for name, value in request_headers(request, PLAIN)[:-ours]]
    require(sorted(sent.headers) == sorted(fields), "fields stay", (plain, fields))


def _check_route(data: bytes, request: h11.Request, site: Site) -> None:
    """The gateway got it because the router thinks so, from the same bytes.

    But for folded lines (RFC 9112 5.2), which h11 joins and the router does not: it takes them for
    a request without a host, and sends them to the relay's own pages.
    """
    if b"\n " in data or b"\n\t" in data:
        return
    try:
        route = maybe_route(data, SITES)
    except RemoteProtocolError:
        return
    if isinstance(route, Route) and not route.tls:
        require(route.answerer is Answerer.GATEWAY, "the router agrees", (request, site))
    else:
        require(isinstance(route, Incomplete), "the router agrees", (request, site))


def _requests(pieces: Iterable[bytes]) -> object:
    http = h11.Connection(h11.SERVER, MAX_HEAD)
    try:
        for piece in pieces:
            if piece:
                http.receive_data(piece)
            event = http.next_event()
            if event is not h11.NEED_DATA:
                return event
    except h11.RemoteProtocolError:
        # What is too long is noticed sooner or later; what follows a bad line is not read.
        return "error"
    return "incomplete"


def run_answer(data: bytes) -> None:
    """An answer that passes can be written to the visitor; a plain one is the same to h11."""
    plain = maybe_answer(data, b"GET")
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    visitor = h11.Connection(h11.SERVER)
    visitor.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    visitor.next_event(), visitor.next_event()  # a request and its end
    for _ in range(len(data) + 2):
        event = http.next_event()
        if plain is not None:
            require(isinstance(event, h11.Response), "a plain answer is final", event)
            _check_answer(data, plain, cast(h11.Response, event))
            plain = None
        if isinstance(event, h11.InformationalResponse | h11.Response):
            kind = type(event)
            visitor.send(
                kind(
                    status_code=event.status_code,
                    reason=event.reason,
                    headers=_checked_fields(event),
                )
            )
        elif isinstance(event, h11.Data):
            visitor.send(h11.Data(event.data))
        elif isinstance(event, h11.EndOfMessage):
            visitor.send(event)
            return
        else:
            return


def _checked_fields(answer: h11.Response | h11.InformationalResponse) -> list[tuple[bytes, bytes]]:
    """The fields for the visitor, with cookies for the site alone; nothing else of them is lost."""
    fields = response_headers(answer, HOST)
    for name, value in fields:
        for attribute in value.split(b";")[1:] if name.lower() == b"set-cookie" else ():
            word, _, domain = attribute.partition(b"=")
            if word.strip().lower() == b"domain":
                own = domain.strip().lower() in (HOST.encode(), b"." + HOST.encode())
                require(own, "a cookie is for its site", value)
    crumbs = [value.partition(b";")[0] for name, value in fields if name.lower() == b"set-cookie"]
    came = [value.partition(b";")[0] for name, value in answer.headers if name == b"set-cookie"]
    if b"connection" not in dict(answer.headers):
        require(crumbs == came, "names and values stay", crumbs)
    return fields


def _check_answer(data: bytes, plain: PlainAnswer, answer: h11.Response) -> None:
    """The quick path passes on what the other would, and its body ends there."""
    told = h11.Connection(h11.CLIENT)
    told.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    told.receive_data(plain.head if plain.head is not None else data[: plain.size])
    passed = told.next_event()
    if not isinstance(passed, h11.Response):
        raise BrokenInvariantError("what is passed on is an answer", passed)
    require(passed.status_code == answer.status_code, "the status stays", passed)
    fields = _checked_fields(answer)
    require(passed.headers.raw_items() == fields, "fields stay", (passed.headers, fields))
    lengths = [int(value) for name, value in fields if name.lower() == b"content-length"]
    if answer.status_code not in (204, 304):
        require(lengths == ([] if plain.length is None else [plain.length]), "one length", plain)


class _Wire(asyncio.Transport):
    """The visitor's connection, which takes everything."""

    def __init__(self, stream: VisitorStream) -> None:
        super().__init__()
        self._stream = stream
        self.sent = bytearray()
        self.aborted = False

    def write(self, data: Bytes) -> None:
        require(not self.aborted, "nothing is sent after an abort")
        self.sent += data
        require(len(self.sent) <= MAX_SENT, "an answer is as long as what came")

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        """It says little."""

    def resume_reading(self) -> None:
        """It says little."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nobody minds."""

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self._stream.connection_lost, None)


class _Machine(End):
    """The machine's side: says the next of `answers`, the last again and again, whatever it is
    asked, in two pieces."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__()
        self._answers = answers
        self.sent = bytearray()
        self.ended = False

    def send(self, data: Bytes) -> None:
        self.sent += data
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        half = 1 + len(answer) // 2
        for piece in (answer[:half], answer[half:]) if len(answer) & 1 else (answer,):
            asyncio.get_running_loop().call_soon(self._say, piece)

    def _say(self, data: bytes) -> None:
        if not self.ended and data:
            self.peer.send(memoryview(data))

    def hang_up(self) -> None:
        """The machine has said everything."""
        if not self.ended:
            self.peer.send_eof()

    def send_eof(self) -> None:
        """Nobody minds."""

    def reset(self, code: Code) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        """It says little."""

    def resume_reading(self) -> None:
        """It says little."""


class _Upstreams:
    """`has_idle`: a stream can be opened at once, together with what it begins with."""

    def __init__(self, answers: list[bytes], *, has_idle: bool) -> None:
        self._answers, self._has_idle = answers, has_idle
        self.opened: list[_Machine] = []

    def expects(self, site: Site) -> bool:
        return False

    def door_of(self, site: Site, *, tls: bool) -> Door:
        return Door(site, tls)

    def maybe_open(self, door: Door, begin: bytes) -> UpstreamStream | None:
        if not self._has_idle:
            return None
        self.opened.append(_Machine(self._answers))
        self.opened[-1].send(begin)
        return UpstreamStream(self.opened[-1])

    async def open(self, door: Door) -> UpstreamStream:
        self.opened.append(_Machine(self._answers))
        return UpstreamStream(self.opened[-1])


async def _converse(pieces: Iterable[bytes], upstreams: _Upstreams, sites: Sites) -> bytes:
    """What the visitor gets who says `pieces` and then hangs up, as the machine does then."""
    visitor, told = VisitorStream(), Told()
    ledger = HttpLedger(cast(LocalRegistry, told), Accounting(told), PLAIN.address)
    wire = _Wire(visitor)
    visitor.connection_made(wire)
    conversation = Conversation(
        visitor, PLAIN, cast(Upstreams, upstreams), sites, SourceBuckets(8, 60.0), ledger=ledger
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_talk(conversation))
        for piece in pieces:
            if piece and not wire.aborted:
                visitor.data_received(piece)
                await loop.settle(TURNS if len(piece) > 1 else 1)
        if not wire.aborted:
            visitor.eof_received()
        await loop.settle(TURNS)
        for machine in upstreams.opened:
            machine.hang_up()
        await loop.settle(TURNS)
        if not wire.aborted:
            visitor.connection_lost(None)
        for _ in range(LAST_TURNS):
            if not task.done():
                await loop.settle(1)
        if not task.done():
            task.cancel()
            raise BrokenInvariantError("a conversation ends")
    require(not told.lasting, "no visit outlasts its conversation")
    return bytes(wire.sent)


async def _talk(conversation: Conversation) -> None:
    try:
        await conversation.run()
    except LostError:
        pass  # the conversation's own way to end
    finally:
        conversation.close()


def run_conversation(data: bytes) -> None:
    """A whole conversation ends; all that the visitor gets is HTTP; all that is sent on is."""
    said, _, answer = data.partition(BETWEEN)
    cut = next(iter(cuts_of(said)))
    for pieces in (cut, [REQUESTS[0], said]):  # there most are the quick path's
        answers = [answer] if pieces is cut else [ANSWERS[0], answer]
        upstreams = _Upstreams(answers, has_idle=pieces is not cut or len(said) % 2 == 0)
        got = loop.run(_converse(pieces, upstreams, SITES))
        if got:
            require(_STATUS.match(got), "the visitor gets HTTP", got[:99])
        for machine in upstreams.opened:
            require(machine.ended, "no stream to the share is left open")
            _check_forwarded(bytes(machine.sent))


def _check_forwarded(sent: bytes) -> None:
    """Whoever listens there reads nothing but requests that bear our mark: no smuggling."""
    reader = h11.Connection(h11.SERVER, 4 * MAX_HEAD)
    reader.receive_data(sent)
    for _ in range(len(sent) + 2):
        event = reader.next_event()
        if isinstance(event, h11.Request):
            marks = [value for name, value in event.headers if name == b"x-forwarded-for"]
            require(marks == [PLAIN.address.encode()], "every request is one of ours", sent)
            if is_upgrade(event):
                return
        elif event is h11.PAUSED:
            if reader.their_state is not h11.DONE:
                return
            reader.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            reader.send(h11.EndOfMessage())
            if reader.our_state is not h11.DONE:
                return
            reader.start_next_cycle()
        elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return


def _pairs() -> tuple[bytes, ...]:
    every = [request + BETWEEN + answer for request in REQUESTS for answer in ANSWERS]
    return (*every, b"".join(REQUESTS[:4]) + BETWEEN + ANSWERS[0])


_RULES = ("relay.http_rules", "relay.routes", "relay.plain_heads")
_TALK = (
    "relay.http_ledger",
    "relay.exchange",
    "relay.quick_path",
    "relay.plain_bodies",
    "relay.uploads",
)
TARGETS = (
    Target(
        "http-request", run_request, (), tuple(b"\0" + each for each in REQUESTS), _RULES, WORDS,
        lambda chance: chance.randbytes(1) + odd_request(chance),
    ),
    Target(
        "http-answer", run_answer, (h11.RemoteProtocolError, h11.LocalProtocolError), ANSWERS,
        _RULES, WORDS,
    ),
    Target(
        "http-conversation", run_conversation, (), _pairs(), (*_RULES, *_TALK), WORDS,
        lambda chance: odd_request(chance) + BETWEEN + chance.choice(ANSWERS),
        share=0.25, slow="two whole conversations, about 5 ms",
    ),
)  # fmt: skip
