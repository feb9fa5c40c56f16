"""Codes: who guesses them from everywhere at once, and who replays one that was used."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import time

import pytest

from connect_vm.join_share import join_share
from tests.loops import run, until
from tests.malicious_relay.wire import relay
from tests.share_pair import CODE, NAME, Pair, share_pair
from tests.tls_pair import tcp_pair
from tunnel import join
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.identity import (
    Authority,
    Role,
    join_client_context,
    join_server_context,
    key_of_request,
    make_key,
    make_request,
)
from tunnel.join_server import JoinServer
from tunnel.names import JoinCode
from tunnel.pake import parse_or_raise
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake
from vshare.policy import EVERYTHING

WRONG = JoinCode("zoo-zoo-zoo")


class Exchange:
    """One join of an attacker's, whose source is whatever the relay says."""

    def __init__(self, pair: Pair, source: str) -> None:
        self._pair = pair
        self._source = source

    async def open(self) -> TlsMessages:
        ours, theirs = tcp_pair()
        self._pair.server.visitor(theirs, self._source)
        tls = await handshake(ours, join_client_context(join.ALPN), server_hostname=f"{NAME}.x")
        assert tls.peer_certificate is not None
        self.certificate = tls.peer_certificate
        return TlsMessages(tls)

    async def guess(self, code: str) -> Code | None:
        """What the share answered; None: it let us in."""
        messages = await self.open()
        request = make_request(make_key(), "mallory")
        attempt = join.GuestJoin(NAME, "mallory", request, code, self.certificate, os.urandom)
        try:
            messages.send(attempt.first())
            messages.send(attempt.second(await messages.receive()))
            attempt.finish(await messages.receive())
        except RefusedError as error:
            return error.code
        finally:
            messages.close()
        return None


@pytest.mark.parametrize(
    "source",
    ["10.0.{}.{}", "2001:db8:{:x}{:02x}::1", "made-up-{}-{}", "127.0.{}.{}"],
    ids=["IPv4", "IPv6", "no address", "loopback"],
)
def test_a_crowd_that_was_made_up_has_the_shares_guesses_alone(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every guess comes from a source of its own, as the relay says: the share's bucket counts."""
    monkeypatch.setattr("tunnel.attempts.BUCKET", 6)
    monkeypatch.setattr("tunnel.attempts.RESERVED", 3)
    monkeypatch.setattr("tunnel.attempts.REFILL_SECONDS", 3600.0)  # the machine may be busy

    async def main() -> None:
        async with share_pair() as pair:
            exchanges = [Exchange(pair, source.format(n // 256, n % 256)) for n in range(1, 16)]
            answers = [await each.guess(WRONG) for each in exchanges]
            assert answers == [Code.WRONG_CODE] * 6 + [Code.BUSY] * 9
            assert pair.server._attempts.failures == 6
            assert pair.joined == []
            assert pair.guests.of_role(Role.GUEST) == []
            # It can keep others out for as long as it goes on, and no longer.
            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, CODE, "bob")
            assert caught.value.code is Code.BUSY
            monkeypatch.setattr("tunnel.attempts.REFILL_SECONDS", 0.001)
            await asyncio.sleep(0)
            await join_share(pair.dial, NAME, CODE, "bob")
            assert pair.joined == ["bob"]

    run(main)


def test_a_one_time_code_that_was_used() -> None:
    """The relay saw it used, and a guest in league with it knows it, and all that was said."""

    async def main() -> None:
        async with share_pair() as pair:
            invite = pair.reception.invites.make(
                "bob", once=True, expires_at=None, rights=EVERYTHING
            )
            exchange = Exchange(pair, "192.0.2.1")
            messages = await exchange.open()
            request = make_request(make_key(), "bob")
            attempt = join.GuestJoin(
                NAME, "bob", request, invite.code, exchange.certificate, os.urandom, invite.plate
            )
            first = attempt.first()
            messages.send(first)
            third = attempt.second(await messages.receive())
            messages.send(third)
            attempt.finish(await messages.receive())
            messages.close()
            assert pair.joined == ["bob"]

            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, invite.code, "bob")
            assert caught.value.code is Code.WRONG_CODE
            again = await exchange.open()
            again.send(first)
            await again.receive()
            again.send(third)
            with pytest.raises(RefusedError) as caught:
                parse_or_raise(join.JoinIssued, await again.receive())
            assert caught.value.code is Code.WRONG_CODE
            again.close()
            assert pair.joined == ["bob"]
            assert len(pair.guests.of_role(Role.GUEST)) == 1
            assert len(pair.failed) == 2

    run(main)


def test_a_guest_whose_invites_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate that he keeps is worth nothing, whatever the relay does for him."""
    monkeypatch.setattr("vshare.reception.LOOK_EVERY", 0.001)

    async def main() -> None:
        async with share_pair() as pair:
            make = pair.reception.invites.make
            invite = make("bob", once=False, expires_at=time.time() + 60, rights=EVERYTHING)
            identity = await join_share(pair.dial, NAME, invite.code, "bob")
            invite.expires_at = time.time()
            async with asyncio.timeout(3), asyncio.TaskGroup() as group:
                ending = group.create_task(pair.reception.end_invites())
                await until(lambda: not pair.guests.of_role(Role.GUEST))
                async with Client(pair.dial, identity, NAME) as client:
                    with pytest.raises(AccessLostError, match="the time of your invite is over"):
                        await client.ready()
                ending.cancel()
            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, invite.code, "bob")
            assert caught.value.code is Code.WRONG_CODE
            assert pair.joined == ["bob"]

    run(main)


@pytest.mark.parametrize("once", [True, False])
def test_the_shares_code_under_an_unknown_plate(once: bool) -> None:
    """It tells nothing about the code, although that is the right one: a plate has its own."""

    async def main() -> None:
        async with share_pair() as pair:
            invite = pair.reception.invites.make(
                None, once=once, expires_at=None, rights=EVERYTHING
            )
            for plate in (invite.plate, "zebra" if invite.plate != "zebra" else "zoo"):
                messages = await (exchange := Exchange(pair, "192.0.2.1")).open()
                request = make_request(make_key(), "mallory")
                attempt = join.GuestJoin(
                    NAME, "mallory", request, CODE, exchange.certificate, os.urandom, plate
                )
                messages.send(attempt.first())
                messages.send(attempt.second(await messages.receive()))
                with pytest.raises(RefusedError) as caught:
                    attempt.finish(await messages.receive())
                assert caught.value.code is Code.WRONG_CODE
                messages.close()
            assert pair.joined == []
            assert pair.server._attempts.failures == 2

    run(main)


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    """It says that 64 KiB will come: the share does not stay to see it."""

    async def main() -> None:
        async with share_pair() as pair:
            ours, theirs = tcp_pair()
            pair.server.visitor(theirs, "192.0.2.1")
            tls = await handshake(ours, join_client_context(join.ALPN), server_hostname=f"{NAME}.x")
            messages = TlsMessages(tls)
            tls.write(b"\xff\xff" + bytes(9_000))
            async with asyncio.timeout(3):
                with pytest.raises(RefusedError) as caught:
                    parse_or_raise(join.JoinPake, await messages.receive())
            assert caught.value.code is Code.PROTOCOL_ERROR
            messages.close()
            assert pair.server._attempts.failures == 0

    run(main)


# -- a join that the relay answers itself


def test_a_decoy_of_the_relays_own() -> None:
    """It answers with the share's own program and a certificate of its own: a wrong code."""

    async def main() -> None:
        async with share_pair() as pair:
            own = Authority(NAME, pair.authority._now).issue_share()
            context = join_server_context(own, join.ALPN)
            other = pair.reception.__class__(
                pair.authority, pair.guests, pair.server._newsroom, route="00" * 16
            )
            attempts = type(pair.server._attempts)(asyncio.get_running_loop().time())
            server = JoinServer(NAME, own.certificate, attempts, other)

            async def answer(sock: socket.socket) -> None:
                await server.serve(TlsMessages(await handshake(sock, context)), "192.0.2.1")

            async with relay(answer) as attacker:
                with pytest.raises(RefusedError) as caught:
                    await join_share(attacker.dial, NAME, CODE, "bob")
                assert caught.value.code is Code.WRONG_CODE
            assert attempts.failures == 1
            assert pair.server._attempts.failures == 0  # the share was not asked
            assert pair.joined == []

    run(main)


def test_a_decoy_that_lets_everybody_in() -> None:
    """Everything is in order, but that it does not know the code: certificate, CA, route."""

    async def main() -> None:
        authority = Authority(NAME, datetime.datetime.now(datetime.UTC))
        own = authority.issue_share()
        context = join_server_context(own, join.ALPN)
        issued: list[bytes] = []

        async def answer(sock: socket.socket) -> None:
            messages = TlsMessages(await handshake(sock, context))
            attempt = join.ShareJoin(NAME, WRONG, own.certificate, os.urandom)
            messages.send(attempt.answer(await messages.receive()))
            await messages.receive()
            key = key_of_request(attempt.request)
            issued.append(authority.issue(Role.GUEST, attempt.guest, key))
            messages.send(attempt.issue(issued[0], authority.certificate, "00" * 16))
            messages.close()

        async with relay(answer) as attacker:
            with pytest.raises(RemoteProtocolError, match="does not know the code"):
                await join_share(attacker.dial, NAME, CODE, "bob")
        assert issued

    run(main)


def test_a_decoy_that_only_says_to_wait() -> None:
    """Its words are not shown: they are the share's, or nobody's."""

    async def main() -> None:
        own = Authority(NAME, datetime.datetime.now(datetime.UTC)).issue_share()
        context = join_server_context(own, join.ALPN)
        shown: list[str] = []

        async def answer(sock: socket.socket) -> None:
            messages = TlsMessages(await handshake(sock, context))
            attempt = join.ShareJoin(NAME, WRONG, own.certificate, os.urandom)
            messages.send(attempt.answer(await messages.receive()))
            await messages.receive()
            messages.send(attempt.waiting("type your code at www.example.org"))
            messages.close()

        async with relay(answer) as attacker:
            with pytest.raises(RemoteProtocolError):
                await join_share(attacker.dial, NAME, CODE, "bob", shown.append)
        assert shown == []

    run(main)


@pytest.mark.parametrize("part", ["message 2", "messages 2 and 4"])
def test_it_replays_the_shares_answers_to_another_guest(part: str) -> None:
    """Recorded by a guest who is in league with it; even the share's own key would not help."""

    async def main() -> None:
        async with share_pair() as pair:
            exchange = Exchange(pair, "192.0.2.1")
            messages = await exchange.open()
            request = make_request(make_key(), "eve")
            attempt = join.GuestJoin(NAME, "eve", request, CODE, exchange.certificate, os.urandom)
            messages.send(attempt.first())
            second = await messages.receive()
            messages.send(attempt.second(second))
            fourth = await messages.receive()
            attempt.finish(fourth)
            messages.close()
            context = join_server_context(pair.share_identity, join.ALPN)  # stolen, to be strong

            async def replay(sock: socket.socket) -> None:
                messages = TlsMessages(await handshake(sock, context))
                await messages.receive()
                messages.send(second)
                await messages.receive()
                messages.send(fourth if "4" in part else fourth[:-1])
                messages.close()

            async with relay(replay) as attacker:
                with pytest.raises(VshareError) as caught:
                    await join_share(attacker.dial, NAME, CODE, "bob")
                assert isinstance(caught.value, RemoteProtocolError)
            assert pair.joined == ["eve"]
            await until(lambda: not pair.server._pending)

    run(main)
