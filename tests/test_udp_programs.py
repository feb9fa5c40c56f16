"""Programs that people use over UDP, through a share, a client and SOCKS on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connect_vm.own_names import OwnNames
from connect_vm.socks_server import SocksServer
from tests import quic
from tests.loops import run, until
from tests.share_pair import NAME, Pair, share_pair
from tests.udp_forwarder import forwarded
from tunnel.client import Client

LONG_TEXT = [f"part-{number:03}-" + "x" * 230 for number in range(12)]  # 3 kB: EDNS, no fragments
WITHIN = 15.0  # seconds for one command


@contextlib.asynccontextmanager
async def socks_to_share() -> AsyncIterator[tuple[Pair, Client, tuple[str, int]]]:
    """A share of this machine's loopback, and where its SOCKS server is."""
    async with share_pair() as pair, pair.client() as client:
        await client.ready()
        async with SocksServer(client, own_names=OwnNames(NAME, "machine")) as socks:
            yield pair, client, socks.address


def free_port() -> int:
    """A port that nobody has for either protocol."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


async def output(*command: str) -> str:
    """What a command prints. It has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(WITHIN):
            said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said
    return said


@contextlib.asynccontextmanager
async def service(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that runs for the length of a block."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def dns_server(folder: Path) -> AsyncIterator[int]:
    port = free_port()
    config = folder / "dnsmasq.conf"
    lines = [
        "no-daemon", "no-resolv", "no-hosts", "bind-interfaces", "listen-address=127.0.0.1",
        f"port={port}", "edns-packet-max=4096", "pid-file=", "user=root",
        *(f"address=/host{number}.test/10.9.0.{number}" for number in range(50)),
        *(f"txt-record=long.test,{text}" for text in LONG_TEXT),
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n")
    async with service("dnsmasq", "-C", str(config)):

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        await until(listens)
        yield port


@pytest.mark.programs
@pytest.mark.skipif(not (shutil.which("dig") and shutil.which("dnsmasq")), reason="needs DNS tools")
def test_dns(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            socks_to_share() as (_, client, socks),
            dns_server(tmp_path) as server,
            forwarded(socks, "machine", server) as port,
        ):
            dig = ("dig", "@127.0.0.1", "-p", str(port), "+tries=1", "+time=5")
            assert await output(*dig, "+short", "host7.test") == "10.9.0.7\n"
            assert await output(*dig, "+tcp", "+short", "host8.test") == "10.9.0.8\n"
            long = await output(*dig, "+bufsize=4096", "+ignore", "long.test", "TXT")
            assert all(text in long for text in LONG_TEXT)
            assert "(UDP)" in long
            # All from one shell: to start a program stops this process for a while.
            one = " ".join((*dig, "+short", "host$n.test"))
            many = await output("sh", "-c", f"for n in $(seq 0 49); do {one} & done; wait")
            assert sorted(many.split()) == sorted(f"10.9.0.{n}" for n in range(50))
            assert client.flows.count.dropped == 0

    run(main)


@pytest.mark.programs
def test_quic() -> None:
    async def main() -> None:
        async with socks_to_share() as (pair, client, socks):
            server = await quic.server("127.0.0.1", 0)
            place = quic.port_of(server)
            async with forwarded(socks, "machine", place) as port:
                await quic.fetch("127.0.0.1", port, 1_000_000)
            server.close()
            await until(lambda: pair.told("stream"))
            fields = pair.told("stream")[-1].fields
            assert fields["protocol"] == "udp"
            assert int(fields["bytes_out"] or 0) > 1_000_000
            assert client.flows.count.received > 700

    run(main)


@pytest.mark.programs
def test_quic_goes_on_over_another_lane() -> None:
    async def main() -> None:
        async with socks_to_share() as (pair, client, socks):
            server = await quic.server("127.0.0.1", 0)
            place = quic.port_of(server)
            async with forwarded(socks, "machine", place) as port, asyncio.TaskGroup() as group:
                task = group.create_task(quic.fetch("127.0.0.1", port, 1_500_000))
                for number in range(1, 3):
                    so_far = client.flows.count.received
                    await until(lambda so_far=so_far: client.flows.count.received > so_far + 200)  # type: ignore[misc]
                    assert client.flows._connection is not None
                    client.flows._connection.abort("pulled")
                    await until(lambda number=number: client.flows.lanes == number + 1)  # type: ignore[misc]
                await task
            assert len(pair.told("stream")) <= 1, "one flow all the time"
            server.close()

    run(main)


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
@pytest.mark.parametrize("direction", ["up", "down"])
def test_iperf3(direction: str) -> None:
    async def main() -> None:
        place = free_port()
        async with (
            socks_to_share() as (_, client, socks),
            service("iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(place)),
            forwarded(socks, "machine", place) as port,
        ):
            await asyncio.sleep(0.3)  # a connection that asks would be its one client
            iperf = ("iperf3", "-c", "127.0.0.1", "-p", str(port), "-u", "-b", "8M", "-t", "1")
            ways = ("-R",) if direction == "down" else ()
            said = json.loads(await output(*iperf, "-l", "1400", "--json", *ways))
            total = said["end"]["sum"]
            assert total["packets"] > 500
            assert total["lost_percent"] < 5
            assert client.flows.count.sent + client.flows.count.received > 500

    run(main)
