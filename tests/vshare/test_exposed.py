from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loops import run
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.identity import Role
from tunnel.lan_address import lan_address
from vshare import exposed as exposed_module
from vshare.exposed import MAX_ADDRESSES, MAX_LOOKUPS, Exposed, look_up
from vshare.neighbours import Address, Network, parse_cidr
from vshare.policy import MACHINE, Policy

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
NETWORKS = (parse_cidr("10.0.0.0/24"), parse_cidr("fd00:1::/64"), parse_cidr("169.254.7.7"))
HOST = ipaddress.ip_address("10.0.0.1")  # the sharer's own in these tests
HOST6 = ipaddress.ip_address("fd00:1::1")


def is_own(address: Address) -> bool:
    return address.is_loopback or address in (HOST, HOST6)


def pick(
    host: str,
    resolve: Callable[[str], list[str]] | list[str] = look_up,
    networks: tuple[Network, ...] = NETWORKS,
    own: Callable[[Address], bool] = is_own,
) -> str:
    answer = (lambda name: resolve) if isinstance(resolve, list) else resolve

    async def main() -> str:
        return await Exposed(networks, answer, own).pick(host)

    return asyncio.run(main())


def refused(*arguments, **named) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(RefusedError) as caught:
        pick(*arguments, **named)
    assert caught.value.code is Code.NOT_ALLOWED
    return caught.value.text


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("64:ff9b::10.0.0.7", "10.0.0.7"),
        ("fd00:1::7", "fd00:1::7"),
        ("FD00:1:0::0007", "fd00:1::7"),
        ("169.254.7.7", "169.254.7.7"),
        ("167772167", "10.0.0.7"),  # getaddrinfo reads these
        ("0x0a000007", "10.0.0.7"),
        ("012.0.0.7", "10.0.0.7"),
        ("10.7", "10.0.0.7"),
    ],
)
def test_a_neighbour_by_its_address(host: str, dialled: str) -> None:
    assert pick(host) == dialled


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "0x7f.1",
        "0", "0.0.0.0", "::", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1",
        "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:0:1::80ff:fffe", "localhost",
        "10.0.0.1", "10.1", "167772161", "0xa000001", "012.0.0.1", "012.1", "0xa.0.0.1",
        "::ffff:10.0.0.1", "::ffff:a00:1", "::10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1",
        "2002:a00:1:2:3::", "2001:0:1::f5ff:fffe", "fd00:1::1", "fd00:1:0:0:0:0:0:1",
        "FD00:1::0001", "fd00:1::1%lo", "fd00:1::1%1", "fe80::1", "fe80::1%1",
        "10.0.0.255", "255.255.255.255", "224.0.0.1", "ff02::1",
        "169.254.169.254", "2852039166", "0xa9fea9fe", "::ffff:169.254.169.254", "fd00:ec2::254",
        "100.100.100.200", "10.0.1.7", "8.8.8.8", "2001:db8::1",
        "", " ", "10.0.0.7 ", "10.0.0.7\n", "10.0.0.7/32", "[fd00:1::7]", "db\x00", "a" * 254,
    ],
)  # fmt: skip
def test_whatever_it_is_written_as(host: str) -> None:
    for networks in (NETWORKS, EVERYTHING):
        if networks is NETWORKS or host not in ("10.0.0.255", "10.0.1.7", "8.8.8.8", "2001:db8::1"):
            refused(host, networks=networks)


@pytest.mark.parametrize(
    ("answer", "dialled"),
    [
        (["10.0.0.7"], "10.0.0.7"),
        (["10.0.0.1", "10.0.0.7"], "10.0.0.7"),  # the sharer's own is passed over
        (["8.8.8.8", "fd00:1::1", "fd00:1::7"], "fd00:1::7"),
        (["::ffff:10.0.0.7"], "10.0.0.7"),
        (["fe80::7%eth0", "not an address", "10.0.0.8"], "10.0.0.8"),
        (["8.8.8.8"] * (MAX_ADDRESSES - 1) + ["10.0.0.7"], "10.0.0.7"),
    ],
)
def test_a_neighbour_by_its_name(answer: list[str], dialled: str) -> None:
    assert pick("db.example.org", answer) == dialled


@pytest.mark.parametrize(
    "answer",
    [
        [],
        ["10.0.0.1"],
        ["fd00:1::1"],
        ["127.0.0.1", "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["169.254.169.254"],
        ["8.8.8.8"],
        ["fd00:1::7%eth0"],
        ["8.8.8.8"] * MAX_ADDRESSES + ["10.0.0.7"],  # no more are looked at
    ],
)
def test_unknown_and_not_exposed_are_refused_alike(answer: list[str]) -> None:
    text = refused("db.example.org", answer)
    assert text == refused("db.example.org", [])
    assert "'db.example.org'" in text


def test_a_resolver_that_answers_otherwise_the_second_time() -> None:
    """What was looked at is dialled: a literal, so nobody has to look again."""
    answers = iter([["10.0.0.7"], ["127.0.0.1"], ["10.0.0.1"]])
    exposed = Exposed(NETWORKS, lambda name: next(answers), is_own)

    async def main() -> None:
        assert await exposed.pick("db") == "10.0.0.7"
        for _ in range(2):
            with pytest.raises(RefusedError):
                await exposed.pick("db")

    asyncio.run(main())


@pytest.mark.parametrize("host", ["10.0.0.7", "::ffff:10.0.0.7", "fd00:1::7"])
def test_an_address_is_never_looked_up(host: str) -> None:
    def resolve(name: str) -> list[str]:
        raise AssertionError(name)

    pick(host, resolve)
    refused("10.0.1.7", resolve)
    refused("a" * 254, resolve)
    refused("db\x00", resolve)


def test_by_name_the_sharers_own_host_is_open() -> None:
    assert pick("10.0.0.1", networks=(parse_cidr("10.0.0.1"),)) == "10.0.0.1"
    assert pick("db", ["fd00:1::1"], networks=(*NETWORKS, parse_cidr("fd00:1::1"))) == "fd00:1::1"
    refused("127.0.0.1", networks=(ipaddress.ip_network("127.0.0.1/32"),))


def test_the_sharers_host_as_the_machine_sees_it() -> None:
    async def main() -> None:
        exposed = Exposed(NETWORKS, lambda name: ["10.0.0.2"], is_own)
        for host in ("10.0.0.2", "::ffff:10.0.0.2", "db"):
            assert await exposed.pick(host) == "10.0.0.2"
            with pytest.raises(RefusedError):
                await exposed.pick(host, {ipaddress.ip_address("10.0.0.2")})

    asyncio.run(main())


def test_a_kernel_that_does_not_tell_closes() -> None:
    def fails(address: Address) -> bool:
        raise OSError(95, "Operation not supported")

    assert "not supported" in refused("10.0.0.7", own=fails)


def test_a_look_up_takes_five_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposed_module, "LOOKUP_TIMEOUT", 0.05)
    may_answer = threading.Event()
    asked: list[str] = []

    def resolve(name: str) -> list[str]:
        asked.append(name)
        if name == "slow":
            may_answer.wait(20)
        return ["10.0.0.7"]

    async def main() -> None:
        exposed = Exposed(NETWORKS, resolve, is_own)
        # As many as there are places, and some that get none: all are told in time.
        async with asyncio.TaskGroup() as group:
            for _ in range(MAX_LOOKUPS + 2):
                group.create_task(is_late(exposed, "slow"))
        # Threads that still wait hold their places ...
        await is_late(exposed, "db")
        assert asked == ["slow"] * MAX_LOOKUPS
        assert await exposed.pick("10.0.0.9") == "10.0.0.9"
        # ... until the resolver has answered.
        may_answer.set()
        monkeypatch.setattr(exposed_module, "LOOKUP_TIMEOUT", 20)
        assert await exposed.pick("db") == "10.0.0.7"

    async def is_late(exposed: Exposed, name: str) -> None:
        with pytest.raises(RefusedError) as caught:
            await exposed.pick(name)
        assert caught.value.code is Code.TIMED_OUT

    run(main)


@functools.cache
def own_addresses() -> list[Address]:
    """This host's, as the kernel lists them for us: the loopbacks and the one on its network."""
    texts = ["127.0.0.1", "127.255.255.254", "::1"]
    try:
        texts.append(lan_address("a test"))
    except VshareError:
        pass
    return [ipaddress.ip_address(text) for text in texts]


def can_be_bound(address: Address) -> bool:
    """Another way to ask whether an address is this host's own."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
            sock.connect((str(address), 9))  # not a network's broadcast, which can be bound
        except OSError:
            return False
    return True


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """An address, this host's own more often than not, as anybody may write it."""
    address = draw(st.sampled_from(own_addresses()) | st.ip_addresses())
    if isinstance(address, ipaddress.IPv6Address):
        return draw(st.sampled_from([str(address), address.exploded.upper(), f"{address}%1"]))
    number = int(address)
    count = draw(st.integers(1, 4))  # 127.0.0.1, 127.0.1, 127.1, 2130706433 (inet_aton(3))
    parts = [(number >> (24 - 8 * at)) & 0xFF for at in range(count - 1)]
    parts.append(number & ((1 << (32 - 8 * (count - 1))) - 1))
    forms = st.sampled_from(["{}", "{:#x}", "0{:o}", "{:#012x}"])
    plain = ".".join(draw(forms).format(part) for part in parts)
    high, low, any_word = number >> 16, number & 0xFFFF, draw(st.integers(0, 0xFFFF))
    inside = [
        *(f"{prefix}{address}" for prefix in ("::ffff:", "::", "64:ff9b::", "::ffff:0:")),
        f"64:ff9b::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::{any_word:x}",
        f"2001:0:1:2:3:{any_word:x}:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
    ]
    return draw(st.sampled_from([plain, plain, plain + ".", *inside]))


@given(spellings() | st.text(max_size=60) | st.ip_addresses().map(str))
def test_no_text_leads_to_this_host(host: str) -> None:
    """Everything is exposed, the real resolver reads the spellings (it looks no name up)."""

    def numeric(name: str) -> list[str]:
        try:
            found = socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return []
        return [str(each[4][0]) for each in found]

    async def main() -> None:
        policy = Policy(names=frozenset({"web"}), exposed=EVERYTHING)
        try:
            target = policy.decide(Role.GUEST, "tcp", host, 80)
            if target.host == MACHINE:
                assert host.lower().rstrip(".") in ("", "web")
                return
            dialled = ipaddress.ip_address(await Exposed(EVERYTHING, numeric).pick(target.host))
        except RefusedError:
            return
        assert not dialled.is_loopback
        assert not can_be_bound(dialled)

    asyncio.run(main())
