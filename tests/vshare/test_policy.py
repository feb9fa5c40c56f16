from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Role
from vshare.machine import LOOPBACK
from vshare.neighbours import parse_cidr
from vshare.policy import EVERYTHING, MACHINE, Policy, Rights, Target

NAME, ADDRESS, ADDRESS6 = "frosty-weasel-0857", "192.0.2.7", "2001:db8::7"
NAMES = frozenset({NAME, "web", ADDRESS, ADDRESS6})
POLICY = Policy(
    names=NAMES,
    loopback_ports=frozenset({5432}),
    ssh_ports=frozenset({22, 2222}),
    http_ports=frozenset({80, 443}),
)
PROTOCOLS = ("tcp", "udp")


def refused(
    policy: Policy,
    role: Role,
    protocol: str,
    host: str,
    port: int,
    *,
    rights: Rights = EVERYTHING,
    has_ssh_key: bool = False,
) -> str:
    with pytest.raises(RefusedError) as caught:
        policy.decide(role, protocol, host, port, rights=rights, has_ssh_key=has_ssh_key)
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


# -- neighbours

NETWORKS = (
    parse_cidr("198.51.100.0/24"),
    parse_cidr("2001:db8:1::/64"),
    parse_cidr("192.0.2.0/24"),
)
EXPOSED = replace(POLICY, exposed=NETWORKS, hidden_ports=frozenset({6379}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("64:ff9b::198.51.100.7", "198.51.100.7"),
        ("2002:c633:6407::1", "198.51.100.7"),
        ("2001:DB8:1:0::0007", "2001:db8:1::7"),
    ],
)
def test_a_neighbour_by_its_address(protocol: str, host: str, target: str) -> None:
    """It is the address as it was checked, in one spelling."""
    assert EXPOSED.decide(Role.GUEST, protocol, host, 80) == Target(target, 80)
    assert "only the shared machine" in refused(POLICY, Role.GUEST, protocol, host, 80)


@pytest.mark.parametrize(
    "host", ["db", "db.example.org", "DB.", "127.1", "2130706433", "0177.0.0.1"]
)
def test_a_neighbour_by_its_name_is_still_to_be_looked_up(host: str) -> None:
    assert EXPOSED.decide(Role.GUEST, "tcp", host, 80) == Target(host, 80, needs_lookup=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0",
        "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::80ff:fffe",
        "localhost", "LOCALHOST.", "a.localhost", "198.51.101.7", "2001:db8:2::7",
        "198.51.100.0", "198.51.100.255", "169.254.169.254", "fe80::1", "fe80::1%eth0",
        "2001:db8:1::7%1", "224.0.0.1", "255.255.255.255", "ff02::1", "fd00:ec2::254",
        "[2001:db8:1::7]", "198.51.100.7/32", "198.51.100.7 ", " ", "\x00", "db\x00", ".",
        "a" * 254, "\N{FULLWIDTH DIGIT ONE}98.51.100.7",
    ],
)  # fmt: skip
def test_what_is_no_neighbour(host: str) -> None:
    wide = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    outside = ("198.51.101.7", "2001:db8:2::7", "198.51.100.0", "198.51.100.255")
    for protocol in PROTOCOLS:
        refused(EXPOSED, Role.GUEST, protocol, host, 80)
        if host not in outside:
            refused(replace(POLICY, exposed=wide), Role.GUEST, protocol, host, 80)


def test_what_is_exposed_is_told() -> None:
    text = refused(EXPOSED, Role.GUEST, "tcp", "198.51.101.7", 80)
    assert "198.51.100.0/24, 2001:db8:1::/64 and 192.0.2.0/24" in text
    assert len(refused(EXPOSED, Role.GUEST, "tcp", "a" * 5000, 80)) < 200


@pytest.mark.parametrize("host", ["", NAME, ADDRESS, f"::ffff:{ADDRESS}", f"64:ff9b::{ADDRESS}"])
def test_the_machine_is_no_neighbour_of_its_own(host: str) -> None:
    """It lies in a network that is exposed; its loopback ports are its own all the same."""
    assert EXPOSED.decide(Role.GUEST, "tcp", host, 5432) == Target(LOOPBACK, 5432)
    assert "--loopback 6379" in refused(EXPOSED, Role.GUEST, "tcp", host, 6379)


def test_what_stands_on_the_machines_loopback_says_nothing_about_neighbours() -> None:
    for port in (5432, 6379):
        assert EXPOSED.decide(Role.GUEST, "tcp", "198.51.100.7", port).host == "198.51.100.7"


@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8:1::7", "db", "127.0.0.1"])
def test_the_gateway_has_no_neighbours(host: str) -> None:
    assert "only the shared machine" in refused(EXPOSED, Role.GATEWAY, "tcp", host, 80)


@pytest.mark.parametrize("port", [22, 2222])
@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8:1::7", "db"])
def test_ssh_of_neighbours_is_never_open(host: str, port: int) -> None:
    assert "SSH" in refused(EXPOSED, Role.GUEST, "tcp", host, port, has_ssh_key=True)
    shared = replace(EXPOSED, ssh_shared=True)
    assert "SSH" in refused(shared, Role.GUEST, "tcp", host, port, has_ssh_key=True)
    elsewhere = replace(shared, ssh_ports=frozenset({2222}))  # 22 is SSH's own port everywhere
    assert "SSH" in refused(elsewhere, Role.GUEST, "tcp", host, 22, has_ssh_key=True)


def test_ports_hold_for_neighbours_as_for_the_machine() -> None:
    """One of them may be the machine, by an address that nobody knew of."""
    host = "198.51.100.7"
    only = replace(EXPOSED, only_ports=frozenset({7}), fenced={9200: "Elasticsearch"})
    assert only.decide(Role.GUEST, "tcp", host, 7) == Target(host, 7)
    for port in (8, 80, 443, 5432):  # neither public nor named for the loopback
        assert "not shared" in refused(only, Role.GUEST, "tcp", host, port)
    assert "unfence 9200" in refused(only, Role.GUEST, "tcp", host, 9200)
    assert "not open to you" in refused(EXPOSED, Role.GUEST, "tcp", host, 8, rights=Rights(INVITED))


# -- fences

FENCED = replace(POLICY, fenced={6379: "Redis without a password", 80: "an admin page"})


def test_a_fenced_port_is_refused_and_the_way_out_named() -> None:
    text = refused(FENCED, Role.GUEST, "tcp", "", 6379)
    assert "Redis without a password" in text
    assert "vshare unfence 6379" in text
    assert FENCED.decide(Role.GUEST, "udp", "", 6379) == Target(MACHINE, 6379)
    opened = replace(FENCED, fenced={})
    assert opened.decide(Role.GUEST, "tcp", "", 6379) == Target(MACHINE, 6379)


def test_a_fence_stands_before_everything_that_opens_a_port() -> None:
    policy = replace(
        FENCED, only_ports=frozenset({6379}), loopback_ports=frozenset({6379}), ssh_shared=True,
        ssh_ports=frozenset({6379}), http_ports=frozenset({6379}),
    )  # fmt: skip
    invited = Rights(frozenset({6379}))
    assert "unfence" in refused(
        policy, Role.GUEST, "tcp", "", 6379, rights=invited, has_ssh_key=True
    )
    refused(policy, Role.GATEWAY, "tcp", "", 6379)


def test_a_fence_is_closed_to_the_gateway() -> None:
    assert "unfence 80" in refused(FENCED, Role.GATEWAY, "tcp", "", 80)
    assert FENCED.decide(Role.GATEWAY, "tcp", "", 443) == Target(MACHINE, 443)
    assert FENCED.rights(Role.GATEWAY) == ["tcp/443"]


# -- an invite's rights

INVITED = frozenset({7, 22, 443, 5432})


def test_an_invite_restricts_further() -> None:
    invited = Rights(INVITED)
    assert POLICY.decide(Role.GUEST, "tcp", "", 7, rights=invited) == Target(MACHINE, 7)
    assert POLICY.decide(Role.GUEST, "udp", "", 7, rights=invited) == Target(MACHINE, 7)
    assert POLICY.decide(Role.GUEST, "tcp", "", 443, rights=invited) == Target(MACHINE, 443)
    assert POLICY.decide(Role.GUEST, "tcp", "", 5432, rights=invited) == Target(LOOPBACK, 5432)
    text = refused(POLICY, Role.GUEST, "tcp", "", 8, rights=invited)
    assert "ports 7, 443, 5432" in text
    assert "not open to you" in refused(POLICY, Role.GUEST, "tcp", "", 80, rights=invited)


def test_an_invite_opens_nothing() -> None:
    policy = replace(
        POLICY, only_ports=frozenset({7, 8}), hidden_ports=frozenset({9}), fenced={8: "x"}
    )
    invited = Rights(frozenset({7, 8, 9, 10, 22}))
    assert policy.decide(Role.GUEST, "tcp", "", 7, rights=invited) == Target(MACHINE, 7)
    for port in (8, 9, 10, 22):
        refused(policy, Role.GUEST, "tcp", "", port, rights=invited)
    assert "not open to you" in refused(
        POLICY, Role.GUEST, "tcp", "", 7, rights=Rights(frozenset())
    )


def test_the_gateway_has_no_invite() -> None:
    nothing = Rights(frozenset())
    assert POLICY.decide(Role.GATEWAY, "tcp", "", 80, rights=nothing) == Target(MACHINE, 80)
    assert POLICY.rights(Role.GATEWAY, nothing) == ["tcp/80", "tcp/443"]


# -- SSH

SSH = replace(POLICY, ssh_shared=True)


@pytest.mark.parametrize("port", [22, 2222])
def test_ssh_is_open_to_those_who_have_the_key(port: int) -> None:
    assert SSH.decide(Role.GUEST, "tcp", "", port, has_ssh_key=True) == Target(
        "", port, is_ssh=True
    )
    assert "vconnect --ssh" in refused(SSH, Role.GUEST, "tcp", "", port)
    assert "--ssh" in refused(POLICY, Role.GUEST, "tcp", "", port, has_ssh_key=True)
    both = replace(SSH, http_ports=frozenset({port}))
    assert "guests" in refused(both, Role.GATEWAY, "tcp", "", port, has_ssh_key=True)


def test_ssh_beside_only_these_ports() -> None:
    """The sharer said --ssh; an invite's ports say it once more, or not."""
    only = replace(SSH, only_ports=frozenset({7}))
    assert only.decide(Role.GUEST, "tcp", "", 22, has_ssh_key=True).is_ssh
    refused(only, Role.GUEST, "udp", "", 22, has_ssh_key=True)
    assert only.decide(Role.GUEST, "tcp", "", 22, has_ssh_key=True, rights=Rights(INVITED)).is_ssh
    without = Rights(INVITED - {22})
    for policy in (SSH, only):
        text = refused(policy, Role.GUEST, "tcp", "", 22, has_ssh_key=True, rights=without)
        assert "not open to you" in text


def test_ssh_on_the_loopback_is_ssh() -> None:
    policy = replace(SSH, loopback_ports=frozenset({2222}))
    target = policy.decide(Role.GUEST, "tcp", "", 2222, has_ssh_key=True)
    assert target == Target(LOOPBACK, 2222, is_ssh=True)


def test_other_ports_are_not_ssh() -> None:
    """So SshGuard stays where it is: an sshd that nobody knew of takes Vagrant's public key."""
    for port in (21, 80, 5432):
        assert not SSH.decide(Role.GUEST, "tcp", "", port, has_ssh_key=True).is_ssh
    assert not SSH.decide(Role.GUEST, "udp", "", 22, has_ssh_key=True).is_ssh


# -- words

PORTS = st.frozensets(st.integers(1, 12), max_size=6)
POLICIES = st.builds(
    Policy,
    names=st.just(NAMES),
    only_ports=st.none() | PORTS,
    loopback_ports=PORTS,
    ssh_ports=PORTS,
    http_ports=PORTS,
    fenced=st.dictionaries(st.integers(1, 12), st.just("a reason"), max_size=4),
    ssh_shared=st.booleans(),
)


@given(POLICIES, st.builds(Rights, st.none() | PORTS), st.booleans())
def test_hello_says_what_decide_does(policy: Policy, rights: Rights, has_ssh_key: bool) -> None:
    listed = policy.rights(Role.GUEST, rights, has_ssh_key=has_ssh_key)
    for protocol in PROTOCOLS:
        for port in range(1, 14):
            said = bool({"*", str(port), f"{protocol}/{port}"} & {*listed})
            said = said and f"!{protocol}/{port}" not in listed
            opens = policy.is_open(
                protocol, port, loopback_only=False, rights=rights, has_ssh_key=has_ssh_key
            )
            assert opens == said, (protocol, port, listed)


@given(POLICIES)
def test_the_gateways_hello_says_what_decide_does(policy: Policy) -> None:
    listed = policy.rights(Role.GATEWAY)
    for port in range(1, 14):
        try:
            policy.decide(Role.GATEWAY, "tcp", "", port)
        except RefusedError:
            assert f"tcp/{port}" not in listed
        else:
            assert f"tcp/{port}" in listed


@pytest.mark.parametrize(
    ("policy", "rights", "text"),
    [
        (POLICY, EVERYTHING, "every port except SSH"),
        (SSH, EVERYTHING, "every port (SSH with vconnect --ssh)"),
        (
            replace(POLICY, fenced={6379: "Redis without a password"}),
            EVERYTHING,
            "every port except SSH and 6379 (Redis without a password)",
        ),
        (POLICY, Rights(INVITED), "ports 7, 443, 5432"),
        (SSH, Rights(INVITED), "ports 7, 22, 443, 5432 (SSH with vconnect --ssh)"),
        (SSH, Rights(frozenset({7})), "port 7"),
        (replace(SSH, only_ports=frozenset({7})), EVERYTHING,
         "ports 7, 22, 80, 443, 2222, 5432 (SSH with vconnect --ssh)"),
        (POLICY, Rights(frozenset()), "no ports"),
        (POLICY, Rights(frozenset({22})), "no ports"),
        (FENCED, Rights(frozenset({7, 80})), "port 7"),
        (
            replace(POLICY, exposed=NETWORKS[:2]),
            EVERYTHING,
            "every port except SSH, and neighbours in 198.51.100.0/24 and 2001:db8:1::/64",
        ),
    ],
)  # fmt: skip
def test_rights_in_words_of_one_guest(policy: Policy, rights: Rights, text: str) -> None:
    assert policy.describe(rights) == text


def test_neighbours_are_listed_in_hello() -> None:
    listed = EXPOSED.rights(Role.GUEST)
    assert listed[-3:] == ["net/198.51.100.0/24", "net/2001:db8:1::/64", "net/192.0.2.0/24"]
    assert EXPOSED.rights(Role.GATEWAY) == ["tcp/80", "tcp/443"]


def test_is_open_of_one_guest() -> None:
    assert SSH.is_open("tcp", 22, loopback_only=False, has_ssh_key=True)
    assert not SSH.is_open("tcp", 22, loopback_only=False)
    assert not SSH.is_open("tcp", 80, loopback_only=False, rights=Rights(frozenset({7})))
