"""A control channel, the share's side, up to the relay's challenge (docs/protocol.md 4)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from tunnel import control
from tunnel.address import RelayAddress, without_zone
from tunnel.control import Challenge
from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.relay_tls import anchor_of, context_for, dial_relay, server_hostname

REGISTER_WITHIN = 15.0  # seconds from the dialling to `registered`
ASK_WITHIN = 5.0  # seconds, where somebody waits for a hint and no more


async def open_channel(
    relay: RelayAddress, sock: socket.socket, context: ssl.SSLContext
) -> ClientConnection:
    """A channel on `sock`, which is connected to the relay, and closed if that fails.

    Raises OSError, ssl.SSLError, and what websockets does.
    """
    host = f"[{without_zone(relay.host)}]" if ":" in relay.host else relay.host
    try:
        return await connect(
            f"wss://{host}:{relay.port}{control.PATH}",
            sock=sock,
            ssl=context,
            server_hostname=server_hostname(relay) or "",
            open_timeout=REGISTER_WITHIN,
            ping_interval=control.PING_EVERY,
            ping_timeout=control.SILENCE_ENDS - control.PING_EVERY,
            close_timeout=1,
            max_size=control.MAX_MESSAGE,
            compression=None,
            proxy=None,
        )
    except BaseException:
        sock.close()
        raise


async def challenge_on(channel: ClientConnection) -> Challenge:
    """The relay's first word. Raises RemoteProtocolError, WebSocketException."""
    challenge = control.parse_from_relay(await channel.recv())
    if not isinstance(challenge, Challenge):
        raise RemoteProtocolError("the relay did not begin with a challenge")
    return challenge


async def wants_token(relay: RelayAddress) -> bool:
    """Whether shares need a token there; False also where that cannot be found out now.

    Nothing is registered.
    """
    with contextlib.suppress(
        VshareError, OSError, TimeoutError, WebSocketException, InvalidHandshake, InvalidURI
    ):
        async with asyncio.timeout(ASK_WITHIN):
            context = context_for(await anchor_of(relay), "http/1.1")
            channel = await open_channel(relay, await dial_relay(relay), context)
            try:
                return (await challenge_on(channel)).token
            finally:
                channel.transport.abort()
    return False
