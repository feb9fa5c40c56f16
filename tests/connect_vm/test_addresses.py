from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypedDict

import pytest

from connect_vm import addresses
from connect_vm.addresses import AddressError, around, parse_static_ip, reserve, routed
from tunnel.errors import UsageError

FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 128.0.0.0/1 2 0 2
        |-- 128.0.0.0
           /1 universe UNICAST
     +-- 172.16.0.0/28 2 0 2
        |-- 172.16.0.0
           /29 link UNICAST
        |-- 172.16.0.1
           /32 host LOCAL
"""


class Where(TypedDict):
    fib: Path
    locks: Path


Place = Callable[[str], Where]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    def write(table: str) -> Where:
        (tmp_path / "fib").write_text(table)
        return {"fib": tmp_path / "fib", "locks": tmp_path}

    return write


def test_default_routes_in_disguise_use_no_address() -> None:
    assert routed(FIB) == {IPv4Network("172.16.0.0/29"), IPv4Network("172.16.0.1/32")}


def test_this_hosts_own_table_can_be_read() -> None:
    assert IPv4Network("127.0.0.0/8") in routed(addresses.FIB.read_text())


@pytest.mark.parametrize(
    ("count", "network", "control"),
    [
        (2, "172.16.0.0/29", 4),
        (4, "172.16.0.0/29", 6),
        (5, "172.16.0.0/28", 7),
        (16, "172.16.0.0/27", 18),
    ],
)
def test_several_machines(place: Place, count: int, network: str, control: int) -> None:
    with reserve(**place(""), count=count) as found:
        assert found.network == IPv4Network(network)
        assert found.statics == tuple(IPv4Address("172.16.0.2") + each for each in range(count))
        assert (found.host, found.control) == (found.network[1], found.network[control])


def test_several_where_some_is_taken(place: Place) -> None:
    """The second block, since a route leads into the first."""
    with reserve(**place(FIB), count=5) as found:
        assert found.network == IPv4Network("172.16.0.16/28")
    with reserve("172.16.3.9", **place(""), count=3) as found:
        assert list(map(str, found.statics)) == ["172.16.3.9", "172.16.3.10", "172.16.3.11"]
        assert not {found.host, found.control} & set(found.statics)
    with (
        pytest.raises(UsageError, match=r"172\.16\.3\.255 is invalid"),
        reserve("172.16.3.254", count=2),
    ):
        pass


def test_the_first_free_network(place: Place) -> None:
    with reserve(**place("")) as found:
        assert found.network == IPv4Network("172.16.0.0/29")
        assert list(map(str, (found.host, found.static, found.control))) == [
            "172.16.0.1",
            "172.16.0.2",
            "172.16.0.3",
        ]
    used = [IPv4Network("172.16.0.8/30")]
    with reserve(None, used, **place(FIB)) as found:
        assert found.network == IPv4Network("172.16.0.16/29")


def test_two_at_once_get_different_ones_and_give_them_back(place: Place, tmp_path: Path) -> None:
    where = place("")
    with reserve(**where) as first, reserve(**where) as second:
        assert first.network != second.network
        with pytest.raises(AddressError, match="in use"), reserve(str(first.static), **where):
            pass
    with reserve(**where) as again:
        assert again == first
    assert [path.name for path in tmp_path.iterdir()] == ["fib"]


def test_a_chosen_address_keeps_its_place_in_the_smallest_network() -> None:
    assert around(IPv4Address("172.16.5.77")).network == IPv4Network("172.16.5.72/29")
    moved = around(IPv4Address("10.1.2.8"))
    assert moved.network == IPv4Network("10.1.2.0/28")
    for last in (*range(1, 255),):
        found = around(IPv4Address(f"10.0.0.{last}"))
        assert len({found.host, found.static, found.control}) == 3
        assert {found.host, found.control} <= set(found.network.hosts())


def test_a_chosen_address_in_use(place: Place) -> None:
    with (
        pytest.raises(AddressError, match=r"172\.16\.0\.5 is in use") as caught,
        reserve("172.16.0.5", **place(FIB)),
    ):
        pass
    assert "--static-ip" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "example.org", "8.8.8.8", "127.0.0.1", "224.0.0.1", "::1", "172.32.0.1"]
)
def test_what_cannot_be_a_static_ip(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_static_ip(text)
    assert caught.value.hint


def test_network_and_broadcast_addresses_are_refused() -> None:
    for text in ("10.0.0.0", "10.0.0.255"):
        with pytest.raises(UsageError, match="first or last"):
            around(IPv4Address(text))


def test_none_free(place: Place) -> None:
    with (
        pytest.raises(AddressError, match="no static IP is free"),
        reserve(None, [addresses.POOL], **place("")),
    ):
        pass
