"""What other terminals ask of the share about its terminals, over its control socket."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from tests.loops import run, until
from tests.share_pair import NAME
from tests.shared_terminals import ADA, MemoryProgram, Watcher
from tunnel.errors import VshareError
from tunnel.requests import Request
from tunnel.running import Running
from tunnel.terminal_messages import (
    FROM_SHARE,
    Do,
    End,
    MessageType,
    State,
    TerminalParser,
    parse_payload,
    serialize,
    serialize_payload,
)
from vshare.news import Newsroom
from vshare.running import SHARES, share_socket
from vshare.terminals import requests
from vshare.terminals.handlers import TerminalHandlers
from vshare.terminals.hub import Hub
from vshare.terminals.terminal import SharedTerminal, Terms

SHELL = requests.Terminal("build", 80, 24)


def with_share(
    main: Callable[[Running, Hub], Coroutine[None, None, None]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def start() -> None:
        hub = Hub()
        handlers = TerminalHandlers(hub, None)
        socket = share_socket(NAME, handlers.table(), Newsroom(), handlers.sessions())
        async with socket:
            try:
                await main(Running(SHARES, NAME, socket.path), hub)
            finally:
                hub.end_all("over")

    run(start)


async def ask(share: Running, request: Request) -> requests.OneTerminal:
    return await asyncio.to_thread(share.ask, request, requests.OneTerminal)


class Seat:
    """The sharer's end of a session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = TerminalParser(FROM_SHARE)

    async def next(self, kind: MessageType) -> bytes:
        """The payload of the next message of that kind."""
        while True:
            while (message := self.parser.maybe_message()) is not None:
                if message[0] is kind:
                    return message[1]
            data = await self.reader.read(65536)
            assert data, "the share hung up"
            self.parser.receive_data(data)


def open_terminal(hub: Hub, name: str = "build") -> tuple[SharedTerminal, MemoryProgram]:
    terminal = hub.open(name, Terms())
    return terminal, MemoryProgram(terminal)


def test_the_sharer_sits_at_a_terminal_and_leaving_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main(share: Running, hub: Hub) -> None:
        terminal, program = open_terminal(hub)
        terminal.output(b"hello")
        ada = Watcher(hub, ADA)
        async with share.session(SHELL, requests.Showing) as (showing, reader, writer):
            seat = Seat(reader, writer)
            assert showing == requests.Showing("build", made=False)
            state = parse_payload(State, await seat.next(MessageType.STATE))
            assert state.write
            assert [each.name for each in state.people] == ["Ada"]
            assert b"hello" in await seat.next(MessageType.SCREEN)
            writer.write(serialize(MessageType.INPUT, b"ls\r") + serialize_payload(Do("lock")))
            await until(lambda: program.typed == b"ls\r" and terminal.rights.locked)
            terminal.output(b"more")
            assert b"more" in await seat.next(MessageType.OUTPUT)
        await until(lambda: ada.end is not None)
        assert ada.end is not None
        assert "left" in ada.end.text
        assert program.is_closed

    with_share(main, monkeypatch, tmp_path)


def test_what_the_sharer_is_shown_has_left_before_a_guest_is_sent_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main(share: Running, hub: Hub) -> None:
        terminal, _ = open_terminal(hub)
        had_left: list[bool] = []
        async with share.session(SHELL, requests.Showing) as (_showing, reader, writer):
            sock = writer.get_extra_info("socket").fileno()

            def sink(message: bytes) -> bool:
                if message[0] == MessageType.OUTPUT:
                    had_left.append(bool(select.select([sock], [], [], 0)[0]))
                return True

            seat = Seat(reader, writer)
            guest = hub.view("", ADA, sink)
            while parse_payload(State, await seat.next(MessageType.STATE)).viewers != 2:
                pass
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a duplex one
            assert not select.select([sock], [], [], 0)[0]
            terminal.output(b"x")
            await until(lambda: had_left)
            assert had_left == [True]
            guest.close()

    with_share(main, monkeypatch, tmp_path)


def test_it_goes_on_where_the_sharer_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main(share: Running, hub: Hub) -> None:
        terminal, _ = open_terminal(hub)
        for _ in range(2):
            async with share.session(SHELL, requests.Showing) as (_showing, reader, writer):
                writer.write(serialize_payload(Do("detach")))
                end = parse_payload(End, await Seat(reader, writer).next(MessageType.END))
                assert "comes back" in end.text
                assert await reader.read() == b""
            assert not terminal.is_over
        async with share.session(SHELL, requests.Showing) as (_showing, reader, writer):
            writer.write(serialize(MessageType.ASK)[:2])
        await until(lambda: terminal.is_over)

    with_share(main, monkeypatch, tmp_path)


def test_a_sharer_that_does_not_read_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vshare.terminals.terminal.SHARER_PATIENCE", 0.05)

    async def main(share: Running, hub: Hub) -> None:
        terminal, program = open_terminal(hub)
        ada = Watcher(hub, ADA)
        async with share.session(SHELL, requests.Showing) as (_showing, reader, writer):
            for _ in range(2):
                for _ in range(40):
                    await ada.shown_more(b"x" * 8192, terminal)
                await until(lambda: not program.is_paused)
            assert ada.count > 80 * 8192
            await until(lambda: not program.is_paused)
            terminal.output(b"\r\nthe present")
            seat = Seat(reader, writer)
            await seat.next(MessageType.SCREEN)

    with_share(main, monkeypatch, tmp_path)


def test_commands_from_other_terminals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def main(share: Running, hub: Hub) -> None:
        terminal, program = open_terminal(hub)
        ada = Watcher(hub, ADA)
        ada.ask()
        listed = await asyncio.to_thread(share.ask, requests.Terminals(), requests.TerminalList)
        row = listed.terminals[0]
        assert (row.name, row.columns, row.read_write, row.locked) == ("build", 80, False, False)
        assert row.viewers == [requests.ViewerRow("Ada", asks=True)]
        assert (await ask(share, requests.GrantTerminal("Ada"))).name == "build"
        ada.type(b"x")
        assert program.typed == b"x"
        await ask(share, requests.LockTerminal("build"))
        ada.type(b"y")
        await ask(share, requests.LockTerminal(locked=False))
        await ask(share, requests.GrantTerminal("Ada", write=False))
        ada.type(b"z")
        assert program.typed == b"x"
        with pytest.raises(VshareError, match="'Bob'"):
            await ask(share, requests.GrantTerminal("Bob"))
        with pytest.raises(VshareError, match="'other'"):
            await ask(share, requests.EndTerminal("other"))
        await ask(share, requests.EndTerminal())
        assert terminal.is_over

    with_share(main, monkeypatch, tmp_path)


def test_what_cannot_be_is_said_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main(share: Running, hub: Hub) -> None:
        cast = tmp_path / "one.cast"
        for request, why in (
            (SHELL, "no SSH way"),
            (requests.Terminal("build", 80, 24, record=str(cast)), "no SSH way"),
            (requests.Terminal("a b", 80, 24), "no name"),
            (requests.Terminal("build", 80, 24, record=str(tmp_path)), "cannot record"),
        ):
            with pytest.raises(VshareError, match=why):
                async with share.session(request, requests.Showing):
                    pass
        assert not cast.exists()
        assert hub.names() == []
        open_terminal(hub)
        for request in (
            requests.Terminal("build", 80, 24, read_write=True),
            requests.Terminal("build", 80, 24, new=True),
        ):
            with pytest.raises(VshareError, match="already"):
                async with share.session(request, requests.Showing):
                    pass
        assert hub.names() == ["build"]

    with_share(main, monkeypatch, tmp_path)
