"""The agent's parts on the loopback, in a thread; only nft and the packet queue are missing.

A test plays the kernel: it says which SYN is held, sees the verdict, and hands the
accepted connection over, as tproxy would.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from connect_vm.agent import wire
from connect_vm.agent.loop import Loop
from connect_vm.agent.netlink import Held
from connect_vm.agent.parking import Parking
from connect_vm.agent.syns import Syns
from connect_vm.agent.wire import Header

SECRET = bytes(range(32))
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0


class Agent:
    """What a test touches of the agent; calls are made in the agent's thread."""

    def __init__(self) -> None:
        self.verdicts: queue.Queue[tuple[int, int, int]] = queue.Queue()
        self.datagram_links: queue.Queue[socket.socket] = queue.Queue()
        self.parked = threading.Semaphore(0)
        self.loop = Loop()
        self.parking = Parking(self.loop, (LOOPBACK, 0), SECRET)
        self.syns = Syns(self.loop, self, self.parking)
        self.parking.on_datagrams = self._on_datagrams
        serve = self.parking.on_parked

        def on_parked() -> None:
            serve()
            self.parked.release()

        self.parking.on_parked = on_parked
        self.resources = ExitStack()
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self.loop.add(self._wake.fileno(), self._on_wake)

    def verdict(self, number: int, verdict: int, mark: int) -> None:
        self.verdicts.put((number, verdict, mark))

    def call(self, function: Callable[[], None]) -> None:
        self._calls.put(function)
        self._waker.send(b"x")

    def hold(self, number: int, header: Header) -> None:
        self.call(lambda: self.syns.on_syn(Held(number, header)))

    def next_verdict(self) -> tuple[int, int, int]:
        return self.verdicts.get(timeout=PATIENCE)

    def close(self) -> None:
        self.call(lambda: setattr(self.loop, "running", False))

    def release(self) -> None:
        """After the loop has ended."""
        self.parking.close()
        self.syns.close()
        self.loop.close()
        self._wake.close()
        self._waker.close()
        while not self.datagram_links.empty():
            self.datagram_links.get().close()

    def _on_datagrams(self, sock: socket.socket) -> None:
        self.loop.remove(sock.fileno())
        self.datagram_links.put(sock)

    def _on_wake(self, _events: int) -> None:
        try:
            self._wake.recv(4096)
        except BlockingIOError:
            pass
        while not self._calls.empty():
            self._calls.get()()


@contextmanager
def agent() -> Iterator[Agent]:
    one = Agent()
    thread = threading.Thread(target=one.loop.run)
    thread.start()
    try:
        with one.resources:
            yield one
    finally:
        one.close()
        thread.join(PATIENCE)
        one.release()


def prove(sock: socket.socket, kind: bytes, secret: bytes = SECRET) -> bytes:
    """vconnect's side of the challenge, by hand; the agent's message 3, or nothing."""
    nonce_a = sock.recv(wire.NONCE_SIZE, socket.MSG_WAITALL)
    sock.sendall(wire.answer(secret, nonce_a, b"v" * 32, kind))
    try:
        return sock.recv(wire.MAC_SIZE, socket.MSG_WAITALL)
    except ConnectionResetError:
        return b""


class Client:
    """A client of the static IP whose SYN the test can announce before its connection is made."""

    def __init__(self, one: Agent) -> None:
        self.listener = one.resources.enter_context(socket.create_server((LOOPBACK, 0)))
        self.sock = one.resources.enter_context(socket.socket())
        self.sock.bind((LOOPBACK, 0))
        self.sock.settimeout(PATIENCE)

    @property
    def header(self) -> Header:
        """As the agent will see it; the listener's port stands for the static IP's."""
        return Header.of(wire.TCP, self.listener.getsockname(), self.sock.getsockname())

    def connect(self) -> socket.socket:
        """What it has connected to: a listener that does not block, with one connection."""
        self.sock.connect(self.listener.getsockname())
        self.listener.setblocking(False)
        return self.listener

    def accepted(self, one: Agent) -> None:
        """Connect, and hand the connection to the agent as its tproxy listener does."""
        self.sock.connect(self.listener.getsockname())
        sock, peer = self.listener.accept()
        self.listener.close()
        sock.setblocking(False)
        one.call(lambda: one.syns.on_accepted(sock, peer))
