"""The lines of protocol `follow`: what a share tells its guests of itself (docs/protocol.md 8.8).
Pure.

Each line is the whole present state of one thing. What comes from a share is as hostile as what
comes from a guest: it is bounded and checked here, and loses its control characters where it is
printed (tunnel/console.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError

PROTOCOL = "follow"
MAX_LINE = 64 * 1024  # bytes, with the newline
MAX_ITEMS = 256  # of one line: more than people read
MAX_LABEL = 40  # characters of a server's or a terminal's name
MAX_TEXT = 500  # characters of a message: what is longer belongs into a chat
MAX_NAME = 64  # characters of a guest's name: 40, and the number that makes it unlike others
LABEL = rf"\A[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_LABEL - 1}}}\Z"  # typed in shells, and no option

Item = TypeVar("Item", bound=msgspec.Struct)
Label: TypeAlias = Annotated[str, msgspec.Meta(pattern=LABEL)]
_label = re.compile(LABEL)


class Server(msgspec.Struct, frozen=True):
    """A port of the machine's that the sharer gave a name. `scheme` is `http` or `https` where it
    is known to be a website, else empty."""

    name: Label
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    scheme: str = ""


class Person(msgspec.Struct, frozen=True):
    """A guest, as other guests see it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class Say(msgspec.Struct, frozen=True):
    """A message of the sharer's to all. `number` rises by one with each."""

    number: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class State(msgspec.Struct, frozen=True):
    """One line: all `items` of the kind `type`, of which `omitted` found no room."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    items: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_ITEMS)]
    omitted: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0


_encoder = msgspec.json.Encoder()
_state = msgspec.json.Decoder(State)


def is_label(text: str) -> bool:
    """Whether a server or a terminal may be called `text`."""
    return _label.match(text) is not None


def serialize(kind: str, items: Sequence[object]) -> bytes:
    """The line that says all of `items`, or as many from the first on as find room."""
    shown = list(items[:MAX_ITEMS])
    while True:
        omitted = len(items) - len(shown)
        line: Mapping[str, object] = {"type": kind, "items": shown}
        data = _encoder.encode({**line, "omitted": omitted} if omitted else line) + b"\n"
        if len(data) <= MAX_LINE:
            return data
        del shown[len(shown) * 3 // 4 :]


def parse(line: bytes) -> State:
    """What a share says. Raises RemoteProtocolError."""
    try:
        return _state.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a line of news that does not parse: {error}") from None


def items_of(state: State, kind: type[Item]) -> list[Item]:
    """The items of a line whose type is known. Raises RemoteProtocolError."""
    try:
        return [msgspec.json.decode(item, type=kind) for item in state.items]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"{state.type} that do not parse: {error}") from None


class LineParser:
    """Cuts what comes into lines of at most MAX_LINE bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()  # a line that has begun

    def receive_data(self, data: Bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises RemoteProtocolError for one
        that is too long; the parser is not to be used again then."""
        *lines, rest = bytes(data).split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) >= MAX_LINE or any(len(line) >= MAX_LINE for line in lines):
            raise RemoteProtocolError(f"a line of news of more than {MAX_LINE} bytes")
        return lines
