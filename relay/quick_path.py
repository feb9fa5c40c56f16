"""The way of most requests through the gateway: from callback to callback, without a task.

It stands in for a Conversation (relay/exchange.py) while that waits for a request, and serves
plain ones (relay/plain_heads.py): over the stream to the share that is kept, or over one that it
opens, on which the request leaves together with OPEN. With the first message that is not plain it
gives back: to the coroutine, which goes on as if it had begun it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from relay.doors import Doors
from relay.http_ledger import HttpLedger
from relay.plain_bodies import ChunkedBody
from relay.plain_heads import (
    MAX_PLAIN_HEAD,
    MAX_REMEMBERED,
    PlainAnswer,
    PlainRequest,
    maybe_answer,
    maybe_request,
)
from relay.streams import HIGH_WATER, UpstreamStream, VisitorStream
from relay.upstreams import Door
from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import LengthBody

ANSWER_WITHIN = 300.0  # seconds from the request to the answer's head: long polls
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST_REQUEST_WITHIN = 10.0  # seconds from the connection to a whole request head
VERSION_END = len(b" HTTP/1.1\r\n")  # of a plain request's first line
STATUS = slice(9, 12)  # of a plain answer
KEEP_ALIVE = 75.0  # seconds between requests; browsers give up at 60 to 300
# Methods of requests that may be sent twice, where they have no body: the stream to the share may
# be lost before it is known whether they came (RFC 9110 9.2.2).
SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A request that was sent to the share already; its answer is to be received."""

    message: bytes  # as it came from the visitor
    late: bool = False  # no answer came in time
    begun: bool = False  # the head of the answer was passed on; CHUNKED stands for it


class _Phase(enum.Enum):
    AWAY = "away"  # the coroutine is in charge
    REST = "rest"  # between requests
    ASKED = "asked"  # the answer's head is to come
    BODY = "body"  # the answer's body comes


# An enumeration's members are slow to get at; each request needs these.
_AWAY: Final = _Phase.AWAY
_REST: Final = _Phase.REST
_ASKED: Final = _Phase.ASKED
_BODY: Final = _Phase.BODY


@dataclass(slots=True)
class Way:
    """Where plain requests may go: the stream that is kept, and what is behind it."""

    door: Door
    stream: UpstreamStream


class QuickPath:
    """One visitor's. `on_open` is told the stream that it has opened, which is the coroutine's to
    end."""

    def __init__(
        self,
        visitor: VisitorStream,
        doors: Doors,
        on_open: Callable[[Way], None],
        ledger: HttpLedger | None = None,
    ) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._visitor, self._doors, self._on_open = visitor, doors, on_open
        self._phase: _Phase = _AWAY
        self.is_retired = False  # the next answer is the last
        self._called = asyncio.Event()  # the coroutine
        self._way: Way | None = None
        self._sent: Sent | None = None
        self._method = b""
        self._known: PlainRequest | None = None  # one of before, and what the share gets for its
        self._fields = b""  # fields: most requests have the same as the one before
        self._body: LengthBody | ChunkedBody = LengthBody(0)  # of the answer
        self._since = 0.0  # loop time when the request under way was sent
        # Loop time by which the next request's head has to be there.
        self.until = self._loop.time() + FIRST_REQUEST_WITHIN
        self._ahead = bytearray()  # requests that came before the answer to another was complete
        visitor.on_writable = self._visitor_writable

    # -- what the coroutine does

    def begin(self, way: Way | None) -> None:
        """Serve what comes from now on, over `way` or a stream that is opened for it."""
        self._way = way
        self._sent = None
        self._called.clear()
        self._phase = _REST
        self._visitor.taker = self._take_request
        if way is not None:
            way.stream.take_with(self._take_answer, self._share_ended)
        early = self._visitor.maybe_early()
        if early and not self._take_request(early):
            self._visitor.put(early)
        elif not self._visitor.is_quiet:  # it has ended its side
            self._give_back()

    def retire(self, *, at_once: bool) -> None:
        """Take no requests any more: the coroutine answers one, or none if it is to be `at_once`
        and nothing is under way."""
        self.is_retired = True
        if self._phase is _REST:
            if at_once:
                self.until = 0.0
            self._give_back()

    def rest(self) -> None:
        """From now on the next request is waited for."""
        self.until = self._loop.time() + KEEP_ALIVE

    async def needed(self) -> Sent | None:
        """Wait until the coroutine has to go on, with the next request or after one that was sent.

        Raises TimeoutError when no request came in time.
        """
        while self._phase is not _AWAY:
            now = self._loop.time()
            until = now + KEEP_ALIVE  # never later: REST may begin at any time
            if self._phase is _REST:
                until = self.until
            elif self._phase is _ASKED:
                until = min(until, self._since + ANSWER_WITHIN)
            if until <= now:
                self._give_back()
                if self._sent is None:
                    raise TimeoutError
                self._sent = Sent(self._sent.message, late=True)
            try:
                async with asyncio.timeout_at(until):
                    await self._called.wait()
            except TimeoutError:
                pass
        sent, self._sent = self._sent, None
        return sent

    def visitor_ended(self) -> None:
        """The visitor sends nothing more, or is gone."""
        if self._phase is _REST or self._visitor.closed.is_set():
            self._give_back()

    # -- what the visitor sends

    def _take_request(self, data: Bytes) -> bool:
        if self._phase is _AWAY:
            return False
        if self._phase is _REST and not self._ahead and self._visitor.is_writable:
            return self._ask(data if isinstance(data, bytes) else bytes(data))
        self._ahead += data
        if len(self._ahead) >= HIGH_WATER:
            self._visitor.pause()
        return True

    def _ask(self, data: bytes) -> bool:
        """Send the request on; False, and the coroutine is in charge, if that is not for here."""
        request = maybe_request(data, self._known)
        if request is None or self.is_retired or not self._send(request, data):
            self._give_back()
            return False
        end = request.size + request.length
        if end < len(data):
            self._ahead += data[end:]
        self._phase, self._since = _ASKED, self._loop.time()
        self._sent, self._method = Sent(data[:end]), request.method
        return True

    def _send(self, request: PlainRequest, data: bytes) -> bool:
        """To the share it is for, if that is possible at once."""
        door, way = self._doors.maybe_door(request.host), self._way
        if door is None:
            return False
        end = request.size + request.length
        if end > len(data):  # a body that is still to come
            return False
        message = request.first + self._fields_for(request)
        if request.length:
            message += data[request.size : end]
        if way is None:
            return (
                request.method in SAFE and not request.length and self._open(door, request, message)
            )
        if door != way.door or not (way.stream.is_quiet and way.stream.is_writable):
            return False
        self._note_request(door, request, way.stream)
        way.stream.write(message)
        return True

    def _open(self, door: Door, request: PlainRequest, message: bytes) -> bool:
        """A stream that begins with a request. It may turn out to be refused or lost: then the
        coroutine asks again."""
        stream = self._doors.maybe_open(door, message)
        if stream is None:
            return False
        self._note_request(door, request, stream, len(message))
        self._way = Way(door, stream)
        stream.take_with(self._take_answer, self._share_ended)
        self._on_open(self._way)
        return True

    def _note_request(
        self, door: Door, request: PlainRequest, stream: UpstreamStream, ahead: int = 0
    ) -> None:
        if self._ledger is not None:
            target = request.first[len(request.method) + 1 : -VERSION_END]
            self._ledger.begin(door.site, request.method, target)
            self._ledger.over(stream, ahead)

    def _fields_for(self, request: PlainRequest) -> bytes:
        """What the share gets behind the request's first line."""
        if self._known is not None and request.kept is self._known.kept:
            return self._fields
        fields = request.kept + self._doors.fields(request.host)
        if request.size <= MAX_REMEMBERED:
            self._known, self._fields = request, fields
        return fields

    # -- what the share answers

    def _take_answer(self, data: Bytes) -> bool:
        if self._phase is _BODY:
            self._deliver(data)
            return True
        if self._phase is not _ASKED:
            return False
        begin = bytes(data if len(data) <= MAX_PLAIN_HEAD else data[:MAX_PLAIN_HEAD])
        answer = maybe_answer(begin, self._method)
        if answer is None:
            self._give_back()
            return False
        if self._ledger is not None:
            self._ledger.status = int(begin[STATUS])
        size, length = answer.size, answer.length
        if length is not None and size + length == len(begin) == len(data):  # as nearly always
            self._visitor.write(begin if answer.head is None else answer.head + begin[size:])
            self._complete(surplus=False)
            return True
        self._phase = _BODY
        self._body = ChunkedBody() if length is None else LengthBody(length)
        if len(data) == len(begin):  # head and body leave together
            self._deliver(begin, answer)
        else:
            self._visitor.write(answer.head or begin[:size])
            self._deliver(memoryview(data)[size:])
        return True

    def _deliver(self, data: Bytes, answer: PlainAnswer | None = None) -> None:
        """A piece of an answer's body to the visitor; with `answer`, its head is before it."""
        head = answer.size if answer is not None else 0
        try:
            end = head + self._body.take(memoryview(data)[head:] if head else data)
        except RemoteProtocolError:
            self._break_off()
            return
        if answer is not None and answer.head is not None:
            self._visitor.write(answer.head + data[head:end])
        else:
            self._visitor.write(data if end == len(data) else data[:end])
        if self._body.is_whole:
            self._complete(surplus=end < len(data))
        elif end < len(data):
            self._give_back_body(data[end:])
        elif self._way is not None and not self._visitor.is_writable:
            self._way.stream.pause()

    def _complete(self, *, surplus: bool) -> None:
        self._phase, self._sent = _REST, None
        if self._ledger is not None:
            self._ledger.finish()
        self.rest()
        if surplus and self._way is not None:
            self._way.stream.abort()  # what follows is nobody's
        self._next()

    def _break_off(self) -> None:
        """The rest of an answer does not come."""
        self._sent = None
        if self._ledger is not None:
            self._ledger.finish()
        self._ahead.clear()
        self._visitor.abort()  # so that a part is not taken for the whole
        if self._way is not None:
            self._way.stream.abort()
        self._give_back()

    def _give_back_body(self, rest: Bytes) -> None:
        """A chunk that is not plain: for the coroutine it is the first of an answer."""
        if self._sent is not None and self._way is not None:
            self._sent = Sent(self._sent.message, begun=True)
            self._way.stream.put(CHUNKED + bytes(rest))
        self._give_back()

    def _next(self) -> None:
        """The request that came meanwhile, if any, unless the visitor does not read."""
        if self._phase is not _REST or not self._visitor.is_writable:
            return
        if self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            self._visitor.resume()
            if not self._ask(data):
                self._visitor.put(data)
        elif not self._visitor.is_quiet:
            self._give_back()

    def _share_ended(self) -> None:
        if self._phase is _BODY:
            self._break_off()
        elif self._phase is _ASKED:
            self._give_back()
        elif self._phase is _REST and self._way is not None:
            way, self._way = self._way, None
            way.stream.abort()

    def _visitor_writable(self) -> None:
        if self._phase is _BODY and self._way is not None:
            self._way.stream.resume()
        self._next()

    def _give_back(self) -> None:
        """The coroutine is in charge."""
        self._phase = _AWAY
        self._called.set()
        if self._ahead:
            self._visitor.put(self._ahead)
            self._ahead.clear()
