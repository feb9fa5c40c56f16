from __future__ import annotations

import socket

import pytest

from relay.listening import listen
from tunnel.errors import VshareError


def test_the_unspecified_ipv6_address_serves_both_families() -> None:
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 1).close()
    with listen("::1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 1)


def test_a_host_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    with pytest.raises(VshareError, match="cannot listen on :::0: dualstack"):
        listen("::", 0)
