"""Both sides of a join over real TLS, with a desk that does what each test wants."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine

import msgspec
import pytest

from connect_vm.join_share import join_share
from tests.tls_pair import tcp_pair
from tunnel import join
from tunnel.attempts import SOURCE_BUCKET, Attempts
from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.identity import (
    Authority,
    Identity,
    Role,
    join_client_context,
    join_server_context,
    make_key,
    make_request,
    public_der,
    require_issued,
)
from tunnel.join_server import Issued, JoinServer, Newcomer
from tunnel.names import JoinCode, ShareName
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake

NAME, CODE = ShareName("frosty-weasel-0857"), JoinCode("able-zoo-zone")
INVITE = JoinCode("tiger-able-zoo-able")
RANDOM = JoinCode("zoo-zoo-zoo")
ROUTE = "0123456789abcdef" * 2
FROM = "192.0.2.1"


@functools.cache
def made() -> tuple[Authority, Identity]:
    authority = Authority(NAME, datetime.datetime.now(datetime.UTC))
    return authority, authority.issue_share()


class Desk:
    """Lets everybody in, and remembers; `ask` is awaited first."""

    def __init__(self) -> None:
        self.newcomers: list[Newcomer] = []
        self.failures: list[tuple[str, str, bool]] = []
        self.waits: list[str] = []
        self.refusal: VshareError | None = None
        self.approved = asyncio.Event()
        self.approved.set()
        self.left = asyncio.Event()

    def code_for(self, plate: str) -> JoinCode:
        return {"": CODE, "tiger": INVITE}.get(plate, RANDOM)

    async def admit(self, newcomer: Newcomer, wait: Callable[[str], None]) -> Issued:
        for text in self.waits:
            wait(text)
        try:
            await self.approved.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        if self.refusal is not None:
            raise self.refusal
        self.newcomers.append(newcomer)
        certificate = made()[0].issue(Role.GUEST, newcomer.guest, newcomer.key)
        return Issued(certificate, made()[0].certificate, ROUTE)

    def failed(self, text: str, address: str, guessed: bool) -> None:
        self.failures.append((text, address, guessed))


class Door:
    """A share's door for joining: `dial` leads to it."""

    def __init__(self, desk: Desk, group: asyncio.TaskGroup) -> None:
        self.desk, self._group = desk, group
        self.attempts = Attempts(asyncio.get_running_loop().time())
        self.proven = 0
        self._server = JoinServer(NAME, made()[1].certificate, self.attempts, desk)

    async def dial(self) -> socket.socket:
        ours, theirs = tcp_pair()
        self._group.create_task(self._serve(theirs))
        return ours

    async def _serve(self, sock: socket.socket) -> None:
        tls = await handshake(sock, join_server_context(made()[1], join.ALPN))
        await self._server.serve(TlsMessages(tls), FROM, self._on_proven)

    def _on_proven(self) -> None:
        self.proven += 1

    async def messages(self) -> TlsMessages:
        tls = await handshake(
            await self.dial(), join_client_context(join.ALPN), server_hostname=f"{NAME}.x"
        )
        assert tls.peer_certificate is not None
        return TlsMessages(tls)


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Door]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        yield Door(Desk(), group)


def run(work: Callable[[Door], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with door() as opened:
            await work(opened)

    asyncio.run(main())


def test_what_a_join_gives() -> None:
    async def main(door: Door) -> None:
        identity = await join_share(door.dial, NAME, CODE, "bob")
        require_issued(identity)
        assert identity.route == ROUTE
        (newcomer,) = door.desk.newcomers
        assert (newcomer.guest, newcomer.plate, newcomer.address) == ("bob", "", FROM)
        assert public_der(newcomer.key) == public_der(identity.key.public_key())
        assert door.desk.failures == []
        assert door.attempts.failures == 0
        assert door.proven == 1

    run(main)


def test_an_invites_code() -> None:
    async def main(door: Door) -> None:
        await join_share(door.dial, NAME, INVITE, "bob")
        assert door.desk.newcomers[0].plate == "tiger"

    run(main)


@pytest.mark.parametrize("code", ["able-zoo-able", "tiger-able-zoo-zone", "able-zoo-able-zone"])
def test_a_wrong_code_and_one_of_no_invite_are_one_answer(code: str) -> None:
    async def main(door: Door) -> None:
        with pytest.raises(RefusedError, match="or no share named") as caught:
            await join_share(door.dial, NAME, JoinCode(code), "bob")
        assert caught.value.code is Code.WRONG_CODE
        assert "mistyped" in caught.value.hint
        assert door.desk.failures == [("the code is not right", FROM, True)]
        assert door.attempts.failures == 1
        assert not door.desk.newcomers

    run(main)


def test_hanging_up_after_message_2_is_a_guess() -> None:
    async def main(door: Door) -> None:
        messages = await door.messages()
        request = make_request(make_key(), "x")
        attempt = join.GuestJoin(NAME, "x", request, CODE, made()[1].certificate, os.urandom)
        messages.send(attempt.first())
        await messages.receive()
        messages.close()
        while not door.desk.failures:  # noqa: ASYNC110 - the server tells nobody else
            await asyncio.sleep(0)
        assert door.attempts.failures == 1
        assert door.desk.failures[0][1:] == (FROM, True)

    run(main)


def test_a_bad_request_is_refused_before_message_2_and_is_no_guess() -> None:
    async def main(door: Door) -> None:
        messages = await door.messages()
        attempt = join.GuestJoin(NAME, "x", b"", CODE, made()[1].certificate, os.urandom)
        messages.send(attempt.first())
        answer = await messages.receive()
        with pytest.raises(RefusedError, match="not understood"):
            attempt.second(answer)
        assert door.attempts.failures == 0
        assert door.desk.failures[0][1:] == (FROM, False)

    run(main)


def test_the_limit_is_answered_before_any_arithmetic() -> None:
    async def main(door: Door) -> None:
        for _ in range(SOURCE_BUCKET):
            messages = await door.messages()
            messages.send(b"garbage")
            code, text = msgspec.msgpack.decode(await messages.receive())
            assert (code, text) == (Code.PROTOCOL_ERROR, "the join was not understood")
        with pytest.raises(RefusedError, match="try again in a minute") as caught:
            await join_share(door.dial, NAME, CODE, "bob")
        assert caught.value.code is Code.BUSY
        assert door.proven == SOURCE_BUCKET

    run(main)


def test_waiting_for_the_sharer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take longer than all other messages together."""
    monkeypatch.setattr(join, "JOIN_TIMEOUT", 1.0)

    async def main(door: Door) -> None:
        door.desk.waits = ["the sharer is asked", "still"]
        door.desk.approved.clear()
        said: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.call_later(1.2, door.desk.approved.set)
        identity = await join_share(door.dial, NAME, CODE, "bob", said.put_nowait)
        assert identity.route == ROUTE
        assert [said.get_nowait(), said.get_nowait()] == door.desk.waits

    run(main)


def test_a_no_of_the_sharer() -> None:
    async def main(door: Door) -> None:
        door.desk.refusal = RefusedError(Code.NOT_ALLOWED, "the sharer said no")
        with pytest.raises(VshareError, match="the sharer said no"):
            await join_share(door.dial, NAME, CODE, "bob")
        assert door.desk.failures == [("the sharer said no", FROM, False)]
        assert door.attempts.failures == 0  # the code was right

    run(main)


def test_nobody_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "APPROVAL_WITHIN", 0.3)

    async def main(door: Door) -> None:
        door.desk.waits = ["the sharer is asked"]
        door.desk.approved.clear()
        with pytest.raises(RefusedError, match="in time") as caught:
            await join_share(door.dial, NAME, CODE, "bob")
        assert caught.value.code is Code.TIMED_OUT
        assert door.desk.left.is_set()

    run(main)


def test_a_newcomer_who_leaves_is_not_waited_with() -> None:
    async def main(door: Door) -> None:
        door.desk.waits = ["the sharer is asked"]
        door.desk.approved.clear()
        waiting = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            joining = group.create_task(
                join_share(door.dial, NAME, CODE, "bob", lambda text: waiting.set())
            )
            await waiting.wait()
            joining.cancel()
        await door.desk.left.wait()
        while not door.desk.failures:  # noqa: ASYNC110 - the server tells nobody else
            await asyncio.sleep(0)
        assert door.desk.failures == [("the newcomer left before it was let in", FROM, False)]

    run(main)


def test_a_share_that_talks_without_end_is_left() -> None:
    async def main(door: Door) -> None:
        door.desk.waits = ["and"] * (join.MAX_WAITINGS * 2)  # the server itself stops before
        door.desk.refusal = RefusedError(Code.BUSY, "no")
        said: list[str] = []
        with pytest.raises(RefusedError, match="no"):
            await join_share(door.dial, NAME, CODE, "bob", said.append)
        assert len(said) == join.MAX_WAITINGS

    run(main)


def test_a_fault_of_the_desks_ends_the_join_and_is_not_hidden() -> None:
    class FaultyDesk(Desk):
        async def admit(self, newcomer: Newcomer, wait: Callable[[str], None]) -> Issued:
            raise RuntimeError("a bug")

    async def main() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            opened = Door(FaultyDesk(), group)
            with contextlib.suppress(LostError):
                await join_share(opened.dial, NAME, CODE, "bob")

    with pytest.raises(BaseExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.value.split(RuntimeError)[0] is not None
