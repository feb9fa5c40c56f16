"""The SOCKS5 server of the connecting host (RFC 1928): local programs reach the share by it.

The counterpart is any SOCKS client; what it asks for is opened by an `Opener`. A connection
is answered when the share has answered, so that a closed port is refused here too. There is
no authentication: the server listens on loopback unless it is told another address, and
whoever can reach that address uses the share with this guest's rights.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from types import TracebackType

from connect_vm import socks
from connect_vm.opener import Opener
from connect_vm.own_names import OwnNames
from connect_vm.socks_asking import Asking
from connect_vm.socks_udp import Association, FlowBudget
from tunnel.codes import Code
from tunnel.dialler import tune
from tunnel.ends import bridge
from tunnel.errors import LostError, RefusedError, UsageError, VshareError
from tunnel.socket_end import SocketEnd
from tunnel.socket_watch import watch_of

log = logging.getLogger(__name__)

MAX_STREAMS = 1_024  # connections that have asked, associations included
BACKLOG = 512  # a browser opens dozens at once, a load generator hundreds
HANG_UP_SECONDS = 1.0  # for the client to read a refusal before the socket is closed
HANG_UP_BYTES = 64 * 1024  # what a refused client may still send in that time


_SUCCEEDED = socks.serialize_reply(socks.Reply.SUCCEEDED)


class SocksServer:
    """Serve SOCKS5 at `address` while the async context lasts; leaving it ends every connection.

    `listen_host` is an IP address: anything but loopback opens the shared machine to everybody
    who can connect there, so it is passed only when the user asked for it. `port` 0 takes a
    free one. `own_names` are the hosts that mean the shared machine; it may grow later.
    Raises UsageError on entering when the address cannot be listened on.
    """

    def __init__(
        self,
        opener: Opener,
        listen_host: str = "127.0.0.1",
        port: int = 0,
        own_names: OwnNames | None = None,
    ) -> None:
        self._opener = opener
        self._listen_host = listen_host
        self._port = port
        self._own_names = own_names or OwnNames()
        self._streams = 0
        self._flow_budget = FlowBudget()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> SocksServer:
        """Listen, and accept from now on."""
        self._listener = _listen(self._listen_host, self._port)
        try:
            await self._group.__aenter__()
        except BaseException:
            self._listener.close()
            raise
        self._watch = watch_of(asyncio.get_running_loop())
        self._watch.hold()
        self._serving = self._group.create_task(self._serve(), name="socks")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the listener, reset every connection, and wait until all are gone."""
        self._serving.cancel()
        try:
            # An error of the body's is its own, not one of this group's.
            await self._group.__aexit__(None, None, None)
        finally:
            self._watch.let_go()
            self._listener.close()

    @property
    def address(self) -> tuple[str, int]:
        """The IP address and port that the server listens on."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def dropped(self) -> int:
        """Datagrams that were lost here for want of room; those of associations that are open
        are counted as far as the kernel did not lose them."""
        return self._flow_budget.dropped

    def add_name(self, name: str) -> None:
        """`name`, a host name or an IP address, means the shared machine from now on."""
        self._own_names.add(name)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as connections:

            def serve(sock: socket.socket, work: Coroutine[None, None, None]) -> None:
                task = connections.create_task(work, name="socks")
                # Should it be cancelled before it begins, the socket is closed with it.
                task.add_done_callback(lambda _: sock.close())

            asking = Asking(
                self._listener,
                lambda sock, request, early: serve(sock, self._handle(sock, request, early)),
                lambda sock: serve(sock, _hang_up(sock)),
            )
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                asking.close()

    async def _handle(self, sock: socket.socket, request: socks.Request, early: bytes) -> None:
        """One connection from its request to its last byte. Closes `sock`; raises nothing."""
        try:
            await self._answer(sock, request, early)
        except OSError as error:
            log.debug("a SOCKS client is gone: %s", error)
        except Exception:
            # A fault in one connection must not end the others.
            log.exception("a SOCKS connection failed")

    async def _answer(self, sock: socket.socket, request: socks.Request, early: bytes) -> None:
        """Do what was asked, or say why not. `early` came behind the request."""
        self._streams += 1
        try:
            if self._streams > MAX_STREAMS:
                raise RefusedError(Code.BUSY, f"{MAX_STREAMS} SOCKS connections are open")
            if request.command is socks.Command.CONNECT:
                await self._connect(sock, request, early)
            else:
                await self._associate(sock)
        except VshareError as error:
            log.info("SOCKS to %s:%d: %s", request.host, request.port, error.text)
            reply = _reply_for_error(error)
            await asyncio.get_running_loop().sock_sendall(sock, socks.serialize_reply(reply))
            await _hang_up(sock)
        finally:
            self._streams -= 1

    async def _connect(self, sock: socket.socket, request: socks.Request, early: bytes) -> None:
        if not request.port:
            raise RefusedError(Code.CONNECTION_REFUSED, "nothing listens on port 0")
        host = self._own_names.resolve(request.host)
        end = await self._opener.open(host, request.port)
        try:
            client = SocketEnd(sock)
            client.send(_SUCCEEDED)
            if early:
                end.send(early)
        except BaseException:
            end.reset(Code.CLOSED)
            raise
        await bridge(end, client)

    async def _associate(self, sock: socket.socket) -> None:
        """Serve an association until its TCP connection ends (RFC 1928 7)."""
        loop = asyncio.get_running_loop()
        association = Association(
            self._opener,
            self._own_names,
            self._flow_budget,
            local_host=sock.getsockname()[0],
            client_host=sock.getpeername()[0],
        )
        async with association, asyncio.TaskGroup() as group:
            opening = group.create_task(association.open_flows(), name="socks flows")
            try:
                reply = socks.serialize_reply(socks.Reply.SUCCEEDED, *association.address)
                await loop.sock_sendall(sock, reply)
                while await loop.sock_recv(sock, HANG_UP_BYTES):
                    pass  # nothing is defined for it
            except OSError as error:
                log.debug("an association ends: %s", error)
            finally:
                opening.cancel()


def _listen(host: str, port: int) -> socket.socket:
    """A listening, non-blocking socket. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        tune(listener)  # what is accepted inherits it
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(
            f"cannot listen for SOCKS on {host} port {port}: {(reason or str(error)).lower()}",
            "choose another address or port, or port 0 for any free one",
        ) from error
    return listener


def _reply_for_error(error: VshareError) -> socks.Reply:
    if isinstance(error, RefusedError):
        return socks.reply_for_code(error.code)
    if isinstance(error, LostError):
        return socks.reply_for_code(Code.LOST)
    return socks.Reply.GENERAL_FAILURE


async def _hang_up(sock: socket.socket) -> None:
    """Let the client read what it was told: close() on unread bytes would reset it away."""
    loop = asyncio.get_running_loop()
    left = HANG_UP_BYTES
    try:
        async with asyncio.timeout(HANG_UP_SECONDS):
            sock.shutdown(socket.SHUT_WR)
            while left > 0 and (data := await loop.sock_recv(sock, HANG_UP_BYTES)):
                left -= len(data)
    except (OSError, TimeoutError):
        pass  # the client had its time
