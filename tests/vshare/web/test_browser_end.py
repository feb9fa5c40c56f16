"""A browser's connection whose TLS ended at the share, from its bytes to the stage's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.fuzz.targets.fake_tls import FakeTls
from tests.loops import run, until
from tests.vshare.web.test_stage import Keeper
from tunnel.codes import Code
from tunnel.errors import LostError
from tunnel.http_heads import maybe_request
from tunnel.http_pages import Page
from vshare.web import browser_end
from vshare.web.browser_end import BrowserEnd
from vshare.web.browser_requests import Browser

HOST = "frosty-weasel-0857.relay.example"
GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
POST = f"POST /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 6\r\n\r\n".encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Line:
    """A BrowserEnd between a browser and what stands for the stage."""

    def __init__(self, *, linked: bool = True) -> None:
        self.tls, self.stage = FakeTls(), Keeper()
        self.requests = 0
        self.end = BrowserEnd(self.tls.as_tls, Browser(HOST, "203.0.113.7"), self._count)
        if linked:
            self.end.link(self.stage)

    def _count(self) -> None:
        self.requests += 1

    def says(self, data: bytes, step: int = 100_000) -> None:
        self.tls.deliver(data[at : at + step] for at in range(0, len(data), step))

    def answers(self, data: bytes, step: int = 100_000) -> None:
        for at in range(0, len(data), step):
            self.end.send(data[at : at + step])

    def taken(self) -> bytes:
        """What came to the stage since the last look, without heads' fields."""
        data, out = bytes(self.stage.sent), b""
        self.stage.sent.clear()
        while b" HTTP/1." in data.partition(b"\r\n")[0]:
            found = maybe_request(data)
            assert found is not None
            head, size = found
            assert head.values(b"x-forwarded-for") == [b"203.0.113.7"]
            out += b"<%b %b>" % (head.method, head.target)
            data = data[size:]
        return out + data

    @property
    def written(self) -> bytes:
        data = bytes(self.tls.written)
        self.tls.written.clear()
        return data


def on_line(test: Callable[[Line], Awaitable[None]]) -> None:
    async def main() -> None:
        line = Line()
        await test(line)
        line.tls.lose(None)
        assert line.end.is_done
        await asyncio.sleep(0)

    run(main)


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_requests_and_answers_one_after_another(step: int) -> None:
    async def test(line: Line) -> None:
        for _ in range(3):
            line.says(GET, step)
            assert line.taken() == b"<GET />"
            line.answers(OK, step)
            assert line.written == OK
        line.says(POST + b"abcdef", step)
        assert line.taken() == b"<POST /p>abcdef"
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        line.answers(answer, step)
        assert line.written == answer
        assert line.requests == 4
        assert not line.tls.is_lost

    on_line(test)


@pytest.mark.parametrize("step", [1, 100_000])
def test_what_comes_too_early_waits(step: int) -> None:
    """Rules and watchers know which answer is whose."""

    async def test(line: Line) -> None:
        line.says(GET + POST + b"abcdef" + GET, step)
        assert line.taken() == b"<GET />"
        assert bool(line.tls.is_reading) is False
        line.answers(OK[:-1])
        await asyncio.sleep(0)
        assert line.taken() == b""
        line.answers(OK[-1:])
        await asyncio.sleep(0)
        assert line.taken() == b"<POST /p>abcdef"
        assert bool(line.tls.is_reading) is False
        line.answers(OK)
        await asyncio.sleep(0)
        assert line.taken() == b"<GET />"
        assert bool(line.tls.is_reading) is True
        line.answers(OK)
        assert line.written == OK * 3

    on_line(test)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET.replace(b"\r\n", b"\n") + b"\r\n\r\n", 400),
        (GET.replace(b"Host", b" Host"), 400),
        (GET[:-2] + b"Host: a\r\n\r\n", 400),
        (GET[:-2] + b"A: b\r\n folded\r\n\r\n", 400),
        (GET[:-2] + b"A: b\x00\r\n\r\n", 400),
        (POST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (POST[:-2] + b"Content-Length: 7\r\n\r\n", 400),
        (GET[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"SSH-2.0-x\r\n\r\n", 400),
        (GET[:-2] + b"A: " + b"b" * browser_end.MAX_HEAD + b"\r\n\r\n", 431),
        (GET[:-2] + b"A: " + b"b" * browser_end.MAX_HEAD, 431),
        (GET.replace(HOST.encode(), b"elsewhere"), 421),
        (GET.replace(b"GET", b"CONNECT"), 405),
    ],
)
@pytest.mark.parametrize("step", [13, 100_000])
def test_what_is_no_request_goes_nowhere(data: bytes, status: int, step: int) -> None:
    async def test(line: Line) -> None:
        line.says(data, step)
        assert line.written.startswith(b"HTTP/1.1 %d " % status)
        assert line.stage.sent == b""
        assert line.stage.code is Code.CLOSED
        line.says(GET)
        assert line.stage.sent == b""
        await until(lambda: line.tls.is_lost)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(browser_end, "LINGER", 0.01)
        on_line(test)


def test_a_chunk_that_is_none_ends_it() -> None:
    async def test(line: Line) -> None:
        head = GET.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        line.says(head + b"3\r\nabcX")
        assert line.written.startswith(b"HTTP/1.1 400 ")
        assert b"abcX" not in line.stage.sent
        assert line.stage.code is Code.CLOSED

    on_line(test)


def test_after_101_bytes_pass_both_ways() -> None:
    async def test(line: Line) -> None:
        line.says(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        assert line.taken() == b"<GET />"
        switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
        line.answers(switched)
        assert line.written == switched
        await asyncio.sleep(0)
        line.says(b"\x00\r\n\r\nGET / HTTP/1.1")
        assert line.stage.sent == b"early\x00\r\n\r\nGET / HTTP/1.1"
        line.answers(b"any\x00thing")
        assert line.written == b"any\x00thing"
        line.end.send_eof()
        assert line.tls.is_lost
        assert line.end.result is None

    on_line(test)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_an_answer_that_is_none(answer: bytes) -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.answers(answer)
        assert line.written.startswith(b"HTTP/1.1 502 ")
        assert line.stage.code is Code.CLOSED

    on_line(test)


def test_an_answer_to_nothing_ends_the_connection() -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.answers(OK + OK)
        assert line.written == OK
        assert line.tls.is_lost

    on_line(test)


def test_a_broken_answer_is_not_taken_for_a_whole_one() -> None:
    """The connection breaks, without the end that TLS has for whole ones."""

    async def test(line: Line) -> None:
        aborted: list[int] = []
        line.tls.abort = lambda error=None: aborted.append(1) or line.tls.lose(error)  # type: ignore[method-assign,func-returns-value]
        line.says(GET)
        line.answers(OK[:-1])
        line.end.send_eof()
        assert line.written == OK[:-1]
        assert aborted

    on_line(test)


def test_an_answer_until_the_end() -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.answers(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        line.end.send_eof()
        assert line.written.endswith(b"until the end")
        assert line.tls.is_lost
        assert line.end.result is None

    on_line(test)


@pytest.mark.parametrize("ends", [lambda end: end.send_eof(), lambda end: end.reset(Code.LOST)])
def test_the_machine_hangs_up_without_an_answer(ends: Callable[[BrowserEnd], None]) -> None:
    async def test(line: Line) -> None:
        line.says(GET[:-2] + b"Accept: text/html\r\n\r\n")
        ends(line.end)
        written = line.written
        assert written.startswith(b"HTTP/1.1 502 ")
        assert b"text/html" in written
        assert b"Connection: close\r\n" in written

    on_line(test)


@pytest.mark.parametrize(
    "last", [GET[:-2] + b"Connection: Close\r\n\r\n", GET.replace(b"/1.1", b"/1.0")]
)
def test_the_last_request_is_the_last(last: bytes) -> None:
    """Also where the machine's server keeps the connection."""

    async def test(line: Line) -> None:
        line.says(last + GET)
        assert line.taken() == b"<GET />"
        line.answers(OK)
        assert line.written == OK
        assert line.tls.is_lost
        assert line.end.result is None
        assert line.stage.sent == b""

    on_line(test)


def test_the_machine_hangs_up_between_two_requests() -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.answers(OK)
        line.end.send_eof()
        assert line.written == OK
        assert line.tls.is_lost

    on_line(test)


def test_an_early_answer_arrives_although_the_browser_goes_on_sending() -> None:
    async def test(line: Line) -> None:
        line.says(POST + b"abc")
        line.answers(OK)  # as a rule's reply
        line.end.send_eof()
        assert not line.tls.is_lost
        line.says(b"def" + GET)
        assert line.taken() == b"<POST /p>abc"
        assert line.written == OK
        await until(lambda: line.tls.is_lost)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(browser_end, "LINGER", 0.01)
        on_line(test)


def test_an_early_answer_of_a_machine_that_reads_on() -> None:
    async def test(line: Line) -> None:
        line.says(POST + b"abc")
        line.answers(OK)
        assert line.taken() == b"<POST /p>abc"
        line.says(b"def" + GET)
        assert line.stage.sent.startswith(b"defGET / HTTP/1.1\r\n")
        line.answers(OK)
        assert line.written == OK * 2

    on_line(test)


def test_a_full_side_stops_the_other() -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.tls.congested = True
        line.answers(OK)
        assert bool(line.stage.paused) is True
        line.tls.congested = False
        line.end.writable()
        assert bool(line.stage.paused) is False
        line.end.pause_reading()
        assert bool(line.tls.is_reading) is False
        line.end.resume_reading()
        assert bool(line.tls.is_reading) is True

    on_line(test)


@pytest.mark.parametrize("error", [None, LostError("gone")])
def test_a_browser_that_leaves_takes_its_stream_along(error: Exception | None) -> None:
    async def test(line: Line) -> None:
        line.says(GET)
        line.tls.lose(error)
        assert line.stage.code is Code.CLOSED
        assert line.end.result is (Code.CONNECTION_RESET if error else None)

    on_line(test)


@pytest.mark.parametrize(
    ("limit", "said", "status"),
    [
        ("FIRST_REQUEST_WITHIN", b"", None),
        ("FIRST_REQUEST_WITHIN", GET[:-1], None),
        ("BODY_SILENCE", POST + b"abc", None),
        ("ANSWER_WITHIN", GET, 504),
        ("KEEP_ALIVE", GET + OK, None),
    ],
)
def test_every_wait_has_an_end(limit: str, said: bytes, status: int | None) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(browser_end, "LINGER", 0.01)
        patched.setattr(browser_end, limit, 0.02)
        patched.setattr(browser_end, "FIRST_REQUEST_WITHIN", 0.02)

        async def test(line: Line) -> None:
            line.says(said.removesuffix(OK))
            if said.endswith(OK):
                line.answers(OK)
                assert line.written == OK
            await until(lambda: line.tls.is_lost)
            assert line.stage.code is Code.CLOSED
            expected = b"HTTP/1.1 %d " % status if status else b""
            assert line.written.startswith(expected)

        on_line(test)


def test_who_is_not_let_in_is_told() -> None:
    async def main() -> None:
        line = Line(linked=False)
        line.end.deny(Page(403, "No"))
        line.says(GET)
        assert line.written.startswith(b"HTTP/1.1 403 ")
        line.tls.lose(None)
        assert await line.end.finished is None

    run(main)
