"""A browser whose TLS ends at the share, as the stage sees visitors (vshare/web/stage.py).

What comes are a stranger's bytes, straight from the internet: heads and bodies are read strictly,
made plain, and given on one request at a time. One connection carries one stream, of one site. So
answers are passed on as they come, and only read to know where each ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import Body, EndlessBody
from tunnel.http_heads import RequestHead, maybe_answer, maybe_request
from tunnel.http_pages import Page
from tunnel.tls_socket import TlsSocket
from vshare.web.browser_requests import BadRequestError, Browser, plain_request
from vshare.web.pages import page_reply

# As the relay's gateway has them, for the same visitors.
MAX_HEAD = 16 * 1024  # bytes of a request's head
FIRST_REQUEST_WITHIN = 10.0  # seconds from the handshake to a whole head
KEEP_ALIVE = 75.0  # seconds from an answer to the next whole head
BODY_SILENCE = 120.0  # seconds that a request's body may pause
ANSWER_WITHIN = 300.0  # seconds from the request to the answer's head: long polls
LINGER = 1.0  # seconds that a browser may go on sending after an early answer
FOREVER = float("inf")

_END = b"\r\n\r\n"
_NOTHING = memoryview(b"")
_NOT_PLAIN = Page(HTTPStatus.BAD_REQUEST, "The request is not plain HTTP/1.1")
_TOO_LARGE = Page(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request's head is too large",
    [f"{MAX_HEAD // 1024} KiB are the most. Removing this site's cookies may help."],
)
_HUNG_UP = Page(
    HTTPStatus.BAD_GATEWAY,
    "The application hung up without an answer",
    retry_after=10,
)
_TOO_LATE = Page(
    HTTPStatus.GATEWAY_TIMEOUT,
    "The application took too long to answer",
    [f"There was no answer in {ANSWER_WITHIN:g} seconds."],
    retry_after=30,
)
_UNREADABLE = RequestHead(1, [], b"GET", b"/")  # in place of a head that is none


class BrowserEnd(End):
    """The end made of `tls`, a connection with `browser` whose handshake is done.

    `on_request` is called for each whole head. It is a Receiver as well.
    """

    def __init__(self, tls: TlsSocket, browser: Browser, on_request: Callable[[], None]) -> None:
        super().__init__()
        self._tls, self._browser, self._on_request = tls, browser, on_request
        self._loop = asyncio.get_running_loop()
        self._is_started = self._is_paused = False
        self._is_over = False  # nothing is read or answered any more
        self._is_raw = False  # the protocol was changed
        self._is_unread = False  # more may come that nobody reads
        self.bytes_received = 0  # from the browser, and given on
        self._head = bytearray()  # of the next request
        self._held = bytearray()  # what came before its time
        self._body: Body | None = None  # of a request, which is under way
        self._request: RequestHead | None = None  # whose answer is not complete
        self._answer_head = bytearray()
        self._answer: Body | None = None  # the body of the answer, whose head was passed on
        self._is_answered = False  # while its request's body is still under way
        self._denied: Page | None = None
        self._deadline = FOREVER
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> Code | None:
        """Why it ended; see StreamEnd.reason."""
        return self.result

    def deny(self, page: Page) -> None:
        """Answer the first request with `page`, and end; nobody else is to link this."""
        self._denied = page
        self._start()

    # -- End

    def link(self, peer: End) -> None:
        """See End.link."""
        self.peer = peer
        self._start()
        self.resume_reading()

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._expect(FIRST_REQUEST_WITHIN)
            self._look_again(FIRST_REQUEST_WITHIN)
            self._tls.start(self)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._is_paused = True
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._is_paused = False
        if not self._held:
            self._tls.resume_reading()

    def send(self, data: Bytes) -> None:
        """See End.send: a part of an answer."""
        if self._is_over:
            return
        if self._is_raw:
            self._write(data)
            return
        try:
            self._read_answer(memoryview(data))
        except RemoteProtocolError:
            self._broken_off()

    def send_eof(self) -> None:
        """See End.send_eof: nothing more is answered."""
        if self._is_over:
            return
        is_end = self._request is None or self._is_raw or isinstance(self._answer, EndlessBody)
        if is_end or self._is_answered:
            self._finish()
        else:
            self._broken_off()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        if not self._is_over:
            self._broken_off()

    # -- what the browser says

    def data_received(self, data: memoryview) -> None:
        """See Receiver."""
        if self._held:
            self._hold(data)
        else:
            self._read(data)

    def _read(self, data: memoryview) -> None:
        try:
            while len(data) and not self._is_over:
                if self._is_raw:
                    self._pass_on(data)
                    return
                if self._body is not None:
                    data = self._read_body(self._body, data)
                elif self._request is not None:
                    self._hold(data)
                    return
                else:
                    data = self._read_head(data)
        except RemoteProtocolError:
            self._refuse(_UNREADABLE, _NOT_PLAIN)
        except BadRequestError as error:
            self._refuse(self._request or _UNREADABLE, error.page)

    def _hold(self, data: Bytes) -> None:
        """Until the answer is complete: bounded by what one read brings."""
        self._held += data
        self._tls.pause_reading()

    def _release(self) -> None:
        """What was held has its turn."""
        if self._is_over or (self._request is not None and not self._is_raw):
            return
        held, self._held = self._held, bytearray()
        self._read(memoryview(held))
        if not self._held and not self._is_paused and not self._is_over:
            self._tls.resume_reading()

    def _read_head(self, data: memoryview) -> memoryview:
        """What follows the head; nothing while it is incomplete."""
        before = len(self._head)
        self._head += data
        end = self._head.find(_END, max(0, before - len(_END)))
        if end < 0 and len(self._head) < MAX_HEAD:
            return _NOTHING
        if not 0 <= end <= MAX_HEAD - len(_END):
            raise BadRequestError(_TOO_LARGE)
        found = maybe_request(self._head)
        if found is None:  # it has an end
            raise RemoteProtocolError("a head without an end")
        head, size = found
        rest = memoryview(bytes(self._head[size:]))
        self._head.clear()
        self._begin(head)
        return rest

    def _begin(self, head: RequestHead) -> None:
        self._request = head
        self._on_request()
        if self._denied is not None:
            self._refuse(head, self._denied)
            return
        plain = plain_request(head, self._browser)
        body = plain.body()
        if not body.is_whole:
            self._body = body
        self._expect(ANSWER_WITHIN if self._body is None else BODY_SILENCE)
        self._pass_on(plain.serialize())

    def _read_body(self, body: Body, data: memoryview) -> memoryview:
        """What follows the body."""
        size = body.take(data)
        self._expect(BODY_SILENCE)
        if body.is_whole:
            self._body = None
            self._expect(ANSWER_WITHIN if self._answer is None else FOREVER)
        self._pass_on(data[:size])
        if self._is_answered and self._body is None:
            self._completed()
        return data[size:]

    def _pass_on(self, data: Bytes) -> None:
        self.bytes_received += len(data)
        self.peer.send(data)

    # -- what is answered

    def _read_answer(self, data: memoryview) -> None:
        while len(data) and not self._is_over:
            if self._request is None or self._is_answered:
                raise RemoteProtocolError("bytes that answer no request")
            if self._answer is None:
                data = self._read_answer_head(self._request, data)
                continue
            size = self._answer.take(data)
            self._write(data[:size])
            data = data[size:]
            self._maybe_answered()

    def _read_answer_head(self, request: RequestHead, data: memoryview) -> memoryview:
        """What follows the head; nothing while it is incomplete."""
        self._answer_head += data
        found = maybe_answer(self._answer_head)
        if found is None:
            return _NOTHING
        head, size = found
        first, rest = bytes(self._answer_head[:size]), bytes(self._answer_head[size:])
        self._answer_head.clear()
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
            if not request.is_upgrade or self._body is not None:
                raise RemoteProtocolError("another protocol, which nobody asked for")
            self._is_raw = True
            self._deadline = FOREVER
            self._write(first + rest)
            self._loop.call_soon(self._release)
            return _NOTHING
        body = head.body(request.method) if head.is_final else None
        self._write(first)
        if body is not None:
            self._answer = body
            if self._body is None:
                self._deadline = FOREVER
            self._maybe_answered()
        return memoryview(rest)

    def _maybe_answered(self) -> None:
        if self._answer is None or not self._answer.is_whole:
            return
        self._is_answered = True
        if self._body is None:
            self._completed()

    def _completed(self) -> None:
        """Request and answer are whole: the next one may come, unless this was the last."""
        request, self._request, self._answer = self._request, None, None
        self._is_answered = False
        if request is None or not request.minor or b"close" in request.tokens(b"connection"):
            self._finish()
            return
        self._expect(KEEP_ALIVE)
        self._loop.call_soon(self._release)

    def _write(self, data: Bytes) -> None:
        if data:
            self.bytes_sent += len(data)
            self._tls.write(b"", data)
            if self._tls.congested:
                self.peer.pause_reading()

    def writable(self) -> None:
        """See Receiver."""
        if not self._is_over:
            self.peer.resume_reading()

    # -- ends

    def _refuse(self, head: RequestHead, page: Page) -> None:
        """Answer with a page, and end."""
        if self._answer is not None or self._is_over:  # a part was answered already
            self._tls.abort()
            return
        reply = page_reply(head, page)
        fields = [*reply.fields, (b"Content-Length", b"%d" % len(reply.body))]
        lines = b"".join(b"%b: %b\r\n" % each for each in fields)
        first = b"HTTP/1.1 %d %b\r\n" % (reply.status, reply.reason.encode())
        body = b"" if head.method == b"HEAD" else reply.body
        self._write(first + lines + b"Connection: close\r\n\r\n" + body)
        self._is_unread = True
        self._finish()
        self.peer.reset(Code.CLOSED)

    def _broken_off(self) -> None:
        """The machine's side failed: said, if it can be, and never taken for a whole answer."""
        if self._request is None:
            self._finish()  # between two requests
        elif self._answer is None and not self._is_raw:
            self._refuse(self._request, _HUNG_UP)
        else:
            self._tls.abort()

    def _finish(self) -> None:
        """Close. What a browser still sends is read for a while: unread bytes would turn the end
        into a reset, which can overtake the answer (RFC 9112 9.6)."""
        self._is_over = True
        if self._body is None and not self._is_unread:
            self._tls.close()
            return
        self._deadline = self._loop.time() + LINGER
        self._look_again(LINGER)
        self._tls.resume_reading()

    def hung_up(self) -> None:
        """See Receiver."""
        self._tls.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """See Receiver."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self.peer.reset(Code.CLOSED)
        self.closed(None if error is None else Code.CONNECTION_RESET)

    # -- time

    def _expect(self, within: float) -> None:
        """The browser, or the machine, has so many seconds."""
        self._deadline = self._loop.time() + within

    def _look_again(self, after: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(after, self._look)

    def _look(self) -> None:
        left = self._deadline - self._loop.time()
        if left > 0:
            self._look_again(min(left, KEEP_ALIVE))
        elif self._is_over:
            self._tls.close()
        elif self._body is not None and self._is_paused:  # it waits for us
            self._expect(BODY_SILENCE)
            self._look_again(BODY_SILENCE)
        elif self._request is not None and self._body is None:
            self._refuse(self._request, _TOO_LATE)
        elif self._body is not None:
            self._tls.abort()
        else:
            self._finish()
