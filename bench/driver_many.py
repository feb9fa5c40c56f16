"""Loads of many connections at once: one epoll loop, a small state machine each."""

from __future__ import annotations

import errno
import json
import select
import socket
import sys
import threading
import time
from contextlib import closing

from bench.driver import AHEAD, Answer, connected, pull
from bench.way import Way, is_fine

WORKERS = 50
WARM_UP = 0.6  # seconds of opens_many that do not count: `burst` is the one for a cold start
GIVE_UP = 20.0  # seconds for a burst to be answered
STOPPED = 8  # streams whose reader stops
FILLS_WITHIN = 2.0  # seconds for every buffer on the way to be full


class Many:
    """`count` workers; each connects, goes through the steps of the way, and gets a byte back."""

    def __init__(self, way: Way) -> None:
        self._address = ("127.0.0.1", way.port)
        self._steps = (*way.steps, (b"Ep", 1))
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, int, bytes]] = {}  # step, what came of it
        self.done: list[socket.socket] = []
        self.failed = 0

    def close(self) -> None:
        """End all of them."""
        for sock in (*self.done, *(sock for sock, _, _ in self._open.values())):
            sock.close()
        self._epoll.close()

    @property
    def opening(self) -> int:
        """How many are under way."""
        return len(self._open)

    def start(self) -> None:
        """One more connection."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self.failed += 1
            sock.close()
            return
        self._open[sock.fileno()] = sock, -1, b""
        self._epoll.register(sock, select.EPOLLOUT)

    def turn(self, timeout: float) -> None:
        """Wait for what happens next, and go on with it."""
        for number, _ in self._epoll.poll(timeout):
            try:
                self._go_on(number)
            except OSError:
                sock, _, _ = self._open.pop(number)
                sock.close()
                self.failed += 1

    def _go_on(self, number: int) -> None:
        sock, step, got = self._open[number]
        if step < 0:
            self._epoll.modify(number, select.EPOLLIN)
        else:
            piece = sock.recv(self._steps[step][1] - len(got))
            if not piece:
                raise ConnectionError("ended early")
            got += piece
            if len(got) < self._steps[step][1]:
                self._open[number] = sock, step, got
                return
            if step < len(self._steps) - 1 and not is_fine(step, got):
                raise ConnectionError("refused")
        step += 1
        if step < len(self._steps):
            sock.send(self._steps[step][0])
            self._open[number] = sock, step, b""
        else:
            self._epoll.unregister(number)
            del self._open[number]
            self.done.append(sock)


def opens_many(way: Way, seconds: float) -> Answer:
    """50 workers, each opening and closing; how many a second, once pools have grown."""
    with closing(Many(way)) as many:
        _open_and_close(many, WARM_UP)
        begin = time.perf_counter()
        count = _open_and_close(many, seconds)
        return {"per_second": count / (time.perf_counter() - begin), "failed": many.failed}


def _open_and_close(many: Many, seconds: float) -> int:
    count = 0
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        for _ in range(WORKERS - many.opening):
            many.start()
        many.turn(end - now)
        if many.failed > WORKERS:
            raise ConnectionError(f"{many.failed} connections failed")
        for sock in many.done:
            sock.close()
            count += 1
        many.done.clear()
    return count


def burst(way: Way, count: float) -> Answer:
    """`count` connections at once, kept open until a line comes on stdin.

    A first JSON line is printed when all have been answered.
    """
    many = Many(way)
    begin = time.perf_counter()
    for _ in range(int(count)):
        many.start()
    while many.opening and time.perf_counter() < begin + GIVE_UP:
        many.turn(0.1)
    answer = {
        "seconds": time.perf_counter() - begin,
        "failed": count - len(many.done),
    }
    print(json.dumps(answer), flush=True)
    sys.stdin.readline()
    return answer


def stopped(way: Way, seconds: float) -> Answer:
    """Downloads whose readers read nothing for a while, then everything for `seconds`.

    A JSON line is printed when they have filled what there is to fill, and stdin's line
    awaited before they go on.
    """
    socks = [connected(way) for _ in range(STOPPED)]
    for sock in socks:
        sock.sendall(b"D" + bytes(AHEAD))
    time.sleep(FILLS_WITHIN)
    print(json.dumps({"streams": STOPPED}), flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=pull, args=(sock, seconds)) for sock in socks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"streams": STOPPED}
