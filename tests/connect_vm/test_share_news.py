"""What a guest sees of what a share says of itself."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from connect_vm.local_ports import LocalPorts
from connect_vm.requests import PeopleList
from connect_vm.share_news import MAX_SHOWN, ShareNews
from tests.loops import run
from tunnel.codes import Code
from tunnel.console import Console
from tunnel.ends import End
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.flows import Flow, FlowReceiver
from tunnel.follow import Person, Say, Server, parse, serialize


class Nowhere:
    """An opener that leads nowhere."""

    async def open(self, host: str, port: int) -> End:
        raise RefusedError(Code.NOT_ALLOWED, "no")

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        raise RefusedError(Code.NOT_ALLOWED, "no")


class Screen(Console):
    """Keeps events; lines go where they always do."""

    def __init__(self) -> None:
        super().__init__("m")
        self.events: list[dict[str, Any]] = []

    def event(self, **event: object) -> None:
        self.events.append(event)


def told(
    work: Callable[[ShareNews, Callable[..., None]], None], *, automatic: bool = True
) -> list[dict[str, Any]]:
    """Events of what `work` has the share say, by `say(kind, *items)`."""
    screen = Screen()

    async def main() -> None:
        async with LocalPorts(Nowhere(), {}, automatic=automatic) as ports:
            news = ShareNews(ports, screen, "me")

            def say(kind: str, *items: object) -> None:
                news.told(parse(serialize(kind, items)))

            work(news, say)
            await asyncio.sleep(0)

    run(main)
    return screen.events


def test_servers_come_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    def work(news: ShareNews, say: Callable[..., None]) -> None:
        say("servers", Server("web", 3000, "http"), Server("db", 5432))
        say("servers", Server("web", 3000, "http"), Server("db", 5432))
        say("servers", Server("db", 5432))

    events = told(work, automatic=False)
    assert [len(event["servers"]) for event in events] == [2, 1]
    assert events[1]["servers"] == [
        {"name": "db", "port": 5432, "scheme": "", "local": 0, "url": ""}
    ]
    assert capsys.readouterr().err.splitlines() == [
        "==> m: Shared: web, port 3000 of the machine",
        "==> m: Shared: db, port 5432 of the machine",
        "==> m: No longer shared: web",
    ]


def test_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        web, db = (each.getsockname()[1] for each in (one, two))
        told(lambda news, say: say("servers", Server("web", web, "http"), Server("db", db)))
    lines = capsys.readouterr().err
    assert re.search(rf"web at http://localhost:\d+ \(port {web} of the machine\)", lines)
    assert re.search(rf"db at localhost:\d+ \(port {db} of the machine\)", lines)


def test_a_share_that_names_very_many(capsys: pytest.CaptureFixture[str]) -> None:
    many = [Server(f"s{n}", n) for n in range(1, 101)]
    told(lambda news, say: say("servers", *many), automatic=False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MAX_SHOWN + 1
    assert lines[-1] == "    m: and 88 more: `vconnect servers` shows all"


def test_messages_are_told_once_and_old_ones_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    def work(news: ShareNews, say: Callable[..., None]) -> None:
        say("says", Say(1, "old"))
        say("says", Say(1, "old"), Say(2, "new\x1b[2J\x07\u202e"))
        say("says", Say(1, "old"), Say(2, "new"))  # another connection
        say("says", Say(7, "later"))

    events = told(work)
    assert [event["event"] for event in events] == ["said", "said"]
    lines = capsys.readouterr().err
    assert "old" not in lines
    assert "The sharer says: new\ufffd[2J\ufffd\ufffd" in lines
    assert "\x1b" not in lines
    assert "\u202e" not in lines


def test_other_guests(capsys: pytest.CaptureFixture[str]) -> None:
    def work(news: ShareNews, say: Callable[..., None]) -> None:
        assert news.people == PeopleList([], shown=False)
        say("guests", Person("me"))
        assert news.people == PeopleList([], shown=True)
        say("guests", Person("me"), Person("ann"), Person("bob"))
        say("guests", Person("bob"), Person("me"))
        assert news.people == PeopleList(["bob"], shown=True)

    events = told(work)
    assert [event["guests"] for event in events] == [["ann", "bob"], ["bob"]]
    assert capsys.readouterr().err == "==> m: ann and bob are here, too.\n==> m: ann left.\n"


def test_terminals_and_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    def work(news: ShareNews, say: Callable[..., None]) -> None:
        say("terminals", {"name": "main", "more": 1})
        say("something-new", {"x": 1})
        say("terminals")

    events = told(work)
    assert [event["terminals"] for event in events] == [["main"], []]
    assert capsys.readouterr().err.count("main") == 2


@pytest.mark.parametrize("kind", ["servers", "says", "guests", "terminals"])
def test_nonsense(kind: str) -> None:
    def work(news: ShareNews, say: Callable[..., None]) -> None:
        with pytest.raises(RemoteProtocolError, match=f"{kind} that do not parse"):
            say(kind, {"x": 1})

    assert told(work) == []
