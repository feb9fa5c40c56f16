"""What other terminals ask a running share about working together (vshare/requests.py). Pure."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from tunnel.follow import MAX_TEXT, Label, Server
from tunnel.requests import Request, Result

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class Serve(Request, frozen=True, tag="serve"):
    """Share `port` by `name`, with all guests: Served."""

    port: Port
    name: Label


class Unserve(Request, frozen=True, tag="unserve"):
    """Take the server called `name` back, and cut what is open to it: Unserved."""

    name: Label


class Servers(Request, frozen=True, tag="servers"):
    """What is shared by name: ServerList."""


class SayToAll(Request, frozen=True, tag="say"):
    """Tell all guests `text`: Said."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class Served(Result, frozen=True):
    """What guests see now."""

    server: Server


class Unserved(Result, frozen=True):
    """`cut` streams were open to it; `is_open` says that guests may still open its port, since
    more than what is served is shared."""

    server: Server
    cut: int
    is_open: bool


class ServerList(Result, frozen=True):
    """Servers in the order in which they were shared."""

    servers: list[Server]


class Said(Result, frozen=True):
    """To how many guests, as far as they are there now."""

    guests: int
