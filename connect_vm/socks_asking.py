"""Connections to the SOCKS server up to their request, without a task each: many, and short.

The listener and those who have not asked yet are watched by the process's own epoll; one timer,
for whoever came first, ends those who do not ask in time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from connect_vm import socks
from connect_vm.accepting import OUT_OF_RESOURCES, PAUSE
from tunnel.errors import RemoteProtocolError
from tunnel.socket_watch import QUIET, READABLE, watch_of

HANDSHAKE_SECONDS = 10.0  # a local program asks at once; nobody types a SOCKS request
MAX_HANDSHAKES = 256  # connections that have not asked yet; more wait in the backlog
HANDSHAKE_READ = 1024  # bytes; a request is shorter, and what comes behind it is kept

# Given the socket, which it owns from then on, the request, and what came behind that.
OnRequest = Callable[[socket.socket, socks.Request, bytes], None]
OnRefused = Callable[[socket.socket], None]

log = logging.getLogger(__name__)


class Asking:
    """Accepts from `listener` (not blocking, its owner's) until `close`.

    `on_request` gets each connection that has asked, `on_refused` one that was told that it
    cannot be served, to be closed when it has read that.
    """

    def __init__(
        self, listener: socket.socket, on_request: OnRequest, on_refused: OnRefused
    ) -> None:
        self._listener = listener
        self._on_request, self._on_refused = on_request, on_refused
        self._loop = asyncio.get_running_loop()
        self._watch = watch_of(self._loop)
        self._clients: dict[_Client, float] = {}  # with the deadline; the oldest first
        self._accepts = True
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._watch.add(listener, self._on_connection, READABLE)

    def close(self) -> None:
        """Accept no more, and close those who have not asked. Idempotent."""
        self._watch.remove(self._listener)
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        for client in list(self._clients):
            self._leave(client).close()

    def _on_connection(self, events: int) -> None:
        """One at a time: of more the watch tells again, when others have had their turn."""
        if not self._accepts:
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # else of the one that was lost (accept(2), "Error handling")
            if error.errno in OUT_OF_RESOURCES:
                log.warning("cannot accept SOCKS connections: %s", error.strerror)
                self._accept(False)
                self._pause = self._loop.call_later(PAUSE, self._go_on)
            return
        sock.setblocking(False)
        client = _Client(sock, self._receive)
        self._clients[client] = self._loop.time() + HANDSHAKE_SECONDS
        self._watch.add(sock, client.on_events, READABLE)
        if self._timer is None:
            self._timer = self._loop.call_later(HANDSHAKE_SECONDS, self._on_time)
        if len(self._clients) >= MAX_HANDSHAKES:
            self._accept(False)
        self._receive(client)  # the greeting came while the connection waited here, most likely

    def _go_on(self) -> None:
        self._pause = None
        self._accept(len(self._clients) < MAX_HANDSHAKES)

    def _accept(self, wanted: bool) -> None:
        if wanted is not self._accepts:
            self._accepts = wanted
            self._watch.change(self._listener, READABLE if wanted else QUIET)

    def _leave(self, client: _Client) -> socket.socket:
        """It has asked, or will not."""
        self._watch.remove(client.sock)
        del self._clients[client]
        if not self._accepts and self._pause is None:
            self._accept(True)
        return client.sock

    def _receive(self, client: _Client) -> None:
        try:
            data = client.sock.recv(HANDSHAKE_READ)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("a SOCKS client is gone: %s", error)
            data = b""
        if not data:
            self._leave(client).close()
            return
        handshake = client.handshake
        try:
            handshake.receive_data(data)
        except RemoteProtocolError as error:
            log.info("a SOCKS client was turned away: %s", error.text)
            self._on_refused(self._leave(client))
            return
        finally:
            _send(client.sock, handshake.data_to_send())
        if handshake.request is not None:
            self._on_request(self._leave(client), handshake.request, handshake.trailing)

    def _on_time(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._clients:
            client, deadline = next(iter(self._clients.items()))
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._on_time)
                return
            log.debug("a SOCKS client did not finish its request in %g s", HANDSHAKE_SECONDS)
            self._leave(client).close()


class _Client:
    """One who has not asked yet."""

    __slots__ = ("_receive", "handshake", "sock")

    def __init__(self, sock: socket.socket, receive: Callable[[_Client], None]) -> None:
        self.sock = sock
        self.handshake = socks.Handshake()
        self._receive = receive

    def on_events(self, events: int) -> None:
        """See SocketWatch.add."""
        self._receive(self)


def _send(sock: socket.socket, answer: bytes) -> None:
    """A few bytes, for which a new connection has room; one that has gone shows that by itself."""
    if answer:
        try:
            sock.send(answer)
        except OSError as error:
            log.debug("a SOCKS client is gone: %s", error)
