"""The share's own door, for guests in the same network (docs/protocol.md 3.1).

It listens on this host's private addresses. A stranger there gets nothing out of it: before a
byte is answered, the ClientHello has to name the share's route, which only guests know, and to
ask for `vshare/1`. Joining stays with the relay, which limits who tries codes. Those who have
not shown that much wait here and not at the share's server, where they would displace others.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tunnel import join
from tunnel.clienthello import MAX_HELLO, ClientHello
from tunnel.errors import VshareError
from tunnel.frames import ALPN
from tunnel.lan import (
    MAX_ADDRESSES,
    Networks,
    Place,
    direct_socket,
    lan_interfaces,
    serialize_place,
)
from tunnel.peek import HEAD_DEADLINE, peek_client_hello

MAX_WAITING = 128  # connections that have not shown a ClientHello; a guest's does at once
MAX_WAITING_OF_ONE = 32  # of them from one address: a guest's pool dials 16 at a time
BACKLOG = 64  # a few guests' pools that begin at the same moment
LOOK_EVERY = 5.0  # seconds between looks at this host's addresses; a look takes a millisecond
EXHAUSTED_PAUSE = 0.1  # seconds without accepting when file descriptors have run out

Visitor = Callable[[socket.socket, str], None]

log = logging.getLogger(__name__)


class DirectDoor:
    """Async context manager. `visitor(sock, address)` gets who knows `route` and wants streams;
    `networks` says where to listen, again and again."""

    def __init__(self, route: str, visitor: Visitor, networks: Networks = lan_interfaces) -> None:
        self._route = route.encode()
        self._visitor = visitor
        self._networks = networks
        self._listeners: dict[Place, _Listener] = {}  # by address; the port of the key is 0
        self._waiting: dict[asyncio.Task[None], str] = {}  # with the address; the oldest first
        self._group = asyncio.TaskGroup()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._follow()
        self._watch = self._group.create_task(self._keep_following(), name="direct addresses")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for task in list(self._waiting):
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def places(self) -> list[str]:
        """Where guests can come to now, as the call `paths` tells it."""
        return [serialize_place(listener.place) for listener in self._listeners.values()]

    async def _keep_following(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._follow()

    def _follow(self) -> None:
        """Listen on the addresses that this host has now, and no longer on others. The port at
        an address stays while the address does."""
        wanted: list[Place] = [(interface.ip, 0) for interface in self._networks()]
        for place in self._listeners.keys() - set(wanted):
            self._listeners.pop(place).close()
        for place in wanted[:MAX_ADDRESSES]:
            if place not in self._listeners:
                try:
                    self._listeners[place] = _Listener(place, self._received)
                except OSError as error:  # it is not usable yet, or gone already: the next look
                    log.debug("cannot listen at %s: %s", place[0], error.strerror)

    def _received(self, sock: socket.socket, address: str) -> None:
        if sum(other == address for other in self._waiting.values()) >= MAX_WAITING_OF_ONE:
            sock.close()
            return
        if len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        task = self._group.create_task(self._look(sock, address), name="direct visitor")
        self._waiting[task] = address
        task.add_done_callback(lambda done: self._looked(done, sock))

    def _looked(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._waiting.pop(task, None)
        if task.cancelled():  # perhaps before it began
            sock.close()

    async def _look(self, sock: socket.socket, address: str) -> None:
        """Hand over who knows the route; whoever else it is gets no answer of any kind."""
        try:
            async with asyncio.timeout(HEAD_DEADLINE):
                hello = await peek_client_hello(sock, MAX_HELLO)
        except (VshareError, OSError, TimeoutError) as error:
            log.debug("a direct visitor from %s: %s", address, error)
            sock.close()
            return
        except Exception:
            log.exception("a direct visitor met a fault")  # which must not end the share for all
            sock.close()
            return
        if not self._is_guests(hello):
            log.info("a direct visitor from %s is no guest", address)
            sock.close()
            return
        self._visitor(sock, address)

    def _is_guests(self, hello: ClientHello) -> bool:
        label = (hello.server_name or "").partition(".")[0]
        knows = hmac.compare_digest(label.encode(), self._route)
        return knows and ALPN.encode() in hello.alpn and join.ALPN.encode() not in hello.alpn


class _Listener:
    """Listens at an address until it is closed; `place` has the port. Raises OSError where that
    cannot be. A task in loop.sock_accept() would lose what comes while it is cancelled."""

    def __init__(self, place: Place, received: Callable[[socket.socket, str], None]) -> None:
        self._received = received
        self._pause: asyncio.TimerHandle | None = None
        address, port = place
        self.sock = direct_socket(address.version)
        try:
            self.sock.bind((str(address), port))
            self.sock.listen(BACKLOG)
        except OSError:
            self.sock.close()
            raise
        self.place: Place = (address, self.sock.getsockname()[1])
        self._listen()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self.sock, self._accept)

    def _accept(self) -> None:
        try:
            sock, address = self.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it went again
        except OSError as error:
            log.warning("cannot accept guests at %s: %s", self.place[0], error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.sock)
            self._pause = loop.call_later(EXHAUSTED_PAUSE, self._listen)
            return
        sock.setblocking(False)
        self._received(sock, str(address[0]))

    def close(self) -> None:
        """No longer listen."""
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()
