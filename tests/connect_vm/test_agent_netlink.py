from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_vm.agent import flows, ruleset, wire
from connect_vm.agent.netlink import attribute, attributes, messages, parse_packet
from connect_vm.agent.wire import Header


def test_a_syn_gives_its_4_tuple() -> None:
    packet = bytes([0x45, 0, 0, 60]) + bytes(5) + bytes([wire.TCP, 0, 0])
    packet += bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 40_000, 8080) + bytes(16)
    expected = Header.of(wire.TCP, ("192.0.2.2", 8080), ("192.0.2.1", 40_000))
    assert parse_packet(packet) == expected


def test_ip_options_are_stepped_over() -> None:
    packet = bytes([0x46, 0, 0, 60]) + bytes(5) + bytes([wire.TCP, 0, 0])
    packet += bytes([192, 0, 2, 1, 192, 0, 2, 2]) + b"opts" + struct.pack("!HH", 1, 2) + bytes(16)
    parsed = parse_packet(packet)
    assert parsed is not None
    assert (parsed.sport, parsed.dport) == (1, 2)


@given(st.binary(max_size=80))
def test_no_packet_breaks_the_parsers(data: bytes) -> None:
    parse_packet(data)
    attributes(data)
    list(messages(data))


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=50), max_size=5))
def test_attributes_come_back(found: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(*item) for item in found.items())) == found


def test_the_ruleset_names_every_address_once_per_set() -> None:
    text = ruleset.ruleset(["192.0.2.2", "192.0.2.10"], 7001)
    assert text.count("{ 192.0.2.2, 192.0.2.10 }") == 2
    assert "tproxy to 127.0.0.1:7001" in text
    assert text.index("queue num 0") < text.index("tproxy") < text.index("reject")


def test_checksum_as_in_rfc_1071() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert flows.checksum(data) == ~0xDDF2 & 0xFFFF


def test_port_unreachable_quotes_the_refused_datagram() -> None:
    header = Header.of(wire.UDP, ("192.0.2.2", 53), ("192.0.2.1", 40_000))
    message = flows.port_unreachable(header)
    assert message[:2] == bytes([3, 3])
    assert flows.checksum(message) == 0
    inner = message[8:]
    assert flows.checksum(inner[:20]) == 0
    assert inner[12:20] == bytes([192, 0, 2, 1, 192, 0, 2, 2])
    assert struct.unpack_from("!HH", inner, 20) == (40_000, 53)


@pytest.mark.parametrize("data", [b"", b"\x45" * 10, b"\x60" + bytes(60)])
def test_what_is_not_ipv4_tcp_is_nothing(data: bytes) -> None:
    assert parse_packet(data) is None
