from __future__ import annotations

import pytest

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Role
from vshare.machine import LOOPBACK
from vshare.policy import MACHINE, Policy, Target

NAME, ADDRESS, ADDRESS6 = "frosty-weasel-0857", "192.0.2.7", "2001:db8::7"
NAMES = frozenset({NAME, "web", ADDRESS, ADDRESS6})
POLICY = Policy(
    names=NAMES,
    loopback_ports=frozenset({5432}),
    ssh_ports=frozenset({22, 2222}),
    http_ports=frozenset({80, 443}),
)
PROTOCOLS = ("tcp", "udp")


def refused(policy: Policy, role: Role, protocol: str, host: str, port: int) -> str:
    with pytest.raises(RefusedError) as caught:
        policy.decide(role, protocol, host, port)
    assert caught.value.code is Code.NOT_ALLOWED
    return caught.value.text


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("host", ["", NAME, NAME.upper(), "web", "WEB.", ADDRESS, ADDRESS6])
def test_the_machine_by_all_its_names(protocol: str, host: str) -> None:
    """Whatever name was used, what is dialled is the machine: no name is ever resolved."""
    assert POLICY.decide(Role.GUEST, protocol, host, 80) == Target(MACHINE, 80)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "::",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.7",
        "3221225991",  # ADDRESS as one number
        "192.0.2.07",
        "192.0.2.7:80",
        "192.0.2.7%eth0",
        "192.0.2.8",
        "localhost",
        "localhost.",
        "169.254.169.254",
        "example.org",
        ".",
        "..",
        " ",
        "\x00",
        f"{NAME}\x00",
        f" {NAME}",
        "web.example.org",
        "\N{FULLWIDTH LATIN SMALL LETTER W}eb",
    ],
)
def test_nothing_but_the_machine(protocol: str, host: str) -> None:
    text = refused(POLICY, Role.GUEST, protocol, host, 80)
    assert "only the shared machine" in text
    refused(POLICY, Role.GATEWAY, protocol, host, 80)


@pytest.mark.parametrize("port", [-1, 0, 65_536, 2**40])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_such_port(protocol: str, port: int) -> None:
    assert str(port) in refused(POLICY, Role.GUEST, protocol, "", port)


@pytest.mark.parametrize("port", [22, 2222])
def test_ssh_is_refused_wherever_it_listens(port: int) -> None:
    assert "SSH" in refused(POLICY, Role.GUEST, "tcp", "", port)
    assert "SSH" in refused(POLICY, Role.GUEST, "tcp", NAME, port)
    assert POLICY.decide(Role.GUEST, "udp", "", port).port == port  # SSH is TCP (RFC 4253)


def test_ssh_stays_refused_whatever_else_is_named() -> None:
    policy = Policy(
        names=NAMES,
        only_ports=frozenset({22, 2222}),
        loopback_ports=frozenset({22, 2222}),
        http_ports=frozenset({22, 2222}),
        ssh_ports=frozenset({22, 2222}),
    )
    for port in (22, 2222):
        for role in (Role.GUEST, Role.GATEWAY):
            assert "SSH" in refused(policy, role, "tcp", "", port)


@pytest.mark.parametrize("port", [1, 21, 23, 79, 81, 442, 444, 5432, 65_535])
def test_the_gateway_opens_the_http_ports_alone(port: int) -> None:
    assert POLICY.decide(Role.GATEWAY, "tcp", "", 80) == Target(MACHINE, 80)
    assert POLICY.decide(Role.GATEWAY, "tcp", "", 443) == Target(MACHINE, 443)
    refused(POLICY, Role.GATEWAY, "tcp", "", port)
    refused(POLICY, Role.GATEWAY, "udp", "", port)
    refused(POLICY, Role.GATEWAY, "udp", "", 80)


def test_no_http_gives_the_gateway_nothing() -> None:
    policy = Policy(names=NAMES)
    refused(policy, Role.GATEWAY, "tcp", "", 80)
    assert policy.rights(Role.GATEWAY) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_named_loopback_port_goes_to_the_loopback(protocol: str) -> None:
    assert POLICY.decide(Role.GUEST, protocol, "", 5432) == Target(LOOPBACK, 5432)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_hidden_port_is_refused_and_its_option_named(protocol: str) -> None:
    policy = Policy(names=NAMES, hidden_ports=frozenset({6379}))
    assert "--loopback 6379" in refused(policy, Role.GUEST, protocol, "", 6379)
    named = Policy(names=NAMES, hidden_ports=frozenset({6379}), loopback_ports=frozenset({6379}))
    assert named.decide(Role.GUEST, protocol, "", 6379) == Target(LOOPBACK, 6379)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_these_ports(protocol: str) -> None:
    policy = Policy(names=NAMES, only_ports=frozenset({7}), loopback_ports=frozenset({5432}))
    assert policy.decide(Role.GUEST, protocol, "", 7) == Target(MACHINE, 7)
    assert policy.decide(Role.GUEST, protocol, "", 5432) == Target(LOOPBACK, 5432)
    text = refused(policy, Role.GUEST, protocol, "", 8)
    assert "5432" in text
    assert "7" in text


def test_guests_reach_the_http_port_beside_only_these() -> None:
    """It is public by the URL anyway; without it a guest could see less than a stranger."""
    policy = Policy(names=NAMES, only_ports=frozenset({7}), http_ports=frozenset({80}))
    assert policy.decide(Role.GUEST, "tcp", "", 80) == Target(MACHINE, 80)
    refused(policy, Role.GUEST, "udp", "", 80)
    assert policy.rights(Role.GUEST) == ["7", "tcp/80"]
    assert policy.describe() == "ports 7, 80"


@pytest.mark.parametrize("port", range(1, 100))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_rights_in_hello_say_what_decide_does(protocol: str, port: int) -> None:
    policy = Policy(names=NAMES, only_ports=frozenset({7, 22}), http_ports=frozenset({80}))
    rights = policy.rights(Role.GUEST)
    said = str(port) in rights or f"{protocol}/{port}" in rights
    said = said and f"!{protocol}/{port}" not in rights
    assert policy.is_open(protocol, port, loopback_only=False) == said


def test_rights_in_words() -> None:
    assert POLICY.describe() == "every port except SSH"
    assert POLICY.rights(Role.GUEST) == ["*", "!tcp/22", "!tcp/2222"]
    assert POLICY.rights(Role.GATEWAY) == ["tcp/80", "tcp/443"]


def test_is_open() -> None:
    assert POLICY.is_open("tcp", 80, loopback_only=False)
    assert POLICY.is_open("tcp", 5432, loopback_only=True)
    assert not POLICY.is_open("tcp", 6379, loopback_only=True)
    assert not POLICY.is_open("tcp", 22, loopback_only=False)
