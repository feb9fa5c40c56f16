"""What one relay of a cluster tells another: PROXY protocol 2, records by way of Redis."""

from __future__ import annotations

import ipaddress

import msgspec

from relay.cluster import proxy_header
from relay.cluster.records import Change, NodeInfo, Record, parse_change, parse_node, parse_record
from relay.cluster.records import serialize as record_bytes
from tests.fuzz.target import Target, require
from tunnel.errors import RemoteProtocolError

HEADERS = tuple(
    proxy_header.serialize(address, 40_000)
    for address in ("203.0.113.7", "2001:db8::7", "::ffff:1.2.3.4")
)
RECORD = Record("aa", 1e12, route="5e" * 16, node="n", fence="1-1", version="1" * 16)
TEXTS = (
    record_bytes(RECORD),
    record_bytes(NodeInfo("n", "h", "127.0.0.1", 1)),
    msgspec.json.encode(Change("one-name", RECORD)),
    b'{"topic":"accounts"}',
)


def run_header(data: bytes) -> None:
    family, length = proxy_header.parse_header(data[: proxy_header.HEADER])
    require(0 <= length <= proxy_header.MAX_REST, "what follows has a limit", length)
    rest = data[proxy_header.HEADER : proxy_header.HEADER + length]
    address = proxy_header.parse_address(family, rest)
    ipaddress.ip_address(address)
    again = proxy_header.serialize(address, 1)
    family, length = proxy_header.parse_header(again[: proxy_header.HEADER])
    back = proxy_header.parse_address(family, again[proxy_header.HEADER :])
    require(back == address, "an address comes back", address)


def run_records(data: bytes) -> None:
    for parse in (parse_record, parse_node, parse_change):
        try:
            parse(data)
        except RemoteProtocolError:
            continue


TARGETS = (
    Target(
        "proxy-header", run_header, (RemoteProtocolError,), HEADERS,
        ("relay.cluster.proxy_header",), (proxy_header.SIGNATURE, b"\x21\x11\x00\x0c"), None, 1024,
    ),
    Target("cluster-records", run_records, (), TEXTS, ("relay.cluster.records",), (), None, 4200),
)  # fmt: skip
