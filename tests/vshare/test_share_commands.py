"""A share that runs, and what other terminals ask of it, through its control socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from connect_vm.join_share import join_share
from tests.loops import until
from tests.share_pair import socket_to, tcp_service
from tests.vshare.test_share import Running, own_directories, run, sharing
from tunnel.address import parse_connect_line
from tunnel.client import Client
from tunnel.ends import Sink
from tunnel.errors import RefusedError, VshareError
from tunnel.frames import Notice
from tunnel.identity import Identity
from tunnel.names import JoinCode
from tunnel.relay_tls import dial_relay
from vshare import audit, audit_chain, requests
from vshare.options import Options
from vshare.running import choose_share

__all__ = ["own_directories"]
R = TypeVar("R", bound=requests.Result)
OPTIONS = Options(target="127.0.0.1", http=False, ask=False)


async def ask(request: requests.Request, result: type[R]) -> R:
    """As another terminal would."""
    return await asyncio.to_thread(lambda: choose_share(None).ask(request, result))


class Guest:
    """How a guest reaches the share."""

    def __init__(self, started: dict[str, Any]) -> None:
        line = parse_connect_line(started["connect"])
        assert line.relay is not None
        self.name, self._relay, self.code = line.name, line.relay, JoinCode(started["code"])

    async def dial(self) -> Any:
        return await dial_relay(self._relay)

    async def join(self, guest: str = "bob", code: str | None = None) -> Identity:
        return await join_share(self.dial, self.name, JoinCode(code or self.code), guest)

    def client(self, identity: Identity, notices: Callable[[Notice], None]) -> Client:
        return Client(self.dial, identity, self.name, on_notice=notices)


async def guest_of(share: Running) -> Guest:
    return Guest(await share.screen.started)


def test_who_is_there_and_out() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share, tcp_service() as port:
            guest, notices = await guest_of(share), list[Notice]()
            identity = await guest.join()
            async with guest.client(identity, notices.append) as client:
                sock, task = await socket_to(client, port)
                await asyncio.get_running_loop().sock_sendall(sock, b"four")
                assert await asyncio.get_running_loop().sock_recv(sock, 9) == b"four"
                (row,) = (await ask(requests.Guests(), requests.GuestList)).guests
                assert (row.name, row.address, row.streams) == ("bob", "127.0.0.1", 1)
                assert (row.bytes_in, row.bytes_out) == (4, 4)
                assert abs(row.since - time.time()) < 20
                assert row.connections >= 2
                kicked = asyncio.get_running_loop().time()
                await ask(requests.Kick("bob"), requests.OneGuest)
                with pytest.raises(ConnectionResetError):
                    await asyncio.get_running_loop().sock_recv(sock, 9)
                assert asyncio.get_running_loop().time() - kicked < 1.0
                await task
                sock.close()
                with pytest.raises(VshareError, match="removed you"):
                    await client.open("", port)
            assert (await ask(requests.Guests(), requests.GuestList)).guests == []
            assert [each.kind for each in notices] == ["removed"]
            with pytest.raises(VshareError, match="no guest 'bob'"):
                await ask(requests.Kick("bob"), requests.OneGuest)

    run(main)


def test_a_new_code() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share:
            guest = await guest_of(share)
            shown = await ask(requests.Code(), requests.ShareCode)
            assert shown.code == guest.code
            fresh = await ask(requests.Code(rotate=True), requests.ShareCode)
            assert fresh.code != guest.code
            with pytest.raises(RefusedError):
                await guest.join()
            await guest.join(code=fresh.code)

    run(main)


def test_an_invite_from_its_making_to_its_end() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share, tcp_service() as port, tcp_service() as other:
            guest = await guest_of(share)
            made = await ask(
                requests.MakeInvite(guest="dba", once=True, expires_in=3600.0, ports=[port]),
                requests.NewInvite,
            )
            (row,) = (await ask(requests.Invites(), requests.InviteList)).invites
            assert (row.invite, row.guest, row.used) == (made.invite, "dba", 0)
            identity = await guest.join(code=made.code)
            with pytest.raises(RefusedError):
                await guest.join(code=made.code)
            async with guest.client(identity, lambda notice: None) as client:
                (await client.open("", port)).link(Sink())
                with pytest.raises(RefusedError, match=str(other)):
                    await client.open("", other)
                revoked = await ask(requests.Revoke(made.invite), requests.Revoked)
                assert revoked.removed == ["dba"]
                with pytest.raises(VshareError, match="taken back"):
                    await client.open("", port)
            assert (await ask(requests.Invites(), requests.InviteList)).invites == []

    run(main)


def test_an_invite_gives_no_more_than_the_share() -> None:
    async def main() -> None:
        async with sharing(OPTIONS):
            with pytest.raises(VshareError, match="cannot open port 22"):
                await ask(requests.MakeInvite(ports=[22]), requests.NewInvite)

    run(main)


def test_extended_everybody_knows() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share:
            guest, notices = await guest_of(share), list[Notice]()
            async with guest.client(await guest.join(), notices.append) as client:
                await client.ready()
                before = (await ask(requests.Status(), requests.ShareState)).expires_at
                asked = time.time() + 20 * 3600
                answer = await ask(requests.Extend(20 * 3600.0), requests.Expiry)
                assert abs(answer.expires_at - asked) < 10
                assert answer.expires_at > before + 10 * 3600
                state = await ask(requests.Status(), requests.ShareState)
                assert state.expires_at == answer.expires_at
                assert state.guests == 1
                await until(lambda: notices)
                assert notices[0].kind == "extended"
                assert abs(notices[0].value - 20 * 3600) < 20  # seconds that are left

    run(main)


def test_approved_from_another_terminal() -> None:
    async def main() -> None:
        async with sharing(Options(target="127.0.0.1", http=False, approve=True)) as share:
            guest, told = await guest_of(share), share.screen.events
            async with asyncio.TaskGroup() as group:
                joining = group.create_task(guest.join())
                await until(lambda: "waiting" in [each.get("event") for each in told])
                (waiting,) = (await ask(requests.Guests(), requests.GuestList)).waiting
                assert waiting.name == "bob"
                await ask(requests.Approve("bob"), requests.OneGuest)
            assert joining.result().route

    run(main)


def test_without_approve_there_is_nobody_to_approve() -> None:
    async def main() -> None:
        async with sharing(OPTIONS):
            with pytest.raises(VshareError, match="newcomers do not wait"):
                await ask(requests.Approve("bob"), requests.OneGuest)

    run(main)


def test_stopped_from_another_terminal_with_a_log_that_is_whole() -> None:
    async def main() -> None:
        notices: list[Notice] = []
        async with sharing(OPTIONS) as share, tcp_service() as port:
            guest = await guest_of(share)
            async with guest.client(await guest.join(), notices.append) as client:
                sock, task = await socket_to(client, port)
                await ask(requests.Stop(), requests.Stopped)
                await share.task
                await until(lambda: len(notices) == 2)
                sock.close()
                await task
        ended = share.screen.events[-1]
        assert (ended["event"], ended["reason"]) == ("ended", "stopped")
        (log,) = audit.log_files(guest.name)
        assert Path(ended["log"]) == log
        lines = log.read_bytes().splitlines(keepends=True)
        kinds = [json.loads(line)["event"] for line in lines]
        assert kinds == ["started", "joined", "stream", "ended"]  # what ran until then is there
        assert [each.kind for each in notices] == ["audit", "ended"]
        told = audit_chain.verify(lines, notices[0].text)
        assert (told.problem, told.following, told.head) == ("", 2, ended["head"])
        assert guest.code not in log.read_text()

    run(main)


def test_a_port_is_unfenced_or_it_is_not_fenced() -> None:
    async def main() -> None:
        async with sharing(OPTIONS):
            with pytest.raises(VshareError, match="port 80 is not fenced"):
                await ask(requests.Unfence(80), requests.Unfenced)

    run(main)
