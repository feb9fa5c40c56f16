from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.address import (
    ConnectLine,
    RelayAddress,
    parse_connect_line,
    parse_host_port,
    parse_port,
    parse_relay,
    without_zone,
)
from tunnel.errors import UsageError
from tunnel.names import JoinCode, ShareName

PIN = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("relay.example", RelayAddress("relay.example", 443)),
        ("relay.example:8443", RelayAddress("relay.example", 8443)),
        ("[::1]:9", RelayAddress("::1", 9)),
        ("[fe80::1%eth0]", RelayAddress("fe80::1%eth0")),
        ("[fe80::1%br-LAN_2.100]:9", RelayAddress("fe80::1%br-LAN_2.100", 9)),
        ("[::ffff:192.0.2.1]:9", RelayAddress("::ffff:192.0.2.1", 9)),
        (f" 192.0.2.1:1#{PIN.upper()} ", RelayAddress("192.0.2.1", 1, PIN)),
        (f"relay#{PIN[:32]}", RelayAddress("relay", 443, PIN[:32])),
    ],
)
def test_relays(text: str, address: RelayAddress) -> None:
    assert parse_relay(text) == address


def test_a_relay_is_printed_as_it_is_read() -> None:
    address = RelayAddress("::1", 9, PIN)
    assert str(address) == f"[::1]:9#{PIN[:32]}"
    assert parse_relay(str(address)).fingerprint == PIN[:32]


@pytest.mark.parametrize(
    "text", ["", ":443", "a:b", "::1", "a:0", "a:65536", "a b", "https://x", "a/b", "a#", "a#12",
             "a#" + "g" * 32,
             "[]", "[1:2]", "[fe80::1%]", "[fe80::1%a b]", "[192.0.2.1]", "[::1%" + "z" * 33 + "]",
             "a#" + "0" * 65, "h" * 300]
)  # fmt: skip
def test_not_relays(text: str) -> None:
    with pytest.raises(UsageError):
        parse_relay(text)


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "-1", "1.5", "\u0661", " 80", "9" * 50, "0100000", "01" + "9" * 5000]
)
def test_not_ports(text: str) -> None:
    with pytest.raises(UsageError, match="not a port"):
        parse_port(text)


def test_a_zone_is_for_this_host_alone() -> None:
    assert without_zone("fe80::1%eth0") == "fe80::1"
    assert without_zone("relay.example") == "relay.example"
    line = parse_connect_line(f"frosty-weasel-0857@[fe80::1%eth0]:9#{PIN}")
    assert line.relay == RelayAddress("fe80::1%eth0", 9, PIN)
    assert str(line.relay) == f"[fe80::1%eth0]:9#{PIN[:32]}"


def test_connect_lines() -> None:
    name = ShareName("frosty-weasel-0857")
    assert parse_connect_line(name) == ConnectLine(name)
    line = parse_connect_line(f"{name}-abandon-ability-able@relay.example:9#{PIN}")
    assert line == ConnectLine(
        name, JoinCode("abandon-ability-able"), RelayAddress("relay.example", 9, PIN)
    )
    for wrong in ("@relay", f"{name}@", f"{name}@a@b"):
        with pytest.raises(UsageError):
            parse_connect_line(wrong)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    # Accepted: UsageError, and no exception.
    for parse in (parse_relay, parse_connect_line, lambda text: parse_host_port(text, 80)):
        try:
            parse(text)
        except UsageError:
            pass
