from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.vshare.peers import Datagrams, echo, link, openssh, tcp_server, udp_echo
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.socket_end import SocketEnd
from vshare.exposed import Exposed
from vshare.machine import Machine, Source, SshAccess
from vshare.neighbours import parse_cidr
from vshare.reach_machine import MachineReach
from vshare.ssh_end import SshEnd


def machine(address: str | None, ssh: SshAccess | None) -> Machine:
    return Machine("web", "test", "running", address, Source.TARGET, ssh)


@pytest.mark.programs
def test_the_address_for_the_machine_and_ssh_for_its_loopback(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            tcp_server(echo) as port,
            udp_echo() as udp_port,
            MachineReach(machine("127.0.0.1", sshd.access)) as reach,
        ):
            for host, kind in (("", SocketEnd), ("127.0.0.1", SshEnd), ("localhost", SshEnd)):
                end = await reach.open_tcp(host, port)
                assert type(end) is kind
                peer = link(end)
                end.send(b"hello")
                await peer.until(lambda peer=peer: peer.data == b"hello")
                end.reset(Code.CLOSED)
                told = Datagrams()
                flow = await reach.open_udp(host, udp_port, told)
                flow.send(b"hello")
                await told.until(lambda told=told: told.received == [b"hello"])
                flow.close()

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


@pytest.mark.programs
def test_everything_through_ssh_without_an_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with tcp_server(echo) as port, MachineReach(machine(None, sshd.access)) as reach:
            end = await reach.open_tcp("", port)
            assert type(end) is SshEnd
            end.reset(Code.CLOSED)

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_the_loopback_without_ssh_is_refused() -> None:
    """In particular the sharer's own loopback is not dialled in its place."""

    async def main() -> None:
        async with MachineReach(machine("192.0.2.1", None)) as reach:
            with pytest.raises(RefusedError, match="loopback") as caught:
                await reach.open_tcp("127.0.0.1", listener.getsockname()[1])
            assert caught.value.code is Code.UNSUPPORTED

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main())


def test_the_sharers_own_host_as_the_machine() -> None:
    """What a name leads to is looked at when the reach is entered."""

    async def main() -> None:
        async with tcp_server(echo) as port:
            for address in ("localhost", "127.0.0.1"):
                async with MachineReach(machine(address, None)) as reach:
                    assert reach.is_this_host
                    (await reach.open_tcp("", port)).reset(Code.CLOSED)
        async with MachineReach(machine("192.0.2.254", None)) as reach:
            assert not reach.is_this_host

    asyncio.run(main())


def test_neighbours_of_a_machine_with_an_address_are_dialled_from_here() -> None:
    exposed = Exposed((parse_cidr("192.0.2.0/24"),), is_own=lambda address: True)

    async def main() -> None:
        async with MachineReach(machine("192.0.2.1", None), exposed) as reach:
            with pytest.raises(RefusedError, match="sharer's own host"):
                await reach.open_tcp("192.0.2.7", 80)

    asyncio.run(main())


def test_ssh_that_does_not_work_is_said_at_once_where_it_is_the_only_way() -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="no SSH connection"):
            async with MachineReach(machine(None, SshAccess("127.0.0.1", 1))):
                pass
        async with MachineReach(machine("127.0.0.1", SshAccess("127.0.0.1", 1))) as reach:
            with pytest.raises(RefusedError) as caught:
                await reach.open_tcp("127.0.0.1", 80)
            assert caught.value.code is Code.HOST_UNREACHABLE

    asyncio.run(main())


def test_no_way_at_all() -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="neither an address nor SSH"):
            async with MachineReach(machine(None, None)):
                pass

    asyncio.run(main())
