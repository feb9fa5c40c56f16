from __future__ import annotations

import math
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from connect_vm.agent import netlink, ruleset, syns, wire
from connect_vm.agent.syns import MAX_ASKS
from connect_vm.agent.wire import Header
from tests.connect_vm.agent_harness import LOOPBACK, PATIENCE, Agent, Client, agent, prove


@pytest.fixture
def one() -> Iterator[Agent]:
    with agent() as running:
        yield running


def park(one: Agent) -> socket.socket:
    sock = one.resources.enter_context(socket.create_connection(one.parking.address, PATIENCE))
    assert len(prove(sock, wire.PARKED)) == wire.MAC_SIZE
    assert one.parked.acquire(timeout=PATIENCE)
    return sock


def header_of(number: int) -> Header:
    return Header.of(wire.TCP, ("192.0.2.2", 80), ("192.0.2.1", number))


def asked(sock: socket.socket) -> Header:
    return wire.decode_header(sock.recv(wire.HEADER_SIZE, socket.MSG_WAITALL))


def joined(one: Agent, greeting: bytes = b"") -> tuple[Client, socket.socket]:
    far, client = park(one), Client(one)
    one.hold(1, client.header)
    assert asked(far) == client.header
    far.sendall(b"\0" + greeting)
    assert one.next_verdict() == (1, netlink.ACCEPT, ruleset.MARK_OPEN)
    client.accepted(one)
    return client, far


def test_a_stranger_who_resets_at_once_ends_nothing(one: Agent) -> None:
    strangers = threading.Event()

    def come_and_go() -> None:  # in the agent's thread: before it can accept
        for _ in range(3):
            stranger = socket.create_connection(one.parking.address)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stranger.close()
        strangers.set()

    one.call(come_and_go)
    assert strangers.wait(PATIENCE)
    with park(one):
        pass


def test_a_wrong_secret_is_hung_up_on(one: Agent) -> None:
    with socket.create_connection(one.parking.address, PATIENCE) as sock:
        assert prove(sock, wire.PARKED, b"x" * 32) == b""


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (2, (7, netlink.ACCEPT, ruleset.MARK_RESET)),
        (4, (7, netlink.ACCEPT, ruleset.MARK_UNREACHABLE)),
        (5, (7, netlink.DROP, 0)),
        (7, (7, netlink.ACCEPT, ruleset.MARK_UNREACHABLE)),
        (15, (7, netlink.DROP, 0)),
    ],
)
def test_what_the_share_says_becomes_the_verdict(
    one: Agent, code: int, verdict: tuple[int, int, int]
) -> None:
    with park(one) as sock:
        one.hold(7, header_of(1))
        assert asked(sock) == header_of(1)
        sock.sendall(bytes([code]))
        assert one.next_verdict() == verdict
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_parked_connection_that_hangs_up_drops_the_syn(one: Agent) -> None:
    sock = park(one)
    one.hold(7, header_of(1))
    asked(sock)
    sock.close()
    assert one.next_verdict() == (7, netlink.DROP, 0)


def test_a_syn_that_came_again_is_asked_for_once(one: Agent) -> None:
    with park(one) as first, park(one):
        one.hold(1, header_of(1))
        one.hold(2, header_of(1))
        assert one.next_verdict() == (2, netlink.DROP, 0)
        asked(first)
        first.sendall(b"\0")
        assert one.next_verdict() == (1, netlink.ACCEPT, ruleset.MARK_OPEN)
        one.hold(3, header_of(1))  # the SYN-ACK was lost
        assert one.next_verdict() == (3, netlink.ACCEPT, ruleset.MARK_OPEN)


def test_a_syn_waits_for_a_parked_connection_and_then_no_longer(
    one: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.hold(1, header_of(1))
    with park(one) as sock:
        assert asked(sock) == header_of(1)
        monkeypatch.setattr(syns, "WAIT_SECONDS", 0.0)  # the next tick drops it
        one.hold(2, header_of(2))
        assert one.next_verdict() == (2, netlink.DROP, 0)


def test_pending_asks_are_capped(one: Agent) -> None:
    for number in range(MAX_ASKS):
        one.hold(number, header_of(number))
    one.hold(9999, header_of(40_000))
    assert one.next_verdict() == (9999, netlink.DROP, 0)


def test_bytes_and_half_close_cross(one: Agent) -> None:
    client, far = joined(one)
    payload = bytes(range(256)) * 20_000  # far beyond one pipe
    client.sock.sendall(b"question")
    client.sock.shutdown(socket.SHUT_WR)
    with far.makefile("rb") as asked_for:
        assert asked_for.read() == b"question"

    def send() -> None:
        far.sendall(payload)
        far.close()

    sender = threading.Thread(target=send)
    sender.start()
    with client.sock.makefile("rb") as answer:
        assert answer.read() == payload
    sender.join(PATIENCE)


def test_a_greeting_before_the_clients_ack_is_not_lost(one: Agent) -> None:
    client, far = joined(one, b"220 hello")
    assert client.sock.recv(100) == b"220 hello"
    far.sendall(b" again")
    assert client.sock.recv(100) == b" again"


@pytest.mark.parametrize("size", [1, 15, 16, 3_000_000])
def test_an_end_that_was_there_before_the_two_were_joined(one: Agent, size: int) -> None:
    client, far = park(one), Client(one)
    one.hold(1, far.header)
    asked(client)
    client.sendall(b"\0")
    assert one.next_verdict() == (1, netlink.ACCEPT, ruleset.MARK_OPEN)

    def send() -> None:
        client.sendall(b"x" * size)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    if size < 1000:
        sender.join(PATIENCE)
    far.accepted(one)
    with far.sock.makefile("rb") as received:
        assert received.read() == b"x" * size
    sender.join(PATIENCE)


def test_small_messages_one_after_another_both_ways(one: Agent) -> None:
    client, far = joined(one)
    for sock in (client.sock, far):  # else it is the test that waits for ACKs
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for turn in range(200):
        for there, back in ((client.sock, far), (far, client.sock)):
            there.sendall(b"x" * (1 + turn % 40))
            there.sendall(b"yz")
            got = b""
            while not got.endswith(b"yz"):
                got += back.recv(100)


@pytest.mark.parametrize("side", ["client", "far"])
def test_a_reset_crosses_as_a_reset(one: Agent, side: str) -> None:
    client, far = joined(one)
    near, other = (client.sock, far) if side == "client" else (far, client.sock)
    other.sendall(b"x")
    assert near.recv(1) == b"x"
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_an_accepted_connection_that_nobody_asked_for_is_reset(one: Agent) -> None:
    client = Client(one)
    client.accepted(one)
    with pytest.raises(ConnectionResetError):
        client.sock.recv(1)


def test_one_that_connected_in_time_is_not_late_because_the_agent_is(one: Agent) -> None:
    far, client = park(one), Client(one)
    one.hold(1, client.header)
    asked(far)
    far.sendall(b"\0")
    one.next_verdict()
    listener = client.connect()

    def all_that_is_due() -> None:
        one.syns.accept_from(listener)
        one.syns.tick(math.inf)

    one.call(all_that_is_due)
    far.sendall(b"hello")
    assert client.sock.recv(100) == b"hello"


def test_strangers_do_not_fill_the_agent(one: Agent) -> None:
    strangers = [socket.create_connection((LOOPBACK, one.parking.address[1])) for _ in range(70)]
    nonces = 0
    for sock in strangers:
        sock.settimeout(PATIENCE)
        try:
            nonces += len(sock.recv(32)) == 32
        except ConnectionResetError:
            continue
    assert nonces == 64
    for sock in strangers:
        sock.close()
