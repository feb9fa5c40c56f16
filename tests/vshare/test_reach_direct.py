from __future__ import annotations

import asyncio
import os
import socket

import pytest

from tests.vshare.peers import WAIT, Datagrams, echo, free_port, link, tcp_server, udp_echo
from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare.neighbours import Address
from vshare.reach_direct import DirectReach


def test_tcp_with_half_close() -> None:
    async def main() -> None:
        async with tcp_server(echo) as port, DirectReach("127.0.0.1") as reach:
            end = await reach.open_tcp("", port)
            peer = link(end)
            end.send(b"hello")
            end.send_eof()
            await peer.until(peer.eof.is_set)
            assert peer.data == b"hello"
            assert await asyncio.wait_for(end.finished, WAIT) is None

    asyncio.run(main())


def test_a_closed_port_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RefusedError) as caught:
            await DirectReach("127.0.0.1").open_tcp("", free_port())
        assert caught.value.code is Code.CONNECTION_REFUSED

    asyncio.run(main())


def test_an_unknown_host_is_told() -> None:
    async def main() -> None:
        with pytest.raises(RefusedError) as caught:
            await DirectReach("no-such-host.invalid").open_tcp("", 80)
        assert caught.value.code is Code.UNKNOWN_HOST

    asyncio.run(main())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"]
)
def test_the_sharers_own_loopback_is_never_dialled(host: str) -> None:
    async def main() -> None:
        async with tcp_server(echo) as port, udp_echo() as udp_port:
            reach = DirectReach("192.0.2.1")
            with pytest.raises(RefusedError) as caught:
                await reach.open_tcp(host, port)
            assert caught.value.code is Code.NOT_ALLOWED
            with pytest.raises(RefusedError):
                await reach.open_udp(host, udp_port, Datagrams())

    asyncio.run(main())


def test_a_target_that_is_this_host_is_so_from_the_start() -> None:
    async def main() -> None:
        async with tcp_server(echo) as port:
            async with DirectReach("localhost") as reach:
                assert reach.is_this_host
                (await reach.open_tcp("", port)).reset(Code.CLOSED)
            assert DirectReach("127.0.0.1").is_this_host
            assert not DirectReach("192.0.2.254").is_this_host
            # As if it had led elsewhere when the share started:
            late = DirectReach("localhost")
            for opening in (
                late.open_tcp("", port),
                late.open_udp("", port, Datagrams()),
            ):
                with pytest.raises(RefusedError, match="sharer's own host") as caught:
                    await opening
                assert caught.value.code is Code.NOT_ALLOWED

    asyncio.run(main())


def test_an_address_that_became_this_hosts_while_it_was_dialled() -> None:
    """Both ends of the connection have one address then, whatever was known before."""

    async def main() -> None:
        async with tcp_server(echo) as port, udp_echo() as udp_port:
            reach = DirectReach("127.0.0.1", is_own=lambda address: False)
            with pytest.raises(RefusedError, match="what answered is the sharer's own host"):
                await reach.open_tcp("", port)
            with pytest.raises(RefusedError, match="what answered is the sharer's own host"):
                await reach.open_udp("", udp_port, Datagrams())

    asyncio.run(main())


def test_a_kernel_that_does_not_tell_closes() -> None:
    def fails(address: Address) -> bool:
        raise OSError(95, "Operation not supported")

    async def main() -> None:
        async with tcp_server(echo) as port, DirectReach("127.0.0.1", is_own=fails) as reach:
            assert not reach.is_this_host
            with pytest.raises(RefusedError, match="not supported"):
                await reach.open_tcp("", port)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid", "127.1", "2130706433"])
def test_other_hosts_are_refused_where_nothing_is_exposed(host: str) -> None:
    async def main() -> None:
        with pytest.raises(RefusedError, match="only the shared machine") as caught:
            await DirectReach("127.0.0.1").open_tcp(host, 80)
        assert caught.value.code is Code.NOT_ALLOWED

    asyncio.run(main())


def test_a_thousand_datagrams() -> None:
    messages = [os.urandom(60_000 if at % 100 == 0 else at) for at in range(1000)]
    messages[2] = os.urandom(65_507)

    async def main() -> None:
        async with udp_echo() as port:
            told = Datagrams()
            flow = await DirectReach("127.0.0.1").open_udp("", port, told)
            for at, message in enumerate(messages):
                flow.send(message)
                if at % 8 == 7:
                    await told.until(lambda at=at: len(told.received) == at + 1)
            assert told.received == messages
            flow.send(b"x" * 70_000)  # cannot be sent at all: dropped
            flow.send(b"after")
            await told.until(lambda: told.received[-1] == b"after")
            flow.close()
            flow.close()

    asyncio.run(main())


def test_a_closed_udp_port_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    async def main() -> None:
        told = Datagrams()
        flow = await DirectReach("127.0.0.1").open_udp("", port, told)
        flow.send(b"anyone?")
        await told.until(lambda: told.refused)
        assert told.refused is Code.CONNECTION_REFUSED
        flow.send(b"ignored")

    asyncio.run(main())


def test_what_a_flow_loses_is_counted() -> None:
    """The kernel drops what nobody reads in time, and tells how many those were."""

    async def main() -> None:
        told = Datagrams()
        with socket.socket(type=socket.SOCK_DGRAM) as machine:
            machine.bind(("127.0.0.1", 0))
            async with DirectReach("127.0.0.1") as reach:
                flow = await reach.open_udp("", machine.getsockname()[1], told)
                flow.send(b"hello")
                flow.send(bytes(65_508))  # longer than UDP can carry
                assert flow.dropped == 1
                _, source = machine.recvfrom(100)
                sent = 200
                for _ in range(sent):
                    machine.sendto(bytes(60_000), source)  # 12 MB into a buffer of 2 at most
                lost = flow.dropped - 1
                assert 0 < lost < sent
                await told.until(lambda: len(told.received) == sent - lost)
                flow.close()
                assert flow.dropped == lost + 1

    asyncio.run(main())


def test_a_flow_that_is_left_is_closed_with_the_way() -> None:
    async def main() -> None:
        told, other = Datagrams(), Datagrams()
        async with udp_echo() as port, DirectReach("127.0.0.1") as reach:
            kept = await reach.open_udp("", port, told)
            closed = await reach.open_udp("", port, other)
            closed.close()
        assert told.closed
        assert not other.closed
        kept.send(b"nothing happens")
        assert kept.dropped == 0

    asyncio.run(main())
