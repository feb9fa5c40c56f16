from __future__ import annotations

import asyncio

import pytest

from tunnel.errors import UsageError
from vshare.find_target import find
from vshare.machine import Source, is_loopback, known_hosts_file


@pytest.mark.parametrize("address", ["192.0.2.7", "db.example", "2001:db8::1"])
def test_an_address(address: str) -> None:
    machine = asyncio.run(find(address))
    assert (machine.address, machine.source, machine.ssh) == (address, Source.TARGET, None)


def test_brackets_are_forgiven() -> None:
    assert asyncio.run(find("[2001:db8::1]")).address == "2001:db8::1"


@pytest.mark.parametrize(
    ("target", "host", "port", "user"),
    [
        ("ssh://box.example", "box.example", 22, None),
        ("ssh://ann@box.example:2222/", "box.example", 2222, "ann"),
        ("ssh://ann@[2001:db8::1]:2222", "2001:db8::1", 2222, "ann"),
    ],
)
def test_only_ssh(target: str, host: str, port: int, user: str | None) -> None:
    machine = asyncio.run(find(target))
    assert machine.address is None
    assert machine.ssh is not None
    assert (machine.ssh.host, machine.ssh.port, machine.ssh.user) == (host, port, user)
    assert machine.ssh.known_hosts == known_hosts_file()


@pytest.mark.parametrize(
    "target",
    [
        "",
        "http://box.example",
        "ssh://",
        "ssh://box.example/path",
        "ssh://box.example:99999",
        "ssh://-oProxyCommand=x",
        "box.example:80",
        "two words",
    ],
)
def test_what_is_not_a_target(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        asyncio.run(find(target))
    assert caught.value.hint


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        asyncio.run(find("ssh://ann:hunter2@box.example"))
    assert "hunter2" not in caught.value.text + caught.value.hint


def test_loopbacks() -> None:
    for host in (
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "localhost",
        "LOCALHOST.",
        "0.0.0.0",
        "a.localhost",
    ):
        assert is_loopback(host)
    for host in ("192.0.2.1", "128.0.0.1", "localhost.example", "::2"):
        assert not is_loopback(host)
