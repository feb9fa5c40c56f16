"""A request that was seen is sent to the machine once more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import UsageError, VshareError
from tunnel.http_heads import AnswerHead, RequestHead
from vshare.dashboard.exchange import Exchange
from vshare.dashboard.request_log import RequestLog
from vshare.web.rules import Gallery, Watcher
from vshare.web.sites import HTTPS_PORT

MAX_REPLAYS = 8  # at a time
REPLAY_LASTS = 30.0  # seconds; an answer that goes on for longer is broken off
MAX_ANSWER = 64 * 1024 * 1024  # bytes of one, of which 64 KiB are kept
HTTP_PORT = 80  # what a visitor without TLS is said to want
STOP_LASTS = 1.0  # seconds for the share to let go of one that was broken off

_log = logging.getLogger("vshare.dashboard")

Carry: TypeAlias = Callable[[str, int, End, Gallery], Awaitable[object]]
"""Serves a visitor's stream `end`, opened to the site with this label and port (443 or 80), until
it is over, with this gallery in place of the share's own. Raises VshareError."""


class Replays:
    """Those that are under way belong to `group`."""

    def __init__(self, log: RequestLog, carry: Carry, group: asyncio.TaskGroup) -> None:
        self._log, self._carry, self._group = log, carry, group
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, exchange: Exchange) -> int:
        """Send it again; the number of the request that this makes, once it is under way.

        Raises VshareError: it cannot be sent, or the machine is not reached.
        """
        if len(self._running) >= MAX_REPLAYS:
            raise VshareError(f"{MAX_REPLAYS} replays are under way", "wait for one to end")
        head, body = repeatable(exchange)
        begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        visitor = _Visitor(head.serialize() + body)
        gallery = _Frame(self._log, exchange.number, visitor, begun)
        port = HTTPS_PORT if head.value(b"x-forwarded-proto") == b"https" else HTTP_PORT
        work = self._run(exchange.site, port, visitor, gallery, begun)
        task = self._group.create_task(work, name="replay")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await begun

    def end_all(self) -> None:
        """Break off those that are under way."""
        for task in self._running:
            task.cancel()

    async def _run(
        self, site: str, port: int, visitor: _Visitor, gallery: _Frame, begun: asyncio.Future[int]
    ) -> None:
        error = "the machine did not take the request"
        late = f"no whole answer within {REPLAY_LASTS:.0f} seconds"
        timer = asyncio.get_running_loop().call_later(REPLAY_LASTS, gallery.end, late)
        try:
            async with asyncio.timeout(REPLAY_LASTS + STOP_LASTS):
                await self._carry(site, port, visitor, gallery)
        except VshareError as refused:
            error = refused.text
        except TimeoutError:
            error = late
        except Exception:
            _log.exception("a replay met a fault")  # which must not end the share
            error = "something went wrong inside the share"
        finally:
            timer.cancel()
            gallery.end(error)  # nothing where it has ended
            if not begun.done():
                begun.set_exception(VshareError(error, "the terminal of `vshare up` may say why"))


def repeatable(exchange: Exchange) -> tuple[RequestHead, bytes]:
    """What is sent again: the head as the visitor sent it, its body in one piece.

    Raises UsageError.
    """
    head = exchange.request_head
    body = exchange.request_content
    length = head.value(b"content-length")
    if not body.is_whole:
        raise UsageError("the request's body was too large to be kept", "send it with curl")
    if length is not None and length != b"%d" % body.size:
        raise UsageError("the request did not come whole", "it cannot be sent again")
    if head.is_upgrade:
        raise UsageError("a WebSocket cannot be opened again from here", "reload its page")
    if head.tokens(b"transfer-encoding"):
        head.drop(b"transfer-encoding")
        head.set(b"Content-Length", b"%d" % body.size)
    for name in (b"expect", b"trailer", b"te"):
        head.drop(name)
    return head, bytes(body.data)


class _Visitor(End):
    """Asks once, and throws the answer away: the stage tells whoever looks."""

    def __init__(self, request: bytes) -> None:
        super().__init__()
        self.on_too_much: Callable[[], None] = lambda: None
        self._request, self._received = request, 0

    def link(self, peer: End) -> None:
        """See End.link."""
        self.peer = peer
        asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        request, self._request = self._request, b""  # it may be linked more than once
        if not self.finished.done():
            self.peer.send(request)

    def send(self, data: Bytes) -> None:
        """See End.send: a part of the answer."""
        self._received += len(data)
        if self._received > MAX_ANSWER:
            self.on_too_much()

    def send_eof(self) -> None:
        """See End.send_eof."""
        self.over()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self.over()

    def pause_reading(self) -> None:
        """All is sent at once: the machine's end keeps it."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""

    def over(self) -> None:
        """The answer is whole, or no more of it is wanted."""
        if not self.finished.done():
            self.closed(None)
            asyncio.get_running_loop().call_soon(self.peer.reset, Code.CLOSED)


class _Frame:
    """The Gallery for one replay."""

    is_empty = False

    def __init__(
        self, log: RequestLog, replay_of: int, visitor: _Visitor, begun: asyncio.Future[int]
    ) -> None:
        self._log, self._replay_of = log, replay_of
        self._visitor, self._begun = visitor, begun
        self._watched: _Watched | None = None
        visitor.on_too_much = lambda: self.end(f"broken off after {MAX_ANSWER >> 20} MiB")

    def watch(self, site: str, head: RequestHead) -> Watcher:
        """See Gallery."""
        exchange = self._log.begin(site, head, self._replay_of)
        self._watched = _Watched(exchange, self._visitor)
        if not self._begun.done():
            self._begun.set_result(exchange.number)
        return self._watched

    def end(self, error: str) -> None:
        """Hang up, for this reason unless it is over."""
        if self._watched is not None:
            self._watched.ended(error)
        self._visitor.over()


class _Watched:
    """A Watcher that hangs up when the answer is whole."""

    def __init__(self, exchange: Exchange, visitor: _Visitor) -> None:
        self._exchange, self._visitor = exchange, visitor
        self.request_body, self.answer_body = exchange.request_body, exchange.answer_body

    def answer(self, head: AnswerHead) -> None:
        """See Watcher."""
        self._exchange.answer(head)

    def ended(self, error: str | None) -> None:
        """See Watcher. Once: the first word counts."""
        if self._exchange.seconds is None:
            self._exchange.ended(error)
        self._visitor.over()
