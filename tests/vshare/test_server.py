from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from connect_vm.join_share import join_share
from tests.share_pair import CODE, NAME, Pair, TcpService, share_pair, socket_to, tcp_service
from tunnel import join
from tunnel.alerts import AccessLostError
from tunnel.attempts import BUCKET, SLOW_AFTER
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Sink
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.frames import Notice
from tunnel.identity import (
    Identity,
    Role,
    client_context,
    join_client_context,
    load_identity,
    make_key,
    make_request,
)
from tunnel.names import JoinCode
from tunnel.pake import parse_or_raise, refuse
from tunnel.tls_messages import MAX_MESSAGE, TlsMessages
from tunnel.tls_socket import TlsSocket, handshake
from vshare.guests import MAX_GUESTS
from vshare.policy import Policy
from vshare.server import MAX_PENDING

WRONG = JoinCode("zoo-zoo-zoo")
WITHIN = 20.0  # seconds: nothing here takes more than a few


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN):
            await work()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition`; the test's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.005)


async def knock(pair: Pair, context: ssl.SSLContext) -> TlsSocket:
    return await handshake(await pair.dial(), context, server_hostname=f"{NAME}.share.invalid")


async def newcomer(pair: Pair) -> tuple[TlsMessages, bytes]:
    """At the joining door, and the certificate seen there."""
    tls = await knock(pair, join_client_context(join.ALPN))
    certificate = tls.peer_certificate
    assert certificate
    return TlsMessages(tls), certificate


async def half_join(pair: Pair, code: str = CODE) -> tuple[TlsMessages, join.GuestJoin, bytes]:
    """Up to message 2."""
    messages, certificate = await newcomer(pair)
    request = make_request(make_key(), "mallory")
    attempt = join.GuestJoin(NAME, "mallory", request, code, certificate, os.urandom)
    messages.send(attempt.first())
    return messages, attempt, await messages.receive()


async def refused_by(messages: TlsMessages) -> Code:
    with pytest.raises(RefusedError) as caught:
        parse_or_raise(join.JoinIssued, await messages.receive())
    messages.close()
    return caught.value.code


async def is_refused(pair: Pair, context: ssl.SSLContext) -> bool:
    """Whether a connection with `context` ends before the share has said anything."""
    try:
        tls = await knock(pair, context)
    except (VshareError, OSError):
        return True
    messages = TlsMessages(tls)
    with pytest.raises((LostError, RemoteProtocolError)) as caught:
        await messages.receive()  # a HELLO would be a message that is too long
    messages.close()
    return isinstance(caught.value, LostError)


async def echoes(client: Client, port: int) -> bool:
    sock, task = await socket_to(client, port)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"hello")
    answer = await loop.sock_recv(sock, 5)
    sock.close()
    await task
    return answer == b"hello"


async def refusal(client: Client, host: str, port: int, protocol: str = "tcp") -> RefusedError:
    is_tcp = protocol == "tcp"
    opening = client.open(host, port) if is_tcp else client.open_special(protocol, host)
    with pytest.raises(RefusedError) as caught:
        await opening
    return caught.value


class WebService(TcpService):
    """Answers whatever comes as a web server does."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def answers(gateway: Client, label: str) -> bool:
    """Whether the site's server is reached."""
    end = await gateway.open_special("http", label, 80)
    sink = Sink(1024)
    end.link(sink)
    sink.link(end)
    end.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: sink.data.endswith(b"\r\n\r\n"))
    end.reset(Code.CLOSED)
    return bytes(sink.data).startswith(b"HTTP/1.1 204 ")


# -- joining


def test_join_then_use() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            identity = await join_share(pair.dial, NAME, CODE, "bob")
            async with Client(pair.dial, identity, NAME) as client:
                assert (await client.ready()).guest == "bob"
                assert await echoes(client, port)
            assert pair.joined == ["bob"]
            assert pair.failed == []

    run(main)


def test_wrong_code() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, WRONG, "bob")
            assert caught.value.code is Code.WRONG_CODE
            assert caught.value.hint
            await until(lambda: pair.failed == ["the code is not right"])
            assert pair.server._attempts.failures == 1
            await join_share(pair.dial, NAME, CODE, "bob")
            assert pair.server._attempts.failures == 1

    run(main)


def test_hanging_up_after_message_2_is_a_failure() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            messages, _, _ = await half_join(pair)
            messages.close()
            await until(lambda: len(pair.failed) == 1)
            assert pair.server._attempts.failures == 1

    run(main)


def test_it_counts_while_the_guesser_still_thinks() -> None:
    """Many attempts at once, each waiting with message 3, are as many failures already."""

    async def main() -> None:
        async with share_pair() as pair:
            opened = [await half_join(pair) for _ in range(3)]
            assert pair.server._attempts.failures == 3
            for messages, _, _ in opened:
                messages.close()
            await until(lambda: len(pair.failed) == 3)
            assert pair.server._attempts.failures == 3

    run(main)


def test_message_3_is_garbage() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            for third in (b"", b"garbage", msgspec.msgpack.encode([b"x" * 32]), bytes(MAX_MESSAGE)):
                messages, _, _ = await half_join(pair)
                messages.send(third)
                assert await refused_by(messages) is Code.WRONG_CODE
            assert pair.server._attempts.failures == 4
            assert not pair.joined

    run(main)


def test_the_bucket_empties_and_guests_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunnel.attempts.REFILL_SECONDS", 3600.0)  # the machine may be busy

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            for _ in range(BUCKET):
                (await half_join(pair, WRONG))[0].close()
            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, CODE, "bob")
            assert caught.value.code is Code.BUSY
            assert await echoes(client, port)
            async with pair.client() as late:
                assert await echoes(late, port)

    run(main)


def test_no_number_of_failures_locks_everybody_out() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            for _ in range(SLOW_AFTER):
                pair.server._attempts.failed("192.0.2.1", 0.0)
            await join_share(pair.dial, NAME, CODE, "bob")
            async with pair.client() as client:
                assert await echoes(client, port)
            pair.server._look_for_guessing()
            pair.server._look_for_guessing()
            (told,) = pair.told("guessing")
            assert "code --rotate" in told.text

    run(main)


def test_those_who_say_nothing_spend_no_attempts() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            silent = [await newcomer(pair) for _ in range(BUCKET * 2)]
            await join_share(pair.dial, NAME, CODE, "bob")
            assert pair.server._attempts.failures == 0
            for messages, _ in silent:
                messages.close()

    run(main)


@functools.cache
def hostile_first_messages() -> dict[str, bytes]:
    def first(**changed: object) -> bytes:
        request = make_request(make_key(), "x")
        attempt = join.GuestJoin(NAME, "x", request, CODE, b"", os.urandom)
        parsed = parse_or_raise(join.JoinRequest, attempt.first())
        return msgspec.msgpack.encode(msgspec.structs.replace(parsed, **changed))

    version_1 = bytearray(make_request(make_key(), "x"))
    version_1[8] ^= 1  # cryptography has an exception of its own for it
    return {
        "empty": b"",
        "garbage": b"\xc1garbage",
        "a refusal": refuse(Code.BUSY, "no"),
        "nested": b"\x91" * 5000,
        "other share": first(share="other-share-0001"),
        "other version": first(version=2),
        "no request": first(request=b""),
        "odd request": first(request=bytes(version_1)),
        "no element": first(pake=b"A"),
        "zero element": first(pake=b"A" + bytes(32)),
        "own side": first(pake=b"B" + bytes(32)),
    }


@pytest.mark.parametrize("what", hostile_first_messages())
def test_a_hostile_message_1_ends_nothing_else(what: str) -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            messages, _ = await newcomer(pair)
            messages.send(hostile_first_messages()[what])
            assert await refused_by(messages) is Code.PROTOCOL_ERROR
            assert pair.server._attempts.failures == 0  # it learned nothing about the code
            assert await echoes(client, port)
            await join_share(pair.dial, NAME, CODE, "bob")

    run(main)


def test_a_message_that_is_too_long() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            tls = await knock(pair, join_client_context(join.ALPN))
            messages = TlsMessages(tls)
            tls.write(struct.pack(">H", MAX_MESSAGE + 1))
            assert await refused_by(messages) is Code.PROTOCOL_ERROR

    run(main)


def test_long_guest_names_are_cut() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            await join_share(pair.dial, NAME, CODE, "\N{WEARY CAT FACE}" * 64)
            assert pair.joined[0] == "guest"

    run(main)


def test_a_full_guest_list_says_so() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            for _ in range(MAX_GUESTS):
                pair.server.guests.add(Role.GUEST, "x", os.urandom(8).hex(), "test")
            with pytest.raises(RefusedError) as caught:
                await join_share(pair.dial, NAME, CODE, "bob")
            assert caught.value.code is Code.BUSY
            assert not pair.joined

    run(main)


# -- who may connect


def test_no_certificate() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            assert await is_refused(pair, join_client_context("vshare/1"))

    run(main)


def test_another_shares_certificate() -> None:
    async def main() -> None:
        async with share_pair() as pair, share_pair() as other:
            identity = other.identity()
            context = join_client_context("vshare/1")
            load_identity(context, identity.key, identity.certificate)
            assert await is_refused(pair, context)

    run(main)


@pytest.mark.parametrize("role", [Role.GUEST, Role.GATEWAY])
def test_a_certificate_that_is_not_on_the_list(role: Role) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            assert await is_refused(
                pair, client_context(pair.identity(role, listed=False), "vshare/1")
            )

    run(main)


def test_the_shares_own_certificate() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            share = pair.authority.issue_share()
            assert await is_refused(pair, client_context(share, "vshare/1"))

    run(main)


def test_tls_1_2() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            context = client_context(pair.identity(), "vshare/1")
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError):
                await knock(pair, context)

    run(main)


@pytest.mark.parametrize("protocol", ["h2", "vshare/2", "vshare-park/1"])
def test_other_application_protocols(protocol: str) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            with pytest.raises(ssl.SSLError, match="no application protocol"):
                await knock(pair, client_context(pair.identity(), protocol))

    run(main)


def test_both_doors_asked_for_is_the_joining_one_alone() -> None:
    """Who offers both is not let past the certificate."""

    async def main() -> None:
        async with share_pair() as pair:
            context = join_client_context("vshare/1")
            context.set_alpn_protocols(["vshare/1", join.ALPN])
            tls = await knock(pair, context)
            assert tls.alpn == join.ALPN
            tls.abort()

    run(main)


def test_a_removed_guest_is_out_at_once_and_stays_out() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            bob, carol = pair.identity(), pair.identity()
            notices: list[Notice] = []
            async with (
                Client(pair.dial, bob, NAME, on_notice=notices.append) as client,
                Client(pair.dial, carol, NAME) as other,
            ):
                sock, task = await socket_to(client, port)
                assert await echoes(other, port)
                guest = pair.server.guests.of_role(Role.GUEST)[0]
                pair.guests.remove(guest, "enough")
                loop = asyncio.get_running_loop()
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(sock, 1) == b""
                sock.close()
                await task
                assert [(each.kind, each.text) for each in notices] == [("removed", "enough")]
                assert await is_refused(pair, client_context(bob, "vshare/1"))
                assert await echoes(other, port)
            async with Client(pair.dial, bob, NAME) as again:
                with pytest.raises(AccessLostError, match="enough"):
                    await again.ready()

    run(main)


def test_a_new_gateway_replaces_the_old_one() -> None:
    async def main() -> None:
        async with share_pair(Policy(frozenset({NAME}), http_ports=frozenset({80}))) as pair:
            keys = [make_key(), make_key()]
            issued = [pair.reception.issue_gateway(key.public_key()) for key in keys]
            old, new = (
                Identity(key, certificate, ca)
                for key, (certificate, ca) in zip(keys, issued, strict=True)
            )
            assert await is_refused(pair, client_context(old, "vshare/1"))
            async with Client(pair.dial, new, NAME) as gateway:
                assert (await gateway.ready()).rights == ["tcp/80"]

    run(main)


# -- what they may open


def test_the_gateway_opens_the_http_port_and_nothing_else() -> None:
    async def main() -> None:
        async with tcp_service(WebService) as http, tcp_service(WebService) as other:
            policy = Policy(frozenset({NAME}), http_ports=frozenset({http}))
            async with share_pair(policy) as pair, pair.client(Role.GATEWAY) as gateway:
                assert await answers(gateway, str(http))
                for port in (http, other):
                    assert (await refusal(gateway, "", port)).code is Code.NOT_ALLOWED
                    assert (await refusal(gateway, "127.0.0.1", port)).code is Code.NOT_ALLOWED
                for label in ("", str(other), "x"):
                    assert (await refusal(gateway, label, 0, "http")).code is Code.NOT_ALLOWED
                assert (await refusal(gateway, "ping", 0, "api")).code is Code.UNSUPPORTED
                assert (await refusal(gateway, "", 0, "datagram")).code is Code.NOT_ALLOWED
                assert await answers(gateway, str(http))

    run(main)


def test_guests_are_refused_with_words() -> None:
    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            assert "SSH" in (await refusal(client, "", 22)).text
            assert "only the shared machine" in (await refusal(client, "10.1.2.3", 80)).text
            assert "only the shared machine" in (await refusal(client, "localhost", 80)).text
            assert "not a port" in (await refusal(client, "", 0)).text
            with pytest.raises((RefusedError, LostError)):  # not even a frame
                await client.open("", 65_536)
            assert (await refusal(client, "", 80, "sctp")).code is Code.UNSUPPORTED
            assert (await refusal(client, "nothing", 0, "api")).code is Code.UNSUPPORTED
            assert msgspec.json.decode(await client.call("ping")) == {"pong": True}

    run(main)


class Told:
    """A FlowReceiver that keeps the refusal."""

    def __init__(self) -> None:
        self.refused: asyncio.Future[Code] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes) -> None:
        """Nothing answers in these tests."""

    def flow_refused(self, code: Code) -> None:
        self.refused.set_result(code)

    def flow_closed(self) -> None:
        """Not of interest."""


@pytest.mark.parametrize(
    ("host", "port"),
    [("10.1.2.3", 53), ("localhost", 53), ("127.0.0.1", 53), ("", 0), ("", 6379), ("", 9)],
)
def test_flows_are_held_to_the_same_policy(host: str, port: int) -> None:
    async def main() -> None:
        policy = Policy(
            frozenset({NAME}),
            only_ports=frozenset({53, 6379}),
            hidden_ports=frozenset({6379}),
            http_ports=frozenset({9}),  # TCP's alone
        )
        async with share_pair(policy) as pair, pair.client() as client:
            told = Told()
            flow = await client.open_flow(host, port, told)
            flow.send(b"x")
            assert await told.refused is Code.NOT_ALLOWED

    run(main)


class SshServer(TcpService):
    """Greets as OpenSSH does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")


class SlowSshServer(TcpService):
    """Greets byte by byte."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._left = list(b"SSH-2.0-tiny\r\n")
        self._next()

    def _next(self) -> None:
        if self._left and not self.transport.is_closing():
            self.transport.write(bytes([self._left.pop(0)]))
            asyncio.get_running_loop().call_later(0.01, self._next)


@pytest.mark.parametrize("server", [SshServer, SlowSshServer])
def test_ssh_on_a_port_that_nobody_knows_of(server: type[TcpService]) -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service(server) as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            received = b""
            loop = asyncio.get_running_loop()
            try:
                while data := await loop.sock_recv(sock, 100):
                    received += data
            except ConnectionResetError:
                pass
            assert received == b""
            sock.close()
            assert await task is Code.NOT_ALLOWED

    run(main)


class Talker(TcpService):
    """Speaks first, with something that begins as SSH does, and ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"SS")
        asyncio.get_running_loop().call_later(0.02, self._end)

    def _end(self) -> None:
        self.transport.write(b"H" + b"x" * 100_000)
        self.transport.write_eof()


def test_what_only_begins_like_ssh_passes_whole() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service(Talker) as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            received = b""
            while data := await asyncio.get_running_loop().sock_recv(sock, 65_536):
                received += data
            assert received == b"SSH" + b"x" * 100_000
            sock.close()
            await task

    run(main)


class Two(TcpService):
    """Says two letters of the greeting, no more, and ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"SS")
        self.transport.write_eof()


def test_a_short_answer_passes() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service(Two) as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(sock, 10) == b"SS"
            assert await loop.sock_recv(sock, 10) == b""
            sock.close()
            await task

    run(main)


# -- crowds


def test_a_crowd_of_silent_connections_does_not_keep_guests_out() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            silent = [await pair.dial() for _ in range(MAX_PENDING + 50)]
            async with pair.client() as client:
                assert await echoes(client, port)
            await join_share(pair.dial, NAME, CODE, "bob")
            assert len(pair.server._pending) <= MAX_PENDING
            for sock in silent:
                sock.close()
            await until(lambda: not pair.server._pending)

    run(main)


def test_a_crowd_of_half_handshakes_does_not_keep_guests_out() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            loop = asyncio.get_running_loop()
            context = client_context(pair.identity(), "vshare/1")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with pytest.raises(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing, server_hostname="x").do_handshake()
            hello = outgoing.read()
            crowd = [await pair.dial() for _ in range(MAX_PENDING + 20)]
            for number, sock in enumerate(crowd):  # some whole hellos, some halves, some garbage
                part = (hello, hello[: len(hello) // 2], b"GET / HTTP/1.1\r\n\r\n")[number % 3]
                await loop.sock_sendall(sock, part)
            async with pair.client() as client:
                assert await echoes(client, port)
            await join_share(pair.dial, NAME, CODE, "bob")
            for sock in crowd:
                sock.close()
            await until(lambda: not pair.server._pending)

    run(main)


def test_a_crowd_does_not_push_out_who_is_known() -> None:
    """Neither a guest, nor a newcomer who has begun to prove the code."""

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            stream, task = await socket_to(client, port)
            messages, attempt, second = await half_join(pair)
            crowd = [await pair.dial() for _ in range(MAX_PENDING + 50)]
            await until(lambda: len(pair.server._pending) == MAX_PENDING)
            messages.send(attempt.second(second))
            assert attempt.finish(await messages.receive()).certificate
            messages.close()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(stream, b"hello")
            assert await loop.sock_recv(stream, 5) == b"hello"
            stream.close()
            await task
            for sock in crowd:
                sock.close()

    run(main)


def test_the_share_ends_although_visitors_are_at_every_stage() -> None:
    async def main() -> None:
        async with tcp_service() as port, contextlib.AsyncExitStack() as stack:
            async with share_pair() as pair:
                silent = await pair.dial()
                messages, _, _ = await half_join(pair)
                client = await stack.enter_async_context(pair.client())
                sock, task = await socket_to(client, port)
            left, right = socket.socketpair()
            pair.server.visitor(left, "late")  # a pairing that was under way
            assert left.fileno() == -1
            right.close()
            await task
            sock.close()
            silent.close()
            messages.close()

    run(main)
