"""The connections to shares that this user's `vconnect` keep up on this host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from connect_vm.requests import parse
from tunnel.control_socket import NO_SESSIONS, ControlSocket, Handler, Session, TakenError
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName, parse_name
from tunnel.requests import Request
from tunnel.running import Kind, Running, choose

MAX_OF_A_SHARE = 16  # connections of one user to one share: two are rare


def parse_label(text: str) -> str:
    """`NAME`, or `NAME.2` for the second connection to that share. Raises UsageError."""
    name, dot, number = text.partition(".")
    if dot and not (number.isascii() and number.isdecimal()):
        raise UsageError(f"not a connection: {text[:60]!r}", "it is called as its share is")
    return parse_name(name) + dot + number


CONNECTIONS = Kind(
    "connection",
    "vconnect",
    "vconnect NAME@RELAY",
    ".connect",
    parse_label,
    "it goes on beside this one",
)


def choose_connection(name: str | None) -> Running:
    """The connection called `name`, or the only one. Raises VshareError that says which there
    are."""
    return choose(CONNECTIONS, name)


@contextlib.asynccontextmanager
async def connection_socket(
    name: ShareName,
    handlers: Mapping[type[Request], Handler],
    sessions: Mapping[type[Request], Session] = NO_SESSIONS,
) -> AsyncIterator[str]:
    """What other terminals call this connection, while they can talk to it. Raises VshareError."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(1, MAX_OF_A_SHARE + 1):
            label = name if number == 1 else f"{name}.{number}"
            socket = ControlSocket(CONNECTIONS, label, parse, handlers, sessions)
            with contextlib.suppress(TakenError):
                await stack.enter_async_context(socket)
                yield label
                return
        raise VshareError(f"{MAX_OF_A_SHARE} connections to {name!r} are there already")
