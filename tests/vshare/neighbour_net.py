"""A small network for test_reach_neighbours.py, which runs this in namespaces of its own.

This process is the sharer's host. A child in another network namespace is the machine, and its
neighbours too. Names come from an /etc/hosts of ours, so what they lead to can be changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from tests.vshare.peers import Datagrams, link
from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare.exposed import Exposed
from vshare.neighbours import parse_cidr
from vshare.reach_direct import DirectReach

PORT = 7000
HOST, MACHINE, NEIGHBOUR, LATER = "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"
HOST6, NEIGHBOUR6 = "fd09::1", "fd09::3"
METADATA = "169.254.169.254"
HOSTS = Path("/etc/hosts")
NETWORKS = (parse_cidr("10.9.0.0/24"), parse_cidr("fd09::/64"))


def ip(*command: str) -> None:
    subprocess.run([word for part in command for word in part.split()], check=True)


def name(text: str) -> None:
    """What a.test leads to from now on."""
    HOSTS.write_text("".join(f"{address} a.test\n" for address in text.split()))


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[None]:
    """On every address of this namespace; they say at which one they were reached."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("sockname")[0]).removeprefix("::ffff:").encode())
        writer.close()

    async with await asyncio.start_server(tell, ["0.0.0.0", "::"], PORT):
        yield


async def be_the_machine() -> None:
    """In the other namespace, until standard input ends."""
    async with servers():
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def build(pid: int) -> None:
    """Two hosts with a cable between them; `pid` is in the machine's namespace."""
    inside = f"nsenter --net=/proc/{pid}/ns/net ip"
    ip("ip link set lo up")
    ip("ip link add veth-a type veth peer name veth-b netns", str(pid))
    for address in (f"{HOST}/24", f"{HOST6}/64 nodad"):
        ip("ip address add dev veth-a", address)
    ip(inside, "link set lo up")
    for address in (f"{MACHINE}/24", f"{NEIGHBOUR}/24", f"{LATER}/24", f"{NEIGHBOUR6}/64 nodad"):
        ip(inside, "address add dev veth-b", address)
    ip(inside, f"address add {METADATA}/32 dev veth-b")
    ip("ip link set veth-a up")
    ip(inside, "link set veth-b up")
    ip(f"ip route add {METADATA}/32 dev veth-a")


async def reached(reach: DirectReach, host: str) -> str:
    """Where a connection to `host` ended up, or what it was refused with."""
    try:
        end = await reach.open_tcp(host, PORT)
    except RefusedError as error:
        with pytest.raises(RefusedError) as of_udp:
            await reach.open_udp(host, PORT, Datagrams())
        return error.code.name if of_udp.value.code is error.code else "UDP differs"
    peer = link(end)
    await peer.until(peer.eof.is_set)
    end.reset(Code.CLOSED)
    return peer.data.decode()


async def the_machine_by_its_name() -> None:
    """It is looked up for each connection, and never leads to this host."""
    name(MACHINE)
    async with DirectReach("a.test") as reach:
        assert not reach.is_this_host
        for answer, where in (
            (MACHINE, MACHINE),
            (HOST, "NOT_ALLOWED"),
            (HOST6, "NOT_ALLOWED"),
            ("127.0.0.1", "NOT_ALLOWED"),
            ("127.0.0.1 ::1 0.0.0.0", "NOT_ALLOWED"),
            (f"::ffff:{HOST}", "NOT_ALLOWED"),
            (METADATA, "NOT_ALLOWED"),
            (f"{HOST} {NEIGHBOUR}", NEIGHBOUR),  # addresses change
            (MACHINE, MACHINE),
        ):
            name(answer)
            assert await reached(reach, "") == where, answer


async def the_host_itself_is_shared() -> None:
    """What was so at the start may stay so, also at another address."""
    for address in (HOST, "127.0.0.1", "::1"):
        name(address)
        async with DirectReach("a.test") as reach:
            assert reach.is_this_host
            assert await reached(reach, "") == address
            name(HOST6)
            assert await reached(reach, "") == HOST6
    for addresses in (f"{HOST} {MACHINE}", f"{MACHINE} {HOST}"):
        name(addresses)
        async with DirectReach("a.test") as one_of_two:
            assert one_of_two.is_this_host
    async with DirectReach(HOST) as literal:
        assert literal.is_this_host
        assert await reached(literal, "") == HOST
    name(METADATA)
    async with DirectReach("a.test") as named:  # the sharer named it, whatever it is
        assert await reached(named, "") == METADATA


async def neighbours() -> None:
    """Exposed ones are reached by address and by name; this host is not, however it is called."""
    async with DirectReach(MACHINE, Exposed(NETWORKS)) as reach:
        for host, where in (
            (NEIGHBOUR, NEIGHBOUR),
            (NEIGHBOUR6, NEIGHBOUR6),
            (f"::ffff:{NEIGHBOUR}", NEIGHBOUR),
            ("168361987", NEIGHBOUR),
            (HOST, "NOT_ALLOWED"),
            (HOST6, "NOT_ALLOWED"),
            (f"::ffff:{HOST}", "NOT_ALLOWED"),
            ("168361985", "NOT_ALLOWED"),
            ("012.9.1", "NOT_ALLOWED"),
            (METADATA, "NOT_ALLOWED"),
            ("127.0.0.1", "NOT_ALLOWED"),
            ("127.1", "NOT_ALLOWED"),
        ):
            assert await reached(reach, host) == where, host
        for answer, where in (
            (NEIGHBOUR, NEIGHBOUR),
            (f"{HOST} {NEIGHBOUR6}", NEIGHBOUR6),
            (HOST, "NOT_ALLOWED"),
            (f"{HOST6} 127.0.0.1 {METADATA}", "NOT_ALLOWED"),
        ):
            name(answer)
            assert await reached(reach, "a.test") == where, answer


async def an_address_that_becomes_this_hosts() -> None:
    """The kernel is asked each time."""
    async with (
        DirectReach(LATER) as machine,
        DirectReach(MACHINE, Exposed(NETWORKS)) as reach,
        DirectReach(MACHINE, Exposed((parse_cidr(HOST), parse_cidr(LATER)))) as by_name,
    ):
        assert await reached(machine, "") == await reached(reach, LATER) == LATER
        ip(f"ip address add {LATER}/32 dev lo")
        assert await reached(machine, "") == await reached(reach, LATER) == "NOT_ALLOWED"
        assert not machine.is_this_host
        assert await reached(by_name, LATER) == LATER
        assert await reached(by_name, HOST) == HOST
        assert await reached(by_name, NEIGHBOUR) == "NOT_ALLOWED"


async def be_the_host() -> None:
    async with servers():
        await the_machine_by_its_name()
        await the_host_itself_is_shared()
        await neighbours()
        await an_address_that_becomes_this_hosts()


def main() -> None:
    """See above. Exits with an error if anything was reached that should not have been."""
    command = ["unshare", "--net", sys.executable, "-m", "tests.vshare.neighbour_net", "machine"]
    with (
        tempfile.NamedTemporaryFile() as hosts,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine,
    ):
        assert machine.stdout is not None
        assert machine.stdout.readline() == b"ready\n"
        ip(f"mount --bind {hosts.name} {HOSTS}")
        build(machine.pid)
        uvloop.run(be_the_host())
        assert machine.stdin is not None
        machine.stdin.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["machine"]:
        asyncio.run(be_the_machine())
    else:
        main()
