"""What guests open is accounted for."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import run, until
from tests.share_pair import NAME, Pair, share_pair, socket_to, tcp_service
from tests.vshare.peers import Datagrams, udp_echo
from tunnel.errors import RefusedError
from tunnel.identity import Role
from vshare.dashboard.figures import Totals
from vshare.policy import Policy

PAYLOAD = b"x" * 100_000


async def echo(pair: Pair, port: int) -> None:
    """Send PAYLOAD to the echo service, and read it back."""
    loop = asyncio.get_running_loop()
    async with pair.client() as client:
        sock, task = await socket_to(client, port)
        sending = loop.sock_sendall(sock, PAYLOAD)
        async with asyncio.TaskGroup() as group:
            group.create_task(sending)
            got = 0
            while got < len(PAYLOAD):
                got += len(await loop.sock_recv(sock, 65_536))
        guest = pair.guests.of_role(Role.GUEST)[0]
        assert pair.streams.traffic(guest) == (len(PAYLOAD), len(PAYLOAD))  # while it is open
        assert pair.streams.totals() == Totals(len(PAYLOAD), len(PAYLOAD), 0, streams=1)
        sock.close()
        await task


def test_a_stream_is_told_with_its_bytes() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            await echo(pair, port)
            await until(lambda: pair.told("stream"))
            fields = pair.told("stream")[0].fields
            assert fields["guest"] == "guest"
            assert (fields["protocol"], fields["host"], fields["port"]) == ("tcp", "", port)
            assert (fields["bytes_in"], fields["bytes_out"]) == (len(PAYLOAD), len(PAYLOAD))
            seconds = fields["seconds"]
            assert isinstance(seconds, float)
            assert 0 < seconds < 10
            guest = pair.guests.of_role(Role.GUEST)[0]
            assert pair.streams.traffic(guest) == (len(PAYLOAD), len(PAYLOAD))
            assert guest.streams == 0
            pair.guests.remove(guest)
            assert pair.streams.totals() == Totals(len(PAYLOAD), len(PAYLOAD), 0, streams=0)

    run(main)


def test_a_refusal_is_told_with_its_reason() -> None:
    async def main() -> None:
        async with share_pair(Policy(frozenset({NAME}), frozenset({80}))) as pair:
            async with pair.client() as client:
                with pytest.raises(RefusedError) as caught:
                    await client.open("", 5432)
                with pytest.raises(RefusedError):
                    await client.open("10.0.0.1", 80)
            first, second = pair.told("refused")
            assert first.fields["port"] == 5432
            assert first.fields["reason"] == caught.value.text
            assert first.text == ""  # a port scan does not fill the sharer's screen
            assert second.fields["host"] == "10.0.0.1"
            assert pair.told("stream") == []

    run(main)


def test_a_flow_is_told_with_its_bytes() -> None:
    async def main() -> None:
        async with share_pair() as pair, udp_echo() as port:
            received = Datagrams()
            async with pair.client() as client:
                flow = await client.open_flow("", port, received)
                flow.send(b"four")
                await until(lambda: received.received == [b"four"])
                flow.close()
                await until(lambda: pair.told("stream"))
            fields = pair.told("stream")[0].fields
            assert (fields["protocol"], fields["port"]) == ("udp", port)
            assert (fields["bytes_in"], fields["bytes_out"]) == (4, 4)
            guest = pair.guests.of_role(Role.GUEST)[0]
            assert pair.streams.traffic(guest) == (4, 4)
            assert pair.streams.totals() == Totals(4, 4)

    run(main)


def test_a_policy_that_changes_counts_for_the_next_stream() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            pair.streams.policy = Policy(frozenset({NAME}), fenced={port: "Redis is open"})
            with pytest.raises(RefusedError, match="Redis is open"):
                await client.open("", port)
            sock.close()
            await task

    run(main)


def test_without_ssh_there_is_no_key() -> None:
    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            with pytest.raises(RefusedError, match="SSH is not shared"):
                await client.open_special("ssh-key")

    run(main)


def test_the_gateway_gets_no_key() -> None:
    async def main() -> None:
        async with share_pair() as pair, pair.client(Role.GATEWAY) as client:
            with pytest.raises(RefusedError, match="SSH is for guests"):
                await client.open_special("ssh-key")

    run(main)


def test_what_is_dropped_is_told_meanwhile_and_at_the_end() -> None:
    async def main() -> None:
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        with socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as machine:
            machine.bind(("127.0.0.1", 0))
            async with share_pair() as pair, pair.client() as client:
                received = Datagrams()
                flow = await client.open_flow("", machine.getsockname()[1], received)
                flow.send(b"hello")
                loop.add_reader(machine, asked.set)
                await asked.wait()
                loop.remove_reader(machine)
                _, source = machine.recvfrom(100)
                for _ in range(200):
                    machine.sendto(bytes(60_000), source)
                guest = pair.guests.of_role(Role.GUEST)[0]
                dropped = pair.streams.dropped(guest)
                assert dropped > 0
                flow.close()
                await until(lambda: pair.told("stream"))
                fields = pair.told("stream")[0].fields
                assert fields["dropped"] == pair.streams.dropped(guest) >= dropped

    run(main)


def test_a_removed_guests_flows_wait_for_nobody() -> None:
    async def main() -> None:
        async with share_pair() as pair, udp_echo() as port, pair.client() as client:
            received = Datagrams()
            (await client.open_flow("", port, received)).send(b"x")
            await received.until(lambda: received.received)
            guest = pair.guests.of_role(Role.GUEST)[0]
            pair.guests.remove(guest)
            await until(lambda: pair.told("stream"))
            assert pair.told("stream")[0].fields["code"] == "lost"

    run(main)


def test_a_flows_id_is_worth_nothing_to_another_guest() -> None:
    """Who knows it gets a flow of his own: neither the other's socket nor the other's answers."""

    async def main() -> None:
        mine, theirs = Datagrams(), Datagrams()
        async with (
            share_pair() as pair,
            udp_echo() as port,
            pair.client() as owner,
            pair.client() as thief,
        ):
            (await owner.open_flow("", port, mine)).send(b"mine")
            await mine.until(lambda: mine.received)
            stolen = await thief.open_flow("", port, theirs)
            ours = next(iter(owner.flows._flows.values()))
            next(iter(thief.flows._flows.values())).message = ours.message
            stolen.send(b"theirs")
            await theirs.until(lambda: theirs.received)
            ours.send(b"mine still")
            await mine.until(lambda: len(mine.received) == 2)
            assert (mine.received, theirs.received) == ([b"mine", b"mine still"], [b"theirs"])
            assert [len(flows.open) for flows in pair.streams._flows.values()] == [1, 1]

    run(main)


def test_a_flow_that_waits_for_its_guest_is_told_of_when_the_share_ends() -> None:
    async def main() -> None:
        received = Datagrams()
        async with share_pair() as pair, udp_echo() as port, pair.client() as client:
            flow = await client.open_flow("", port, received)
            flow.send(b"x")
            await received.until(lambda: received.received)
            kept = next(iter(pair.streams._flows.values()))
            lane = kept.open[0].lane
            assert lane is not None
            kept.keep(kept.open[0])  # as after its lane was lost
            lane.release(kept.open[0])
        assert [news.fields["code"] for news in pair.told("stream")] == ["lost"]

    run(main)
