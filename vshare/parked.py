"""One parked connection, the share's side: handed in at the relay, then kept until its visitor
comes (docs/protocol.md 5)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

from tunnel import parking
from tunnel.address import RelayAddress
from tunnel.bio_tls import BioTls
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.parking import HEADER, Message, Paired, Type
from tunnel.relay_tls import handshake, server_hostname

PARKED_SILENCE = parking.PING_EVERY + parking.PONG_WITHIN + 15  # seconds: the relay is gone
_PONG = parking.serialize(Message(Type.PONG))


async def hand_in(
    sock: socket.socket, context: ssl.SSLContext, relay: RelayAddress, ticket: bytes
) -> None:
    """Park `sock`, which is connected to the relay. Raises VshareError, OSError, ssl.SSLError."""
    tls = BioTls(sock, context, server_hostname=server_hostname(relay))
    await handshake(tls, relay)
    await tls.send_all(parking.serialize(Message(Type.PARK, ticket)))
    kind, length = parking.parse_header(await tls.receive_exactly(HEADER))
    payload = await tls.receive_exactly(length)
    if kind is not Type.PARKED:
        raise RemoteProtocolError(f"not parked: {payload.decode(errors='replace')!r}")
    await tls.unwrap(first=False)


async def await_visitor(sock: socket.socket, on_heard: Callable[[], None]) -> Paired:
    """Answer PINGs until PAIRED came; not a byte beyond it is read. `on_heard` is called at each.

    Raises LostError, RemoteProtocolError, OSError.
    """
    while True:
        try:
            async with asyncio.timeout(PARKED_SILENCE):
                kind, length = parking.parse_header(await _receive_exactly(sock, HEADER))
                payload = await _receive_exactly(sock, length)
        except TimeoutError:
            raise LostError("the relay went silent") from None
        if kind is Type.PAIRED:
            return parking.parse_paired(payload)
        if kind is not Type.PING:
            raise RemoteProtocolError(f"unexpected on a parked connection: {kind.name}")
        on_heard()
        await asyncio.get_running_loop().sock_sendall(sock, _PONG)


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise LostError("the relay closed a parked connection")
        data += part
    return data


@contextlib.contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    """A context manager: `sock` is closed if the block raises."""
    try:
        yield
    except BaseException:
        sock.close()
        raise
