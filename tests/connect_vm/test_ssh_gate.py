from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from connect_vm.ssh_gate import SshGate, owner_of
from tests.loops import run, until
from tests.share_pair import share_pair, tcp_service
from tests.vshare.peers import free_port
from tunnel.errors import RefusedError
from vshare.policy import Policy

LITTLE = sys.byteorder == "little"
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:8E1A 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0
   2: 0100007F:8E1B 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2
   3: 0100007F:1F90 0100007F:8E1B 01 00000000:00000000 00:00000000 00000000     7        0 3
"""


@pytest.mark.skipif(not LITTLE, reason="the table is a little-endian machine's")
def test_whose_socket_it_is() -> None:
    ours = ("127.0.0.1", 8080)
    assert owner_of(TABLE, ("127.0.0.1", 0x8E1B), ours) == 1000
    assert owner_of(TABLE, ("127.0.0.1", 0x8E1A), ours) is None  # it has ended
    assert owner_of(TABLE, ("127.0.0.1", 1), ours) is None
    assert owner_of("", ("127.0.0.1", 1), ours) is None


def test_the_kernel_says_so_too() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        table = Path("/proc/net/tcp").read_text()
        assert owner_of(table, ours.getsockname(), listener.getsockname()) == os.getuid()


POLICY = Policy(names=frozenset(), ssh_ports=frozenset())


def test_what_goes_through() -> None:
    async def main() -> None:
        async with (
            share_pair(POLICY) as pair,
            pair.client() as client,
            tcp_service() as port,
            SshGate(client, port) as gate,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(b"any byte")
            assert await reader.readexactly(8) == b"any byte"
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert gate.error is None

    run(main)


def test_a_refusal_is_kept() -> None:
    async def main() -> None:
        async with (
            share_pair(POLICY) as pair,
            pair.client() as client,
            SshGate(client, free_port()) as gate,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            assert await reader.read() == b""
            writer.close()
            await until(lambda: gate.error)
            assert isinstance(gate.error, RefusedError)

    run(main)


STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.settimeout(10)
sock.sendall(b"hello")
try:
    print("got", sock.recv(5))
except ConnectionError:
    print("got", b"")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_users_connection_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            share_pair(POLICY) as pair,
            pair.client() as client,
            tcp_service() as port,
            SshGate(client, port) as gate,
        ):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", STRANGER, str(gate.port), stdout=subprocess.PIPE
            )
            said, _ = await process.communicate()
            assert said == b"got b''\n"

    run(main)
    assert "another user's connection" in caplog.text


def test_leaving_it_ends_what_is_open() -> None:
    async def main() -> None:
        async with share_pair(POLICY) as pair, pair.client() as client, tcp_service() as port:
            async with SshGate(client, port) as gate:
                reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            with pytest.raises(ConnectionError):
                assert await reader.readexactly(1) == b""
            writer.close()

    run(main)
