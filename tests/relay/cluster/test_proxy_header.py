"""PROXY protocol 2, as nodes speak it."""

from __future__ import annotations

import struct

import pytest

from relay.cluster.proxy_header import (
    HEADER,
    MAX_REST,
    SIGNATURE,
    parse_address,
    parse_header,
    serialize,
)
from tunnel.errors import RemoteProtocolError


def parsed(data: bytes) -> str:
    family, length = parse_header(data[:HEADER])
    assert length == len(data) - HEADER
    return parse_address(family, data[HEADER:])


@pytest.mark.parametrize(
    ("address", "comes_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_an_address_arrives(address: str, comes_as: str) -> None:
    assert parsed(serialize(address, 40_000)) == comes_as


def test_it_is_what_others_speak() -> None:
    """Section 2.2 of the specification, with an example's bytes."""
    assert serialize("1.2.3.4", 0x5678) == bytes.fromhex(
        "0d0a0d0a000d0a515549540a2111000c010203040102030456780000"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"",
        SIGNATURE + struct.pack("!BBH", 0x20, 0, 0),  # LOCAL: of a health check, nobody's
        SIGNATURE + struct.pack("!BBH", 0x11, 0x11, 12),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x31, 216),  # a UNIX socket's
        SIGNATURE + struct.pack("!BBH", 0x21, 0x12, 12),  # UDP
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_REST + 1),
    ],
)
def test_what_is_none_of_ours_is_refused(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_header(head)


def test_what_is_too_short_is_refused_and_what_follows_is_ignored() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_address(0x11, bytes(11))
    with pytest.raises(RemoteProtocolError):
        parse_address(0x21, bytes(35))
    assert parse_address(0x11, bytes([1, 2, 3, 4]) + bytes(8) + b"TLV") == "1.2.3.4"
