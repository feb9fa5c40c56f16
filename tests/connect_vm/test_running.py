"""What connections to shares are called, as other terminals find them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connect_vm.requests import People, PeopleList
from connect_vm.running import choose_connection, connection_socket, parse_label
from tests.loops import run
from tunnel.control_socket import on
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName
from vshare.running import running_shares

NAME = ShareName("frosty-weasel-0857")


async def nobody(request: People) -> object:
    return PeopleList([], shown=True)


def test_two_connections_to_one_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    handlers = dict([on(People, nobody)])

    async def main() -> None:
        async with connection_socket(NAME, handlers) as first:
            async with connection_socket(NAME, handlers) as second:
                assert (first, second) == (NAME, f"{NAME}.2")
                with pytest.raises(UsageError, match="2 connections run"):
                    await asyncio.to_thread(choose_connection, None)
                chosen = await asyncio.to_thread(choose_connection, second)
                answer = await asyncio.to_thread(chosen.ask, People(), PeopleList)
                assert answer == PeopleList([], shown=True)
                assert await asyncio.to_thread(running_shares) == []  # they are none
            chosen = await asyncio.to_thread(choose_connection, None)
            assert chosen.name == NAME
        with pytest.raises(VshareError, match="no connection runs here"):
            await asyncio.to_thread(choose_connection, None)

    run(main)


def test_labels() -> None:
    for text in (NAME, f"{NAME}.2", f"{NAME}.16"):
        assert parse_label(text) == text
    for text in ("", "x", f"{NAME}.", f"{NAME}.x", f"{NAME}.2.3", "../x", f"{NAME}.²"):
        with pytest.raises(UsageError):
            parse_label(text)
