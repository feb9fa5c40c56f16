"""Handing out the SSH key, messages in a stream, other terminals, an audit log, databases."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from tests.fuzz.target import Target, choose, require, same_however_cut
from tests.fuzz.targets import loop
from tests.fuzz.targets.frames import _odd_value
from tests.fuzz.targets.messages import JSON_WORDS
from tunnel import key_handover, pake
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError, RefusedError, RemoteProtocolError
from tunnel.messages import MAX_MESSAGE, serialize_message
from tunnel.stream_messages import StreamMessages
from vshare import audit_chain, requests
from vshare.together.requests import SayToAll, Serve
from vshare.weaknesses import mongodb, mysql, postgresql, redis
from vshare.weaknesses.danger import Verdict
from vshare.weaknesses.dialogue import MAX_ANSWER, Conversation, Dialogue

GUEST, SHARE = b"g" * 32, b"s" * 32
PACKAGE = key_handover.KeyPackage(
    "vagrant", 22, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"], b"PEM", True, False
)
HANDOVERS: tuple[Any, ...] = (
    key_handover.HandoverRequest(1, b"A" + bytes(32)),
    key_handover.HandoverPake(b"B" + bytes(32)),
    key_handover.HandoverConfirm(bytes(32)),
    key_handover.HandoverSealed(bytes(32), bytes(100)),
    key_handover.HandoverOpen(PACKAGE),
    PACKAGE,
    pake.Refused(13, "no"),
)
_KINDS: tuple[Any, ...] = tuple(type(each) for each in HANDOVERS)


def _entropy(size: int) -> bytes:
    return b"\x05" * size


def _guest(password: str | None) -> key_handover.GuestHandover:
    return key_handover.GuestHandover(password, GUEST, SHARE, _entropy)


def _share(password: str | None) -> key_handover.ShareHandover:
    return key_handover.ShareHandover(password, GUEST, SHARE, _entropy)


def odd_handover(chance: random.Random) -> bytes:
    def fields_of(message: Any) -> list[Any]:
        return [
            fields_of(each) if isinstance(each, msgspec.Struct) else each
            for each in msgspec.structs.astuple(message)
        ]

    fields = fields_of(chance.choice(HANDOVERS))
    inner = fields[0] if isinstance(fields[0], list) and chance.random() < 0.8 else fields
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(inner) + 1)
        odd = chance.choice(("-oProxyCommand=x", "a b", "ssh-rsa AAAA\n", "@cert-authority * x"))
        value = odd if chance.random() < 0.3 else _odd_value(chance)
        inner[at : at + chance.randrange(2)] = [value] * chance.randrange(2)
    return msgspec.msgpack.encode(fields)


def _check_package(package: key_handover.KeyPackage) -> None:
    """It goes onto the command line of `ssh` and into its known_hosts."""
    require(package.user and package.user[0] not in "-@", "a user is no option", package)
    require(0 < package.port < 65_536, "a port is one", package)
    for text in (package.user, *package.host_keys):
        require(text.isascii() and text.isprintable(), "a word can be written down", package)


def run_handover_message(data: bytes) -> None:
    """What happens to the messages before any arithmetic."""
    which, data = choose(data)
    if which & 8:
        _check_package(_guest(None).open(data))
        return
    if which & 16:
        package = _share(None).open(data, PACKAGE)
        require(_guest(None).open(package) == PACKAGE, "a key without a password comes at once")
        return
    kind = _KINDS[which % len(_KINDS)]
    message = pake.parse_or_raise(kind, data)
    again = pake.parse_or_raise(kind, msgspec.msgpack.encode(message))
    require(again == message, "a message survives being written")
    if isinstance(message, key_handover.KeyPackage):
        _check_package(message)


def run_handover(data: bytes) -> None:
    """The other side says anything at one step; nobody gets the key by that."""
    which, data = choose(data)
    guest, share, step = _guest("password"), _share("password"), which % 4
    first = guest.first()
    if step == 0:
        share.answer(data)
        return
    if step == 1:
        guest.second(data)
        return
    third = guest.second(share.answer(first))
    if step == 2:
        share.confirm(data)
        require(data == third, "only who knows the password gets the key")
        return
    share.confirm(third)
    require(guest.finish(data) == PACKAGE and data == share.seal(PACKAGE), "it is the share's")


class _Stream(End):
    """A stream whose other side is the fuzzer."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = False

    def send(self, data: Bytes) -> None:
        """Taken."""

    def send_eof(self) -> None:
        """Taken."""

    def reset(self, code: Code) -> None:
        self.closed(code)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def run_stream_messages(data: bytes) -> None:
    async def main(pieces: Iterable[bytes]) -> object:
        stream = _Stream()
        messages = StreamMessages(stream)
        found: list[bytes] = []
        for piece in pieces:
            stream.peer.send(piece)
            full = messages._inbox._parser.is_full
            require(not full or not stream.reading, "what is full stops the reading")
        stream.peer.send_eof()
        try:
            while True:
                found.append(await messages.receive())
                require(len(found[-1]) <= MAX_MESSAGE, "a message has its length")
        except LostError:
            return found, "lost"
        except RemoteProtocolError:
            return found, "error"
        finally:
            messages.close()

    same_however_cut(data, lambda pieces: loop.run(main(pieces)))


REQUESTS: tuple[requests.Request, ...] = (
    requests.Status(), requests.Kick("Kim"), requests.Extend(3600.0), requests.Code(True),
    requests.MakeInvite("Kim", True, 60.0, [80, 443]), requests.Revoke("tiger"),
    requests.Unfence(3306), requests.Follow(), requests.Stop(), Serve(3000, "web"),
    SayToAll("restarting"),
)  # fmt: skip
ANSWERS = (
    requests.serialize_result(requests.OneGuest("Kim")),
    requests.serialize_failure(requests.Failure("no", "hint")),
)


def odd_request(chance: random.Random) -> bytes:
    members = msgspec.to_builtins(chance.choice(REQUESTS))
    for _ in range(chance.randrange(3)):
        value = _odd_value(chance)
        members[chance.choice((*members, "guest", "seconds", "ports"))] = (
            value if not isinstance(value, float) else chance.choice((0.5, 1e308, -1.0))
        )
    return msgspec.json.encode(members)


def run_terminal_request(data: bytes) -> None:
    which, data = choose(data)
    if which & 1:
        requests.parse_answer(data)
        return
    request = requests.parse(data)
    require(requests.parse(requests.serialize(request)) == request, "a request survives")
    if isinstance(request, requests.MakeInvite):
        require(len(request.ports) <= requests.MAX_PORTS, "few ports")
        require(all(0 < port < 65_536 for port in request.ports), "a port is one")
    if isinstance(request, requests.Extend):
        require(request.seconds <= requests.MAX_SECONDS, "a time has an end", request)


def _log(count: int) -> bytes:
    """A whole log."""
    head, lines = audit_chain.START, []
    for number in range(count):
        line = audit_chain.serialize(
            audit_chain.Entry(number, 1.5 * number, "joined", {"guest": "Kim", "port": 80}, head)
        )
        head = audit_chain.digest(line)
        lines.append(line)
    return b"".join(lines)


LOG = _log(4)


def run_audit(data: bytes) -> None:
    """Never an exception; what is not the log is noticed unless it only was cut."""
    lines = data.splitlines(keepends=True)
    verdict = audit_chain.verify(lines, audit_chain.START[:32])
    require(0 <= verdict.lines <= len(lines), "lines have come", verdict)
    whole = not verdict.problem and verdict.lines == len(lines)
    found = list(audit_chain.entries(lines))
    broken = [each for each in found if isinstance(each, audit_chain.BadLineError)]
    require(not whole or not broken, "a whole log can be read", broken)
    for each in found:
        if isinstance(each, audit_chain.Entry):
            line = audit_chain.serialize(each)
            require(len(line) <= audit_chain.MAX_LINE, "a line has its length")
            require(line.isascii() and line[:-1].decode().isprintable(), "a line can be shown")


DATABASES: tuple[tuple[Callable[[], Conversation], bytes], ...] = (
    (redis.converse, b"+PONG\r\n"),
    (postgresql.converse, b"R\0\0\0\x08\0\0\0\0"),
    (postgresql.converse, b"E\0\0\0\x11SFATAL\0C28000\0\0"),
    (mysql.converse, b"\x08\0\0\0\x0a8.0.3\0\0\x07\0\0\x02\0\0\0\x02\0\0\0"),
    (mysql.converse, b"\x03\0\0\0\xff\x57\x0c"),
    (mongodb.converse, b""),
)
_MONGO = (
    mongodb._HEADER.pack(16 + 5 + 26, 7, 1, 2013) + bytes(5)
    + b"\x1a\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\x02n\0\x02\0\0\0a\0\0"
)  # fmt: skip
BSON_WORDS = (
    b"\x01ok\0", b"\x10ok\0", b"\x02a\0\xff\xff\xff\xff", b"\x05\0\xfb\xff\xff\xff\0", b"\0\0\0\0",
    b"\x0bk\0a\0b\0", b"\xdd\x07\0\0", b"+PONG", b"\r\n", b"\xff\xff\xff\x7f",
    b"\x03a\0\x05\0\0\0\0",
)  # fmt: skip


def _answers() -> Iterator[bytes]:
    for at, (_, answer) in enumerate(DATABASES):
        yield bytes([at]) + (answer or _MONGO)


def run_database(data: bytes) -> None:
    """A server's answers, whatever they are: a verdict, or the wait for more."""
    which, rest = choose(data)
    converse = DATABASES[which % len(DATABASES)][0]

    def feed(pieces: Iterable[bytes]) -> object:
        dialogue, sent = Dialogue(converse()), b""
        for piece in pieces:
            sent += dialogue.data_to_send()
            dialogue.receive_data(piece)
            require(len(dialogue._buffer) <= MAX_ANSWER, "an answer has its length")
        sent += dialogue.data_to_send()
        before = dialogue.verdict
        dialogue.receive_eof()
        require(isinstance(dialogue.verdict, Verdict), "in the end there is a verdict")
        return before, dialogue.verdict, sent

    same_however_cut(rest, feed)


_REFUSED = (RemoteProtocolError, RefusedError)
_IDENTITY = (b"\x01" + bytes(31), bytes(32), b"\xff" * 32, bytes(31) + b"\x80")  # small orders
_ENCODED = tuple(msgspec.msgpack.encode(each) for each in HANDOVERS)
TARGETS = (
    Target(
        "key-handover-message", run_handover_message, _REFUSED,
        tuple(bytes([at]) + each for each in _ENCODED for at in (*range(7), 8, 16)),
        ("tunnel.key_handover", "tunnel.pake"), (b"\xa7vagrant", b"\xc4\0", b"\n"),
        lambda chance: bytes([chance.randrange(32)]) + odd_handover(chance), MAX_MESSAGE,
    ),
    Target(
        "key-handover-arithmetic", run_handover, _REFUSED,
        tuple(bytes([at]) + each for at, each in enumerate(_ENCODED[:4])),
        ("tunnel.key_handover", "tunnel.pake"), _IDENTITY,
        lambda chance: bytes([chance.randrange(4)]) + odd_handover(chance), MAX_MESSAGE,
        0.002, "SPAKE2's arithmetic takes 18 ms a side; key-handover-message is the parsing",
    ),
    Target(
        "stream-messages", run_stream_messages, (),
        (serialize_message(b""), serialize_message(b"a" * 300) * 2, b"\x20\x01"),
        ("tunnel.stream_messages", "tunnel.messages"), (b"\0\0", b"\x20\0"),
        share=0.5, slow="several event loops' runs each",
    ),
    Target(
        "terminal-request", run_terminal_request, (RemoteProtocolError,),
        (*(b"\0" + requests.serialize(each) for each in REQUESTS),
         *(b"\1" + each for each in ANSWERS)),
        ("vshare.requests",), (*JSON_WORDS, b'"command":', b'"ports":['),
        lambda chance: b"\0" + odd_request(chance), 20_000,
    ),
    Target(
        "audit-log", run_audit, (), (LOG, LOG[:-1], _log(1)), ("vshare.audit_chain",),
        (*JSON_WORDS, b"\n", b'"n":', b'"prev":"'), None, 20_000,
    ),
    Target(
        "database", run_database, (), tuple(_answers()),
        ("vshare.weaknesses.dialogue", "vshare.weaknesses.mongodb", "vshare.weaknesses.mysql",
         "vshare.weaknesses.postgresql", "vshare.weaknesses.redis"),
        BSON_WORDS, None, 70_000,
    ),
)  # fmt: skip
