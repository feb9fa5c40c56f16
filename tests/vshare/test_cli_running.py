"""The commands against a control socket in another thread, whose share is a few lists."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest
import uvloop

from tests.commands import Command
from tunnel.command import run_command
from tunnel.control_socket import on
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare import cli_always, cli_running, requests
from vshare.news import Newsroom
from vshare.requests import GuestRow, InviteRow, Request, WaitingRow
from vshare.running import share_socket

COMMANDS = (*cli_running.COMMANDS, *cli_always.COMMANDS)
NAME = ShareName("frosty-weasel-0857")
CONNECT = f"{NAME}@relay.example.org:443"
CODE, NEW_CODE = "orange-crystal-salmon", "abandon-ability-able"


INVITE = "invite", "--as", "ann", "--once", "--expires", "1h", "--port", "443", "--port", "80"


class Party:
    """Answers as a share would; `asked` is what came."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        now = time.time()
        self.guests = [
            GuestRow("bob", now - 720, "203.0.113.9", 2, 1, 1_300_000, 900, "", ssh=True, direct=1),
            GuestRow("ann\x1b[2J", now - 86_400 * 3, "2001:db8::1", 0, 4, 20, 5 * 2**40, "otter"),
        ]
        self.handlers = dict(
            [
                on(requests.Status, self._status),
                on(requests.Guests, self._guests),
                on(requests.Kick, self._kick),
                on(requests.Approve, self._waiting),
                on(requests.Deny, self._waiting),
                on(requests.Extend, self._extend),
                on(requests.Code, self._code),
                on(requests.MakeInvite, self._invite),
                on(requests.Invites, self._invites),
                on(requests.Revoke, self._revoke),
                on(requests.Unfence, self._unfence),
                on(requests.Stop, self._stop),
            ]
        )

    async def _status(self, request: requests.Status) -> object:
        ends = time.time() + 28_795
        url = f"https://{NAME}.relay.example.org/"
        where = "relay.example.org:443"
        return requests.ShareState(NAME, "web", where, url, CONNECT, ends, 2, "every port", 37)

    async def _guests(self, request: requests.Guests) -> object:
        waiting = WaitingRow("eve", "198.51.100.7", time.time() - 5)
        return requests.GuestList(self.guests, [waiting])

    async def _kick(self, request: requests.Kick) -> object:
        self.asked.append(request)
        names = [guest.name for guest in self.guests]
        if request.guest not in names:
            raise VshareError(f"there is no guest {request.guest!r}", f"guests: {', '.join(names)}")
        return requests.OneGuest(request.guest)

    async def _waiting(self, request: requests.Approve | requests.Deny) -> object:
        self.asked.append(request)
        if request.guest != "eve":
            raise VshareError(f"no newcomer {request.guest!r} waits", "waiting: nobody")
        return requests.OneGuest("eve")

    async def _extend(self, request: requests.Extend) -> object:
        self.asked.append(request)
        return requests.Expiry(time.time() + request.seconds)

    async def _code(self, request: requests.Code) -> object:
        return requests.ShareCode(NAME, NEW_CODE if request.rotate else CODE, CONNECT)

    async def _invite(self, request: requests.MakeInvite) -> object:
        self.asked.append(request)
        ends = time.time() + request.expires_in + 1 if request.expires_in else None
        return requests.NewInvite("zebra", f"zebra-{CODE}", CONNECT, ends)

    async def _invites(self, request: requests.Invites) -> object:
        rows = [
            InviteRow("zebra", "ann", True, 1, time.time() + 3_601, [80, 443], f"zebra-{CODE}"),
            InviteRow("koala", "", False, 0, None, [], f"koala-{CODE}"),
        ]
        return requests.InviteList(rows)

    async def _revoke(self, request: requests.Revoke) -> object:
        return requests.Revoked(request.invite, ["ann"] if request.invite == "zebra" else [])

    async def _unfence(self, request: requests.Unfence) -> object:
        return requests.Unfenced(request.port)

    async def _stop(self, request: requests.Stop) -> object:
        self.asked.append(request)
        return requests.Stopped()


@contextlib.contextmanager
def serving(party: Party, name: ShareName = NAME) -> Iterator[None]:
    ready: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def main() -> None:
        async with share_socket(name, party.handlers, Newsroom()):
            over = asyncio.Event()
            ready.put((asyncio.get_running_loop(), over))
            await over.wait()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    loop, over = ready.get(timeout=10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def party() -> Iterator[Party]:
    party = Party()
    with serving(party):
        yield party


@pytest.fixture
def vshare(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    group = click.Group("vshare")
    for command in COMMANDS:
        group.add_command(command)

    def main() -> NoReturn:
        run_command(group, "vshare", "vshare")

    return Command("vshare", main, monkeypatch, capfd)


def test_status(vshare: Command, party: Party) -> None:
    outcome = vshare("status")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert f"  Name:                 {NAME}" in lines
    assert f"  Others connect with:  vconnect {CONNECT}" in lines
    assert "  Requests:             37 by the URL" in lines
    assert "  Guests:               2, who can open every port" in lines
    assert lines[-1].endswith("(in 7 h 59 min)")
    told = json.loads(vshare("status", "--json").out)
    assert (told["share"], told["machine"], told["guests"]) == (NAME, "web", 2)
    assert told["requests"] == 37


def test_guests(vshare: Command, party: Party) -> None:
    outcome = vshare("guests")
    assert outcome.code == 0
    first, bob, ann, wait, eve = outcome.out.splitlines()
    assert first == f"2 guests of {NAME}"
    assert "bob" in bob
    assert "(12 min)" in bob
    assert "from 203.0.113.9 (as the relay says)" in bob
    assert "2 streams  1 connection " in bob
    assert "  directly  " in bob
    assert "  through the relay  " in ann
    assert "1.2 MiB in" in bob
    assert "900 B out" in bob
    assert bob.endswith("SSH")
    assert "\x1b" not in ann
    assert "(3 d)" in ann
    assert "5.0 TiB out" in ann
    assert ann.endswith("invite otter")
    assert bob.index("from") == ann.index("from")
    assert "vshare approve" in wait
    assert eve.startswith("  eve  since ")
    told = json.loads(vshare("guests", "--json").out)
    assert [guest["name"] for guest in told["guests"]] == ["bob", "ann\x1b[2J"]
    assert [guest["direct"] for guest in told["guests"]] == [1, 0]
    assert told["waiting"][0]["name"] == "eve"


def test_guests_between_two_ways_and_away(vshare: Command, party: Party) -> None:
    party.guests = [
        GuestRow("bob", time.time(), "203.0.113.9", 0, 5, direct=2),
        GuestRow("ann", time.time(), "203.0.113.9", 0, 0),
    ]
    _, bob, ann, *_ = vshare("guests").out.splitlines()
    assert "5 connections  2 directly  " in bob
    assert "0 connections  away  " in ann


def test_nobody_is_in(vshare: Command, party: Party) -> None:
    party.guests = []
    assert vshare("guests").out.startswith("0 guests of ")


def test_kick(vshare: Command, party: Party) -> None:
    outcome = vshare("kick", "bob")
    assert outcome.code == 0
    assert "bob is out" in outcome.err
    assert "bob still knows the code: `vshare code --rotate`" in outcome.err
    assert party.asked == [requests.Kick("bob")]
    told = vshare("kick", "ann\x1b[2J", "--json")
    assert json.loads(told.out) == {"share": NAME, "guest": "ann\x1b[2J"}
    assert "`vshare revoke otter`" in told.err
    assert "\x1b" not in told.err


def test_somebody_who_is_not_there(vshare: Command, party: Party) -> None:
    outcome = vshare("kick", "carl")
    outcome.check_error(1, "there is no guest 'carl'")
    assert "guests: bob, ann" in outcome.err
    vshare("approve", "carl").check_error(1, "no newcomer 'carl' waits")
    vshare("kick", "").check_error(1, "does not parse")


def test_approve_and_deny(vshare: Command, party: Party) -> None:
    assert "eve is let in" in vshare("approve", "eve").err
    assert "eve is sent away" in vshare("deny", "eve").err
    assert party.asked == [requests.Approve("eve"), requests.Deny("eve")]


def test_extend(vshare: Command, party: Party) -> None:
    assert "(in 7 h 59 min)" in vshare("extend").out
    assert json.loads(vshare("extend", "90m", "--json").out)["expires_at"] > time.time() + 5_000
    assert party.asked == [requests.Extend(28_800), requests.Extend(5_400)]
    vshare("extend", "soon").check_error(2, "not a time to expire in")


def test_code(vshare: Command, party: Party) -> None:
    shown = vshare("code")
    assert shown.err == ""
    assert shown.out.splitlines() == [
        f"==> {NAME}: Name: {NAME}",
        f"==> {NAME}: Code: {CODE}",
        f"==> {NAME}: Others connect with: vconnect {CONNECT}",
    ]
    rotated = vshare("code", "--rotate")
    assert NEW_CODE in rotated.out
    assert "The old code is void" in rotated.err
    assert json.loads(vshare("code", "--json").out)["code"] == CODE


def test_invite(vshare: Command, party: Party) -> None:
    outcome = vshare(*INVITE)
    assert outcome.code == 0
    assert f"Code: zebra-{CODE}" in outcome.out
    assert f"Others connect with: vconnect {CONNECT}" in outcome.out
    assert "for ann, for one guest, until" in outcome.err
    assert "(in 1 h), opens ports 80, 443." in outcome.err
    assert "vshare revoke zebra" in outcome.err
    assert CODE not in outcome.err
    assert "until the share ends." in vshare("invite").err
    assert json.loads(vshare("invite", "--json").out)["invite"] == "zebra"
    assert party.asked[:2] == [
        requests.MakeInvite("ann", True, 3_600, [80, 443]),
        requests.MakeInvite(),
    ]
    with_terminals = vshare("invite", "--port", "80", "--terminal")
    assert "opens port 80 and terminals." in with_terminals.err
    assert party.asked[-1] == requests.MakeInvite("", False, None, [80], True)
    vshare("invite", "--port", "0").check_error(2, "not a port")
    vshare("invite", "--expires", "1").check_error(2, "not a time to expire in")


def test_invites(vshare: Command, party: Party) -> None:
    first, zebra, koala = vshare("invites").out.splitlines()
    assert first == f"2 invites to {NAME}"
    assert zebra.split("  ")[1:] != []
    for text in (f"zebra-{CODE}", "for ann", "once", "used 1 time ", "(in 1 h)", "ports 80, 443"):
        assert text in zebra
    for text in ("for anybody", "any number of times", "until the share ends", "all that is"):
        assert text in koala
    assert len(json.loads(vshare("invites", "--json").out)["invites"]) == 2


def test_the_rest(vshare: Command, party: Party) -> None:
    assert "The invite zebra is void; out: ann." in vshare("revoke", "zebra").err
    assert "nobody was in by it" in vshare("revoke", "koala").err
    assert "Port 5432 is open" in vshare("unfence", "5432").err
    assert "The share ends." in vshare("stop").err
    assert party.asked == [requests.Stop()]


def test_none_runs(vshare: Command) -> None:
    for command in (*cli_running.COMMANDS, cli_always.attach, cli_always.stop):
        needed = [each for each in command.params if isinstance(each, click.Argument)]
        values = ["80" for each in needed if each.required]
        outcome = vshare(str(command.name), *values)
        outcome.check_error(1, "no share runs here")
        assert "vshare up" in outcome.err


def test_several_run(vshare: Command, party: Party) -> None:
    with serving(Party(), ShareName("quiet-lynx-0002")):
        outcome = vshare("stop")
        outcome.check_error(2, f"2 shares run: {NAME}, quiet-lynx-0002")
        assert "say which with NAME" in outcome.err
        vshare("stop", "--share", "other-one").check_error(1, "no share 'other-one' runs here")
        assert party.asked == []
        assert vshare("stop", "--share", NAME).code == 0
    assert party.asked == [requests.Stop()]


def test_a_list(vshare: Command, party: Party) -> None:
    with serving(Party(), ShareName("quiet-lynx-0002")):
        first, _second = vshare("list").out.splitlines()
        assert NAME in first
        assert "2 guests" in first
        assert "quiet-lynx-0002" not in first
        assert len(json.loads(vshare("list", "--json").out)["shares"]) == 2
        assert vshare("stop", "--all").err.count("The share ends.") == 2
    assert party.asked == [requests.Stop()]
    vshare("stop", NAME, "--all").check_error(2, "more than one way of saying which")


def test_an_error_is_an_event_too(vshare: Command, party: Party) -> None:
    outcome = vshare("kick", "carl", "--json")
    assert json.loads(outcome.out)["event"] == "error"
