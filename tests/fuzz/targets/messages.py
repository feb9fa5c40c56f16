"""Messages around the tunnel: control, parking, join, their framing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tests.fuzz.target import Target, choose, require, same_however_cut
from tests.fuzz.targets import loop
from tests.fuzz.targets.fake_tls import FakeTls
from tests.fuzz.targets.frames import _odd_value
from tunnel import control, join, pake, parking
from tunnel.errors import LostError, RefusedError, RemoteProtocolError
from tunnel.messages import MAX_MESSAGE, MessageParser, serialize_message
from tunnel.pake import parse_or_raise
from tunnel.tls_messages import TlsMessages

NAME, CODE = "frosty-weasel-0857", "orange-crystal-salmon"
REQUEST, CERTIFICATE = b"request", b"certificate"
ROUTE = "0123456789abcdef" * 2
READ = 256 * 1024  # bytes of one read: what a parser may keep beyond one message

CONTROL: tuple[control.AnyMessage, ...] = (
    control.Challenge(bytes(32), "relay.example", 1, b"key"),
    control.Register(b"k" * 32, b"s" * 64, NAME, True, 3600.0, 1),
    control.Registered(NAME, "relay.example", "http://a", "https://a", 3600.0),
    control.Rejected("name-taken", "no"),
    control.Tickets([b"t" * 32, b"u" * 32]),
    control.Publish(["", "8080"], "PEM", "PEM"),
    control.OwnDomains(["app.example.com"]),
    control.OwnDomainStates([control.OwnDomainState("app.example.com", "good", "share", "so")]),
    control.End(),
    control.Ended("expired", "it is over"),
)
JSON_WORDS = (
    b'"type":', b'"type":"end"', b'"register"', b'"expires_in":', b"1e999", b"-1", b"null", b"true",
    b"1" * 40, b"NaN", b'"\\ud800"', b"\\u0000", b"[" * 64, b"{" * 64, b"]", b"}", b",", b'"key":',
    b'"tickets":[', b'"AAAA",', b'"', b"\xff", b"0.5", b"65536", b'"sites":["a."',
)  # fmt: skip


def _fixed(size: int) -> bytes:
    """Random bytes that are always the same: a failure can be repeated."""
    return hashlib.shake_128(b"fuzz").digest(size)


def odd_json(chance: random.Random) -> bytes:
    """A control message with members replaced, left out or added."""
    members = msgspec.to_builtins(chance.choice(CONTROL))
    for _ in range(chance.randrange(3)):
        key = chance.choice((*members, "more"))
        if chance.random() < 0.3:
            members.pop(key, None)
        else:
            value = _odd_value(chance)
            members[key] = value if not isinstance(value, float) else chance.choice((0.5, -1e9))
    return msgspec.json.encode(members)


def run_control(data: bytes) -> None:
    which, data = choose(data)
    parse = control.parse_from_share if which & 1 else control.parse_from_relay
    message = parse(data)
    require(parse(control.serialize(message)) == message, "a message survives being written")
    for name in ("name", "text", "code", "domain"):
        text = getattr(message, name, "")
        require(len(text) <= control.MAX_TEXT, "a text has its length", name)
    require(len(getattr(message, "tickets", ())) <= control.MAX_TICKETS, "few tickets")


PARKED = tuple(
    parking.serialize(parking.Message(kind, payload))
    for kind in parking.Type
    for payload in (b"", b"t" * parking.TICKET)
)
PAIRED = parking.serialize_paired(parking.Paired("visitor", "[2001:db8::1]:40000"))


def run_parking(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        buffer = b""
        found: list[object] = []
        try:
            for piece in pieces:
                buffer += piece
                while (parsed := parking.maybe_parse(buffer)) is not None:
                    message, size = parsed
                    require(0 < size <= len(buffer), "a message has a size")
                    require(parking.serialize(message) == buffer[:size], "it can be written")
                    buffer = buffer[size:]
                    found.append(message)
                room = parking.HEADER + parking.MAX_MESSAGE
                require(len(buffer) < room, "a message is complete at its greatest length")
        except RemoteProtocolError:
            return found, "error"
        return found, buffer

    same_however_cut(data, feed)


def run_paired(data: bytes) -> None:
    paired = parking.parse_paired(data)
    require(paired.kind in ("visitor", "gateway"), "a kind is one of two")
    require(len(paired.address) <= parking.MAX_ADDRESS, "an address has its length")
    require(paired.address.isprintable(), "an address can be shown")


def odd_paired(chance: random.Random) -> bytes:
    kind = chance.choice(("visitor", "gateway", "other", 1, b"visitor"))
    address = chance.choice(("192.0.2.1:1", "a" * 64, "a" * 65, "\x1b[2J", "", 5, None))
    return msgspec.msgpack.encode([kind, address, *([1] if chance.random() < 0.3 else [])])


def run_framing(data: bytes) -> None:
    """MessageParser, as its users use it: they stop reading while it is full."""

    def feed(pieces: Iterable[bytes]) -> object:
        parser, found = MessageParser(), []
        try:
            for piece in pieces:
                parser.receive_data(piece)
                while (message := parser.maybe_message()) is not None:
                    require(len(message) <= MAX_MESSAGE, "a message has its length")
                    found.append(message)
                require(not parser.is_full, "what is full has a message or an error")
        except RemoteProtocolError:
            return found, "error"
        return found, ""

    same_however_cut(data, feed)


def run_tls_messages(data: bytes) -> None:
    async def main(pieces: Iterable[bytes]) -> object:
        tls = FakeTls()
        messages = TlsMessages(tls.as_tls)
        tls.deliver(pieces)
        tls.lose(None)
        found = []
        try:
            while True:
                found.append(await messages.receive())
        except LostError:
            return found, "lost"
        except RemoteProtocolError:
            return found, "error"

    same_however_cut(data, lambda pieces: loop.run(main(pieces)))


JOIN_KINDS: tuple[Any, ...] = (
    join.JoinRequest, join.JoinPake, join.JoinConfirm, join.JoinIssued
)  # fmt: skip
JOINS: tuple[Any, ...] = (
    join.JoinRequest(1, NAME, "Kim", REQUEST, b"A" + bytes(32), "tiger"),
    join.JoinPake(b"B" + bytes(32)),
    join.JoinConfirm(bytes(32)),
    join.JoinIssued(bytes(32), CERTIFICATE, b"ca", ROUTE),
    pake.Refused(7, "no"),
    join.JoinWaiting("the sharer is asked", bytes(32)),
)


def odd_join(chance: random.Random) -> bytes:
    fields = list(msgspec.structs.astuple(chance.choice(JOINS)))
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(fields) + 1)
        fields[at : at + chance.randrange(2)] = [_odd_value(chance)] * chance.randrange(2)
    return msgspec.msgpack.encode(fields)


def run_join_message(data: bytes) -> None:
    """What happens to a join's messages before any arithmetic."""
    which, data = choose(data)
    if which & 8:
        require(len(join.plate_of_request(data, NAME)) <= join.MAX_PLATE, "a plate is short")
        return
    if which & 16:
        guest = join.GuestJoin(NAME, "Kim", REQUEST, CODE, CERTIFICATE, _fixed)
        require(guest.maybe_waiting(data) is None, "nothing is shown that nobody proved")
        return
    message = parse_or_raise(JOIN_KINDS[which % 4], data)
    again = parse_or_raise(type(message), msgspec.msgpack.encode(message))
    require(again == message, "a message survives being written")
    if isinstance(message, join.JoinIssued):
        require(len(message.route) in (0, 32), "a route is 32 digits or none", message.route)


def _steps(guest: join.GuestJoin, share: join.ShareJoin) -> dict[int, Callable[[bytes], object]]:
    return {0: share.answer, 1: guest.second, 2: share.confirm, 3: guest.finish}


def run_join(data: bytes) -> None:
    """A join in which the other side says anything at one step; nobody comes in by that."""
    which, data = choose(data)
    guest = join.GuestJoin(NAME, "Kim", REQUEST, CODE, CERTIFICATE, _fixed)
    share = join.ShareJoin(NAME, CODE, CERTIFICATE, _fixed)
    first = guest.first()
    step = which % 4
    if step == 0:
        share.answer(data)
        return
    if step == 1:
        guest.second(data)
        return
    third = guest.second(share.answer(first))
    if step == 2:
        share.confirm(data)
        require(data == third, "only who knows the code comes in")
        return
    share.confirm(third)
    waiting = guest.maybe_waiting(data)
    require(waiting is None, "nothing is shown that nobody proved")
    guest.finish(data)
    raise AssertionError("a certificate that nobody issued")


def _encoded(values: Iterable[Any]) -> list[bytes]:
    return [msgspec.msgpack.encode(value) for value in values]


_REFUSED = (RemoteProtocolError, RefusedError)
_IDENTITY = (b"\x01" + bytes(31), bytes(32), b"\xff" * 32, bytes(31) + b"\x80")  # small orders
TARGETS = (
    Target(
        "control", run_control, (RemoteProtocolError,),
        tuple(bytes([at]) + control.serialize(each).encode() for each in CONTROL for at in (0, 1)),
        ("tunnel.control",), JSON_WORDS, lambda chance: chance.randbytes(1) + odd_json(chance),
        70_000,
    ),
    Target("parking", run_parking, (), (*PARKED, PAIRED, b"".join(PARKED)), ("tunnel.parking",)),
    Target(
        "paired", run_paired, (RemoteProtocolError,), (PAIRED[3:],), ("tunnel.parking",),
        (), odd_paired,
    ),
    Target(
        "message-framing", run_framing, (),
        (serialize_message(b""), serialize_message(b"a" * 300) * 2, b"\x20\0", b"\x20\x01"),
        ("tunnel.messages",), (b"\0\0", b"\x20\0", b"\x20\x01"), None, 20_000,
    ),
    Target(
        "tls-messages", run_tls_messages, (),
        (serialize_message(b""), serialize_message(b"a" * 300) * 2, b"\x20\x01"),
        ("tunnel.tls_messages", "tunnel.messages"), (b"\0\0", b"\x20\0"),
        share=0.5, slow="several event loops' runs each",
    ),
    Target(
        "join-message", run_join_message, _REFUSED,
        tuple(bytes([at]) + each for each in _encoded(JOINS) for at in (0, 1, 2, 3, 8, 16)),
        ("tunnel.join",), (b"\xa5tiger", b"\xc4\x00"),
        lambda chance: bytes([chance.randrange(32)]) + odd_join(chance), MAX_MESSAGE,
    ),
    Target(
        "join-arithmetic", run_join, _REFUSED,
        tuple(
            bytes([step]) + each
            for step in range(4)
            for each in _encoded(
                (JOINS[step], *(join.JoinPake(side + bad) for bad in _IDENTITY for side in (b"B",)))
            )
        ),
        ("tunnel.join",), _IDENTITY, lambda chance: bytes([chance.randrange(4)]) + odd_join(chance),
        MAX_MESSAGE, 0.002, "SPAKE2's arithmetic takes 18 ms a side; join-message is the parsing",
    ),
)  # fmt: skip
