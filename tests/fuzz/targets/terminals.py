"""Messages of shared terminals, of both sides."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.fuzz.target import Target, choose, require, same_however_cut
from tests.fuzz.targets.frames import _odd_value
from tunnel import terminal_messages
from tunnel.errors import RemoteProtocolError
from tunnel.looks import is_seen
from tunnel.terminal_messages import (
    FROM_GUEST,
    FROM_SHARE,
    FROM_SHARER,
    HEADER_SIZE,
    MAX_PAYLOAD,
    Do,
    End,
    MessageType,
    Person,
    Seen,
    Size,
    State,
    TerminalParser,
    parse_one,
    parse_payload,
    serialize,
    serialize_payload,
)
from tunnel.vt.screen import Screen
from vshare.terminals.held_line import MAX_LINE, MAX_NEXT, HeldLine
from vshare.terminals.screen import SharedScreen

KINDS: tuple[Any, ...] = (Size, Seen, End, Do, State)
PAYLOADS: tuple[Any, ...] = (
    Size(80, 24),
    Seen(2**40),
    End(1, "over"),
    Do("grant", "Kim"),
    State("build", 80, 24, write=True, people=[Person("Kim", held="rm")]),
)
KNOWN = (FROM_SHARE, FROM_GUEST, FROM_SHARER)
INPUT = serialize(MessageType.INPUT, b"ls\r")
UNKNOWN = bytes([200, 0, 0, 2]) + b"go"


def run_messages(data: bytes) -> None:
    which, data = choose(data)
    known = KNOWN[which % len(KNOWN)]

    def feed(pieces: Iterable[bytes]) -> object:
        parser, found = TerminalParser(known), []
        try:
            for piece in pieces:
                parser.receive_data(piece)
                while (message := parser.maybe_message()) is not None:
                    require(message[0] in known, "a message is of a type that may be said")
                    require(len(message[1]) <= MAX_PAYLOAD, "a message has its length")
                    found.append(message)
        except RemoteProtocolError:
            return found, parser.skipped, "error"
        return found, parser.skipped, parser.has_more

    same_however_cut(data, feed)


def run_one(data: bytes) -> None:
    parsed = parse_one(data, FROM_SHARER)
    if parsed is not None:
        require(serialize(*parsed) == data, "a message is its type and its payload")
    require(len(data) >= HEADER_SIZE, "a message has a header")


def run_payload(data: bytes) -> None:
    which, data = choose(data)
    kind = KINDS[which % len(KINDS)]
    payload = parse_payload(kind, data)
    again = parse_one(serialize_payload(payload), FROM_SHARE | FROM_SHARER)
    require(again is not None, "a payload has a type")
    if again is not None:
        require(parse_payload(kind, again[1]) == payload, "a payload survives being written")


def odd_payload(chance: random.Random) -> bytes:
    at = chance.randrange(len(KINDS))
    members = msgspec.to_builtins(PAYLOADS[at])
    for _ in range(chance.randrange(3)):
        if isinstance(members, dict):
            members[chance.choice((*members, "more"))] = _odd_value(chance)
        else:
            members = [*members]
            members[chance.randrange(len(members))] = _odd_value(chance)
    return bytes([at]) + msgspec.msgpack.encode(members)


def run_screen(data: bytes) -> None:
    """What a machine writes to a shared terminal."""

    def feed(pieces: Iterable[bytes]) -> object:
        shared = SharedScreen(COLUMNS, ROWS)
        outer, late = Screen(COLUMNS, ROWS), Screen(COLUMNS, ROWS)
        shown = b""
        for piece in pieces:
            more, _ = shared.feed(piece)  # of the answers some are dropped, by how it came
            outer.feed(more)
            shown += more
        late.feed(shared.draw(scrollback=True))
        rows = shared.screen.lines
        require(outer.lines == rows, "all see the same")
        require(late.lines == rows, "a newcomer sees the same")
        require(not outer.replies and not late.replies, "nobody's terminal is asked")
        require(not LOUD.search(shown), "nothing reaches beyond the screen")
        return shown, shared.title

    if LONG.search(data):  # a sequence that means nothing, of which more or less is dropped
        feed([data])
    else:
        same_however_cut(data, feed)


def odd_output(chance: random.Random) -> bytes:
    return b"".join(chance.choice(OUTPUTS) for _ in range(chance.randrange(40)))


def run_held(data: bytes) -> None:
    """What a guest types where lines are held."""

    def feed(pieces: Iterable[bytes]) -> object:
        line, released = HeldLine(), []
        for piece in pieces:
            line.receive_data(piece)
        while line.waits:
            released.append(line.release())
        return released, line.text

    # Of more, and of a sequence that is too long, some is thrown away, by how it came.
    if len(data) <= MAX_NEXT and not LONG.search(data):
        same_however_cut(data, feed)
    line = HeldLine()
    line.receive_data(data)
    require(len(line.text) <= MAX_LINE, "a line has its length")
    while line.waits:
        released = line.release().decode()
        require(released[-1] == "\r" and released[:-1].isprintable(), "a line is text and Enter")
        require(all(map(is_seen, released[:-1])), "all of a line is seen")


COLUMNS, ROWS = 20, 5
LOUD = re.compile(rb"\x1b(?:[PX^_]|\](?!2;)|\[[>=<])|\x1b\[[0-9;?]*[cnt]|[\x00\x05]")
LONG = re.compile(rb"\x1b[\[ -?]{200}")
OUTPUTS = (
    b"word ", b"\r\n", "\u6f22".encode(), b"e\xcc\x81", b"\xff", b"\x1b[31m", b"\x1b[m", b"\x1b[2J",
    b"\x1b[H", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[2;4r", b"\x1b[3;7H", b"\x1b[?6h", b"\x1b[?7l",
    b"\x1b(0", b"\x1b(B", b"\x1b7", b"\x1b8", b"\x1b[c", b"\x1b[6n", b"\x1b]0;t\x07", b"\x1b[5L",
    b"\x1b[4h", b"\x1b[P", b"\x1bM", b"\x1bP+q\x1b\\", b"\x1b]52;c;YQ==\x07", b"\x1b[?2004$p",
    b"\x1b[>4;2m", b"\x1bc", b"\x1b[!p", b"\x1b[3g", b"\x1bH", b"\t", b"\x1b[9999b", b"\x1b[21t",
)  # fmt: skip
_MODULE = (terminal_messages.__name__,)
_WHOLE = tuple(serialize_payload(each) for each in PAYLOADS)
TARGETS = (
    Target(
        "terminal-messages", run_messages, (),
        tuple(bytes([at]) + b"".join((*_WHOLE, INPUT, UNKNOWN)) for at in range(3)),
        _MODULE, (b"\x10\0\0\1", b"\x01\0\0\0", b"\x10\0\x10\x01"), None, 8_192,
    ),
    Target("terminal-message", run_one, (RemoteProtocolError,), (*_WHOLE, INPUT, UNKNOWN), _MODULE),
    Target(
        "terminal-payload", run_payload, (RemoteProtocolError,),
        tuple(bytes([at]) + each[HEADER_SIZE:] for at, each in enumerate(_WHOLE)),
        _MODULE, (b"\xa5write", b"\xc3", b"\xa6people"), odd_payload,
    ),
    Target(
        "shared-screen", run_screen, (), (b"".join(OUTPUTS), *OUTPUTS),
        ("vshare.terminals.screen", "tunnel.vt.parser", "tunnel.vt.screen"), OUTPUTS, odd_output,
        1_024, 0.1, "four screens, and as many cuts",
    ),
    Target(
        "held-line", run_held, (), (b"ls\r", b"\x1b[Als\x7f\x15\x1b[200~x\x1b[201~\rnext"),
        ("vshare.terminals.held_line",), (b"\r", b"\x1b[", b"\x1bO", b"\x7f"),
    ),
)  # fmt: skip
