"""The control port: vconnect proves the secret and parks connections (docs/protocol.md 10)."""

import os
import socket
import time
from collections import deque
from collections.abc import Callable

from . import wire
from .loop import Loop
from .splice import reset

HANDSHAKE_SECONDS = 5.0  # docs/protocol.md 10
MAX_HANDSHAKES = 64  # strangers on the host-only network cannot fill our descriptors
MAX_PARKED = 256
BACKLOG = 256
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 60, 10, 3  # a vconnect that was killed -9

Answer = Callable[[int], None]


def keep_alive(sock: socket.socket) -> None:
    """Find out about a peer that is gone without a word (tcp(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Parked:
    """One proven connection that waits for a header, then for its one-byte answer."""

    def __init__(self, loop: Loop, sock: socket.socket, lost: Callable[["Parked"], None]) -> None:
        self.sock = sock
        self._loop = loop
        self._lost = lost
        self._answer: Answer | None = None
        self._answered = False
        loop.replace(sock.fileno(), self._on_event)

    def ask(self, header: wire.Header, answer: Answer) -> None:
        """Send the header; `answer(code)` follows, with CODE_LOST when nobody answers."""
        self._answer = answer
        try:
            self.sock.send(header.encode())  # 14 bytes into an empty buffer: never partial
        except OSError:
            self._loop.again(lambda: self._on_answer(wire.CODE_LOST))

    def _on_event(self, _events: int) -> None:
        if self._answered:  # what comes now is the stream's: a greeting before the client's ACK
            return
        try:
            data = self.sock.recv(1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._answer is None:  # nothing may come before a header went out
            self.close()
            self._lost(self)
        else:
            self._on_answer(data[0] if data else wire.CODE_LOST)

    def _on_answer(self, code: int) -> None:
        self._answered = True
        answer, self._answer = self._answer, None
        if answer:
            answer(code)

    def close(self) -> None:
        """Give the connection up. Idempotent."""
        if self.sock.fileno() >= 0:
            self._answer = None
            self._loop.remove(self.sock.fileno())
            reset(self.sock)


class _Handshake:
    """A connection that has not proven anything yet."""

    def __init__(self, parking: "Parking", loop: Loop, sock: socket.socket, secret: bytes) -> None:
        self.deadline = time.monotonic() + HANDSHAKE_SECONDS
        self._parking = parking
        self._loop = loop
        self._sock = sock
        self._secret = secret
        self._received = b""
        self._nonce = os.urandom(wire.NONCE_SIZE)
        loop.add(sock.fileno(), self._on_event)
        try:
            sock.send(self._nonce)
        except OSError:
            pass  # reset by the visitor already, which is the next that we hear

    def _on_event(self, _events: int) -> None:
        try:
            data = self._sock.recv(wire.ANSWER_SIZE - len(self._received))
            self._received += data
            if not data:
                self.fail()
            elif len(self._received) == wire.ANSWER_SIZE:
                self._check()
        except BlockingIOError:
            return
        except OSError:
            self.fail()

    def _check(self) -> None:
        proven = wire.check_answer(self._secret, self._nonce, self._received)
        if proven is None:
            self.fail()
            return
        kind, ours = proven
        self._sock.send(ours)
        self._parking.proven(self, self._sock, kind)

    def fail(self) -> None:
        """Hang up."""
        self._loop.remove(self._sock.fileno())
        reset(self._sock)
        self._parking.failed(self)


class Parking:
    """Listens on the control address; keeps what is parked, hands over the datagram link."""

    def __init__(self, loop: Loop, address: tuple[str, int], secret: bytes) -> None:
        self._loop = loop
        self._secret = secret
        self._handshakes: set[_Handshake] = set()
        self._parked: deque[Parked] = deque()
        self.on_parked: Callable[[], None] = lambda: None
        self.on_datagrams: Callable[[socket.socket], None] = reset
        self._listener = socket.create_server(address, backlog=BACKLOG)
        self._listener.setblocking(False)
        self.address = self._listener.getsockname()
        loop.add(self._listener.fileno(), self._on_visitors)
        loop.every_tick(self._tick)

    def take(self) -> Parked | None:
        """The connection that is parked longest, or None."""
        return self._parked.popleft() if self._parked else None

    def proven(self, handshake: _Handshake, sock: socket.socket, kind: bytes) -> None:
        """The secret was proven: what `kind` says begins."""
        self._handshakes.discard(handshake)
        keep_alive(sock)
        if kind == wire.DATAGRAMS:
            self.on_datagrams(sock)
        elif len(self._parked) < MAX_PARKED:
            self._parked.append(Parked(self._loop, sock, self._parked.remove))
            self.on_parked()
        else:
            self._loop.remove(sock.fileno())
            reset(sock)

    def failed(self, handshake: _Handshake) -> None:
        """It hung up, was too slow, or does not know the secret."""
        self._handshakes.discard(handshake)

    def close(self) -> None:
        """Hang up on everybody and listen no more."""
        for handshake in list(self._handshakes):
            handshake.fail()
        while parked := self.take():
            parked.close()
        self._loop.remove(self._listener.fileno())
        self._listener.close()

    def _on_visitors(self, _events: int) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                return  # no descriptors, or gone before we looked; the next one wakes us
            sock.setblocking(False)
            if len(self._handshakes) >= MAX_HANDSHAKES:
                reset(sock)
            else:
                self._handshakes.add(_Handshake(self, self._loop, sock, self._secret))

    def _tick(self, now: float) -> None:
        for handshake in [one for one in self._handshakes if one.deadline < now]:
            handshake.fail()
