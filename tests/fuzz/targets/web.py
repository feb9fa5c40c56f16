"""Visitors' requests as the share reads them, and the answers of machines that it reads."""

from __future__ import annotations

import asyncio

import h11

from tests.fuzz.target import Target, cuts_of, require
from tests.fuzz.targets import loop
from tests.fuzz.targets.http import ANSWERS, BETWEEN, REQUESTS, WORDS
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.http_heads import AnswerHead, RequestHead, maybe_answer, maybe_request
from vshare.web.rules import Reply, Watcher
from vshare.web.stage import Stage

_HEAD = 64 * 1024  # bytes for h11, which must not be the stricter one for want of room


def run_request(data: bytes) -> None:
    """What is taken for a request, h11 takes for the same, to the end of its body."""
    found = maybe_request(data)
    if found is None:
        return
    head, size = found
    again = maybe_request(head.serialize())
    require(again is not None and again[0] == head, "a head survives being written", head)
    body = head.body()
    payload = bytearray()
    taken = size + body.take(memoryview(data)[size:], payload.extend)
    reader = h11.Connection(h11.SERVER, _HEAD)
    reader.receive_data(data[:taken])
    seen = bytearray()
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request):
            require((event.method, event.target) == (head.method, head.target), "one request")
            ours = [(name.lower(), value) for name, value in head.fields]
            ours = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in ours]
            theirs = list(event.headers)
            if len({value for name, value in ours if name == b"content-length"}) < 2:
                ours = list(dict.fromkeys(ours))  # h11 keeps one of equal lengths
                theirs = list(dict.fromkeys(theirs))
            require(ours == theirs, "the same fields", (ours, theirs))
        elif isinstance(event, h11.Data):
            seen += event.data
        elif isinstance(event, h11.EndOfMessage):
            require(body.is_whole, "h11 does not end first", data)
            break
        else:
            require(not body.is_whole, "h11 does not end last", data)
            break
    require(seen == payload, "the same body", data)


def run_answer(data: bytes) -> None:
    """An answer's head survives being written, and its body's end does not depend on pieces."""
    found = maybe_answer(data)
    if found is None:
        return
    head, size = found
    again = maybe_answer(head.serialize())
    require(again is not None and again[0] == head, "a head survives being written", head)
    ends = set()
    for pieces in cuts_of(data[size:]):
        body, taken = head.body(b"GET"), 0
        try:
            for piece in pieces:
                count = body.take(memoryview(piece))
                taken += count
                if count < len(piece):
                    require(body.is_whole, "what is left over comes after the end", data)
                    break
        except RemoteProtocolError:
            taken = -1
        ends.add(taken)
    require(len(ends) == 1, "a body ends where it ends", data)


class _Side(End):
    """Keeps what it is told to send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.code: Code | None = None

    def send(self, data: Bytes) -> None:
        require(self.code is None, "nothing is sent after a reset")
        self.sent += data

    def send_eof(self) -> None:
        """Nobody minds."""

    def reset(self, code: Code) -> None:
        self.code = self.code or code
        self.closed(code)

    def pause_reading(self) -> None:
        """It says little."""

    def resume_reading(self) -> None:
        """It says little."""


class _Rule:
    def request(self, head: RequestHead) -> Reply | None:
        head.set(b"Host", b"app.test")
        return Reply(403, "Forbidden") if head.path == b"/closed" else None

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        head.set(b"X-Seen", b"1")


class _Looker:
    def __init__(self) -> None:
        self.over = 0

    def request_body(self, data: Bytes) -> None:
        require(not self.over, "nothing is told after the end")

    def answer(self, head: AnswerHead) -> None:
        require(not self.over, "nothing is told after the end")

    def answer_body(self, data: Bytes) -> None:
        require(not self.over, "nothing is told after the end")

    def ended(self, error: str | None) -> None:
        self.over += 1


class _Room:
    is_empty = False

    def __init__(self) -> None:
        self.lookers: list[_Looker] = []

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        self.lookers.append(_Looker())
        return self.lookers[-1]


async def _visit(said: list[bytes], answer: bytes) -> tuple[bytes, bytes]:
    visitor, machine, room = _Side(), _Side(), _Room()
    stage = Stage(visitor, "", [_Rule()], room, lambda: None)
    stage.link(machine)
    machine.peer = stage
    for piece in said:
        if visitor.code is None:
            visitor.peer.send(piece)
    if machine.code is None:
        machine.peer.send(answer)
    if machine.code is None:
        machine.peer.send_eof()
    visitor.reset(Code.LOST)
    await asyncio.sleep(0)
    require(all(each.over == 1 for each in room.lookers), "each request ends, once")
    return bytes(machine.sent), bytes(visitor.sent)


def run_stage(data: bytes) -> None:
    """Whatever comes: the machine gets requests with the rule's mark, the visitor HTTP. Both get
    the same however it was cut, but that what comes before a fault may go out before it."""
    said, _, answer = data.partition(BETWEEN)
    sent, got = loop.run(_visit([said], answer))
    cut_sent, cut_got = loop.run(_visit(next(iter(cuts_of(said))), answer))
    require(cut_sent.startswith(sent), "pieces do not matter to the machine", data)
    require(cut_sent != sent or cut_got == got, "pieces do not matter to the visitor", data)
    if sent:
        found = maybe_request(sent)
        require(found is not None and found[0].value(b"host") == b"app.test", "marked", sent)
    require(not got or got.startswith(b"HTTP/1."), "the visitor gets HTTP", got[:99])


_MODULES = ("tunnel.http_heads", "tunnel.http_bodies")

TARGETS = (
    Target("web-request", run_request, (RemoteProtocolError,), REQUESTS, _MODULES, WORDS),
    Target("web-answer", run_answer, (RemoteProtocolError,), ANSWERS, _MODULES, WORDS),
    Target(
        "web-stage", run_stage, (),
        tuple(request + BETWEEN + answer for request in REQUESTS for answer in ANSWERS),
        (*_MODULES, "vshare.web.stage"), WORDS, share=0.5, slow="two visits, with an event loop",
    ),
)  # fmt: skip
