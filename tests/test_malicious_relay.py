"""The relay as the attacker: it sits on every connection, and holds the gateway's certificate.

What it may do is refuse service and see who talks to whom, when and how much
(docs/security.md). Everything here is real: sockets, TLS, both sides' own code. What it may do
to bytes that it does not understand is in tests/malicious_relay/.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import datetime
import os
import secrets
import socket
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from connect_vm.join_share import join_share
from tests.malicious_relay.wire import Recorder, gateway_identity, relay
from tests.share_pair import CODE, NAME, Pair, share_pair, socket_to, tcp_service
from tunnel import join
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.frames import ALPN
from tunnel.identity import (
    Authority,
    Identity,
    Role,
    join_client_context,
    join_server_context,
    make_key,
    make_request,
    public_der,
)
from tunnel.names import JoinCode
from tunnel.pake import parse_or_raise
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import TlsSocket, handshake

WITHIN = 20.0  # seconds


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN):
            await work()

    asyncio.run(bounded())


def self_made(pair: Pair) -> Identity:
    return Authority(NAME, datetime.datetime.now(datetime.UTC)).issue_share()


def guest_identity(pair: Pair) -> Identity:
    """A guest who is in league with the relay."""
    return pair.identity(Role.GUEST)


# -- 1. playing the share


@pytest.mark.parametrize("made", [gateway_identity, guest_identity, self_made])
def test_it_plays_the_share_towards_a_guest(made: Callable[[Pair], Identity]) -> None:
    async def main() -> None:
        heard: list[bytes] = []
        async with share_pair() as pair:
            context = join_server_context(made(pair), ALPN)  # it asks for no certificate

            async def play(sock: socket.socket) -> None:
                messages = TlsMessages(await handshake(sock, context))
                heard.append(await messages.receive())

            async with (
                relay(play) as attacker,
                Client(attacker.dial, pair.identity(), NAME) as client,
            ):
                with pytest.raises(AccessLostError, match="is not the share"):
                    await client.ready()
                assert client.hello is None
        assert heard == []

    run(main)


def test_it_hangs_up_on_everybody() -> None:
    """To refuse service is all that is left to it; the guest is told."""

    async def main() -> None:
        async def hang_up(sock: socket.socket) -> None:
            await asyncio.get_running_loop().sock_recv(sock, 4096)

        async with (
            share_pair() as pair,
            relay(hang_up) as attacker,
            Client(attacker.dial, pair.identity(), NAME) as client,
        ):
            with pytest.raises(VshareError):
                await client.ready()

    run(main)


# -- 2. in the middle of a join


class Middle:
    """TLS of its own to both sides of a join; `change` sees each message on its way."""

    def __init__(self, pair: Pair, change: Callable[[int, bytes], bytes]) -> None:
        self._pair = pair
        self._change = change
        self._context = join_server_context(self_made(pair), join.ALPN)
        self.seen: list[bytes] = []

    async def serve(self, sock: socket.socket) -> None:
        guest = TlsMessages(await handshake(sock, self._context))
        tls = await handshake(
            await self._pair.dial(), join_client_context(join.ALPN), server_hostname=f"{NAME}.x.y"
        )
        share = TlsMessages(tls)
        try:
            for number, (source, sink) in enumerate([(guest, share), (share, guest)] * 2, 1):
                message = await source.receive()
                self.seen.append(message)
                sink.send(self._change(number, message))
        finally:
            share.close()
            guest.close()


def unchanged(number: int, message: bytes) -> bytes:
    return message


def swap_request(number: int, message: bytes) -> bytes:
    """Its own key in place of the guest's: the certificate would be its."""
    if number != 1:
        return message
    first = parse_or_raise(join.JoinRequest, message)
    own = make_request(make_key(), "bob")
    return msgspec.msgpack.encode(msgspec.structs.replace(first, request=own))


@pytest.mark.parametrize("change", [unchanged, swap_request])
def test_it_swaps_certificates_in_a_join(change: Callable[[int, bytes], bytes]) -> None:
    """The code is right on both sides, and still neither takes the other's word."""

    async def main() -> None:
        async with share_pair() as pair:
            middle = Middle(pair, change)
            async with relay(middle.serve) as attacker:
                with pytest.raises(RefusedError) as caught:
                    await join_share(attacker.dial, NAME, CODE, "bob")
            assert caught.value.code is Code.WRONG_CODE
            assert pair.failed == ["the code is not right"]
            assert pair.server._attempts.failures == 1
            assert pair.joined == []

    run(main)


def test_it_guesses_in_the_shares_place() -> None:
    """One guess for one attempt, towards the guest; and the guest is told."""

    async def main() -> None:
        async with share_pair() as pair:
            own = self_made(pair)
            context = join_server_context(own, join.ALPN)
            attempt = join.ShareJoin(NAME, "zoo-zoo-zoo", own.certificate, os.urandom)
            told: list[RefusedError] = []

            async def guess(sock: socket.socket) -> None:
                messages = TlsMessages(await handshake(sock, context))
                messages.send(attempt.answer(await messages.receive()))
                third = await messages.receive()
                try:
                    attempt.confirm(third)
                except RefusedError as error:
                    told.append(error)
                messages.send(attempt.issue(b"certificate", b"ca"))
                messages.close()

            async with relay(guess) as attacker:
                with pytest.raises(RemoteProtocolError, match="does not know the code"):
                    await join_share(attacker.dial, NAME, CODE, "bob")
            assert len(told) == 1
            assert pair.server._attempts.failures == 0  # the share was not even asked

    run(main)


def test_it_guesses_in_the_guests_place() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            with pytest.raises(RefusedError):
                await join_share(pair.dial, NAME, JoinCode("zoo-zoo-zoo"), "bob")
            assert pair.server._attempts.failures == 1
            assert pair.joined == []

    run(main)


# -- 3. and 4. what is issued; what was recorded


@pytest.mark.parametrize("part", ["certificate", "ca", "confirm"])
def test_it_changes_what_is_issued(part: str) -> None:
    """Here it knows even the code, and is in the middle with the share's own certificate: only
    the last message is its own."""

    async def main() -> None:
        async with share_pair() as pair:
            other = Authority(NAME, datetime.datetime.now(datetime.UTC))
            share = pair.authority.issue_share()
            context = join_server_context(share, join.ALPN)
            attempt = join.ShareJoin(NAME, CODE, share.certificate, os.urandom)

            async def play(sock: socket.socket) -> None:
                messages = TlsMessages(await handshake(sock, context))
                messages.send(attempt.answer(await messages.receive()))
                attempt.confirm(await messages.receive())
                key = make_key().public_key()
                issued = pair.authority.issue(Role.GUEST, "bob", key)
                fourth = parse_or_raise(join.JoinIssued, attempt.issue(issued, share.ca))
                changed = msgspec.structs.replace(fourth, **{part: other.certificate})
                messages.send(msgspec.msgpack.encode(changed))
                messages.close()

            async with relay(play) as attacker:
                with pytest.raises(RemoteProtocolError, match="not the share"):
                    await join_share(attacker.dial, NAME, CODE, "bob")

    run(main)


def test_what_is_issued_has_to_be_for_the_guests_key() -> None:
    """Even a share that knows the code must not give the guest somebody else's certificate."""

    async def main() -> None:
        async with share_pair() as pair:
            share = pair.authority.issue_share()
            context = join_server_context(share, join.ALPN)
            attempt = join.ShareJoin(NAME, CODE, share.certificate, os.urandom)

            async def play(sock: socket.socket) -> None:
                messages = TlsMessages(await handshake(sock, context))
                messages.send(attempt.answer(await messages.receive()))
                attempt.confirm(await messages.receive())
                issued = pair.authority.issue(Role.GUEST, "bob", make_key().public_key())
                messages.send(attempt.issue(issued, share.ca))
                messages.close()

            async with relay(play) as attacker:
                with pytest.raises(RemoteProtocolError, match="another key"):
                    await join_share(attacker.dial, NAME, CODE, "bob")

    run(main)


def test_it_replays_a_recorded_join() -> None:
    """The bytes of TLS are of no use again; and if it had the messages inside, neither."""

    async def main() -> None:
        async with share_pair() as pair:
            recorder = Recorder(pair)
            async with relay(recorder.serve) as attacker:
                await join_share(attacker.dial, NAME, CODE, "bob")
            assert len(pair.joined) == 1
            sock = await pair.dial()
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):
                await loop.sock_sendall(sock, bytes(recorder.up))
                while await loop.sock_recv(sock, 65_536):
                    pass
            sock.close()
            assert len(pair.joined) == 1

            tls = await handshake(
                await pair.dial(), join_client_context(join.ALPN), server_hostname=f"{NAME}.x.y"
            )
            assert tls.peer_certificate
            request = make_request(make_key(), "bob")
            attempt = join.GuestJoin(NAME, "bob", request, CODE, tls.peer_certificate, os.urandom)
            messages = TlsMessages(tls)
            first = attempt.first()
            messages.send(first)
            third = attempt.second(await messages.receive())
            messages.send(third)
            attempt.finish(await messages.receive())
            messages.close()
            assert len(pair.joined) == 2

            again = TlsMessages(
                await handshake(
                    await pair.dial(),
                    join_client_context(join.ALPN),
                    server_hostname=f"{NAME}.x.y",
                )
            )
            again.send(first)
            await again.receive()
            again.send(third)
            with pytest.raises(RefusedError) as caught:
                parse_or_raise(join.JoinIssued, await again.receive())
            assert caught.value.code is Code.WRONG_CODE
            again.close()
            assert len(pair.joined) == 2

    run(main)


# -- 5. whatever it pairs


def test_it_pairs_garbage() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            loop = asyncio.get_running_loop()
            socks = [await pair.dial() for _ in range(100)]
            for number, sock in enumerate(socks):
                with contextlib.suppress(OSError):
                    await loop.sock_sendall(sock, secrets.token_bytes(number * 200 + 1))
            for sock in socks[::2]:
                sock.close()
            async with pair.client() as client:
                stream, task = await socket_to(client, port)
                await loop.sock_sendall(stream, b"hello")
                assert await loop.sock_recv(stream, 5) == b"hello"
                stream.close()
                await task
            for sock in socks:
                sock.close()

    run(main)


def test_it_pairs_the_gateway_with_the_joining_door() -> None:
    """Where the guest's connection is led does not change what it is let do."""

    async def main() -> None:
        async with share_pair() as pair:
            identity = gateway_identity(pair)
            tls: TlsSocket = await handshake(
                await pair.dial(), join_client_context(join.ALPN), server_hostname=f"{NAME}.x.y"
            )
            messages = TlsMessages(tls)
            assert tls.peer_certificate
            attempt = join.GuestJoin(
                NAME,
                "gateway",
                make_request(identity.key, "gateway"),
                "zoo-zoo-zoo",
                tls.peer_certificate,
                os.urandom,
            )
            messages.send(attempt.first())
            messages.send(attempt.second(await messages.receive()))
            with pytest.raises(RefusedError):
                parse_or_raise(join.JoinIssued, await messages.receive())
            messages.close()

    run(main)


# -- 6. what it sees


def disguises(secret: bytes) -> list[bytes]:
    """A secret as it is, and as it might be written."""
    return [
        secret,
        secret[: len(secret) // 2],
        secret.hex().encode(),
        base64.b64encode(secret)[:-4],
        base64.urlsafe_b64encode(secret)[:-4],
    ]


def test_it_sees_no_plaintext() -> None:
    async def main() -> None:
        payload = secrets.token_bytes(64)
        block = payload * 1000
        async with share_pair() as pair, tcp_service() as port:
            recorder = Recorder(pair)
            async with relay(recorder.serve) as attacker:
                identity = await join_share(attacker.dial, NAME, CODE, "bob-the-guest")
                joining = bytes(recorder.up + recorder.down)
                async with Client(attacker.dial, identity, NAME) as client:
                    await client.call("ping")
                    stream, task = await socket_to(client, port)
                    loop = asyncio.get_running_loop()
                    sending = loop.create_task(loop.sock_sendall(stream, block))
                    received = bytearray()
                    while len(received) < len(block):
                        received += await loop.sock_recv(stream, 65_536)
                    await sending
                    assert bytes(received) == block
                    stream.close()
                    await task
        number = identity.key.private_numbers().private_value.to_bytes(32, "big")
        seen = bytes(recorder.up + recorder.down)
        assert len(recorder.up) > len(block)  # it did pass here, both ways
        assert len(recorder.down) > len(block)
        assert NAME.encode() in seen  # the name routes: it is in the clear
        secret_things = {
            "payload": payload,
            "code": CODE.encode(),
            "a word of the code": CODE.split("-")[1].encode(),
            "guest's key": number,
            "guest's public key": public_der(identity.key.public_key())[-64:],
            "guest's name": b"bob-the-guest",
            "guest's certificate": identity.certificate[20:60],
            "CA": identity.ca[20:60],
            "call": b'{"pong":true}',
        }
        for what, secret in secret_things.items():
            for disguise in disguises(secret):
                if len(disguise) >= 6:  # shorter ones turn up by chance
                    assert disguise not in seen, what
                    assert disguise not in joining, what

    run(main)


def test_the_recording_would_show_it() -> None:
    """The same search finds a payload that passes without TLS."""

    async def main() -> None:
        payload = secrets.token_bytes(64)
        async with share_pair() as pair, tcp_service() as port:
            plain = dataclasses.replace(pair, port=port)
            recorder = Recorder(plain)
            async with relay(recorder.serve) as attacker:
                loop = asyncio.get_running_loop()
                sock = await attacker.dial()
                await loop.sock_sendall(sock, payload)
                assert await loop.sock_recv(sock, 64)
                sock.close()
        assert payload in recorder.up
        assert payload in recorder.down

    run(main)
