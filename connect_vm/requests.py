"""What other terminals ask of a running `vconnect`, and what it answers. Pure.

The form is that of tunnel/requests.py.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from tunnel.follow import Label
from tunnel.requests import Request, Result, parse_with

TRY_AGAIN = 75  # exit code of what may pass, as sysexits.h has it

Local: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Which: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Servers(Request, frozen=True, tag="servers"):
    """What is shared by name, and which local ports lead where: ServerList."""


class Map(Request, frozen=True, tag="map"):
    """Have `what` (a server's name, or a port of the machine's) on the local port `local`, 0: the
    same or the next free one. Mapped."""

    what: Which
    local: Local = 0


class Unmap(Request, frozen=True, tag="unmap"):
    """Have `what` on no local port: Unmapped."""

    what: Which


class People(Request, frozen=True, tag="guests"):
    """Which other guests are there: PeopleList."""


class Terminals(Request, frozen=True, tag="terminals"):
    """Which terminals the sharer shares: TerminalList."""


class Terminal(Request, frozen=True, tag="terminal"):
    """Sit before the terminal `name`, "" for the only one: Joined, then the messages of
    docs/protocol.md 8.9 both ways until either hangs up."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Joined(Result, frozen=True):
    """The messages follow."""


class TerminalRow(Result, frozen=True):
    """One terminal, as the share says it is: `mode` is read-only or read-write."""

    name: Label
    mode: str = ""
    locked: bool = False
    columns: int = 0
    rows: int = 0
    viewers: int = 0


class TerminalList(Result, frozen=True):
    """In the order in which the share names them."""

    terminals: list[TerminalRow]


class ServerRow(Result, frozen=True):
    """One port of the machine's. `name` is empty for one that is not shared by name; `local` is 0
    and `url` empty where it has no local port."""

    name: str
    port: int
    scheme: str = ""
    local: int = 0
    url: str = ""


class ServerList(Result, frozen=True):
    """In the order in which the share names them, then what else is mapped."""

    servers: list[ServerRow]


class Mapped(Result, frozen=True):
    """Where it is now."""

    server: ServerRow


class Unmapped(Result, frozen=True):
    """What has no local port any more."""

    server: ServerRow


class PeopleList(Result, frozen=True):
    """`shown` says whether the sharer shows guests to each other."""

    guests: list[str]
    shown: bool


AnyRequest: TypeAlias = Servers | Map | Unmap | People | Terminals | Terminal

_request: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)


def parse(line: bytes) -> AnyRequest:
    """What a terminal asks. Raises RemoteProtocolError."""
    return parse_with(_request, line)
