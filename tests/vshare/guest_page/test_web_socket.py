"""The guest page's WebSockets, spoken with by websockets' own client."""

from __future__ import annotations

import asyncio
import json

import msgspec
from websockets.client import ClientProtocol
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from tests.loops import run, until
from tests.vshare.guest_page.small_page import HOST, SmallPage, upgrade
from tests.vshare.web.test_stage import Keeper
from tunnel.ends import Bytes, End
from tunnel.terminal_messages import MessageType, Size, serialize, serialize_payload
from vshare.guest_page import web_socket
from vshare.guest_page.web_socket import MAX_MESSAGE, WebSocketEnd


class Browser(Keeper):
    """Stands for the visitor: what it has read of the socket. Full, it takes no more."""

    def __init__(self, small: SmallPage, path: str, cookie: str = "") -> None:
        super().__init__()
        head = upgrade(path, cookie or small.come_in())
        end = small.open(head)
        assert isinstance(end, WebSocketEnd)
        self.peer: End = end
        end.peer = self
        self.texts: list[bytes] = []
        self.messages: list[bytes] = []
        self.closed_with: Close | None = None
        self._client = ClientProtocol(parse_uri(f"wss://{HOST}{path}"))
        request = self._client.connect()
        for name in ("Origin", "Cookie"):
            request.headers[name] = (head.value(name.lower().encode()) or b"").decode()
        self._client.send_request(request)
        self._flush()

    def send(self, data: Bytes) -> None:
        """What the share sends."""
        super().send(data)
        self._client.receive_data(bytes(data))
        for event in self._client.events_received():
            if isinstance(event, Response):
                assert event.status_code == 101
            elif isinstance(event, Frame):
                {Opcode.TEXT: self.texts, Opcode.BINARY: self.messages}.get(
                    event.opcode, []
                ).append(bytes(event.data))
        self.closed_with = self._client.close_rcvd

    def send_eof(self) -> None:
        super().send_eof()
        self.closed(None)

    def say(self, message: bytes, *, text: bool = False) -> None:
        (self._client.send_text if text else self._client.send_binary)(message)
        self._flush()

    def ping(self) -> None:
        self._client.send_ping(b"x" * 100)
        self._flush()

    def raw(self, data: bytes) -> None:
        self.peer.send(data)

    def _flush(self) -> None:
        for data in self._client.data_to_send():
            if data and not self.peer.is_done:
                self.peer.send(data)

    @property
    def output(self) -> bytes:
        shown = (MessageType.SCREEN, MessageType.OUTPUT)
        return b"".join(each[4:] for each in self.messages if each[0] in shown)

    @property
    def state(self) -> dict[str, object]:
        last = [each for each in self.messages if each[0] == MessageType.STATE][-1]
        found: dict[str, object] = msgspec.msgpack.decode(last[4:])
        return found


def typed(text: bytes) -> bytes:
    return serialize(MessageType.INPUT, text)


def test_news_come_as_text() -> None:
    async def main() -> None:
        small = SmallPage()
        small.board.set("servers", [{"name": "web", "port": 3000}])
        browser = Browser(small, "/news")
        page, servers = map(json.loads, browser.texts)
        assert (page["type"], page["you"], page["terminals"]) == ("page", "eve (browser)", "read")
        assert {"label": "web", "title": "Shop", "port": 3000} in page["sites"]
        assert servers["items"] == [{"name": "web", "port": 3000}]
        browser.peer.pause_reading()
        for number in range(5):
            small.board.set("says", [{"number": number, "text": "hello"}])
        assert len(browser.texts) == 2
        browser.peer.resume_reading()
        await until(lambda: len(browser.texts) > 2)
        assert json.loads(browser.texts[-1])["items"][0]["number"] == 4  # the latest alone
        assert len(browser.texts) == 3
        assert [each.kind for each in small.told] == ["visitor-joined"]
        browser.peer.send_eof()
        assert not small.page.visitors.count_here()

    run(main)


def test_what_is_not_shown_is_not_sent() -> None:
    async def main() -> None:
        small = SmallPage("none")
        small.terminal()
        browser = Browser(small, "/news")
        assert [json.loads(each)["type"] for each in browser.texts] == ["page"]
        small.page.close()

    run(main)


def test_typing_in_a_read_write_terminal() -> None:
    async def main() -> None:
        small = SmallPage("write")
        terminal, program = small.terminal(read_write=True)
        terminal.output(b"shell$")
        browser = Browser(small, "/terminal?name=main")
        assert browser.state["write"] is True
        assert b"shell$" in browser.output
        browser.say(typed(b"ls\r"))
        browser.say(serialize_payload(Size(100, 30)))
        await until(lambda: program.typed == b"ls\r")
        terminal.output(b"file\r\n")
        await until(lambda: b"file" in browser.output)
        small.page.close()

    run(main)


def test_visitors_type_nowhere_unless_the_sharer_said_so() -> None:
    """Whatever the terminal allows to guests."""

    async def main() -> None:
        small = SmallPage("read")
        _, program = small.terminal(read_write=True)
        browser = Browser(small, "/terminal?name=main")
        assert not browser.state.get("write")
        assert not browser.state.get("may_ask")
        browser.say(typed(b"rm -rf /\r"))
        browser.say(serialize(MessageType.ASK, b"\x90"))
        assert program.typed == b""
        small.page.close()
        assert program.typed == b""

    run(main)


def test_a_terminal_that_is_not_there() -> None:
    async def main() -> None:
        small = SmallPage()
        browser = Browser(small, "/terminal?name=main")
        assert browser.messages[-1][0] == MessageType.END
        assert browser.closed_with is not None
        assert browser.closed_with.code == 4000

    run(main)


def test_the_end_of_a_terminal_is_said() -> None:
    async def main() -> None:
        small = SmallPage()
        terminal, _ = small.terminal()
        browser = Browser(small, "/terminal?name=main")
        terminal.ended("the shell has ended")
        assert browser.messages[-1][0] == MessageType.END
        await until(lambda: browser.closed_with)
        assert not small.page.visitors.count_here()

    run(main)


def test_who_does_not_read_skips_to_the_present() -> None:
    async def main() -> None:
        small = SmallPage()
        terminal, _ = small.terminal()
        browser = Browser(small, "/terminal?name=main")
        browser.peer.pause_reading()
        before = len(browser.messages)
        for number in range(2000):
            terminal.output(b"line %d%b\r\n" % (number, b"." * 70))
            if number % 100 == 0:
                await asyncio.sleep(0)  # a turn of the loop, in which viewers are served
        assert len(browser.messages) - before <= 2  # what was taken before it was known
        browser.peer.resume_reading()
        await until(lambda: b"line 1999" in browser.output)
        screens = [each for each in browser.messages[before:] if each[0] == MessageType.SCREEN]
        assert len(screens) == 1
        small.page.close()

    run(main)


def test_who_asks_and_does_not_read_the_answers_is_out() -> None:
    async def main() -> None:
        small = SmallPage()
        small.terminal()
        browser = Browser(small, "/terminal?name=main")
        browser.ping()
        await until(lambda: browser.sent.endswith(b"x" * 100))
        browser.peer.pause_reading()
        before = len(browser.sent)
        for _ in range(100):
            browser.ping()
        assert browser.peer.is_done
        assert len(browser.sent) < before + 1_000
        assert browser.closed_with is not None
        assert browser.closed_with.code == CloseCode.POLICY_VIOLATION
        small.page.close()

    run(main)


def test_what_is_no_message_ends_the_socket() -> None:
    async def main() -> None:
        small = SmallPage("write")
        _, program = small.terminal(read_write=True)
        long = serialize(MessageType.INPUT, b"x" * 5000)
        for bad in (b"", b"\x10", typed(b"a") + b"b", long):
            browser = Browser(small, "/terminal?name=main")
            browser.say(bad)
            assert browser.closed_with is not None
            assert browser.closed_with.code == CloseCode.POLICY_VIOLATION
        browser = Browser(small, "/terminal?name=main")
        browser.say(b"ls", text=True)
        assert browser.closed_with is not None
        browser = Browser(small, "/terminal?name=main")
        browser.say(b"x" * (MAX_MESSAGE + 1))
        assert browser.closed_with is not None
        assert browser.closed_with.code == CloseCode.MESSAGE_TOO_BIG
        browser = Browser(small, "/news")
        browser.raw(b"\xff\xff\xff\xff")
        assert browser.eof
        assert program.typed == b""
        assert not small.page.visitors.count_here()

    run(main)


def test_who_is_silent_is_gone() -> None:
    async def main() -> None:
        small = SmallPage()
        browser = Browser(small, "/news")
        end = browser.peer
        assert isinstance(end, WebSocketEnd)
        end._heard_at -= web_socket.SILENCE_ENDS + 1  # no test waits a minute
        end._look()
        assert end.is_done
        assert not small.page.visitors.count_here()

    run(main)
