"""The agent's end of the datagram link; the rest of its flows needs tproxy, and so the lab."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from connect_vm.agent import flows, wire
from tests.tls_pair import tcp_pair


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = tcp_pair(16_384)
    with ours, theirs:
        yield ours, theirs


def frames_of(sock: socket.socket, link: flows._Link, last: int) -> list[tuple[int, int, bytes]]:
    """What arrives until a frame of the kind `last`."""
    reader = wire.FrameReader()
    got: list[tuple[int, int, bytes]] = []
    while not got or got[-1][0] != last:
        link.flush()
        with contextlib.suppress(BlockingIOError):
            got += reader.feed(sock.recv(65_536))
    return got


def test_a_link_that_is_full_drops_the_oldest_of_who_floods(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    dropped: list[int] = []
    link = flows._Link(ends[0], dropped.append)
    link.queue(wire.DGRAM, 2, b"quiet")
    for number in range(2000):
        link.queue(wire.DGRAM, 1, number.to_bytes(4, "big") + bytes(1400))
        if number == 500:
            link.queue(wire.FLOW_OPEN, 3, bytes(14))
        if number % 100 == 0:
            link.flush()
    assert link._queue.size <= flows.MAX_QUEUED
    assert len(dropped) > 1000
    assert set(dropped) == {1}
    got: list[tuple[int, int, bytes]] = []
    reader = wire.FrameReader()
    while len(got) + len(dropped) < 2002:
        link.flush()
        with contextlib.suppress(BlockingIOError):
            got += reader.feed(ends[1].recv(65_536))
    numbers = [int.from_bytes(data[:4], "big") for _, flow, data in got if flow == 1]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1999
    assert (wire.DGRAM, 2, b"quiet") in got
    assert (wire.FLOW_OPEN, 3, bytes(14)) in got


def test_control_frames_overtake_datagrams(ends: tuple[socket.socket, socket.socket]) -> None:
    link = flows._Link(ends[0], lambda flow: None)
    link.queue(wire.DGRAM, 1, b"x")
    link.queue(wire.FLOW_CLOSE, 1)
    link.flush()
    assert [kind for kind, _, _ in frames_of(ends[1], link, wire.DGRAM)] == [
        wire.FLOW_CLOSE,
        wire.DGRAM,
    ]


def test_a_vconnect_that_reads_nothing_is_given_up(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    link = flows._Link(ends[0], lambda flow: None)
    while link._controlled <= flows.MAX_CONTROL:
        link.flush()
        link.queue(wire.FLOW_OPEN, 1, bytes(1000))
    with pytest.raises(ConnectionAbortedError):
        link.flush()
