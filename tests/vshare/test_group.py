"""Several machines by one `vshare up`, and one `vconnect` that has all of them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connect_vm.session import Options as GuestOptions
from connect_vm.session import connect, join
from tests.loops import run
from tunnel.address import parse_connect_line
from tunnel.codes import Code
from tunnel.console import Console, Interrupt
from tunnel.errors import RefusedError, UsageError, VshareError
from tunnel.identity import make_key
from tunnel.running import Running
from vshare import requests
from vshare.group import MAX_MACHINES, Group
from vshare.options import Options
from vshare.running import choose_share
from vshare.several import each_machine, share_all

BARE = Options(http=False, ask=False, dashboard=False, name="shop")
TARGETS = "127.0.0.1", "127.0.0.2"  # two machines, as far as a share can tell
FIRST, SECOND = "shop-127-0-0-1", "shop-127-0-0-2"


@pytest.fixture(autouse=True)
def own_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("VSHARE_RELAY", raising=False)
    (tmp_path / "run").mkdir(mode=0o700)


class Screen(Console):
    """Keeps the events, those of screens beside it as well."""

    def __init__(self) -> None:
        super().__init__("test", as_json=True)
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def event(self, **event: object) -> None:
        if event:
            self.events.put_nowait({"machine": self.machine, **event})

    def kinds(self) -> list[str]:
        """Of what was told since the last look."""
        return [self.events.get_nowait()["event"] for _ in range(self.events.qsize())]

    async def wait(self, kind: str) -> dict[str, Any]:
        while (event := await self.events.get())["event"] != kind:
            pass
        return event


@contextlib.asynccontextmanager
async def sharing(
    options: Options,
) -> AsyncIterator[tuple[dict[str, Any], dict[str, Any], Screen]]:
    """What both machines were told of with `started`, and what else is told."""
    screen, interrupt = Screen(), Interrupt()
    each = each_machine(options, (), (), TARGETS)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(share_all(each, screen, interrupt, None))
        yield await screen.wait("started"), await screen.wait("started"), screen
        interrupt.stopped.set()
        await task


@contextlib.asynccontextmanager
async def connected(code: Path, line: str, **options: Any) -> AsyncIterator[tuple[Screen, str]]:
    """A guest's screen, and its SOCKS address."""
    screen, interrupt = Screen(), Interrupt()
    wanted = GuestOptions(line, code_file=code, static_ip=False, guest="bob", **options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(connect(wanted, screen, interrupt))
        address = (await screen.wait("socks"))["address"]
        await screen.wait("running")
        yield screen, address
        interrupt.stopped.set()
        await task


async def ask(address: str, name: str, port: int) -> bytes:
    """What the service at `port` says, or why SOCKS5 (RFC 1928) does not lead there."""
    host, _, socks = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(socks))
    try:
        writer.write(b"\5\1\0" + b"\5\1\0\3" + bytes([len(name)]) + name.encode())
        writer.write(struct.pack("!H", port))
        assert await reader.readexactly(2) == b"\5\0"
        if (answer := await reader.readexactly(10))[1]:
            return answer[1:2]
        return await reader.readline()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def services() -> AsyncIterator[int]:
    """One at the same port of each machine, which says whose it is."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(f"{writer.get_extra_info('sockname')[0]}\n".encode())
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        port = 0
        for host in TARGETS:
            server = await asyncio.start_server(lambda _, writer: serve(writer), host, port)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
        yield port


def test_one_code_opens_both_and_names_tell_them_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with services() as port, sharing(BARE) as (one, two, _):
            assert (one["name"], two["name"]) == (FIRST, SECOND)
            assert one["code"] == two["code"]
            (code := tmp_path / "code").write_text(one["code"])
            async with connected(code, one["connect"]) as (_, address):
                for name, said in (
                    (FIRST, TARGETS[0]),
                    (SECOND, TARGETS[1]),
                    (TARGETS[1], TARGETS[1]),
                    (f"{SECOND}.localhost", TARGETS[1]),
                ):
                    assert await ask(address, name, port) == f"{said}\n".encode()
                assert await ask(address, "other.example.org", port) == b"\2"  # not allowed
                for name in (FIRST, SECOND):
                    found = await asyncio.to_thread(
                        choose_share(name).ask, requests.Guests(), requests.GuestList
                    )
                    assert [guest.name for guest in found.guests] == ["bob"]
            async with connected(code, two["connect"], only=True) as (_, address):
                assert await ask(address, SECOND, port) == f"{TARGETS[1]}\n".encode()
                assert await ask(address, FIRST, port) == b"\2"

    run(main)


@pytest.mark.programs
def test_a_new_code_is_that_of_both_and_an_invite_is_for_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with services() as port, sharing(BARE) as (one, two, told):
            ours = choose_share(FIRST)
            given = await asyncio.to_thread(
                ours.ask, requests.Code(rotate=True), requests.ShareCode
            )
            theirs = await asyncio.to_thread(
                choose_share(SECOND).ask, requests.Code(), requests.ShareCode
            )
            assert given.code == theirs.code != one["code"]
            invite = await asyncio.to_thread(ours.ask, requests.MakeInvite(), requests.NewInvite)
            (code := tmp_path / "code").write_text(invite.code)
            async with connected(code, one["connect"]) as (_, address):
                assert await ask(address, FIRST, port) == f"{TARGETS[0]}\n".encode()
                assert await ask(address, SECOND, port) == b"\2"
            assert "join-failed" not in told.kinds()  # it was not told of it, and tried nothing
            code.write_text(one["code"])
            with pytest.raises(VshareError, match="the code is not right"):
                await connect(
                    GuestOptions(two["connect"], code_file=code, static_ip=False),
                    Screen(),
                    Interrupt(),
                )

    run(main)


@pytest.mark.programs
def test_guesses_at_one_count_at_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with sharing(BARE) as (one, two, _):
            (code := tmp_path / "code").write_text("zoo-zoo-zoo")
            while (said := await guess(one["connect"], code)) is Code.WRONG_CODE:
                pass
            assert said is Code.BUSY
            assert await guess(two["connect"], code) is Code.BUSY

    run(main)


async def guess(line: str, code: Path) -> Code:
    """What is answered to a wrong code."""
    options = GuestOptions(line, code_file=code, static_ip=False)
    with pytest.raises(RefusedError) as caught:
        await join(options, parse_connect_line(line), Screen())
    return caught.value.code


@pytest.mark.programs
def test_one_ends_and_the_other_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with services() as port, sharing(BARE) as (one, *_):
            (code := tmp_path / "code").write_text(one["code"])
            async with connected(code, one["connect"]) as (screen, address):
                await asyncio.to_thread(choose_share(FIRST).ask, requests.Stop(), requests.Stopped)
                await screen.wait("notice")
                while await ask(address, FIRST, port) == f"{TARGETS[0]}\n".encode():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert await ask(address, SECOND, port) == f"{TARGETS[1]}\n".encode()

    run(main)


@pytest.mark.programs
def test_the_sharer_is_asked_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with services() as port, sharing(replace(BARE, approve=True)) as (one, *_):
            (code := tmp_path / "code").write_text(one["code"])
            approve = asyncio.to_thread(approved, choose_share(FIRST))
            async with asyncio.TaskGroup() as group:
                group.create_task(approve)
                async with connected(code, one["connect"]) as (_, address):
                    assert await ask(address, SECOND, port) == f"{TARGETS[1]}\n".encode()

    run(main)


def approved(share: Running) -> None:
    """Let in whoever waits there, as soon as somebody does."""
    while not (waiting := share.ask(requests.Guests(), requests.GuestList).waiting):
        pass
    share.ask(requests.Approve(waiting[0].name), requests.OneGuest)


def test_whose_word_was_given() -> None:
    async def main() -> None:
        group = Group(2)
        key, other = make_key().public_key(), make_key().public_key()
        group.welcome(key)
        assert group.is_welcome(key)
        assert not group.is_welcome(other)
        group.forget_welcomes()
        assert not group.is_welcome(key)

    run(main)


def test_where_one_cannot_be_shared_none_is() -> None:
    async def main() -> None:
        each = each_machine(Options(ask=False, http_port=1), (), (), TARGETS)
        with pytest.raises(ExceptionGroup) as caught:
            await share_all(each, Screen(), Interrupt(), None)
        assert caught.group_contains(VshareError, match="no HTTP port found", depth=None)

    run(main)


def test_what_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="more than one kind"):
        each_machine(BARE, ["web"], [], ["127.0.0.1"])
    many = [f"127.0.0.{number}" for number in range(MAX_MACHINES + 1)]

    async def main() -> None:
        for targets, said in ((["a", "a"], "named twice"), (many, "more than")):
            with pytest.raises(UsageError, match=said):
                await share_all(each_machine(BARE, [], [], targets), Screen(), Interrupt(), None)

    run(main)


@pytest.mark.programs
def test_one_gets_another_name_and_the_others_tell_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with services() as port, sharing(BARE) as (_, two, told):
            asked = requests.Rename("another-one")
            await asyncio.to_thread(choose_share(FIRST).ask, asked, requests.Renamed)
            (code := tmp_path / "code").write_text(two["code"])
            async with connected(code, two["connect"]) as (_, address):
                assert await ask(address, "another-one", port) == f"{TARGETS[0]}\n".encode()
                assert await ask(address, SECOND, port) == f"{TARGETS[1]}\n".encode()
            assert "renamed" in told.kinds()

    run(main)
