"""A visitor's requests, between two fakes: what goes from callback to callback, and what not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from relay.exchange import Conversation
from relay.http_rules import Origin
from relay.plain_bodies import MAX_CHUNKS
from relay.plain_heads import MAX_REMEMBERED
from relay.routes import Site, Sites
from relay.source_buckets import SourceBuckets
from relay.streams import UpstreamStream, VisitorStream
from relay.upstreams import Door, Upstreams
from tests.loops import run, until
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError

HOST = "abc.relay.example"
GET = f"GET /{{}} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SCENE_TIMEOUT = 8.0  # seconds; one takes a hundredth of one
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Machine(End):
    """The stream to a share: what the gateway sends is kept, what the test says comes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = bytearray()
        self.paused = False
        self.code: Code | None = None

    def send(self, data: Bytes) -> None:
        self.asked += data

    def send_eof(self) -> None:
        """The gateway never does."""

    def reset(self, code: Code) -> None:
        self.code = code

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def say(self, data: bytes) -> None:
        self.peer.send(memoryview(data))

    @property
    def paths(self) -> list[str]:
        """Of the requests that came."""
        return [head.split()[1] for head in self.asked.decode().split("\r\n\r\n")[:-1]]


class Shares:
    """In place of Upstreams. `has_idle`: whether a stream can be opened at once."""

    def __init__(self, *, has_idle: bool = True) -> None:
        self.machines: list[Machine] = []
        self.has_idle = has_idle
        self.waited = 0  # for streams

    def expects(self, site: Site) -> bool:
        return False

    def door_of(self, site: Site, *, tls: bool) -> Door:
        return Door(site, tls)

    def maybe_open(self, door: Door, begin: bytes) -> UpstreamStream | None:
        if not self.has_idle:
            return None
        self.machines.append(Machine())
        self.machines[-1].send(begin)
        return UpstreamStream(self.machines[-1])

    async def open(self, door: Door) -> UpstreamStream:
        self.waited += 1
        self.machines.append(Machine())
        return UpstreamStream(self.machines[-1])


class Wire(asyncio.Transport):
    """The visitor's transport."""

    def __init__(self, stream: VisitorStream) -> None:
        super().__init__()
        self.stream = stream
        self.sent = bytearray()
        self.closing = self.paused = False

    def write(self, data: Bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.stream.connection_lost, None)


class Scene:
    """A conversation under way."""

    def __init__(self, *, has_idle: bool = True) -> None:
        self.visitor = VisitorStream()
        self.wire = Wire(self.visitor)
        self.visitor.connection_made(self.wire)
        self.shares = Shares(has_idle=has_idle)
        origin = Origin("192.0.2.9", tls=False, server_name=None)
        self.conversation = Conversation(
            self.visitor,
            origin,
            cast(Upstreams, self.shares),
            Sites("relay.example"),
            SourceBuckets(8, 60.0),
        )

    @property
    def machine(self) -> Machine:
        return self.shares.machines[-1]

    def ask(self, path: str, more: str = "") -> None:
        self.visitor.data_received((GET.format(path) + more).encode())

    async def begin(self) -> None:
        """The first request, and its answer."""
        self.ask("first")
        await until(lambda: bool(self.shares.machines) and self.machine.paths == ["/first"])
        self.machine.say(OK)
        await until(lambda: self.wire.sent.endswith(b"ok"))
        await until(lambda: self.is_quick)
        self.wire.sent.clear()
        self.machine.asked.clear()

    async def talk(self) -> None:
        with contextlib.suppress(LostError):  # one of its ways to end
            await self.conversation.run()

    @property
    def is_quick(self) -> bool:
        return self.conversation._quick._phase.value != "away"


def with_scene(
    test: Callable[[Scene], Awaitable[None]], *, fresh: bool = False, has_idle: bool = True
) -> None:
    async def main() -> None:
        scene = Scene(has_idle=has_idle)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.talk())
            async with asyncio.timeout(SCENE_TIMEOUT):
                await asyncio.sleep(0)
                if not fresh:
                    await scene.begin()
                await test(scene)
            running.cancel()
        scene.conversation.close()

    run(main)


def test_the_first_request_leaves_with_the_stream_that_is_opened_for_it() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a", GET.format("b"))
        assert scene.machine.paths == ["/a"]
        scene.machine.say(OK)
        assert scene.machine.paths == ["/a", "/b"]
        scene.machine.say(OK)
        assert scene.wire.sent == OK * 2
        assert scene.machine.asked.count(b"X-Forwarded-For: 192.0.2.9\r\n") == 2
        assert (len(scene.shares.machines), scene.shares.waited) == (1, 0)

    with_scene(test, fresh=True)


@pytest.mark.parametrize("ended", [False, True])
def test_a_first_request_that_is_there_before_the_conversation(ended: bool) -> None:
    async def main() -> None:
        scene = Scene()
        scene.ask("a")
        if ended:
            scene.visitor.eof_received()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.talk())
            await until(lambda: scene.shares.machines and scene.machine.paths == ["/a"])
            assert scene.shares.waited == ended
            scene.machine.say(OK)
            await until(lambda: scene.wire.sent == OK)
            running.cancel()
        scene.conversation.close()

    run(main)


@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT"])
def test_a_first_request_that_must_not_be_sent_twice_waits_for_its_stream(method: str) -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received(GET.format("a").replace("GET", method).encode())
        await until(lambda: scene.shares.machines and scene.machine.paths == ["/a"])
        assert scene.shares.waited == 1

    with_scene(test, fresh=True)


def test_a_first_request_waits_where_no_connection_is_idle() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        await until(lambda: scene.shares.machines and scene.machine.paths == ["/a"])
        scene.machine.say(OK)
        await until(lambda: scene.wire.sent == OK and scene.is_quick)
        scene.ask("b")
        assert scene.machine.paths == ["/a", "/b"]

    with_scene(test, fresh=True, has_idle=False)


@pytest.mark.parametrize("code", [Code.RETIRED, Code.LOST, Code.BUSY])
def test_a_stream_that_is_refused_or_lost_with_its_request_is_opened_again(code: Code) -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.peer.reset(code)
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/a"])
        assert scene.shares.waited == 1  # who waits is told why not
        scene.machine.say(OK)
        await until(lambda: scene.wire.sent == OK)

    with_scene(test, fresh=True)


def test_a_stream_that_ends_between_requests_is_followed_by_another() -> None:
    async def test(scene: Scene) -> None:
        scene.machine.peer.send_eof()
        assert scene.machine.code is Code.CLOSED
        assert scene.is_quick
        scene.ask("a")
        assert scene.machine.paths == ["/a"]
        scene.machine.say(OK)
        assert scene.wire.sent == OK
        assert (len(scene.shares.machines), scene.shares.waited) == (2, 0)
        scene.visitor.connection_lost(None)
        assert scene.machine.code is Code.CLOSED

    with_scene(test)


def test_a_visitor_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.quick_path.FIRST_REQUEST_WITHIN", 0.05)

    async def main() -> None:
        for begin in (b"", b"GET / HT"):
            scene = Scene()
            scene.visitor.data_received(begin)
            await scene.talk()  # which ends

    run(main)


def test_a_request_and_its_answer_cross_without_a_task() -> None:
    async def test(scene: Scene) -> None:
        for path in ("a", "b"):
            scene.ask(path)
            scene.machine.say(OK)
        assert scene.wire.sent == OK * 2
        assert scene.machine.paths == ["/a", "/b"]
        assert b"X-Forwarded-For: 192.0.2.9\r\n" in scene.machine.asked

    with_scene(test)


def test_each_request_has_its_own_fields_and_no_others() -> None:
    async def test(scene: Scene) -> None:
        found = []
        for cookie in ("a", "a", "b", "", "a", "c" * MAX_REMEMBERED, "a"):
            scene.machine.asked.clear()
            field = f"Cookie: {cookie}\r\n" if cookie else ""
            request = GET.format("x").replace("\r\n\r\n", f"\r\n{field}\r\n")
            scene.visitor.data_received(request.encode())
            scene.machine.say(OK)
            lines = scene.machine.asked.decode().split("\r\n")
            found.append("".join(line[8:] for line in lines if line.startswith("Cookie")))
            assert lines[0] == "GET /x HTTP/1.1"
            assert sum(line.startswith("X-Forwarded-For: ") for line in lines) == 1
        assert found == ["a", "a", "b", "", "a", "c" * MAX_REMEMBERED, "a"]

    with_scene(test)


def test_a_body_in_pieces_stops_its_source_while_the_visitor_does_not_read() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("large")
        scene.machine.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 30_000)
        pauses = [scene.machine.paused]
        scene.visitor.pause_writing()
        scene.machine.say(b"b" * 30_000)
        pauses.append(scene.machine.paused)
        scene.visitor.resume_writing()
        pauses.append(scene.machine.paused)
        assert pauses == [False, True, False]
        scene.machine.say(b"c" * 40_000)
        assert scene.wire.sent.endswith(b"a" * 30_000 + b"b" * 30_000 + b"c" * 40_000)
        scene.ask("next")
        assert scene.machine.paths[-1] == "/next"

    with_scene(test)


def test_requests_that_come_early_are_sent_one_after_another() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a", GET.format("b") + GET.format("c"))
        assert scene.machine.paths == ["/a"]
        scene.machine.say(OK)
        assert scene.machine.paths == ["/a", "/b"]
        scene.visitor.pause_writing()
        scene.machine.say(OK)
        assert scene.machine.paths == ["/a", "/b"]  # not for one who does not read
        scene.visitor.resume_writing()
        assert scene.machine.paths == ["/a", "/b", "/c"]
        scene.machine.say(OK)
        assert scene.wire.sent == OK * 3

    with_scene(test)


def test_early_requests_do_not_fill_the_memory() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        for _ in range(300):
            scene.visitor.data_received(b"x" * 1024)
            if scene.wire.paused:
                break
        assert scene.wire.paused

    with_scene(test)


@pytest.mark.parametrize("size", [1, 5, 9, 1000])
def test_chunks_pass_as_they_came(size: int) -> None:
    body = b"5\r\nfirst\r\n" + b"40\r\n" + b"s" * 64 + b"\r\n0\r\n\r\n"

    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.say(CHUNKED)
        for at in range(0, len(body), size):
            scene.machine.say(body[at : at + size])
        await until(lambda: scene.wire.sent.endswith(b"\r\n0\r\n\r\n"))
        plain = scene.wire.sent.removeprefix(CHUNKED)
        assert unchunked(bytes(plain)) == b"first" + b"s" * 64
        scene.ask("b")
        await until(lambda: scene.machine.paths == ["/a", "/b"])
        assert len(scene.shares.machines) == 1

    with_scene(test)


def unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        found += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
    return found


@pytest.mark.parametrize("odd", [b"5;a=b\r\nthird\r\n0\r\nX-Trailer: 1\r\n\r\n", b"1\r\nc\r\n"])
def test_odd_chunks_are_the_coroutines_from_there_on(odd: bytes) -> None:
    count = 2 * MAX_CHUNKS if odd.startswith(b"1") else 1

    end = b"0\r\n\r\n" if count > 1 else b"0\r\nX-Trailer: 1\r\n\r\n"

    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.say(CHUNKED + b"5\r\nfirst\r\n" + odd * count)
        if count > 1:
            scene.machine.say(b"0\r\n\r\n")
        await until(lambda: scene.wire.sent.endswith(end))
        body = bytes(scene.wire.sent).partition(b"\r\n\r\n")[2].removesuffix(end) + b"0\r\n\r\n"
        assert unchunked(body) == b"first" + (b"c" * count if count > 1 else b"third")
        await until(lambda: scene.is_quick)
        scene.ask("b")
        assert scene.machine.paths == ["/a", "/b"]

    with_scene(test)


@pytest.mark.parametrize(
    "rest", [b"5\r\nfirst--", b"5\r\nfirst\r\n5\r\nfirst\rx", b"5\r\nfirst\r\nx\r\n", None]
)
def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(rest: bytes | None) -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a", GET.format("b"))
        scene.machine.say(CHUNKED)
        if rest is None:
            scene.machine.peer.send_eof()
        else:
            scene.machine.say(rest)
        await until(lambda: scene.wire.closing)
        assert scene.machine.code is Code.CLOSED
        assert scene.wire.sent.count(b"HTTP/1.1") == 1
        assert len(scene.shares.machines) == 1

    with_scene(test)


@pytest.mark.parametrize("answer", [OK + b"HTTP/1.1 200 OK\r\n\r\nmine", OK + b"x"])
def test_what_follows_an_answer_is_nobodys(answer: bytes) -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.say(answer)
        assert scene.wire.sent == OK
        assert scene.machine.code is Code.CLOSED
        scene.ask("b")
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/b"])

    with_scene(test)


def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    async def test(scene: Scene) -> None:
        scene.machine.say(OK)
        scene.ask("a")
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/a"])
        assert not scene.wire.sent

    with_scene(test)


@pytest.mark.parametrize(
    ("answer", "head"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 100"),
        (OK.replace(b"Content", b"Connection: close\r\nContent"), b"HTTP/1.1 200"),
        (b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.1 200"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", b"HTTP/1.1 200"),
    ],
)
def test_an_answer_that_is_not_plain_is_the_coroutines(answer: bytes, head: bytes) -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.say(answer[:20])
        scene.machine.say(answer[20:])
        scene.machine.peer.send_eof()
        await until(lambda: b"ok" in scene.wire.sent)
        assert scene.wire.sent.startswith(head)
        scene.wire.sent.clear()
        scene.ask("b")
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/b"])
        scene.machine.say(OK)
        await until(lambda: scene.wire.sent == OK.replace(b": 2", b": 2"))

    with_scene(test)


def test_a_request_to_a_stream_that_has_just_ended_is_sent_again() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.machine.peer.send_eof()
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/a"])
        scene.machine.say(OK)
        await until(lambda: b"ok" in scene.wire.sent)

    with_scene(test)


def test_what_is_not_safe_is_not_sent_again() -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received(GET.format("a").replace("GET", "DELETE").encode())
        assert scene.machine.asked.startswith(b"DELETE /a")
        scene.machine.peer.send_eof()
        await until(lambda: b"hung up without an answer" in scene.wire.sent)
        assert len(scene.shares.machines) == 1

    with_scene(test)


def test_a_request_that_is_not_plain_is_the_coroutines() -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received(GET.format("a").encode()[:-9])
        await until(lambda: not scene.is_quick)
        scene.visitor.data_received(b"ample\r\n\r\n")
        await until(lambda: scene.machine.paths == ["/a"])
        scene.machine.say(OK)
        await until(lambda: scene.is_quick)

    with_scene(test)


POST = f"POST /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n"


def test_a_small_body_goes_with_its_head() -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received((POST + "hello" + GET.format("next")).encode())
        assert scene.machine.asked.endswith(b"\r\n\r\nhello")
        scene.machine.say(OK)
        assert scene.machine.asked.count(b"GET /next") == 1
        scene.machine.say(OK)
        assert scene.wire.sent == OK * 2

    with_scene(test)


def test_a_body_that_is_still_to_come_is_the_coroutines() -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received((POST + "hel").encode())
        await until(lambda: not scene.is_quick)
        scene.visitor.data_received(b"lo")
        await until(lambda: scene.machine.asked.endswith(b"hello"))
        assert scene.machine.asked.count(b"POST") == 1
        scene.machine.say(OK)
        await until(lambda: scene.wire.sent == OK)

    with_scene(test)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", None])
def test_a_request_with_a_body_is_sent_once(answer: bytes | None) -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received((POST + "hello").encode())
        if answer is not None:
            scene.machine.say(answer)
        scene.machine.peer.send_eof()
        await until(lambda: b"ok" in scene.wire.sent or b" 502 " in scene.wire.sent)
        assert (b" 502 " in scene.wire.sent) == (answer is None)
        assert scene.machine.asked.count(b"hello") == len(scene.shares.machines) == 1

    with_scene(test)


def test_another_hosts_request_goes_to_another_share() -> None:
    async def test(scene: Scene) -> None:
        scene.visitor.data_received(GET.format("a").replace("abc", "def").encode())
        await until(lambda: len(scene.shares.machines) == 2 and scene.machine.paths == ["/a"])
        assert scene.shares.machines[0].code is Code.CLOSED

    with_scene(test)


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.quick_path.ANSWER_WITHIN", 0.02)
    monkeypatch.setattr("relay.quick_path.KEEP_ALIVE", 0.01)  # looked at as often
    monkeypatch.setattr("relay.quick_path.FIRST_REQUEST_WITHIN", 0.1)

    async def test(scene: Scene) -> None:
        await until(lambda: b" 504 " in scene.wire.sent)
        assert scene.machine.code is Code.CLOSED

    async def asking(scene: Scene) -> None:
        scene.ask("a")
        await test(scene)

    with_scene(asking)


def test_a_visitor_that_asks_no_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.quick_path.KEEP_ALIVE", 0.05)

    async def main() -> None:
        scene = Scene()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.talk())
            await scene.begin()
            await until(running.done)
        scene.conversation.close()
        assert scene.machine.code is Code.CLOSED

    run(main)


def test_a_visitor_that_half_closes_gets_its_answer() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a", GET.format("b"))
        scene.visitor.eof_received()
        scene.machine.say(OK)
        scene.machine.say(OK)
        assert scene.wire.sent == OK * 2
        await until(lambda: not scene.is_quick)

    with_scene(test)


def test_a_visitor_that_goes_is_passed_on() -> None:
    async def test(scene: Scene) -> None:
        scene.ask("a")
        scene.visitor.connection_lost(ConnectionResetError())
        assert scene.machine.code is Code.CLOSED

    with_scene(test)
