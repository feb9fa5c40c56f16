from __future__ import annotations

import socket

import pytest

from tests.tls_pair import tcp_pair
from tunnel.closing_sockets import ClosingSockets


def fill(sock: socket.socket) -> None:
    """Write until nothing more is taken."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65_536))
    except BlockingIOError:
        pass


def test_a_program_that_closed_behind_what_nobody_reads() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        fill(theirs)
        assert not ClosingSockets().has_closed(ours)
        theirs.close()
        assert ClosingSockets().has_closed(ours)
        ours.close()
        assert not ClosingSockets().has_closed(ours)


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_sockets_of_ipv6(address: str) -> None:
    """Programs use them for IPv4 as well."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    program = socket.socket(socket.AF_INET6)
    with listener, program:
        host = address if ":" in address else f"::ffff:{address}"
        program.connect((host, listener.getsockname()[1]))
        ours, _ = listener.accept()
        with ours:
            fill(program)
            program.close()
            assert ClosingSockets().has_closed(ours)


def test_what_is_no_tcp() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not ClosingSockets().has_closed(ours)
