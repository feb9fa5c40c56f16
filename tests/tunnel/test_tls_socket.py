from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import types
from typing import Any

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.tls_pair import identities, tcp_pair, tls_pair
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.frames import ALPN
from tunnel.identity import server_context
from tunnel.socket_watch import SocketWatch
from tunnel.tls_socket import TlsSocket, handshake
from tunnel.turns import SHORT


class Log:
    """A Receiver that keeps everything."""

    def __init__(self, tls: TlsSocket) -> None:
        self.tls = tls
        self.data = bytearray()
        self.lost: list[Exception | None] = []
        self.writable_calls = 0
        self.hung_up_calls = 0
        self._news = asyncio.Event()
        tls.start(self)

    def data_received(self, data: memoryview) -> None:
        self.data += data
        self._news.set()

    def writable(self) -> None:
        self.writable_calls += 1
        self._news.set()

    def hung_up(self) -> None:
        self.hung_up_calls += 1
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)
        self._news.set()

    async def until(
        self,
        size: int = 0,
        *,
        lost: bool = False,
        writable: bool = False,
        hung_up: bool = False,
    ) -> None:
        while (
            len(self.data) < size
            or (lost and not self.lost)
            or (writable and not self.writable_calls)
            or (hung_up and not self.hung_up_calls)
        ):
            self._news.clear()
            await self._news.wait()


@both_loops
def test_bytes_both_ways_and_an_orderly_end(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = map(Log, await tls_pair())
        assert ours.tls.alpn == theirs.tls.alpn == ALPN
        for size in (1, 16_376, 16_377, 300_000):
            ours.tls.write(b"h" * 8, b"d" * size)
            theirs.tls.write(b"x" * size)
        total = 1 + 16_376 + 16_377 + 300_000
        await theirs.until(total + 32)
        await ours.until(total)
        ours.tls.close()
        ours.tls.close()
        await theirs.until(lost=True)
        assert ours.lost == theirs.lost == [None]
        theirs.tls.write(b"late")
        theirs.tls.resume_reading()
        theirs.tls.abort(ValueError())
        assert theirs.lost == [None]

    run(main, factory)


@both_loops
def test_what_is_queued_leaves_before_close(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = map(Log, await tls_pair(tcp_pair(16_384)))
        ours.tls.write(b"", bytes(1_000_000))
        assert ours.tls.congested
        ours.tls.close()
        assert ours.tls.is_lost
        await theirs.until(1_000_000, lost=True)
        assert theirs.lost == [None]
        await ours.until(lost=True)

    run(main, factory)


def test_close_gives_up_on_a_peer_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("tunnel.tls_socket.CLOSE_TIMEOUT", 0.05)
        ours, theirs = map(Log, await tls_pair(tcp_pair(16_384)))
        theirs.tls.pause_reading()
        ours.tls.write(b"", bytes(1_000_000))
        ours.tls.close()
        await ours.until(lost=True)
        theirs.tls.abort()

    run(main)


@both_loops
def test_congestion_and_pauses(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = map(Log, await tls_pair(tcp_pair(16_384)))
        theirs.tls.pause_reading()
        theirs.tls.pause_reading()
        sent = 0
        while not ours.tls.congested:
            ours.tls.write(b"", bytes(65_536))
            sent += 65_536
        await asyncio.sleep(0.02)
        assert ours.tls.congested
        assert ours.writable_calls == 0
        theirs.tls.resume_reading()
        await ours.until(writable=True)
        await theirs.until(sent)
        assert len(theirs.data) == sent
        ours.tls.abort()
        theirs.tls.abort()

    run(main, factory)


@both_loops
def test_bytes_that_come_with_the_end_of_the_handshake(factory: Factory) -> None:
    async def main() -> None:
        # The server's first bytes and its close wait in the kernel before the client starts.
        client, server = await tls_pair()
        first = Log(server)
        server.write(b"first words")
        server.close()
        assert first.lost == [None]
        await asyncio.sleep(0.02)
        log = Log(client)
        await log.until(11, lost=True)
        assert (bytes(log.data), log.lost) == (b"first words", [None])

    run(main, factory)


@both_loops
def test_an_end_without_close_notify_is_a_loss(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = map(Log, await tls_pair())
        ours.tls.write(b"before")
        ours.tls.abort()
        await theirs.until(6, lost=True)
        (error,) = theirs.lost
        assert isinstance(error, LostError)
        assert bytes(theirs.data) == b"before"

    run(main, factory)


@both_loops
def test_junk_between_records_is_a_loss_and_what_came_before_counts(factory: Factory) -> None:
    async def main() -> None:
        near, far = tcp_pair()
        ours, theirs = map(Log, await tls_pair((near, far)))
        ours.tls.write(b"before")
        near.send(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody encrypted
        await theirs.until(6, lost=True)
        assert bytes(theirs.data) == b"before"
        assert isinstance(theirs.lost[0], ssl.SSLError)
        await ours.until(lost=True)  # told by an alert
        assert isinstance(ours.lost[0], ssl.SSLError)

    run(main, factory)


def test_a_write_that_fails_is_told_later_and_once() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        ours, theirs = map(Log, await tls_pair((near, far)))
        near.shutdown(socket.SHUT_WR)
        ours.tls.write(b"x")
        ours.tls.write(b"y")
        assert ours.lost == []
        await ours.until(lost=True)
        await theirs.until(lost=True)
        assert len(ours.lost) == 1
        assert isinstance(ours.lost[0], OSError)

    run(main)


def test_a_protocol_error_of_the_user_ends_it() -> None:
    async def main() -> None:
        ours, theirs = map(Log, await tls_pair())

        def refuse(data: memoryview) -> None:
            theirs.tls.write(b"in the middle of a delivery")
            raise RemoteProtocolError("no")

        theirs.data_received = refuse  # type: ignore[method-assign]
        ours.tls.write(b"x")
        await theirs.until(lost=True)
        assert isinstance(theirs.lost[0], RemoteProtocolError)
        await ours.until(lost=True)

    run(main)


@both_loops
@pytest.mark.parametrize("fault", ["silent", "ends", "junk", "no certificate"])
def test_a_handshake_that_fails_closes_its_socket(factory: Factory, fault: str) -> None:
    async def main() -> None:
        near, far = tcp_pair()
        _guest, share = identities()
        context = server_context(share, ALPN)
        loop = asyncio.get_running_loop()
        try:
            if fault == "silent":
                with pytest.raises(TimeoutError):
                    await handshake(near, context, timeout=0.05)
            elif fault == "ends":
                far.shutdown(socket.SHUT_WR)
                with pytest.raises(LostError):
                    await handshake(near, context)
            elif fault == "junk":
                await loop.sock_sendall(far, b"GET / HTTP/1.1\r\n\r\n")
                with pytest.raises(ssl.SSLError):
                    await handshake(near, context)
            else:
                anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                anonymous.check_hostname = False
                anonymous.verify_mode = ssl.CERT_NONE  # of the client in this test alone
                anonymous.set_alpn_protocols([ALPN])
                async with asyncio.TaskGroup() as group:
                    client = group.create_task(handshake(far, anonymous, server_hostname="x"))
                    with pytest.raises(ssl.SSLError):
                        await handshake(near, context)
                log = Log(client.result())  # TLS 1.3: the client's handshake was done before
                await log.until(lost=True)
                assert "CERTIFICATE_REQUIRED" in str(log.lost[0])
            assert near.fileno() == -1
        finally:
            far.close()

    run(main, factory)


@both_loops
def test_a_record_and_a_reset_in_one_wake_up(factory: Factory) -> None:
    """libuv tells a reader once of both: the loss must not go unnoticed."""

    async def main() -> None:
        pair = tcp_pair()
        ours, theirs = map(Log, await tls_pair(pair))
        theirs.tls.pause_reading()
        ours.tls.write(b"last words")
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.tls.abort()
        theirs.tls.resume_reading()
        await theirs.until(10, lost=True)
        assert isinstance(theirs.lost[0], ConnectionResetError)

    run(main, factory)


@both_loops
@pytest.mark.parametrize("how", ["end", "reset", "close"])
@pytest.mark.parametrize("when", ["before the pause", "while paused", "in the second pause"])
def test_a_pause_does_not_hide_that_the_peer_is_gone(factory: Factory, how: str, when: str) -> None:
    async def main() -> None:
        pair = tcp_pair()
        ours, theirs = map(Log, await tls_pair(pair))
        if when == "in the second pause":
            theirs.tls.pause_reading()
            theirs.tls.resume_reading()
        if when != "before the pause":
            theirs.tls.pause_reading()
            await asyncio.sleep(0)
        ours.tls.write(b"last words")
        if how == "reset":
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "close":
            ours.tls.close()
        else:
            ours.tls.abort()
        theirs.tls.pause_reading()
        await theirs.until(hung_up=True)
        assert not theirs.data
        assert not theirs.lost
        theirs.tls.resume_reading()
        await theirs.until(10, lost=True)  # what came before is still delivered
        assert bytes(theirs.data) == b"last words"

    run(main, factory)


@both_loops
def test_an_end_that_came_while_reading_is_told_in_the_pause_that_hides_it(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        view = memoryview(bytearray(20_000))
        small = types.SimpleNamespace(view=view, short_view=view)  # a read in many
        monkeypatch.setattr("tunnel.tls_socket.scratch", small)
        ours, theirs = map(Log, await tls_pair())
        theirs.tls.pause_reading()
        theirs.tls.resume_reading()
        deliver = theirs.data_received

        def once(data: memoryview) -> None:
            deliver(data)
            if len(theirs.data) > 60_000:  # by now the loop has seen the end
                theirs.tls.pause_reading()

        theirs.data_received = once  # type: ignore[method-assign]
        ours.tls.write(b"", bytes(100_000))
        ours.tls.close()
        assert ours.lost == [None]
        await theirs.until(60_001, hung_up=True)
        assert len(theirs.data) < 100_000
        theirs.data_received = deliver  # type: ignore[method-assign]
        theirs.tls.resume_reading()
        await theirs.until(100_000, lost=True)
        assert theirs.lost == [None]

    run(main, factory)


def test_pauses_cost_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        added = [0]
        real = SocketWatch.add

        def add(*arguments: Any) -> None:
            added[0] += 1
            real(*arguments)

        monkeypatch.setattr(SocketWatch, "add", add)
        ours, theirs = map(Log, await tls_pair())
        for _ in range(100):
            theirs.tls.pause_reading()
            theirs.tls.resume_reading()
        assert added == [2]  # one each
        ours.tls.abort()
        theirs.tls.abort()

    run(main)


def test_what_was_to_be_read_before_a_pause_is_no_hang_up() -> None:
    """Two sockets have data in one wake-up; whoever is first pauses the other."""

    async def main() -> None:
        ours, theirs = zip(*[map(Log, await tls_pair()) for _ in range(2)], strict=True)

        def first(data: memoryview) -> None:
            for log in theirs:
                log.tls.pause_reading()

        for log in theirs:
            log.data_received = first
        for log in ours:
            log.tls.write(b"", b"x")
        await until(lambda: not any(log.tls.is_reading for log in theirs))
        await asyncio.sleep(0)
        assert [log.hung_up_calls for log in theirs] == [0, 0]
        for log in (*ours, *theirs):
            log.tls.abort()

    run(main)


def test_reads_are_small_while_turns_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.tls_socket.are_short", lambda: True)
    sizes: list[int] = []

    async def main() -> None:
        ours, theirs = map(Log, await tls_pair())
        deliver = theirs.data_received

        def measured(data: memoryview) -> None:
            sizes.append(len(data))
            deliver(data)

        theirs.data_received = measured  # type: ignore[method-assign]
        for number in range(1, 5):  # the kernel's buffers grow
            ours.tls.write(b"", bytes(SHORT * 8))
            await theirs.until(number * SHORT * 8)
        assert max(sizes) <= SHORT
        ours.tls.close()
        await theirs.until(lost=True)

    run(main)
