"""What other terminals ask a running share about shared terminals (vshare/requests.py). Pure."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from tunnel.requests import Request, Result
from tunnel.terminal_messages import MAX_NAME, MAX_SIDE

MAX_GUEST = 64  # characters: 40, and the number that makes a name unlike others
MAX_PATH = 4_096  # bytes (PATH_MAX)

# "" is the only one, where there is one.
TerminalName: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
GuestName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_GUEST)]
_Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]


class Terminal(Request, frozen=True, tag="terminal"):
    """Look at the terminal `name`, or share a new one: Showing, then the messages of
    docs/protocol.md 8.9, of the sharer's, both ways until either hangs up.

    `new`: it must not be there yet. What follows holds for a new one alone: `read_write`, `hold`
    (a guest's line waits for the sharer), `smallest` (its size is the smallest viewer's),
    `record` (a file that is not there yet; empty: none).
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    columns: _Side
    rows: _Side
    new: bool = False
    read_write: bool = False
    hold: bool = False
    smallest: bool = False
    record: Annotated[str, msgspec.Meta(max_length=MAX_PATH)] = ""


class Terminals(Request, frozen=True, tag="terminals"):
    """The terminals that are shared: TerminalList."""


class LockTerminal(Request, frozen=True, tag="lock-terminal"):
    """Take typing in the terminal `name` away from all guests, or give back what they had:
    OneTerminal."""

    name: TerminalName = ""
    locked: bool = True


class GrantTerminal(Request, frozen=True, tag="grant-terminal"):
    """Let `guest`, who looks at the terminal `name`, type, or not any more: OneTerminal."""

    guest: GuestName
    name: TerminalName = ""
    write: bool = True


class EndTerminal(Request, frozen=True, tag="end-terminal"):
    """End the terminal `name`: OneTerminal."""

    name: TerminalName = ""


class Showing(Result, frozen=True):
    """`made` whether it is a new one."""

    name: str
    made: bool


class ViewerRow(Result, frozen=True):
    """A guest who looks. `write`: what it types counts; `asks` for that; `held`: its line that
    waits for the sharer."""

    name: str
    write: bool = False
    asks: bool = False
    held: str = ""


class TerminalRow(Result, frozen=True):
    """One terminal."""

    name: str
    columns: int
    rows: int
    read_write: bool
    locked: bool
    hold: bool
    record: str
    viewers: list[ViewerRow]


class TerminalList(Result, frozen=True):
    """Terminals, the oldest first."""

    terminals: list[TerminalRow]


class OneTerminal(Result, frozen=True):
    """Which it was done to."""

    name: str
