"""Opening a terminal of the share's (docs/protocol.md 8.9)."""

from __future__ import annotations

from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.stream_end import StreamEnd
from tunnel.terminal_messages import PROTOCOL


async def open_terminal(client: Client, name: str) -> StreamEnd:
    """A stream of the terminal called `name`, "" for the only one. Raises RefusedError in words
    that say what to do, or LostError."""
    try:
        return await client.open_special(PROTOCOL, name)
    except RefusedError as error:
        if error.code is Code.UNSUPPORTED:
            hint = "install the same version of vshare on both sides"
            raise RefusedError(error.code, "this share has no terminals", hint) from error
        hint = error.hint or "the sharer shares one with `vshare terminal`"
        raise RefusedError(error.code, error.text, hint) from error
