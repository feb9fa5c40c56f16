"""TCP: a SYN is held until the share has answered, so that a closed port is closed here too."""

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from . import netlink, ruleset, wire
from .loop import IN, Loop
from .netlink import Held
from .parking import Parked, Parking, keep_alive
from .splice import Joint, PipePool, reset
from .wire import Header

# For a parked connection. A SYN that is dropped comes again after up to as long, so holding it is
# quicker; a vconnect that has gone leaves none.
WAIT_SECONDS = 10.0
ASK_SECONDS = 60.0  # a share's own dialler gives up long before
CLAIM_SECONDS = 10.0  # between the verdict and the client's ACK, for which SYN-ACK comes again
MAX_ASKS = 512  # twice what vconnect lets be taken at once


class Verdicts(Protocol):
    """What is needed of a PacketQueue to answer."""

    def verdict(self, number: int, verdict: int, mark: int) -> None:
        """Let a held packet go, or drop it."""


class _Ask:
    """A held SYN, and the parked connection that asks for it (None while it waits for one)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.parked: Parked | None = None
        self.deadline = time.monotonic() + WAIT_SECONDS


class Syns:
    """Asks for each held SYN, gives the verdict, joins the accepted connection."""

    def __init__(self, loop: Loop, queue: Verdicts, parking: Parking) -> None:
        self._loop = loop
        self._queue = queue
        self._parking = parking
        self._pipes = PipePool()
        self._asks: dict[Header, _Ask] = {}
        self._waiting: deque[Header] = deque()
        self._claims: dict[Header, tuple[Parked, float]] = {}
        self._listener: socket.socket | None = None
        self.joints: set[Joint] = set()
        parking.on_parked = self._serve_waiting
        loop.every_tick(self.tick)

    def on_syn(self, held: Held) -> None:
        """A SYN arrived, for the first time or again."""
        header = held.header
        if header in self._claims:  # our SYN-ACK was lost
            self._queue.verdict(held.number, netlink.ACCEPT, ruleset.MARK_OPEN)
        elif header in self._asks or len(self._asks) >= MAX_ASKS:
            self._queue.verdict(held.number, netlink.DROP, 0)
        else:
            self._asks[header] = _Ask(held.number)
            self._waiting.append(header)
            self._serve_waiting()

    def accept_from(self, listener: socket.socket) -> None:
        """`listener`, which does not block, is where tproxy sends; the caller closes it."""
        self._listener = listener
        self._loop.add(listener.fileno(), self._accept_all, IN)

    def _accept_all(self, _events: int) -> None:
        """After an outage hundreds come at once, and each turn of the loop has much else to do."""
        while self._listener is not None:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return  # no more, or none for now; the loop says when
            sock.setblocking(False)
            self.on_accepted(sock, peer)

    def on_accepted(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """tproxy gave us a connection; `sock` is non-blocking and not in the loop yet."""
        header = Header.of(wire.TCP, sock.getsockname(), peer)
        claim = self._claims.pop(header, None)
        if claim is None:  # nobody asked for it, or it took too long
            reset(sock)
            return
        keep_alive(sock)
        self._loop.add(sock.fileno(), lambda _events: None)
        self.joints.add(Joint(self._loop, self._pipes, (sock, claim[0].sock), self.joints.discard))

    def close(self) -> None:
        """Reset every connection, of clients and vconnect's."""
        asking = [ask.parked for ask in self._asks.values()]
        for parked in (*asking, *(claim[0] for claim in self._claims.values())):
            if parked is not None:
                parked.close()
        for joint in list(self.joints):
            joint.reset()
        self._pipes.close()

    def _serve_waiting(self) -> None:
        while self._waiting:
            ask = self._asks.get(self._waiting[0])
            if ask is not None:
                parked = self._parking.take()
                if parked is None:
                    return
                ask.parked = parked
                ask.deadline = time.monotonic() + ASK_SECONDS
                parked.ask(self._waiting[0], self._answer_for(self._waiting[0]))
            self._waiting.popleft()

    def _answer_for(self, header: Header) -> Callable[[int], None]:
        return lambda code: self._on_answer(header, code)

    def _on_answer(self, header: Header, code: int) -> None:
        ask = self._asks.pop(header)
        if ask.parked is None:
            return
        if code == wire.OPENED:
            self._claims[header] = ask.parked, time.monotonic() + CLAIM_SECONDS
        else:
            ask.parked.close()
        self._queue.verdict(ask.number, *_verdict_for(code))

    def tick(self, now: float) -> None:
        """What is due by `now` is given up."""
        self._accept_all(IN)  # who has sent the ACK in time is not too late because we are
        for header, ask in list(self._asks.items()):
            if ask.deadline < now:
                del self._asks[header]
                if ask.parked is not None:
                    ask.parked.close()
                self._queue.verdict(ask.number, netlink.DROP, 0)
        for header, (parked, deadline) in list(self._claims.items()):
            if deadline < now:
                del self._claims[header]
                parked.close()
        self._serve_waiting()


def _verdict_for(code: int) -> tuple[int, int]:
    if code == wire.OPENED:
        return netlink.ACCEPT, ruleset.MARK_OPEN
    if code == wire.CODE_REFUSED:
        return netlink.ACCEPT, ruleset.MARK_RESET
    if code in (wire.CODE_TIMED_OUT, wire.CODE_LOST):  # the client tries again by itself
        return netlink.DROP, 0
    return netlink.ACCEPT, ruleset.MARK_UNREACHABLE
