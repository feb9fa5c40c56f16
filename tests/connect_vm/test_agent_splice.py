"""The agent's splice by hand: no event may be needed that does not come."""

from __future__ import annotations

import contextlib
import socket

import pytest

from connect_vm.agent import splice
from connect_vm.agent.loop import Loop
from connect_vm.agent.splice import Joint, PipePool
from tests.tls_pair import tcp_pair


@pytest.mark.parametrize("forth", [True, False])
def test_what_a_turn_leaves_goes_on_without_an_event(
    monkeypatch: pytest.MonkeyPatch, forth: bool
) -> None:
    """The sink was full, its reader takes all at once: one event, and more than a turn to move."""
    monkeypatch.setattr(splice, "TURN", 2)
    monkeypatch.setattr(splice, "PIPE_SIZE", 4096)
    done: list[Joint] = []
    loop, pipes = Loop(), PipePool()
    one, near = tcp_pair()
    other, far = tcp_pair()
    for sock in (near, far):
        loop.add(sock.fileno(), lambda events: None)
    Joint(loop, pipes, (near, far), done.append)
    sender, reader = (one, other) if forth else (other, one)
    sent = 0
    for _ in range(3000):  # until everything between the two is full
        with contextlib.suppress(BlockingIOError):
            sent += sender.send(bytes(65_536))
        loop._turn(0)
    assert sent > 1 << 20
    sender.shutdown(socket.SHUT_WR)
    received, ended = 0, False
    for _ in range(20_000):
        with contextlib.suppress(BlockingIOError):
            while data := reader.recv(1 << 20):
                received += len(data)
            ended = True
            break
        loop._turn(0)
    assert (received, ended) == (sent, True)
    reader.close()
    sender.close()
    for _ in range(100):
        loop._turn(0)
    assert done
    pipes.close()
    loop.close()
