"""The stage between two ends that keep what they are given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.loops import run
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.http_heads import AnswerHead, RequestHead
from vshare.web.rules import MAX_FORM, Form, Reply, Rule, Watcher
from vshare.web.stage import Stage


class Keeper(End):
    """Keeps what it is told to send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.eof = False
        self.code: Code | None = None
        self.paused = False

    def send(self, data: Bytes) -> None:
        self.sent += data

    def send_eof(self) -> None:
        self.eof = True

    def reset(self, code: Code) -> None:
        self.code = self.code or code
        self.closed(code)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class Seen:
    """A Watcher that writes down what it is told."""

    request: bytearray = field(default_factory=bytearray)
    statuses: list[int] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ends: list[str | None] = field(default_factory=list)

    def request_body(self, data: Bytes) -> None:
        self.request += data

    def answer(self, head: AnswerHead) -> None:
        self.statuses.append(head.status)

    def answer_body(self, data: Bytes) -> None:
        self.body += data

    def ended(self, error: str | None) -> None:
        self.ends.append(error)


class Room:
    """A Gallery."""

    def __init__(self, *, is_empty: bool = False) -> None:
        self.is_empty = is_empty
        self.seen: list[tuple[str, RequestHead, Seen]] = []

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        seen = Seen()
        self.seen.append((site, head, seen))
        return seen


class HostRule:
    """Another host for the machine, and the visitor's in what comes back."""

    def request(self, head: RequestHead) -> Reply | None:
        if head.target == b"/closed":
            return Reply(403, "Forbidden", [(b"X-Why", b"closed")], b"no\n")
        head.set(b"Host", b"app.test")
        return None

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        head.set(b"Location", request.value(b"host") or b"")


EARLY = "the machine ended the answer early"


class Pair:
    """A stage between a visitor and a machine."""

    def __init__(self, *rules: Rule, room: Room | None = None) -> None:
        self.visitor, self.machine = Keeper(), Keeper()
        self.room = room or Room(is_empty=True)
        self.counted = 0
        self.stage = Stage(self.visitor, "docs", rules, self.room, self._count)
        self.stage.link(self.machine)
        self.machine.peer = self.stage

    def _count(self) -> None:
        self.counted += 1

    def ask(self, data: bytes, step: int = 100_000) -> None:
        for at in range(0, len(data), step):
            self.visitor.peer.send(data[at : at + step])

    def answer(self, data: bytes, step: int = 100_000) -> None:
        for at in range(0, len(data), step):
            self.machine.peer.send(data[at : at + step])


def sync(test: Callable[[], None]) -> None:
    async def main() -> None:
        test()

    run(main)


GET = b"GET / HTTP/1.1\r\nHost: site\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_without_rules_and_watchers_all_passes_as_it_is(step: int) -> None:
    def test() -> None:
        pair = Pair()
        pair.ask(GET + POST + GET, step)
        pair.answer(OK + OK, step)
        assert bytes(pair.machine.sent) == GET + POST + GET
        assert bytes(pair.visitor.sent) == OK + OK
        assert pair.counted == 3

    sync(test)


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_rules_change_heads_and_watchers_see_payload(step: int) -> None:
    def test() -> None:
        pair = Pair(HostRule(), room=Room())
        pair.ask(POST, step)
        assert bytes(pair.machine.sent) == POST.replace(b"Host: site", b"Host: app.test")
        pair.answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, step)
        assert bytes(pair.visitor.sent).endswith(b"Location: site\r\n\r\nhello")
        ((site, head, seen),) = pair.room.seen
        assert (site, head.target) == ("docs", b"/x")
        assert (bytes(seen.request), seen.statuses, bytes(seen.body)) == (
            b"abc",
            [100, 200],
            b"hello",
        )
        assert seen.ends == [None]

    sync(test)


def test_the_like_of_the_last_request_is_passed_on_unread_and_counted() -> None:
    def test() -> None:
        room = Room(is_empty=True)
        pair = Pair(room=room)
        for target in (b"/", b"/a?b", b"/c"):
            pair.ask(GET.replace(b"/", target, 1))
            pair.answer(OK)
        pair.ask(GET + GET)  # not one
        pair.ask(GET[:-2] + b"X: 1\r\n\r\n")  # not its like
        assert pair.counted == 6
        assert pair.machine.sent.endswith(GET + GET + GET[:-2] + b"X: 1\r\n\r\n")
        pair.ask(GET.replace(b"GET", b"G\xff"))
        assert pair.visitor.sent.endswith(b"plain HTTP/1.1\n")
        assert pair.counted == 6

    sync(test)


def test_who_begins_to_look_sees_the_next_request() -> None:
    def test() -> None:
        room = Room(is_empty=True)
        pair = Pair(room=room)
        pair.ask(GET)
        room.is_empty = False
        pair.answer(OK)
        assert not room.seen
        pair.ask(GET)
        pair.answer(OK)
        assert bytes(pair.visitor.sent) == OK + OK
        assert [seen.ends for _, _, seen in room.seen] == [[None]]

    sync(test)


def test_a_reply_of_the_shares_own_is_all_there_is() -> None:
    def test() -> None:
        pair = Pair(HostRule(), room=Room())
        pair.ask(b"PUT /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\nhalf")
        assert not pair.machine.sent
        assert pair.machine.code is Code.CLOSED
        assert bytes(pair.visitor.sent) == (
            b"HTTP/1.1 403 Forbidden\r\nX-Why: closed\r\nContent-Length: 3\r\n"
            b"Connection: close\r\n\r\nno\n"
        )
        assert pair.visitor.eof
        pair.ask(b"the rest of the body" + GET)
        pair.answer(b"HTTP/1.1 200 OK\r\n")
        assert not pair.machine.sent
        assert pair.visitor.sent.endswith(b"no\n")
        assert pair.room.seen[0][2].ends == [None]

    sync(test)


@pytest.mark.parametrize("watched", [False, True])
def test_after_a_change_of_protocol_all_passes(watched: bool) -> None:
    def test() -> None:
        pair = Pair(room=Room(is_empty=not watched))
        upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        pair.ask(upgrade)
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
        pair.answer(answer + b"\x81\x02hi")
        pair.ask(b"\x81\x02yo")
        assert bytes(pair.visitor.sent) == answer + b"\x81\x02hi"
        assert bytes(pair.machine.sent) == upgrade + b"\x81\x02yo"

    sync(test)


@pytest.mark.parametrize("begin", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2", b"220 smtp\r\n"])
def test_what_is_not_http_does_not_reach_the_visitor(begin: bytes) -> None:
    def test() -> None:
        pair = Pair()
        pair.answer(begin, 1)
        assert not pair.visitor.sent
        assert pair.visitor.code is Code.PROTOCOL_ERROR
        assert pair.machine.code is Code.PROTOCOL_ERROR

    sync(test)


def test_what_is_not_a_request_is_answered() -> None:
    def test() -> None:
        pair = Pair()
        pair.ask(b"GET / HTTP/1.1\r\nA : b\r\n\r\n")
        assert not pair.machine.sent
        assert pair.visitor.sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")

    sync(test)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            EARLY,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", None),
        (b"HTTP/1.1 200 OK\r\nCont", EARLY),
    ],
)
def test_who_looks_is_told_how_it_ended(answer: bytes, error: str | None) -> None:
    def test() -> None:
        pair = Pair(room=Room())
        pair.ask(GET)
        pair.answer(answer)
        pair.machine.peer.send_eof()
        assert pair.visitor.eof
        assert pair.room.seen[0][2].ends == [error]

    sync(test)


def test_surplus_bytes_are_a_fault() -> None:
    """In place of the next answer, they would be the next visitor's."""

    def test() -> None:
        pair = Pair(room=Room())
        pair.ask(GET)
        pair.answer(OK + b"HTTP/1.1 200 OK\r\n")
        assert pair.visitor.code is Code.PROTOCOL_ERROR

    sync(test)


def test_who_is_full_stops_the_other() -> None:
    def test() -> None:
        pair = Pair()
        pair.stage.pause_reading()
        pair.visitor.peer.pause_reading()
        assert (pair.visitor.paused, pair.machine.paused) == (True, True)
        pair.visitor.peer.resume_reading()
        pair.stage.resume_reading()
        assert (pair.visitor.paused, pair.machine.paused) == (False, False)

    sync(test)


def test_a_visitor_who_goes_ends_the_exchange() -> None:
    async def main() -> None:
        pair = Pair(room=Room())
        pair.ask(GET)
        pair.visitor.reset(Code.LOST)
        await asyncio.sleep(0)
        assert pair.room.seen[0][2].ends == ["the visitor has gone"]

    run(main)


class FormRule:
    """Answers POST with what was sent."""

    def request(self, head: RequestHead) -> Form | None:
        if head.method != b"POST":
            return None
        return Form(lambda data: Reply(200, "OK", [], data.upper()))

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        pass


@pytest.mark.parametrize("step", [1, 5, 1000])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
    ],
)
def test_a_form_is_answered_here(step: int, fields: bytes, body: bytes) -> None:
    def test() -> None:
        pair = Pair(FormRule(), room=Room())
        pair.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n" + body + GET, step)
        assert not pair.machine.sent
        assert pair.machine.code is Code.CLOSED
        assert pair.visitor.sent.startswith(b"HTTP/1.1 200 OK\r\n")
        assert pair.visitor.sent.endswith(b"\r\n\r\nHELLO")
        assert pair.visitor.eof
        seen = pair.room.seen[0][2]
        assert (bytes(seen.request), bytes(seen.body), seen.ends) == (b"", b"HELLO", [None])

    sync(test)


def test_a_form_without_a_body_is_answered_at_once() -> None:
    def test() -> None:
        pair = Pair(FormRule())
        pair.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert pair.visitor.sent.startswith(b"HTTP/1.1 200 OK\r\n")

    sync(test)


@pytest.mark.parametrize("more", [0, 1, 1_000_000])
def test_a_form_is_as_long_as_is_allowed(more: int) -> None:
    def test() -> None:
        pair = Pair(FormRule())
        size = MAX_FORM + more
        pair.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        pair.ask(b"x" * size, 1000)
        status = b"413" if more else b"200"
        assert pair.visitor.sent.startswith(b"HTTP/1.1 " + status)
        assert not pair.machine.sent

    sync(test)


def test_who_waits_before_a_forms_body_is_told_to_go_on() -> None:
    def test() -> None:
        pair = Pair(FormRule())
        pair.ask(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert bytes(pair.visitor.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
        pair.ask(b"ok")
        assert pair.visitor.sent.endswith(b"OK")

    sync(test)


def test_a_form_with_a_broken_body() -> None:
    def test() -> None:
        pair = Pair(FormRule())
        pair.ask(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n")
        assert pair.visitor.sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")

    sync(test)
