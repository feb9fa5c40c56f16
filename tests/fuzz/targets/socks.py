"""SOCKS5, from local programs: the handshake, a datagram's head, an association."""

from __future__ import annotations

import random
from collections.abc import Iterable

from connect_vm.own_names import OwnNames
from connect_vm.socks import Handshake, State, parse_udp_header
from connect_vm.socks_udp import MAX_FLOWS, MAX_UNOPENED, Association, FlowBudget
from tests.fuzz.target import Target, choose, fields_of, joined, require, same_however_cut
from tests.fuzz.targets import loop
from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.flows import Flow, FlowReceiver

GREETING = b"\x05\x01\x00"
IPV4 = b"\x01\x7f\0\0\x01\x00\x50"
IPV6 = b"\x04" + bytes(15) + b"\x01\x01\xbb"
DOMAIN = b"\x03\x0bexample.com\x00\x50"
ADDRESSES = (IPV4, IPV6, DOMAIN, b"\x03\x00\x00\x50", b"\x03\xff" + b"h" * 255 + b"\0\x50")
HANDSHAKES = (
    *(GREETING + b"\x05\x01\x00" + address for address in ADDRESSES),
    b"\x05\x03\x02\x01\x00\x05\x03\x00" + IPV4 + b"trailing",
    b"\x05\x01\x02",
    b"\x04\x01\x00\x50\x7f\0\0\x01\0",
    b"GET / HTTP/1.1\r\n\r\n",
)
DATAGRAMS = tuple(b"\0\0\0" + address + b"data" for address in ADDRESSES)
WORDS = (*ADDRESSES, GREETING, b"\x05\x01\x00", b"\x05\x03\x00", b"\x03\x00", b"\xff")


def odd_handshake(chance: random.Random) -> bytes:
    methods = chance.randbytes(chance.choice((0, 1, 2, 255)))
    if chance.random() < 0.7:
        methods = methods[:-1] + b"\0"
    head = bytes([5, chance.choice((1, 1, 3, 2, 0, 255)), 0])
    return bytes([5, len(methods)]) + methods + head + chance.choice(ADDRESSES) + b"x"


def run_handshake(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        handshake, sent = Handshake(), b""
        try:
            for piece in pieces:
                handshake.receive_data(piece)
                sent += handshake.data_to_send()
        except RemoteProtocolError as error:
            require(handshake.state is State.FAILED, "an error is the end")
            require(handshake.bytes_wanted == 0, "nothing is wanted after the end")
            return sent + handshake.data_to_send(), str(error)
        if handshake.request is not None:
            require(0 < len(handshake.request.host) <= 255, "a host is one", handshake.request)
        require((handshake.request is None) == (handshake.bytes_wanted > 0), "wanted until done")
        return sent, handshake.request, handshake.trailing, handshake.bytes_wanted

    same_however_cut(data, feed)
    _check_nothing_is_taken(data)


def _check_nothing_is_taken(data: bytes) -> None:
    """Whoever reads no more than is wanted leaves the client's own first bytes alone."""
    handshake, at = Handshake(), 0
    try:
        while handshake.bytes_wanted and at < len(data):
            end = at + handshake.bytes_wanted
            handshake.receive_data(data[at:end])
            at = end
    except RemoteProtocolError:
        return
    require(not handshake.trailing, "nothing beyond the request is wanted")


def run_udp_header(data: bytes) -> None:
    header = parse_udp_header(data)
    require(header.size <= len(data), "a head is in the datagram", header)
    require(0 < len(header.host) <= 255, "a host is one", header)


class _Flow:
    def __init__(self) -> None:
        self.closed = False

    def send(self, data: bytes) -> None:
        require(len(data) <= 65_507, "a datagram has its length")

    def close(self) -> None:
        self.closed = True


class _Opener:
    def __init__(self, which: int) -> None:
        self._which = which
        self.flows: list[_Flow] = []

    async def open(self, host: str, port: int) -> End:
        raise NotImplementedError

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        if self._which & 1 and port % 3 == 1:
            raise RefusedError(Code.NOT_ALLOWED, "no")
        if self._which & 2:
            await loop.settle(1)
        self.flows.append(_Flow())
        if self._which & 4:
            receiver.datagram_received(b"answer")
        if self._which & 8 and port % 3 == 2:
            receiver.flow_refused(Code.CONNECTION_REFUSED)
        return self.flows[-1]


def run_association(data: bytes) -> None:
    import asyncio

    which, rest = choose(data)
    opener, budget = _Opener(which), FlowBudget(8)

    async def main() -> None:
        names = OwnNames("frosty-weasel-0857")
        async with (
            Association(
                opener, names, budget, local_host="127.0.0.1", client_host="127.0.0.1"
            ) as association,
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(association.open_flows())
            for datagram in fields_of(rest):
                association._receive_datagram(datagram)
                if which & 16:
                    await loop.settle(2)
                require(len(association._flows) <= min(MAX_FLOWS, 8), "flows have a limit")
                require(association._unopened.qsize() <= MAX_UNOPENED, "and so what waits")
            await loop.settle(4)
            task.cancel()
        require(budget.left == 8, "every flow is given back", budget.left)

    loop.run(main())


def _associations() -> tuple[bytes, ...]:
    every = joined(each[:255] for each in DATAGRAMS)
    return tuple(bytes([which]) + every for which in (0, 5, 16, 31))


TARGETS = (
    Target(
        "socks", run_handshake, (), HANDSHAKES, ("connect_vm.socks",), WORDS, odd_handshake, 1024
    ),
    Target(
        "socks-datagram", run_udp_header, (RemoteProtocolError,), DATAGRAMS, ("connect_vm.socks",),
        WORDS, None, 1024,
    ),
    Target(
        "socks-association", run_association, (), _associations(),
        ("connect_vm.socks_udp", "connect_vm.socks"), WORDS, None, 4096, 0.5,
        "an association with its socket each",
    ),
)  # fmt: skip
