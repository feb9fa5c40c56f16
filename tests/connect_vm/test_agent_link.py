from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from connect_vm.agent import netlink, ruleset, wire
from connect_vm.agent.wire import Header
from connect_vm.agent_link import PARKED, AgentError, AgentLink
from tests.connect_vm.agent_harness import LOOPBACK, PATIENCE, SECRET, Agent, Client, agent
from tests.vshare.peers import tcp_server
from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import LostError, RefusedError
from tunnel.flows import Flow, FlowReceiver
from tunnel.socket_end import SocketEnd

REFUSED, LOST = 2, 3  # ports


class EchoFlow:
    """Sends each datagram back; b"refuse" and b"close" end the flow."""

    def __init__(self, receiver: FlowReceiver) -> None:
        self._receiver = receiver
        self.closed = False

    def send(self, data: bytes) -> None:
        if data == b"refuse":
            self._receiver.flow_refused(Code.CONNECTION_REFUSED)
        elif data == b"close":
            self._receiver.flow_closed()
        else:
            self._receiver.datagram_received(data)

    def close(self) -> None:
        self.closed = True


class Session:
    """An Opener whose streams lead to a socket the test holds the other end of."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.flows: list[EchoFlow] = []
        self.sockets: list[socket.socket] = []

    async def open(self, host: str, port: int) -> End:
        assert host == ""
        if port == REFUSED:
            raise RefusedError(Code.CONNECTION_REFUSED, "nothing listens")
        if port == LOST:
            raise LostError("gone")
        near, far = socket.socketpair()
        near.setblocking(False)
        far.settimeout(PATIENCE)
        self.opened.put_nowait(far)
        self.sockets.append(near)
        return SocketEnd(near)

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        if port == LOST:
            raise LostError("gone")
        self.flows.append(EchoFlow(receiver))
        return self.flows[-1]


@pytest.fixture
def one() -> Iterator[Agent]:
    with agent() as running:
        yield running


def link_to(one: Agent, session: Session, secret: bytes = SECRET) -> AgentLink:
    return AgentLink(LOOPBACK, one.parking.address[1], secret, session)


async def all_parked(one: Agent, count: int = PARKED) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(one.parked.acquire, timeout=PATIENCE)


def test_a_stream_from_the_held_syn_to_both_ends_of_stream(one: Agent) -> None:
    async def main() -> None:
        session = Session()
        async with link_to(one, session) as link:
            await link.ready(PATIENCE)
            client = Client(one)
            one.hold(1, client.header)
            verdict = await asyncio.to_thread(one.next_verdict)
            assert verdict == (1, netlink.ACCEPT, ruleset.MARK_OPEN)
            client.accepted(one)
            with await session.opened.get() as far:
                await asyncio.to_thread(client.sock.sendall, b"question")
                assert await asyncio.to_thread(far.recv, 100) == b"question"
                far.sendall(b"answer")
                far.shutdown(socket.SHUT_WR)
                assert await asyncio.to_thread(client.sock.recv, 100) == b"answer"
                assert await asyncio.to_thread(client.sock.recv, 100) == b""
                client.sock.sendall(b"more")  # half-closed, not closed
                assert await asyncio.to_thread(far.recv, 100) == b"more"
        for sock in session.sockets:
            sock.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("port", "verdict"),
    [(REFUSED, (5, netlink.ACCEPT, ruleset.MARK_RESET)), (LOST, (5, netlink.DROP, 0))],
)
def test_a_port_that_does_not_open(one: Agent, port: int, verdict: tuple[int, int, int]) -> None:
    async def main() -> None:
        async with link_to(one, Session()) as link:
            await link.ready(PATIENCE)
            one.hold(5, Header.of(wire.TCP, ("192.0.2.2", port), ("192.0.2.1", 1)))
            assert await asyncio.to_thread(one.next_verdict) == verdict

    asyncio.run(main())


def test_a_connection_that_was_taken_is_replaced(one: Agent) -> None:
    async def main() -> None:
        async with link_to(one, Session()) as link:
            await link.ready(PATIENCE)
            await all_parked(one)
            for number in range(3 * PARKED):
                header = Header.of(wire.TCP, ("192.0.2.2", REFUSED), ("192.0.2.1", number))
                one.hold(number, header)
                await asyncio.to_thread(one.next_verdict)
            await all_parked(one, 3 * PARKED)

    asyncio.run(main())


def test_parked_connections_that_are_lost_are_opened_again(one: Agent) -> None:
    def hang_up() -> None:
        while parked := one.parking.take():
            parked.close()

    async def main() -> None:
        async with link_to(one, Session()) as link:
            await link.ready(PATIENCE)
            await all_parked(one)
            one.call(hang_up)
            await all_parked(one)

    asyncio.run(main())


def test_leaving_hangs_up(one: Agent) -> None:
    async def main() -> None:
        async with link_to(one, Session()) as link:
            await link.ready(PATIENCE)
            before = asyncio.all_tasks()
        assert len(before) > PARKED
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    sock = one.datagram_links.get(timeout=PATIENCE)
    sock.settimeout(PATIENCE)
    with sock:
        assert sock.recv(1) == b""


def test_a_wrong_secret_and_nobody_there(one: Agent) -> None:
    async def main(link: AgentLink) -> None:
        async with link:
            await link.ready(0.5)

    with pytest.raises(AgentError, match="was not ready within") as caught:
        asyncio.run(main(link_to(one, Session(), b"x" * 32)))
    assert "--disable-static-ip" in caught.value.hint
    with socket.create_server((LOOPBACK, 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(AgentError, match="was not ready within"):
        asyncio.run(main(AgentLink(LOOPBACK, port, SECRET, Session())))


@pytest.mark.parametrize("proof", ["nothing", "the nonce", "our own proof"])
def test_another_host_that_answers_for_the_vm(proof: str) -> None:
    """It lets everybody park, and cannot prove the secret: no connection stays with it."""

    async def main() -> None:
        ended = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(wire.NONCE_SIZE))
            message = await reader.readexactly(wire.NONCE_SIZE + wire.MAC_SIZE + 1)
            forged = {"the nonce": message[:32], "our own proof": message[32:64]}
            writer.write(forged.get(proof, bytes(wire.MAC_SIZE)))
            assert await reader.read() == b""
            writer.close()
            ended.set()

        async with (
            tcp_server(answer) as port,
            AgentLink(LOOPBACK, port, SECRET, Session()) as link,
        ):
            async with asyncio.timeout(PATIENCE):
                await ended.wait()
            with pytest.raises(AgentError, match="is not our connect VM"):
                await link.ready(0.3)

    asyncio.run(main())


class Datagrams:
    """The agent's end of the datagram link, blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        sock.settimeout(PATIENCE)
        self.sock = sock
        self._reader = wire.FrameReader()
        self._frames: list[tuple[int, int, bytes]] = []

    def open(self, number: int, port: int) -> None:
        header = Header.of(wire.UDP, ("192.0.2.2", port), ("192.0.2.1", number))
        self.send(wire.FLOW_OPEN, number, header.encode())

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        self.sock.sendall(wire.frame(kind, number, payload))

    def next(self) -> tuple[int, int, bytes]:
        while not self._frames:
            data = self.sock.recv(65_536)
            assert data, "the link ended"
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)


def test_datagrams_go_both_ways_and_flows_end(one: Agent) -> None:
    def far() -> None:
        with one.datagram_links.get(timeout=PATIENCE) as sock:
            end = Datagrams(sock)
            end.open(1, 53)
            largest = bytes(wire.MAX_DATAGRAM)
            for payload in (b"first", b"", largest):  # not waiting for the flow to be open
                end.send(wire.DGRAM, 1, payload)
            assert [end.next() for _ in range(3)] == [
                (wire.DGRAM, 1, b"first"),
                (wire.DGRAM, 1, b""),
                (wire.DGRAM, 1, largest),
            ]
            end.send(wire.DGRAM, 1, b"refuse")
            assert end.next() == (wire.FLOW_REFUSED, 1, bytes([Code.CONNECTION_REFUSED]))
            end.open(2, 53)
            end.send(wire.DGRAM, 2, b"close")
            assert end.next() == (wire.FLOW_CLOSE, 2, b"")
            end.open(3, LOST)
            assert end.next() == (wire.FLOW_CLOSE, 3, b"")
            end.open(4, 53)
            end.send(wire.DGRAM, 4, b"x")
            assert end.next() == (wire.DGRAM, 4, b"x")

    async def main() -> None:
        session = Session()
        async with link_to(one, session) as link:
            await link.ready(PATIENCE)
            await asyncio.to_thread(far)
            # The link was lost: it comes back, and what was open has been closed.
            sock = await asyncio.to_thread(one.datagram_links.get, timeout=PATIENCE)
            sock.close()
        assert [flow.closed for flow in session.flows][-1]

    asyncio.run(main())
