"""Servers by name, messages and presence in a share that runs, asked through its control socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from connect_vm.following import Following
from tests.loops import until
from tests.share_pair import socket_to, tcp_service
from tests.vshare.test_share import own_directories, run, sharing
from tests.vshare.test_share_commands import Guest, ask, guest_of
from tests.vshare.together.test_followers import Reader
from tunnel.client import Client
from tunnel.errors import RefusedError, UsageError, VshareError
from tunnel.follow import Person, Say, Server, items_of
from vshare.options import Options
from vshare.requests import GuestList, Guests, MakeInvite, NewInvite
from vshare.together.requests import (
    Said,
    SayToAll,
    Serve,
    Served,
    ServerList,
    Servers,
    Unserve,
    Unserved,
)

__all__ = ["own_directories"]
T = TypeVar("T")
OPTIONS = Options(target="127.0.0.1", http=False, ask=False)
RESTRICTED = Options(target="127.0.0.1", http=False, ask=False, only_served=True)


@contextlib.asynccontextmanager
async def reading(guest: Guest, name: str = "bob", code: str = "") -> AsyncIterator[Visit]:
    """A guest who follows."""
    identity = await guest.join(name, code or None)
    reader = Reader()
    client = guest.client(identity, lambda notice: None)
    async with client, asyncio.TaskGroup() as group:
        task = group.create_task(Following(client, reader).run())
        yield client, reader
        task.cancel()


Visit = tuple[Client, Reader]


def test_only_what_is_served_is_open_and_unserve_cuts() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with sharing(RESTRICTED) as share, tcp_service() as port, tcp_service() as other:
            async with reading(await guest_of(share)) as (client, reader):
                await until(lambda: reader.servers == [])
                with pytest.raises(RefusedError, match="is not shared; shared are no ports"):
                    await client.open("", port)
                done = await ask(Serve(port, "web"), Served)
                assert done.server == Server("web", port)
                await until(lambda: reader.servers == [done.server])
                await ask(Serve(other, "other"), Served)
                sock, task = await socket_to(client, port)
                kept, kept_task = await socket_to(client, other)
                for each in (sock, kept):
                    await loop.sock_sendall(each, b"four")
                    assert await loop.sock_recv(each, 9) == b"four"
                (row,) = (await ask(Guests(), GuestList)).guests
                assert row.uses == ["web", "other"]
                taken = await ask(Unserve("web"), Unserved)
                assert taken == Unserved(done.server, cut=1, is_open=False)
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 9)
                await until(lambda: reader.servers == [Server("other", other)])
                with pytest.raises(RefusedError, match="is not shared"):
                    await client.open("", port)
                await loop.sock_sendall(kept, b"five")
                assert await loop.sock_recv(kept, 9) == b"five"
                for end in (sock, kept):
                    end.close()
                await task
                await kept_task
            kinds = [each["event"] for each in share.screen.events]
            assert kinds.count("served") == 2
            assert kinds.count("unserved") == 1

    run(main)


def test_what_cannot_be_served() -> None:
    async def main() -> None:
        async with sharing(OPTIONS):
            web = await ask(Serve(3000, "web"), Served)
            for request in (Serve(3000, "other"), Serve(3001, "web")):
                with pytest.raises(VshareError, match="shared as 'web' already"):
                    await ask(request, Served)
            with pytest.raises(VshareError, match=r"port 22 cannot be shared by name: SSH"):
                await ask(Serve(22, "ssh"), Served)
            with pytest.raises(VshareError, match="no server is shared as 'db'"):
                await ask(Unserve("db"), Unserved)
            with pytest.raises(VshareError, match="does not parse"):
                await ask(Serve(1, "-x"), Served)
            assert (await ask(Servers(), ServerList)).servers == [web.server]
            done = await ask(Unserve("web"), Unserved)
            assert done.is_open  # the whole machine is shared

    run(main)


def test_what_is_served_from_the_beginning() -> None:
    options = Options(
        target="127.0.0.1", http=False, ask=False, servers=(Server("web", 3000), Server("db", 5432))
    )

    async def main() -> None:
        async with sharing(options) as share, reading(await guest_of(share)) as (_, reader):
            await until(lambda: reader.servers == list(options.servers))

    run(main)


def test_an_invite_for_some_ports_sees_those() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share:
            for port, name in ((3000, "web"), (5432, "db")):
                await ask(Serve(port, name), Served)
            invite = await ask(MakeInvite(ports=[5432]), NewInvite)
            guest = await guest_of(share)
            async with reading(guest, code=invite.code) as (_, reader):
                await until(lambda: reader.servers == [Server("db", 5432)])

    run(main)


def test_a_message_to_all() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share, reading(await guest_of(share)) as (_, reader):
            await until(lambda: reader.told)
            assert (await ask(SayToAll("restarting the db"), Said)).guests == 1
            await until(lambda: says(reader) == [Say(1, "restarting the db")])
            for _ in range(2, 20):
                await ask(SayToAll("more"), Said)
            await until(lambda: [each.number for each in says(reader)] == list(range(4, 20)))
            told = [each for each in share.screen.events if each["event"] == "said"]
            assert told[0]["words"] == "restarting the db"

    run(main)


def test_who_is_there() -> None:
    options = Options(target="127.0.0.1", http=False, ask=False, show_guests=True)

    async def main() -> None:
        async with sharing(options) as share:
            guest = await guest_of(share)
            async with reading(guest, "bob") as (_, of_bob), reading(guest, "ann") as (_, of_ann):
                await until(lambda: people(of_bob) == people(of_ann) == ["bob", "ann"])

    run(main)


def test_who_is_there_is_not_told_unasked() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share, reading(await guest_of(share)) as (_, reader):
            await until(lambda: reader.told)
            assert {each.type for each in reader.told} == {"servers", "says"}

    run(main)


def says(reader: Reader) -> list[Say]:
    seen = [each for each in reader.told if each.type == "says"]
    return items_of(seen[-1], Say)


def people(reader: Reader) -> list[str]:
    seen = [each for each in reader.told if each.type == "guests"]
    return [each.name for each in items_of(seen[-1], Person)] if seen else []


def test_the_same_twice() -> None:
    for servers in ((Server("a", 1), Server("a", 2)), (Server("a", 1), Server("b", 1))):
        with pytest.raises(UsageError, match="--serve has the"):
            Options(servers=servers).check()
