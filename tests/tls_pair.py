"""Connected TCP sockets, TLS over them, and connections of `vshare/1` over that, in one loop."""

from __future__ import annotations

import asyncio
import datetime
import functools
import socket
import ssl

from tunnel.connection import Connection
from tunnel.dialler import tune
from tunnel.frames import ALPN, VERSION, Hello
from tunnel.identity import Authority, Identity, Role, client_context, make_key, server_context
from tunnel.names import ShareName
from tunnel.tls_socket import TlsSocket, handshake

NAME = ShareName("frosty-weasel-0857")
HELLO = Hello(VERSION, NAME, ["datagram", "api"], "guest", "bob", ["*"])


def tcp_pair(buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two non-blocking TCP sockets on loopback, connected; with small buffers if asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        tune(sock)
    return ours, theirs


@functools.cache
def identities() -> tuple[Identity, Identity]:
    """A guest's and its share's."""
    authority = Authority(NAME, datetime.datetime.now(datetime.UTC))
    key = make_key()
    certificate = authority.issue(Role.GUEST, "bob", key.public_key())
    return Identity(key, certificate, authority.certificate), authority.issue_share()


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Theirs."""
    guest, share = identities()
    return client_context(guest, ALPN), server_context(share, ALPN)


async def tls_pair(
    sockets: tuple[socket.socket, socket.socket] | None = None,
) -> tuple[TlsSocket, TlsSocket]:
    """The client's and the server's end of one TLS connection."""
    ours, theirs = sockets or tcp_pair()
    guest, share = contexts()
    async with asyncio.TaskGroup() as group:
        client = group.create_task(handshake(ours, guest, server_hostname="x.share.vshare.invalid"))
        server = group.create_task(handshake(theirs, share))
    return client.result(), server.result()


class Changes:
    """Counts a connection's changes, and how often it was idle and usable then."""

    def __init__(self) -> None:
        self.total = 0
        self.idle = 0

    def __call__(self, connection: Connection) -> None:
        self.total += 1
        self.idle += connection.is_usable


async def connection_pair(buffer: int = 0) -> tuple[Connection, Connection, Changes]:
    """The client's and the share's Connection after HELLO; the changes are the client's."""
    client_tls, share_tls = await tls_pair(tcp_pair(buffer))
    changes = Changes()
    share = Connection(share_tls, is_client=False, on_change=lambda connection: None)
    share.send_hello(HELLO)
    client = Connection(client_tls, is_client=True, on_change=changes)
    assert await client.hello == HELLO
    return client, share, changes
