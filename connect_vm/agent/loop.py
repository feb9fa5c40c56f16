"""One epoll, one callback per descriptor, one tick for deadlines.

Edge-triggered, so that a socket is registered once and never touched again: a handler
must read (or write) until the kernel says EAGAIN, or ask to be called again with `again`.
"""

import select
import time
from collections import deque
from collections.abc import Callable

Handler = Callable[[int], None]

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERR = select.EPOLLERR
HUP = select.EPOLLHUP
RDHUP = select.EPOLLRDHUP
BOTH = IN | OUT | RDHUP | select.EPOLLET

TICK = 0.5  # seconds: the resolution of all deadlines here, of which the shortest is 3 s


class Loop:
    """Calls handlers when their descriptors are ready, and tickers every TICK seconds."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._again: deque[Callable[[], None]] = deque()
        self._tickers: list[Callable[[float], None]] = []
        self.running = True

    def add(self, fd: int, handler: Handler, events: int = BOTH) -> None:
        """Call `handler(events)` when `fd` changes, until `remove`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def replace(self, fd: int, handler: Handler) -> None:
        """Hand a registered descriptor to another handler, which is called soon."""
        self._handlers[fd] = handler
        self.again(lambda: handler(BOTH) if self._handlers.get(fd) is handler else None)

    def remove(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def again(self, callback: Callable[[], None]) -> None:
        """Call back after what is ready now has had its turn."""
        self._again.append(callback)

    def every_tick(self, ticker: Callable[[float], None]) -> None:
        """Call `ticker(now)` about every TICK seconds; `now` is time.monotonic()."""
        self._tickers.append(ticker)

    def run(self) -> None:
        """Until `running` is False."""
        next_tick = time.monotonic() + TICK
        while self.running:
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK
                for ticker in self._tickers:
                    ticker(now)
            self._turn(0 if self._again else next_tick - now)

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()

    def _turn(self, wait: float) -> None:
        for fd, events in self._epoll.poll(max(0, wait)):
            # An earlier handler of this turn may have closed it.
            handler = self._handlers.get(fd)
            if handler:
                handler(events)
        for _ in range(len(self._again)):
            self._again.popleft()()
