"""Watches sockets through an epoll(7) of its own, of which the event loop watches one descriptor.

For what a loop's readers and writers cannot do: wait for errors and the end alone, and change
what is waited for by one system call, many times a second. And for who comes first: in a loop's
own order a ping waits for the large read of a download that stands before it.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
from collections.abc import Callable
from typing import TypeAlias

from tunnel import turns

READABLE, WRITABLE, ERROR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR
QUIET = select.EPOLLET  # an error or both directions' end, told once each
HUNG_UP = select.EPOLLHUP  # both directions' end, told whatever is waited for
HANG_UP = select.EPOLLRDHUP | select.EPOLLET  # the peer's end as well
ONCE = select.EPOLLONESHOT
BATCH = 64  # sockets per wake-up, then the loop's other users have their turn
# Takes a socket's events; a true answer says that it moved much.
Callback: TypeAlias = Callable[[int], bool | None]


class SocketWatch:
    """Calls back with a socket's events (epoll_ctl(2)). One per loop: `watch_of`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._fresh: set[int] = set()  # added since the last wake-up
        self._moved_much: dict[int, int] = {}  # at its last event; in which order that was
        self._order = itertools.count(1)
        self._holders = 0

    def add(self, sock: socket.socket, callback: Callback, events: int) -> None:
        """Watch `sock`, until `remove`, which has to come before it is closed."""
        number = sock.fileno()
        self._maybe_open()
        self._epoll.register(number, events)
        self._callbacks[number] = callback
        self._fresh.add(number)

    def change(self, sock: socket.socket, events: int) -> None:
        """Wait for `events` from now on; what is there already is told."""
        number = sock.fileno()
        if not events & READABLE:  # what is told once is not put off
            self._moved_much.pop(number, None)
        self._epoll.modify(number, events)

    def remove(self, sock: socket.socket) -> None:
        """Watch it no longer. Idempotent."""
        number = sock.fileno()
        if self._callbacks.pop(number, None) is None:
            return
        self._moved_much.pop(number, None)
        self._epoll.unregister(number)
        self._maybe_close()

    def hold(self) -> None:
        """Stay there without sockets too, until `let_go`: one comes after the other."""
        self._maybe_open()
        self._holders += 1

    def let_go(self) -> None:
        """Undo one `hold`."""
        self._holders -= 1
        self._maybe_close()

    def _maybe_open(self) -> None:
        if not self._callbacks and not self._holders:
            self._loop.add_reader(self._epoll.fileno(), self._on_events)

    def _maybe_close(self) -> None:
        if not self._callbacks and not self._holders:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            del _watches[self._loop]

    def _on_events(self) -> None:
        """First who moved little at the last event, then who has waited longest. While turns are
        short, one that moves much is enough: others may be ready by then. The rest is told again.
        """
        self._fresh.clear()
        ready, moved_much = self._epoll.poll(0, BATCH), self._moved_much
        if moved_much and len(ready) > 1:
            ready.sort(key=lambda each: moved_much.get(each[0], 0))
        enough = False
        for number, events in ready:
            if enough and number in moved_much:
                continue
            callback = self._callbacks.get(number)
            # A number that was closed and used again meanwhile: the event is another socket's.
            if callback is None or number in self._fresh:
                continue
            if not callback(events):
                moved_much.pop(number, None)
            elif number in self._callbacks:
                moved_much[number] = next(self._order)
                enough = turns.are_short()


# One per running loop, while it has something to watch.
_watches: dict[asyncio.AbstractEventLoop, SocketWatch] = {}


def watch_of(loop: asyncio.AbstractEventLoop) -> SocketWatch:
    """The watch of `loop`; to be used at once."""
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = SocketWatch(loop)
    return watch


async def until_ready(sock: socket.socket, events: int) -> None:
    """Wait for one of `events` of `sock`, which nobody else watches meanwhile."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    watch = watch_of(loop)

    def on_events(events: int) -> None:
        if not ready.done():
            ready.set_result(None)

    watch.add(sock, on_events, events | ONCE)
    try:
        await ready
    finally:
        watch.remove(sock)
