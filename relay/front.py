"""Accepts connections, looks at their first bytes, and gives each to who answers it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from relay.limits import Admission
from relay.operation.events import Event, tell
from relay.routes import MAX_HEAD, Answerer, Route, Sites, maybe_route
from tunnel.clienthello import MAX_HELLO
from tunnel.dialler import tune
from tunnel.errors import LostError, RemoteProtocolError, VshareError
from tunnel.peek import HEAD_DEADLINE, peek
from tunnel.source import source_of
from tunnel.splice import reset_socket

BACKLOG = 1024
ACCEPTS_PER_WAKE = 64  # then others have their turn
PAUSE = 0.1  # seconds without accepting, when there is no descriptor at all
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

UNRECOGNIZED_NAME = 112  # TLS alerts, RFC 8446 6.2
INTERNAL_ERROR = 80
ACCESS_DENIED = 49
# A reserved one that nobody else says, so that guests are told apart what passes and what lasts.
QUOTA_SPENT = 60  # the share's relay moves no more bytes for it today
_STATUS = {
    UNRECOGNIZED_NAME: b"404 Not Found",
    INTERNAL_ERROR: b"503 Service Unavailable",
    ACCESS_DENIED: b"429 Too Many Requests",
    QUOTA_SPENT: b"503 Service Unavailable",
}

# Who answers what has TLS by a handshake of the relay's own.
_ENDS_TLS = (Answerer.PARK, Answerer.GATEWAY, Answerer.APPLICATION)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Visitor:
    """An accepted connection: its first bytes are unread; whoever answers closes the socket.

    It counts against the limits until the answer returns, or, where it is kept for longer than
    a task should live, until what `keep` returns is called.
    """

    sock: socket.socket
    route: Route
    address: str  # without port
    leave: Callable[[], None] = lambda: None
    kept: bool = False

    def keep(self) -> Callable[[], None]:
        """The answer returns and the connection stays: call the result, once, when it ended."""
        self.kept = True
        return self.leave


Answer = Callable[[Visitor], Awaitable[None]]


class Front:
    """The relay's one port."""

    def __init__(
        self,
        listener: socket.socket,
        admission: Admission,
        sites: Sites,
        answers: Mapping[Answerer, Answer],
        is_banned: Callable[[str], bool] = lambda address: False,
    ) -> None:
        self._is_banned = is_banned
        self._here: dict[socket.socket, str] = {}  # who comes from where, until it has ended
        self._listener, self._admission, self._sites = listener, admission, sites
        self._answers = answers
        self._spare: int | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._is_full = self._is_closed = False
        self.visitors = 0  # connections that are being served
        self.deserted = asyncio.Event()  # set while there are none, after the door was closed
        self.turned_away: Counter[str] = Counter()  # as they were accepted, by reason

    async def run(self) -> None:
        """Accept until cancelled; then every connection is ended."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            with contextlib.ExitStack() as stack:  # accepting ends before the group does
                self._take_spare()
                stack.callback(self._free_spare)
                self._listen(group)
                stack.callback(self._listen_no_more)
                await loop.create_future()

    def _listen(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener, self._accept, group)
        self._pause = None

    def close_door(self) -> None:
        """Accept no more, and give up the socket; who is in is served on."""
        if not self._is_closed:
            self._listen_no_more()
            self._is_closed = True
            self._listener.close()
            self._look_who_is_left()

    def _look_who_is_left(self) -> None:
        if self._is_closed and not self.visitors:
            self.deserted.set()

    def _listen_no_more(self) -> None:
        if self._is_closed:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self, group: asyncio.TaskGroup) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, place = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    self.turned_away["descriptors"] += 1
                    self._tell_full("out of file descriptors")
                    self._turn_one_away(group)
                return  # else: ECONNABORTED and the like, of that one connection
            address = str(place[0]).removeprefix("::ffff:")  # IPv4 through a dual-stack listener
            if self._is_banned(address):
                self._admission.refused["banned"] += 1
                sock.close()
                continue
            source = source_of(address)
            if not self._admission.enter(source):
                self.turned_away["limit"] += 1
                self._tell_full("a limit on connections is reached")
                sock.close()
                continue
            self._is_full = False
            sock.setblocking(False)
            serving = self._serve(sock, address, source)
            try:
                task = group.create_task(serving, name=f"visitor {address}")
            except RuntimeError:  # the relay is ending, by a fault of another task
                serving.close()
                sock.close()
                return
            self.visitors += 1
            task.add_done_callback(functools.partial(self._left, sock))

    def _left(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self.visitors -= 1
        self._look_who_is_left()
        if task.cancelled():  # perhaps before it began: then nobody has closed it
            sock.close()

    def _tell_full(self, reason: str) -> None:
        """Once, not for each that comes."""
        if not self._is_full:
            text = f"{reason}: new connections are turned away until others end"
            tell(log, logging.WARNING, Event.CONNECTIONS_TURNED_AWAY, text, reason=reason)
        self._is_full = True

    def _turn_one_away(self, group: asyncio.TaskGroup) -> None:
        """Accept and close: else the listener would stay readable and the loop would spin."""
        if self._spare is not None:
            self._free_spare()
            with contextlib.suppress(OSError):
                self._listener.accept()[0].close()
            self._take_spare()
        if self._spare is None:  # another thread was faster: they wait in the kernel
            self._listen_no_more()
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(PAUSE, self._resume, group)

    def _resume(self, group: asyncio.TaskGroup) -> None:
        self._take_spare()
        self._listen(group)

    def _take_spare(self) -> None:
        """A descriptor that is freed for a moment to accept what there is none for."""
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _free_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    async def _serve(self, sock: socket.socket, address: str, source: str) -> None:
        self._here[sock] = address
        leave = functools.partial(self._leave, sock, source)
        visitor = None
        try:
            try:
                route = await self._route(sock)
            finally:
                self._admission.decided(source)
            if route is not None and self._may_go_on(sock, route, source):
                visitor = Visitor(sock, route, address, leave)
                await self._answers[route.answerer](visitor)
        except VshareError as error:
            log.debug("%s: %s", address, error.text)
        except OSError as error:
            log.debug("%s: %s", address, error)
        except Exception:
            log.exception("a connection from %s failed: this is a bug", address)
        finally:
            if visitor is None or not visitor.kept:
                leave()
                if sock.fileno() >= 0:
                    sock.close()

    def _may_go_on(self, sock: socket.socket, route: Route, source: str) -> bool:
        """Whether there is time for it; else it is told, and closed."""
        if not (route.tls and route.answerer in _ENDS_TLS):
            return True
        if self._admission.may_shake_hands(source, asyncio.get_running_loop().time()):
            return True
        self._admission.refused["handshakes"] += 1
        refuse(Visitor(sock, route, source), ACCESS_DENIED)
        return False

    def _leave(self, sock: socket.socket, source: str) -> None:
        self._here.pop(sock, None)
        self._admission.leave(source)

    def cut(self, is_banned: Callable[[str], bool]) -> None:
        """End the connections from such addresses."""
        for sock, address in list(self._here.items()):
            if is_banned(address):
                with contextlib.suppress(OSError):  # it is a share's that parked it, or has ended
                    sock.shutdown(socket.SHUT_RDWR)

    async def _route(self, sock: socket.socket) -> Route | None:
        tune(sock)
        limit = max(MAX_HELLO, MAX_HEAD)
        try:
            async with asyncio.timeout(HEAD_DEADLINE):
                return await peek(sock, lambda data: maybe_route(data, self._sites), limit)
        except RemoteProtocolError as error:
            log.debug("first bytes: %s", error.text)
        except (LostError, TimeoutError):
            pass
        reset_socket(sock)
        return None


def refuse(visitor: Visitor, alert: int, sentence: str = "") -> None:
    """Tell a visitor why not, in its own protocol, and close.

    Before a ServerHello an alert may be sent in the clear (RFC 8446 6).
    """
    sock = visitor.sock
    with contextlib.suppress(OSError):
        sock.recv(MAX_HELLO)  # what is unread would turn the close into a reset
        if visitor.route.tls:
            sock.send(bytes([21, 3, 3, 0, 2, 2, alert]))
        else:
            body = f"{sentence}\n".encode()
            head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n"
            head += b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
            sock.send(head % (_STATUS[alert], len(body)) + body)
        sock.shutdown(socket.SHUT_WR)
    sock.close()
