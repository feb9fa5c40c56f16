"""Local ports that lead to the machine's, through a share's own code."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Mapping

import pytest

from connect_vm import local_port, local_ports
from connect_vm.local_port import listen_near, listen_on, parse_map
from connect_vm.local_ports import LocalPorts
from connect_vm.requests import ServerRow
from tests.loops import run, until
from tests.share_pair import share_pair, tcp_service
from tunnel.client import Client
from tunnel.errors import UsageError
from tunnel.follow import Server
from vshare.policy import Policy


@contextlib.asynccontextmanager
async def ports_of(
    client: Client, wanted: Mapping[int, int] | None = None, *, automatic: bool = True
) -> AsyncIterator[LocalPorts]:
    async with client, LocalPorts(client, wanted or {}, automatic=automatic) as ports:
        yield ports


def free_port() -> int:
    """Not one of those that the kernel gives to others meanwhile (ip_local_port_range)."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError):
            for each in listen_on(port):
                each.close()
            return port


async def says(local: int, host: str = "127.0.0.1") -> bytes:
    """What an echo service behind a local port says; empty where it hangs up."""
    reader, writer = await asyncio.open_connection(host, local)
    try:
        writer.write(b"hello")
        writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def refused(local: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", local), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_is_shared_by_name_is_on_localhost() -> None:
    """The machine is this host, so its own port is taken here, and another is had."""

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, ports_of(pair.client()) as ports:
            ports.set_servers([Server("web", port, "https")])
            (row,) = ports.rows
            assert row.local not in (0, port)
            assert row == ServerRow(
                "web", port, "https", row.local, f"https://localhost:{row.local}"
            )
            assert await says(row.local) == b"hello"
            ports.set_servers([Server("web", port, "https")])  # the same again changes nothing
            assert ports.rows == [row]
            ports.set_servers([])
            assert ports.rows == []
            await until(lambda: refused(row.local))

    run(main)


def test_the_same_port_where_it_is_free() -> None:
    async def main() -> None:
        async with share_pair() as pair, ports_of(pair.client()) as ports:
            port = free_port()
            ports.set_servers([Server("db", port), Server("also", port)])
            assert [(row.name, row.local) for row in ports.rows] == [("db", port), ("also", port)]

    run(main)


def test_closing_one_cuts_what_is_open_there() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, ports_of(pair.client()) as ports:
            ports.set_servers([Server("web", port)])
            local = ports.rows[0].local
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            assert ports.unmap("web") == ServerRow("web", port)
            with pytest.raises(ConnectionResetError):
                assert await reader.read() == b"x"
            writer.close()
            ports.set_servers([Server("web", port), Server("db", 1)])  # it stays away
            assert ports.rows[0].local == 0
            with pytest.raises(UsageError, match="on no local port"):
                ports.unmap("web")
            assert ports.map("web", 0).local
            assert await says(ports.rows[0].local) == b"hello"

    run(main)


def test_ports_of_ones_own_choice() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            mine, other = free_port(), free_port()
            async with ports_of(pair.client(), {port: mine}, automatic=False) as ports:
                assert ports.rows == [ServerRow("", port, "", mine, f"http://localhost:{mine}")]
                ports.set_servers([Server("web", port), Server("db", 1)])
                assert [row.local for row in ports.rows] == [mine, 0]
                assert ports.map("web", other).local == other
                assert await says(other) == b"hello"
                await until(lambda: refused(mine))
                ports.set_servers([])  # what the user chose stays, as the share lets it
                assert [row.local for row in ports.rows] == [other]
                for what, text in (("mail", "no server is shared"), ("0", "no server")):
                    with pytest.raises(UsageError, match=text):
                        ports.map(what, 0)
                with socket.create_server(("127.0.0.1", 0)) as taken:
                    local = taken.getsockname()[1]
                    with pytest.raises(UsageError, match=f"local port {local} cannot be had"):
                        ports.map("5432", local)
                assert await says(other) == b"hello"  # as before

    run(main)


def test_a_port_that_is_taken_ends_the_beginning() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            local = taken.getsockname()[1]
            async with share_pair() as pair, pair.client() as client:
                with pytest.raises(UsageError, match="cannot be had: address already in use"):
                    async with LocalPorts(client, {1: free_port(), 2: local}, automatic=True):
                        raise AssertionError

    run(main)


def test_what_the_policy_refuses_is_reset() -> None:
    async def main() -> None:
        policy = Policy(names=frozenset(), only_ports=frozenset())
        async with share_pair(policy) as pair, ports_of(pair.client()) as ports:
            ports.set_servers([Server("web", free_port())])
            assert await says(ports.rows[0].local) == b""

    run(main)


def test_a_share_does_not_take_all_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ports, "MAX_BY_THEMSELVES", 2)

    async def main() -> None:
        async with share_pair() as pair, ports_of(pair.client()) as ports:
            ports.set_servers([Server(str(n), free_port()) for n in range(4)])
            assert [bool(row.local) for row in ports.rows] == [True, True, False, False]

    run(main)


def test_many_connections_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_port, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, ports_of(pair.client()) as ports:
            ports.set_servers([Server("web", port)])
            async with asyncio.TaskGroup() as group:
                local = ports.rows[0].local
                tasks = [group.create_task(says(local)) for _ in range(8)]
            assert [task.result() for task in tasks] == [b"hello"] * 8

    run(main)


def test_both_families_or_another_port() -> None:
    """`localhost` is two addresses: who has one of them must not get half of our connections."""
    listeners = listen_on(free_port())
    families = {each.family for each in listeners}
    assert {each.getsockname()[0] for each in listeners} <= {"127.0.0.1", "::1"}
    port = listeners[0].getsockname()[1]
    for each in listeners:
        each.close()
    if families != {socket.AF_INET, socket.AF_INET6}:
        pytest.skip("this host has no IPv6 loopback")
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        for each in listen_near(port):
            assert each.getsockname()[1] != port
            each.close()


def test_a_link_is_a_website() -> None:
    """Whatever the share says: it is handed to the browser."""

    async def main() -> None:
        async with share_pair() as pair, ports_of(pair.client()) as ports:
            ports.set_servers([Server("web", free_port(), "javascript")])
            (row,) = ports.rows
            assert row.url == f"http://localhost:{row.local}"

    run(main)


def test_privileged_ports() -> None:
    assert list(local_port._candidates(80))[:3] == [80, 8_080, 8_081]
    assert list(local_port._candidates(3000))[:2] == [3000, 3001]
    assert list(local_port._candidates(65_535)) == [65_535]


def test_what_map_takes() -> None:
    assert parse_map("3000:8000") == (3000, 8000)
    for text in ("3000", "3000:", ":8000", "web:8000", "0:1", "1:65536", "1:2:3"):
        with pytest.raises(UsageError):
            parse_map(text)
