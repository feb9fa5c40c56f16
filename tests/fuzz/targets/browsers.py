"""Browsers whose TLS ends at the share: what a stranger sends there, and what a machine answers."""

from __future__ import annotations

import random
from collections.abc import Iterable

import h11

from tests.fuzz.target import Target, require, same_however_cut
from tests.fuzz.targets import loop
from tests.fuzz.targets.fake_tls import FakeTls
from tests.fuzz.targets.http import ANSWERS, WORDS
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import Body
from tunnel.http_heads import maybe_request
from vshare.web.browser_end import BrowserEnd
from vshare.web.browser_requests import Browser

HOST, ADDRESS = "frosty-weasel-0857.relay.example", "203.0.113.7"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
GET = f"GET /a HTTP/1.1\r\nHost: {HOST}\r\n".encode()
_HEAD = 64 * 1024  # bytes for h11, which must not be the stricter one for want of room


class _Machine(End):
    """Answers each request when it has all of it, and sees to it that no other came before."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.browser: End | None = None
        self.said = bytearray()
        self.requests = 0
        self._answer, self._new = answer, bytearray()
        self._body: Body | None = None

    def send(self, data: Bytes) -> None:
        self.said += data
        self._new += data
        if self._body is None:
            found = maybe_request(self._new)
            require(found is not None, "a head comes whole", bytes(self._new))
            if found is None:
                return
            head, size = found
            self.requests += 1
            said = head.values(b"x-forwarded-for")
            require(said == [ADDRESS.encode()], "the address is the relay's", said)
            del self._new[:size]
            self._body = head.body()
        size = self._body.take(memoryview(bytes(self._new)))
        del self._new[:size]
        require(not self._new, "the next request waits for its turn")
        if self._body.is_whole and self.browser is not None:
            self._body = None
            self.browser.send(self._answer)

    def send_eof(self) -> None:
        """Nothing more comes."""

    def reset(self, code: Code) -> None:
        self.closed(code)

    def pause_reading(self) -> None:
        """Nothing is read from here."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""


async def _visit(pieces: Iterable[bytes], answer: bytes) -> tuple[bytes, bytes, int, bool]:
    tls, machine = FakeTls(), _Machine(answer)
    end = BrowserEnd(tls.as_tls, Browser(HOST, ADDRESS), lambda: None)
    machine.browser = end
    end.link(machine)
    for piece in pieces:
        tls.deliver([piece] if piece else [])
        await loop.settle(1)
    await loop.settle()
    was_ended = machine.is_done
    tls.lose(None)
    await loop.settle(1)
    return bytes(tls.written), bytes(machine.said), machine.requests, was_ended


def run_browser(data: bytes) -> None:
    """What reaches the machine are requests, for h11 as well, whatever came."""

    def feed(pieces: Iterable[bytes]) -> object:
        written, said, requests, was_ended = loop.run(_visit(pieces, OK))
        require(not written or written.startswith(b"HTTP/1.1 "), "browsers get HTTP", written)
        _judge(said, requests, is_whole=not was_ended)
        # Of a body that turns out to be none, as much was passed on as had come.
        return written, requests, None if was_ended else said

    same_however_cut(data, feed)


def _judge(said: bytes, requests: int, *, is_whole: bool) -> None:
    seen = 0
    while said:
        reader = h11.Connection(h11.SERVER, _HEAD)
        reader.receive_data(said)
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                seen += 1
                fields = [name for name, _ in event.headers]
                require(fields.count(b"x-forwarded-for") == 1, "one address", fields)
                require(b"x-real-ip" not in fields, "and no other", fields)
            elif not isinstance(event, h11.Data):
                require(seen == requests, "as many requests", (seen, requests))
                return  # the last one's body is not complete
        said = reader.trailing_data[0]
    require(seen == requests or not is_whole, "as many requests", (seen, requests))


def run_machine(data: bytes) -> None:
    """Whatever the machine answers: HTTP comes out, or the connection breaks off."""

    async def ask() -> bytes:
        tls, machine = FakeTls(), _Machine(data)
        end = BrowserEnd(tls.as_tls, Browser(HOST, ADDRESS), lambda: None)
        machine.browser = end
        end.link(machine)
        tls.deliver([GET + b"\r\n"])
        await loop.settle(1)
        end.send_eof()
        tls.lose(None)
        return bytes(tls.written)

    written = loop.run(ask())
    require(not written or written.startswith(b"HTTP/1."), "browsers get HTTP", written[:50])
    require(b"HTTP/1.1 502 " in written or data.startswith(written), "as it came", written[:50])


def _requests(chance: random.Random) -> bytes:
    out = b""
    for _ in range(chance.randint(1, 4)):
        method = chance.choice((b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT"))
        target = chance.choice((b"/", b"*", b"//x", f"https://{HOST}/y".encode(), b"http://z/"))
        fields = [b"Host: " + chance.choice((HOST.encode(),) * 6 + (b"x", HOST.upper().encode()))]
        fields += chance.sample(_FIELDS, chance.randint(0, 3))
        body = chance.choice((b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nA: b\r\n\r\n"))
        out += method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body
    return out


_FIELDS = (
    b"Content-Length: 3", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close",
    b"X-Forwarded-For: 1.2.3.4", b"X_Forwarded_For: 1.2.3.4", b"Forwarded: for=1.2.3.4",
    b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue",
    b"Connection: X-Forwarded-For, Host", b"X-Real-IP: 1.2.3.4", b"Cookie: a=b", b" folded",
)  # fmt: skip
TARGETS = (
    Target(
        "browser-requests", run_browser, (),
        (GET + b"\r\n", (GET + b"\r\n") * 2, GET + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n"),
        ("vshare.web.browser_end", "vshare.web.browser_requests"), (*WORDS, *_FIELDS), _requests,
        share=0.5, slow="one connection for each way to cut it",
    ),
    Target(
        "browser-answers", run_machine, (RemoteProtocolError,), tuple(ANSWERS),
        ("vshare.web.browser_end",), WORDS,
    ),
)  # fmt: skip
