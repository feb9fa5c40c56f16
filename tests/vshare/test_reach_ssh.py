from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import asyncssh
import pytest

from tests.loops import until
from tests.vshare.peers import (
    WAIT,
    Datagrams,
    echo,
    free_port,
    link,
    openssh,
    tcp_server,
    udp_echo,
)
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from vshare.exposed import Exposed
from vshare.machine import Machine, Source, SshAccess
from vshare.neighbours import parse_cidr
from vshare.reach_machine import MachineReach
from vshare.reach_ssh import SshReach
from vshare.ssh_end import SshEnd, code_for_open_error
from vshare.ssh_link import SshLink

pytestmark = pytest.mark.programs

MB = 1024 * 1024


@asynccontextmanager
async def reach_over(access: SshAccess) -> AsyncIterator[SshReach]:
    async with asyncio.timeout(60), SshLink(access) as ssh, SshReach(ssh) as reach:
        yield reach


def test_20_mb_both_ways_arrive_unchanged(tmp_path: Path) -> None:
    block = os.urandom(MB)

    async def main() -> None:
        async with tcp_server(echo) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("127.0.0.1", port)
            peer = link(end)
            for _ in range(20):
                for at in range(0, MB, 65536):
                    await asyncio.wait_for(peer.may_send.wait(), WAIT)
                    end.send(memoryview(block)[at : at + 65536])
            end.send_eof()
            await peer.until(peer.eof.is_set)
            assert peer.received == 20 * MB
            assert peer.digest.digest() == hashlib.sha256(block * 20).digest()
            assert await asyncio.wait_for(end.finished, WAIT) is None

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_half_close_leaves_the_other_direction_open(tmp_path: Path) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()  # until our EOF
        writer.write(b"%d bytes" % len(data))
        writer.close()

    async def main() -> None:
        async with tcp_server(count) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            end.send(b"x" * 1000)
            end.send_eof()
            await peer.until(peer.eof.is_set)
            assert peer.data == b"1000 bytes"
            assert await asyncio.wait_for(end.finished, WAIT) is None

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_the_machines_half_close_leaves_our_direction_open(tmp_path: Path) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def goodbye_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        got.put_nowait(await reader.read())
        writer.close()

    async def main() -> None:
        async with tcp_server(goodbye_first) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            await peer.until(peer.eof.is_set)
            end.send(b"later")
            end.send_eof()
            assert await asyncio.wait_for(got.get(), WAIT) == b"later"
            assert await asyncio.wait_for(end.finished, WAIT) is None

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_nothing_is_read_before_it_is_linked(tmp_path: Path) -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello")
        await reader.read()
        writer.close()

    async def main() -> None:
        async with tcp_server(banner) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            await reach.link.run("true")  # the banner is here by then
            peer = link(end)
            await peer.until(lambda: peer.data == b"220 hello")
            end.reset(Code.CLOSED)

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_slow_reader_stops_the_machine(tmp_path: Path) -> None:
    """Its SSH server may send nothing more once it has used up the channel's window: what it is
    sent then stays in the machine, where TCP holds up whoever sends it."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(20 * 16):
            writer.write(b"z" * 65536)
            await writer.drain()
        writer.close()

    async def main() -> None:
        async with tcp_server(flood) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            await peer.until(lambda: peer.received > 0)
            end.pause_reading()
            paused_at = peer.received
            assert isinstance(end, SshEnd)
            channel = end._channel
            async with asyncio.timeout(WAIT):
                await until(lambda: channel._recv_window == 0 or peer.received > paused_at)
            assert peer.received == paused_at
            assert paused_at + channel.get_recv_window() < 16 * MB  # which is all that we hold
            end.resume_reading()
            end.send_eof()
            await peer.until(peer.eof.is_set)
            assert peer.received == 20 * MB

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_reset_in_the_machine_resets_the_peer(tmp_path: Path) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def main() -> None:
        async with tcp_server(abort) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            end.send(b"x")
            await peer.until(lambda: peer.eof.is_set() or peer.was_reset)
            end.send(b"y")  # an SSH server that only said EOF finds out now
            await peer.until(lambda: peer.was_reset)
            assert peer.was_reset is Code.CONNECTION_RESET
            assert await end.finished is Code.CONNECTION_RESET

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_our_reset_ends_the_connection_in_the_machine(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    async def main() -> None:
        async with tcp_server(hold) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            link(end)
            end.reset(Code.CLOSED)
            end.reset(Code.CLOSED)
            await asyncio.wait_for(ended.wait(), WAIT)
            assert await end.finished is Code.CLOSED

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_closed_port_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with reach_over(sshd.access) as reach:
            with pytest.raises(RefusedError) as caught:
                await reach.open_tcp("", free_port())
            assert caught.value.code is Code.CONNECTION_REFUSED

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_other_hosts_are_refused_where_nothing_is_exposed(tmp_path: Path) -> None:
    async def main() -> None:
        async with reach_over(sshd.access) as reach:
            for host in ("192.0.2.1", "no-such-host.invalid"):
                with pytest.raises(RefusedError, match="only the shared machine") as caught:
                    await reach.open_tcp(host, 80)
                assert caught.value.code is Code.NOT_ALLOWED

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_server_that_forbids_forwarding_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with reach_over(sshd.access) as reach:
            with pytest.raises(RefusedError) as caught:
                await reach.open_tcp("", free_port())
            assert caught.value.code is Code.NOT_ALLOWED
            assert "AllowTcpForwarding" in caught.value.hint

    with openssh(tmp_path, forwarding=False) as sshd:
        asyncio.run(main())


def test_a_dead_connection_is_made_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with tcp_server(echo) as port, reach_over(sshd.access) as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            (await reach.link.connection()).abort()
            await peer.until(lambda: peer.was_reset)
            end = await reach.open_tcp("", port)
            peer = link(end)
            end.send(b"again")
            await peer.until(lambda: peer.data == b"again")
            end.reset(Code.CLOSED)

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_host_key_that_is_not_known_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(VshareError) as caught:
            await SshLink(sshd.access).connection()
        assert "host key" in caught.value.text
        assert str(sshd.access.known_hosts) in caught.value.hint

    with openssh(tmp_path) as sshd:
        assert sshd.access.known_hosts is not None
        sshd.access.known_hosts.write_text("")
        asyncio.run(main())


def test_a_key_that_is_not_accepted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="accepts none of our keys"):
            await SshLink(sshd.access).connection()

    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with openssh(tmp_path) as sshd:
        (tmp_path / "user_key.pub").write_text("")
        asyncio.run(main())


def test_no_server_is_told() -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="no SSH connection to"):
            await SshLink(SshAccess("127.0.0.1", free_port())).connection()

    asyncio.run(main())


def only(tmp_path: Path, *programs: str) -> str:
    """A PATH with these programs alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", *programs):
        found = shutil.which(program, path="/usr/bin:/bin:/usr/local/bin") or shutil.which(program)
        if found is None:
            pytest.skip(f"no {program} here")
        (folder / program).symlink_to(found)
    return str(folder)


@pytest.mark.parametrize("program", ["python3", "perl"])
def test_a_thousand_datagrams_through_a_helper(tmp_path: Path, program: str) -> None:
    messages = [b"%d " % number + os.urandom(number % 1400) for number in range(1000)]
    for at in range(0, 1000, 100):
        messages[at] = os.urandom(60_000)
    messages[1] = b""
    messages[2] = os.urandom(65_507)

    async def main() -> None:
        async with udp_echo() as port, reach_over(sshd.access) as reach:
            flows = [Datagrams() for _ in range(4)]
            opened = [await reach.open_udp("127.0.0.1", port, each) for each in flows]
            for at, message in enumerate(messages):  # 16 on their way at a time
                flows_at = at % 4
                opened[flows_at].send(message)
                if at % 16 == 15:
                    for number, flow in enumerate(flows):
                        want = len(range(number, at + 1, 4))
                        await flow.until(lambda flow=flow, want=want: len(flow.received) >= want)
            for number, flow in enumerate(flows):
                want = len(range(number, 1000, 4))
                await flow.until(lambda flow=flow, want=want: len(flow.received) >= want)
                assert sorted(flow.received) == sorted(messages[number::4])
            for each in opened:
                each.close()

    with openssh(tmp_path, programs=only(tmp_path, program)) as sshd:
        asyncio.run(main())


@pytest.mark.parametrize("program", ["python3", "perl", "socat"])
def test_a_closed_udp_port_is_refused(tmp_path: Path, program: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    async def main() -> None:
        async with reach_over(sshd.access) as reach:
            told = Datagrams()
            flow = await reach.open_udp("", port, told)
            flow.send(b"anyone?")
            await told.until(lambda: told.refused)
            assert told.refused is Code.CONNECTION_REFUSED

    with openssh(tmp_path, programs=only(tmp_path, program)) as sshd:
        asyncio.run(main())


def test_questions_and_answers_through_socat(tmp_path: Path) -> None:
    async def main() -> None:
        async with udp_echo() as port, reach_over(sshd.access) as reach:
            told = Datagrams()
            flow = await reach.open_udp("", port, told)
            for number in range(20):
                flow.send(b"question %d" % number)
                await told.until(lambda number=number: len(told.received) == number + 1)
            assert told.received == [b"question %d" % number for number in range(20)]
            flow.close()

    with openssh(tmp_path, programs=only(tmp_path, "socat")) as sshd:
        asyncio.run(main())


def test_without_a_helper_udp_is_unavailable(tmp_path: Path) -> None:
    async def main() -> None:
        async with reach_over(sshd.access) as reach:
            with pytest.raises(RefusedError, match="UDP unavailable") as caught:
                await reach.open_udp("", 9, Datagrams())
            assert caught.value.code is Code.UNSUPPORTED

    with openssh(tmp_path, programs=only(tmp_path)) as sshd:
        asyncio.run(main())


def test_flows_end_with_the_ssh_connection_and_open_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with udp_echo() as port, reach_over(sshd.access) as reach:
            told = Datagrams()
            await reach.open_udp("", port, told)
            (await reach.link.connection()).abort()
            await told.until(lambda: told.closed)
            again = Datagrams()
            flow = await reach.open_udp("", port, again)
            flow.send(b"again")
            await again.until(lambda: again.received == [b"again"])

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return True


def test_another_ssh_server() -> None:
    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=_Server, server_host_keys=[key]
        )
        async with server, tcp_server(echo) as port:
            access = SshAccess("127.0.0.1", server.get_port(), "somebody")
            async with SshLink(access) as ssh:
                reach = SshReach(ssh)
                end = await reach.open_tcp("127.0.0.1", port)
                peer = link(end)
                end.send(b"hello")
                end.send_eof()
                await peer.until(peer.eof.is_set)
                assert peer.data == b"hello"
                assert await asyncio.wait_for(end.finished, WAIT) is None
                with pytest.raises(RefusedError) as caught:
                    await reach.open_tcp("127.0.0.1", free_port())
                assert caught.value.code is Code.CONNECTION_REFUSED

    asyncio.run(main())


class _Inside(_Server):
    """A machine behind its provider's NAT: SSH comes from 10.0.2.2, which is the sharer's host."""

    dialled: ClassVar[list[tuple[str, int]]] = []

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        self.dialled.append((dest_host, dest_port))
        return False


def _tell_connection(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write("10.0.2.2 40000 10.0.2.15 22\n")
    process.exit(0)


def test_neighbours_as_the_machine_reaches_them() -> None:
    """It is given an address, never a name; the sharer's host behind its NAT is none of them."""
    networks = (parse_cidr("10.0.2.0/24"), parse_cidr("fd00:1::/64"))
    answers = iter([["10.0.2.9"], ["10.0.2.2"], ["127.0.0.1"]])
    exposed = Exposed(networks, lambda name: next(answers), lambda address: False)

    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_Inside,
            process_factory=_tell_connection,
            server_host_keys=[key],
        )
        access = SshAccess("127.0.0.1", server.get_port(), "somebody")
        async with server, MachineReach(_machine(access), exposed) as reach:
            assert not reach.is_this_host
            for host in ("10.0.2.7", "::ffff:10.0.2.8", "fd00:1::7", "db"):
                with pytest.raises(RefusedError, match="in the machine"):
                    await reach.open_tcp(host, 80)
            for host in ("10.0.2.2", "::ffff:10.0.2.2", "db", "db", "10.0.3.7"):
                with pytest.raises(RefusedError) as caught:
                    await reach.open_tcp(host, 81)
                assert caught.value.code is Code.NOT_ALLOWED
            with pytest.raises(RefusedError, match="sharer's own host"):
                await reach.open_udp("10.0.2.2", 81, Datagrams())
        assert [host for host, _ in _Inside.dialled] == [
            "10.0.2.7",
            "10.0.2.8",
            "fd00:1::7",
            "10.0.2.9",
        ]

    asyncio.run(main())


def _machine(access: SshAccess) -> Machine:
    return Machine("web", "test", "running", None, Source.TARGET, access)


@pytest.mark.parametrize(
    ("reason", "text", "code"),
    [
        (asyncssh.OPEN_CONNECT_FAILED, "Connection refused", Code.CONNECTION_REFUSED),
        (asyncssh.OPEN_CONNECT_FAILED, "Connection timed out", Code.TIMED_OUT),
        (asyncssh.OPEN_CONNECT_FAILED, "No route to host", Code.HOST_UNREACHABLE),
        (asyncssh.OPEN_CONNECT_FAILED, "Name or service not known", Code.UNKNOWN_HOST),
        (asyncssh.OPEN_CONNECT_FAILED, "", Code.CONNECTION_REFUSED),
        (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed", Code.NOT_ALLOWED),
        (asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE, "", Code.UNSUPPORTED),
        (asyncssh.OPEN_RESOURCE_SHORTAGE, "", Code.BUSY),
    ],
)
def test_codes_of_refused_channels(reason: int, text: str, code: Code) -> None:
    assert code_for_open_error(asyncssh.ChannelOpenError(reason, text)) is code
