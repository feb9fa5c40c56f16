"""The policy that a share begins with."""

from __future__ import annotations

import json

from tunnel.identity import Role
from vshare.exposure import Report
from vshare.listening import Listener, Listening
from vshare.look import Found
from vshare.machine import LOOPBACK, Machine, Source, SshAccess
from vshare.options import Options, SshOptions
from vshare.rules import make_policy
from vshare.weaknesses.danger import Danger
from vshare.web.sites import Site, Sites

SITES = Sites(http=Site("", 80))


def found(*listeners: Listener, unknown: str = "", address: str | None = "192.0.2.7") -> Found:
    machine = Machine(
        name="Web",
        provider="x",
        state="running",
        address=address,
        source=Source.VAGRANT,
        ssh=SshAccess(address or "127.0.0.1", 2200),
    )
    return Found(machine, Report(Listening(listeners, unknown)), SITES)


def is_open(options: Options, what: Found, port: int, *, only_loopback: bool = False) -> bool:
    policy = make_policy(options, what, only_loopback=only_loopback)
    return policy.is_open("tcp", port, loopback_only=False)


SSHD = Listener("tcp", 2022, "0.0.0.0", "sshd")
REDIS = Listener("tcp", 6379, "127.0.0.1", "redis-server")
WEB = Listener("tcp", 8080, "::", "nginx")


def test_ssh_is_closed_wherever_it_was_found() -> None:
    for port, expected in ((22, False), (2022, False), (2200, False), (8080, True)):
        assert is_open(Options(), found(SSHD, WEB), port) is expected


def test_a_forwarded_ssh_port_is_not_one_of_the_machine() -> None:
    """VirtualBox: the port is this host's, and the machine's own 2200 is something else."""
    assert is_open(Options(), found(WEB, address=None), 2200, only_loopback=True)


def test_the_loopback_of_a_machine_that_is_reached_there() -> None:
    what = found(REDIS, WEB, address=None)
    assert not is_open(Options(), what, 6379, only_loopback=True)
    assert is_open(Options(), what, 8080, only_loopback=True)
    assert is_open(Options(loopback=(6379,)), what, 6379, only_loopback=True)
    policy = make_policy(Options(loopback=(6379,)), what, only_loopback=True)
    assert policy.decide(Role.GUEST, "tcp", "localhost", 6379).host == LOOPBACK


def test_what_is_not_known_is_closed_where_everything_is_loopback() -> None:
    what = found(unknown="no ss", address=None)
    assert not is_open(Options(), what, 6379, only_loopback=True)
    assert is_open(Options(), what, 80, only_loopback=True)  # found to speak HTTP
    assert is_open(Options(ports=(6379,)), what, 6379, only_loopback=True)
    assert is_open(Options(), found(unknown="no ss"), 6379)  # there loopbacks are out of reach


def test_names_of_the_machine() -> None:
    policy = make_policy(Options(), found(address="2001:DB8::7"), only_loopback=False)
    for host in ("", "web", "WEB", "2001:db8::7"):
        assert policy.decide(Role.GUEST, "tcp", host, 80).port == 80
    json.dumps(policy.rights(Role.GUEST))


def test_what_is_dangerous_is_fenced_until_it_is_confirmed() -> None:
    what = found(WEB)
    danger = Danger("tcp", 6379, "Redis without a password", "anybody can read it", "set one")
    what = Found(what.machine, Report(what.listening, (danger,)), SITES)
    assert not is_open(Options(), what, 6379)
    assert not is_open(Options(ports=(6379,)), what, 6379)  # to name it is not to confirm it
    assert is_open(Options(unfence=(6379,)), what, 6379)
    fenced = make_policy(Options(), what, only_loopback=False).fenced
    assert fenced == {6379: "Redis without a password"}


def test_with_ssh_its_port_is_for_those_who_have_the_key() -> None:
    policy = make_policy(Options(ssh=SshOptions(port=2022)), found(WEB), only_loopback=False)
    assert policy.decide(Role.GUEST, "tcp", "", 2022, has_ssh_key=True).is_ssh
    assert not policy.is_open("tcp", 2022, loopback_only=False)
