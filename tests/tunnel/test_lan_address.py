from __future__ import annotations

import socket

import pytest

from tunnel import lan_address
from tunnel.errors import VshareError


def test_ipv4_then_ipv6_then_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for elsewhere, expected in [
        ([(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], "127.0.0.1"),
        ([(socket.AF_INET, "255.255.255.255"), (socket.AF_INET6, "::1")], "::1"),
    ]:
        monkeypatch.setattr(lan_address, "_ELSEWHERE", elsewhere)
        assert lan_address.lan_address("a test") == expected
    monkeypatch.setattr(lan_address, "_ELSEWHERE", [(socket.AF_INET, "255.255.255.255")])
    with pytest.raises(VshareError, match="a test: this host has no address on any network"):
        lan_address.lan_address("a test")
