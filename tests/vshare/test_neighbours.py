from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import UsageError
from vshare.neighbours import (
    METADATA,
    is_exact,
    is_host_name,
    parse_address,
    parse_cidr,
    unwrap,
    why_closed,
)

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@pytest.mark.parametrize(
    ("text", "leads_to"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0a01:0203", "10.1.2.3"),
        ("0:0:0:0:0:ffff:a01:203", "10.1.2.3"),
        ("::ffff:0:10.1.2.3", "10.1.2.3"),  # SIIT
        ("::10.1.2.3", "10.1.2.3"),  # IPv4-compatible
        ("64:ff9b::10.1.2.3", "10.1.2.3"),  # NAT64
        ("2002:a01:203::1", "10.1.2.3"),  # 6to4
        ("2001:0:1234:5678::f5fe:fdfc", "10.1.2.3"),  # Teredo: the client, inverted
        ("fd00::0001", "fd00::1"),
        ("2001:db8::10.1.2.3", "2001:db8::a01:203"),
        ("::1", "::1"),
        ("::", "::"),
    ],
)
def test_an_address_is_what_it_leads_to(text: str, leads_to: str) -> None:
    assert str(parse_address(text)) == leads_to


@pytest.mark.parametrize(
    "text",
    ["", "10.1.2", "010.1.2.3", "10.1.2.3%eth0", "fe80::1%eth0", "fe80::1%2", "fd00::1%",
     "[fd00::1]", "10.1.2.3/32", " 10.1.2.3", "10.1.2.3\n", "0x0a010203",
     "\N{FULLWIDTH DIGIT ONE}0.1.2.3"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("db", True),
        ("db.example.org.", True),
        ("_sip.example.org", True),
        ("127.1", True),
        ("0x7f000001", True),
        ("a" * 253, True),
        ("a" * 254, False),
        ("", False),
        ("-oProxyCommand", False),
        (".", False),
        ("a b", False),
        ("a\x00", False),
        ("db\n", False),
        ("fe80::1%2", False),
        ("db/24", False),
        ("d\N{LATIN SMALL LETTER U WITH DIAERESIS}", False),
        ("\N{FULLWIDTH DIGIT ONE}27.0.0.1", False),
    ],
)
def test_what_may_be_looked_up(text: str, is_name: bool) -> None:
    assert is_host_name(text) is is_name


NEVER = [
    "127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.1.1.1",
    "ff02::1", "255.255.255.255", "fe80::1", "64:ff9b:1::a01:203",
]  # fmt: skip
BY_NAME = [*map(str, METADATA), "169.254.1.1"]


@pytest.mark.parametrize("text", NEVER)
def test_what_is_never_exposed(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert why_closed(address, EVERYTHING)
    assert why_closed(address, (*EVERYTHING, ipaddress.ip_network(text)))


@pytest.mark.parametrize("text", BY_NAME)
def test_what_is_exposed_by_name_only(text: str) -> None:
    address = ipaddress.ip_address(text)
    around = ipaddress.ip_network(f"{text}/{address.max_prefixlen - 8}", strict=False)
    assert why_closed(address, (*EVERYTHING, around))
    assert not why_closed(address, (ipaddress.ip_network(text),))
    assert not why_closed(address, (around, parse_cidr(text)))


@pytest.mark.parametrize(
    ("text", "network", "is_open"),
    [
        ("10.0.0.1", "10.0.0.0/24", True),
        ("10.0.0.254", "10.0.0.0/24", True),
        ("10.0.1.0", "10.0.0.0/24", False),
        ("10.0.0.0", "10.0.0.0/24", False),  # the network's own
        ("10.0.0.255", "10.0.0.0/24", False),  # its broadcast
        ("10.0.0.0", "10.0.0.0/31", True),
        ("10.0.0.1", "10.0.0.0/31", True),
        ("10.0.0.0", "10.0.0.0/32", True),
        ("fd00:1::", "fd00:1::/64", True),  # IPv6 has no broadcast
        ("fd00::", "fd00::/16", True),
        ("fd00:1::ffff:ffff:ffff:ffff", "fd00:1::/64", True),
        ("fd00:2::1", "fd00:1::/64", False),
        ("10.0.0.1", "::/0", False),
        ("fd00:1::1", "0.0.0.0/0", False),
    ],
)
def test_inside_and_outside(text: str, network: str, is_open: bool) -> None:
    closed = why_closed(ipaddress.ip_address(text), (ipaddress.ip_network(network),))
    assert (not closed) is is_open


def test_by_name_is_a_network_of_one_address() -> None:
    address = ipaddress.ip_address("10.0.0.5")
    assert is_exact(address, (parse_cidr("10.0.0.5"),))
    assert not is_exact(address, (parse_cidr("10.0.0.4/31"), parse_cidr("10.0.0.4")))
    # At the edge of a larger network that is exposed as well:
    edge = ipaddress.ip_address("10.0.0.255")
    assert not why_closed(edge, (parse_cidr("10.0.0.0/24"), parse_cidr("10.0.0.255")))


@given(st.ip_addresses())
def test_nothing_is_open_where_nothing_is_exposed(address) -> None:  # type: ignore[no-untyped-def]
    assert why_closed(unwrap(address), ())


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("10.0.0.7/32", "10.0.0.7/32"),
        ("FD00:1::/64", "fd00:1::/64"),
        ("fd00::/16", "fd00::/16"),
        ("fd00::7", "fd00::7/128"),
        ("169.254.169.254", "169.254.169.254/32"),
        ("fd00:ec2::254", "fd00:ec2::254/128"),
    ],
)
def test_networks_to_expose(text: str, network: str) -> None:
    assert parse_cidr(text) == ipaddress.ip_network(network)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.5/24", "10.0.0.0/24 for the whole network, or 10.0.0.5"),
        ("fd00:1::5/64", "fd00:1::/64 for the whole network, or fd00:1::5"),
        ("0.0.0.0/0", "too large"),
        ("::/0", "too large"),
        ("10.0.0.0/7", "too large"),
        ("fc00::/7", "too large"),
        ("fc00::/15", "a /16 is the largest"),
        ("127.0.0.0/8", "--target 127.0.0.1"),
        ("127.0.0.1", "--target 127.0.0.1"),
        ("::1", "--target 127.0.0.1"),
        ("0.0.0.0", "no machine's address"),
        ("224.0.0.0/24", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("169.254.0.0/16", "one by one"),
        ("169.254.169.0/24", "one by one"),
        ("fe80::1", "needs a zone"),
        ("fe80::/64", "needs a zone"),
        ("::ffff:10.0.0.0/120", "expose the IPv4 network"),
        ("64:ff9b::/96", "carries IPv4"),
        ("2002:a00::/24", "carries IPv4"),
        ("2001::/32", "carries IPv4"),
        ("::10.0.0.1", "expose the IPv4 network, of 10.0.0.1"),
        ("64:ff9b:1::/64", "does not tell"),
        ("", "not a network"),
        ("db.example.org", "not a network"),
        ("10.0.0.0/", "not a network"),
        ("10.0.0.0/33", "not a network"),
        ("10.0.0.0/-1", "not a network"),
        ("10.0.0.0/255.255.255.0", "not a network"),
        ("10.0.0.0/24/8", "not a network"),
        ("10.0.0", "not a network"),
        ("010.0.0.0/8", "not a network"),
        ("fe80::1%eth0", "not a network"),
        ("10.0.0.0/\N{ARABIC-INDIC DIGIT EIGHT}", "not a network"),
    ],
)
def test_what_cannot_be_exposed(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_cidr(text)
    assert said in f"{caught.value.text} {caught.value.hint}"


@given(st.text() | st.from_regex(r"[0-9a-f:.]{1,40}(/[0-9]{1,3})?", fullmatch=True))
def test_any_text_is_a_network_or_an_error(text: str) -> None:
    try:
        network = parse_cidr(text)
    except UsageError:
        return
    assert network.prefixlen >= (8 if network.version == 4 else 16)
