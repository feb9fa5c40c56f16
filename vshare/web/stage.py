"""What a visitor's stream passes on its way to the machine's web server.

The gateway sends one request at a time over a stream, and the next when the answer to the last is
complete (docs/protocol.md 8.7). So each request's head is read here, and changed; answers are read
only where a rule wants that or somebody looks on, which is decided anew with each request. Bodies
are passed on as they come, only counted. After 101 the stage passes everything on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import Body, EndlessBody, ignore
from tunnel.http_heads import RequestHead, maybe_answer, maybe_request
from vshare.web.rules import MAX_FORM, Form, Gallery, Reply, Rule, Watcher

GREETING = b"HTTP/1."
NOT_VALID = Reply(400, "Bad Request", [(b"Content-Type", b"text/plain")], b"not plain HTTP/1.1\n")
TOO_LONG = Reply(413, "Content Too Large", [(b"Content-Type", b"text/plain")], b"too long a form\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINE = re.compile(rb"[A-Z]{1,20}+ /[!-~]*+ HTTP/1\.1\r\n")


@dataclass(slots=True)
class _Exchange:
    """A request that was begun, and what is known of its answer."""

    request: RequestHead  # as the visitor sent it
    watcher: Watcher | None
    is_read: bool  # whether the answer is read


class Stage(End):
    """Stands for the visitor's `end` towards the machine; link it with `bridge`.

    `rules` are asked in their order, and for answers in reverse. `count` is called for each
    request.
    """

    def __init__(
        self,
        end: End,
        site: str,
        rules: Sequence[Rule],
        gallery: Gallery,
        count: Callable[[], None],
    ) -> None:
        super().__init__()
        self._end, self.site = end, site
        self._rules, self._gallery, self._count = rules, gallery, count
        self._requests = _Requests(self)
        self._machine: End = end.peer
        self._exchange: _Exchange | None = None
        self._head = bytearray()  # of an answer that is read
        self._body: Body | None = None  # of the answer whose head was passed on
        self._begin: bytearray | None = bytearray()  # of all that the machine says
        self.request: RequestHead | None = None  # the last one, as the visitor sent it
        self.is_over = False  # the stream is ended from here
        self.done_with(end)

    def closed(self, code: Code | None) -> None:
        """See End.closed: the visitor has gone."""
        self._end_exchange("the visitor has gone")
        super().closed(code)

    # -- between the visitor and the stage

    def link(self, peer: End) -> None:
        """See End.link."""
        self._machine = peer
        self._end.peer = self._requests
        self._end.link(self._requests)

    def pause_reading(self) -> None:
        """See End.pause_reading: the machine takes no more."""
        self._end.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._end.resume_reading()

    def begin(self, head: RequestHead) -> bytes | Form | None:
        """A request's head is complete: what is sent to the machine; None: nothing any more."""
        self._end_exchange("the next request came before the answer was complete")
        self._count()
        self.request = head
        looked_at = not self._gallery.is_empty
        if not (self._rules or looked_at or head.is_upgrade):
            self._exchange = None
            return head.serialize()
        asked = RequestHead(head.minor, list(head.fields), head.method, head.target)
        self.request = asked
        watcher = self._gallery.watch(self.site, asked) if looked_at else None
        self._exchange = _Exchange(asked, watcher, True)
        for rule in self._rules:
            match rule.request(head):
                case Reply() as reply:
                    self.reply(reply)
                    return None
                case Form() as form:
                    if b"100-continue" in head.tokens(b"expect"):
                        self._end.send(CONTINUE)
                    return form
        return head.serialize()

    def begin_unread(self) -> bool:
        """As `begin`, for a request like the last one, if nobody wants to see it."""
        if self._rules or self._exchange is not None or not self._gallery.is_empty:
            return False
        self._count()
        return True

    def request_body(self, data: Bytes) -> None:
        """A piece of the payload of the request's body, for who looks on."""
        if self._exchange is not None and self._exchange.watcher is not None:
            self._exchange.watcher.request_body(data)

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks at this exchange."""
        return self._exchange is not None and self._exchange.watcher is not None

    def to_machine(self, data: Bytes) -> None:
        """Bytes of a request."""
        if not self.is_over:
            self._machine.send(data)

    def visitor_ended(self) -> None:
        """The visitor's end of stream."""
        if not self.is_over:
            self._machine.send_eof()

    def visitor_reset(self, code: Code) -> None:
        """The visitor's stream was reset."""
        self._machine.reset(code)

    def pause_machine(self) -> None:
        """The visitor takes no more."""
        self._machine.pause_reading()

    def resume_machine(self) -> None:
        """The visitor takes more."""
        self._machine.resume_reading()

    def reply(self, reply: Reply) -> None:
        """Answer from here, and end the stream: a request's body is not waited for."""
        self.is_over = True
        fields = [*reply.fields, (b"Content-Length", b"%d" % len(reply.body))]
        fields.append((b"Connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % each for each in fields)
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (reply.status, reply.reason.encode(), lines)
        is_head = self.request is not None and self.request.method == b"HEAD"
        answer = head if is_head else head + reply.body
        exchange = self._exchange
        if exchange is not None and exchange.watcher is not None:
            read = maybe_answer(head)
            if read is not None:
                exchange.watcher.answer(read[0])
            exchange.watcher.answer_body(b"" if is_head else reply.body)
        self._end_exchange(None)
        self._end.send(answer)
        self._end.send_eof()
        self._machine.reset(Code.CLOSED)

    def cut(self) -> None:
        """The visitor may not go on: the stream ends at once, whatever is under way."""
        self._end_exchange("the visitor was put out")
        self.is_over = True
        self._end.reset(Code.NOT_ALLOWED)
        self._machine.reset(Code.CLOSED)

    # -- between the machine and the stage

    def send(self, data: Bytes) -> None:
        """See End.send: what the machine answers."""
        if self.is_over:
            return
        if self._begin is not None and not (data := self._check_begin(data)):
            return
        exchange = self._exchange
        if exchange is None or not exchange.is_read:
            self._end.send(data)
            return
        try:
            self._read_answer(exchange, memoryview(data))
        except RemoteProtocolError as error:
            self._give_up(error.text)

    def _check_begin(self, data: Bytes) -> Bytes:
        """What has come, once it is known to be HTTP; it could be SSH, which is not public."""
        assert self._begin is not None
        self._begin += data
        if not self._begin.startswith(GREETING):
            if not GREETING.startswith(self._begin):
                self._give_up("the machine does not answer in HTTP")
            return b""
        begin, self._begin = bytes(self._begin), None
        return begin

    def _give_up(self, error: str) -> None:
        self._end_exchange(error)
        self.is_over = True
        self._end.reset(Code.PROTOCOL_ERROR)
        self._machine.reset(Code.PROTOCOL_ERROR)

    def _read_answer(self, exchange: _Exchange, data: memoryview) -> None:
        while len(data) and not self.is_done:
            body = self._body
            if body is None:
                data = self._read_head(exchange, data)
                continue
            watcher = exchange.watcher
            size = body.take(data, watcher.answer_body if watcher is not None else ignore)
            self._end.send(data[:size])  # after which the visitor may have gone
            data = data[size:]
            if body.is_whole:
                self._complete(exchange, data)

    def _complete(self, exchange: _Exchange, rest: memoryview) -> None:
        """The answer is whole, and nothing may come behind it."""
        self._end_exchange(None)
        exchange.is_read = False
        if len(rest):
            raise RemoteProtocolError("bytes that answer no request")

    def _read_head(self, exchange: _Exchange, data: memoryview) -> memoryview:
        """What follows the head, which is passed on; nothing while it is incomplete."""
        self._head += data
        found = maybe_answer(self._head)
        if found is None:
            return memoryview(b"")
        head, size = found
        rest = memoryview(bytes(self._head[size:]))
        self._head.clear()
        for rule in reversed(self._rules):
            rule.answer(exchange.request, head)
        if exchange.watcher is not None:
            exchange.watcher.answer(head)
        self._end.send(head.serialize())
        if not head.is_final:
            return rest
        if head.status == 101:
            self._requests.pass_on()
            self._end_exchange(None)
            exchange.is_read = False
            self._end.send(rest)
            return memoryview(b"")
        self._body = head.body(exchange.request.method)
        if self._body.is_whole:
            self._complete(exchange, rest)
        return rest

    def send_eof(self) -> None:
        """See End.send_eof."""
        if self.is_over:
            return
        exchange = self._exchange
        if exchange is not None and exchange.is_read:
            early = not isinstance(self._body, EndlessBody)
            self._end_exchange("the machine ended the answer early" if early else None)
        self._end.send_eof()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        if self.is_over:
            return
        self._end_exchange("the machine broke the answer off")
        self._end.reset(code)

    def _end_exchange(self, error: str | None) -> None:
        """Nothing more of the exchange is told."""
        exchange = self._exchange
        self._body = None
        if exchange is not None and exchange.watcher is not None:
            exchange.watcher.ended(error)
            exchange.watcher = None


@dataclass(slots=True)
class _Filling:
    """A form whose body is under way."""

    form: Form
    data: bytearray

    def take(self, data: Bytes) -> None:
        """A piece of the body; what is too much is not kept."""
        self.data += data[: MAX_FORM + 1 - len(self.data)]


class _Requests(End):
    """Stands for the machine towards the visitor: finds requests in what comes."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.peer = stage
        self._stage = stage
        self._head = bytearray()
        self._body: Body | None = None
        self._filling: _Filling | None = None
        self._passes_on = False
        self._known = b""  # the fields of a plain request: most are followed by their like

    def pass_on(self) -> None:
        """The protocol was changed: what comes is not HTTP any more."""
        self._passes_on = True

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self._passes_on:
            self._stage.to_machine(data)
            return
        if self._stage.is_over:
            return
        if self._is_known(data) and self._stage.begin_unread():
            self._stage.to_machine(data)
            return
        try:
            self._read(memoryview(data))
        except RemoteProtocolError:
            self._stage.reply(NOT_VALID)

    def _is_known(self, data: Bytes) -> bool:
        """Whether this is one request, whole, with the fields of an earlier one without a body."""
        if not self._known or self._head or self._body is not None:
            return False
        line = _LINE.match(data)
        return line is not None and data[line.end() :] == self._known

    def _read(self, data: memoryview) -> None:
        while len(data) and not self._stage.is_over:
            body = self._body
            data = self._read_head(data) if body is None else self._read_body(body, data)

    def _read_head(self, data: memoryview) -> memoryview:
        """What follows the head; nothing while it is incomplete."""
        self._head += data
        found = maybe_request(self._head)
        if found is None:
            return memoryview(b"")
        head, size = found
        rest = memoryview(bytes(self._head[size:]))
        body = head.body()
        self._body = None if body.is_whole else body
        line = _LINE.match(self._head) if body.is_whole and not head.is_upgrade else None
        self._known = bytes(self._head[line.end() : size]) if line is not None else b""
        self._head.clear()
        match self._stage.begin(head):
            case bytes() as first:
                self._stage.to_machine(first)
            case Form() as form:
                self._filling = _Filling(form, bytearray())
                self._maybe_reply(self._filling)
        return rest

    def _read_body(self, body: Body, data: memoryview) -> memoryview:
        """What follows the body."""
        stage, filling = self._stage, self._filling
        if filling is not None:
            size = body.take(data, filling.take)
        else:
            size = body.take(data, stage.request_body if stage.is_watched else ignore)
            stage.to_machine(data[:size])
        if body.is_whole:
            self._body = None
        if filling is not None:
            self._maybe_reply(filling)
        return data[size:]

    def _maybe_reply(self, filling: _Filling) -> None:
        if len(filling.data) > MAX_FORM:
            self._stage.reply(TOO_LONG)
        elif self._body is None:
            self._stage.reply(filling.form.reply(bytes(filling.data)))

    def send_eof(self) -> None:
        """See End.send_eof."""
        self._stage.visitor_ended()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._stage.visitor_reset(code)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._stage.pause_machine()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._stage.resume_machine()
