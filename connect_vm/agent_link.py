"""vconnect's side of the connect VM's agent (docs/protocol.md 10).

Connections are opened towards the VM and left parked there; the agent takes one for each
connection attempt at the static IP. Nothing on this host listens for the VM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType

from connect_vm.agent import wire
from connect_vm.agent_datagrams import DatagramLink
from connect_vm.opener import Opener
from tunnel.codes import Code
from tunnel.ends import bridge
from tunnel.errors import RefusedError, VshareError
from tunnel.socket_end import SocketEnd

log = logging.getLogger(__name__)

PARKED = 32  # waiting at the agent: a browser's burst; beyond it each costs the VM 7 ms emulated
MAX_STREAMS = 256  # docs/protocol.md 10
CONNECT_SECONDS = 2.0  # to a VM on this host; while it boots, ARP has no answer
HANDSHAKE_SECONDS = 5.0  # as the agent's
FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0  # between tries, doubled each time


def the_machine(header: wire.Header) -> str:
    """The host that is meant where there is one machine."""
    return ""


class AgentError(VshareError):
    """The connect VM does not answer, or is not ours."""


class AgentLink:
    """Keeps connections parked at the agent and serves what it asks for, until left.

    `session` opens the streams and flows. A connection that fails is opened again, so the
    VM may boot, or be restarted, at any time. `on_dropped(count)` is told of datagrams that
    were lost between the VM's clients and `session`, for want of room. `host_of` says what host
    `session` is asked for ("": the shared machine), where static IPs mean several.
    """

    def __init__(
        self,
        address: str,
        port: int,
        secret: bytes,
        session: Opener,
        *,
        on_dropped: Callable[[int], None] = lambda count: None,
        host_of: Callable[[wire.Header], str] = the_machine,
    ) -> None:
        self._host_of = host_of
        self._address = (address, port)
        self._secret = secret
        self._session = session
        self._slots = asyncio.Semaphore(PARKED + MAX_STREAMS)
        self._up = asyncio.Event()
        self._parked = asyncio.Event()
        self._last_error = ""
        self._on_dropped = on_dropped
        self._outer = asyncio.TaskGroup()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> AgentLink:
        await self._outer.__aenter__()
        self._runner = self._outer.create_task(self._run(), name="agent-link")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.cancel()
        await self._outer.__aexit__(None, None, None)  # the body's error is its own

    async def _run(self) -> None:
        """Everything, until cancelled: one task to cancel for all."""
        async with self._group as group:
            group.create_task(self._keep(self._carry_datagrams), name="agent-datagrams")
            for number in range(PARKED):
                group.create_task(self._keep(self._park), name=f"agent-parked-{number}")

    async def ready(self, seconds: float) -> None:
        """Wait until the agent serves the static IP. Raises AgentError after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
                await self._parked.wait()
        except TimeoutError:
            raise AgentError(
                f"the connect VM at {self._address[0]} was not ready within {seconds:.0f} s"
                f" ({self._last_error or 'no answer'})",
                "run vconnect with -v to see the VM's console, or with --disable-static-ip",
            ) from None

    async def _keep(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Call `serve` for ever; after a failure with a growing pause."""
        pause = FIRST_PAUSE
        while True:
            try:
                await serve()
                pause = FIRST_PAUSE
            except (OSError, EOFError, VshareError) as error:
                self._last_error = str(error) or type(error).__name__
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)

    async def _connect(self, kind: bytes) -> socket.socket:
        """A connection that both sides proved the secret on."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(sock, self._address)
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                nonce_a = await _receive(sock, wire.NONCE_SIZE)
                nonce_v = os.urandom(wire.NONCE_SIZE)
                await loop.sock_sendall(sock, wire.answer(self._secret, nonce_a, nonce_v, kind))
                message = await _receive(sock, wire.MAC_SIZE)
            if not wire.check_agent(self._secret, nonce_a, nonce_v, message):
                raise AgentError(f"what answers at {self._address[0]} is not our connect VM")
        except BaseException:
            sock.close()
            raise
        return sock

    async def _park(self) -> None:
        """Park one connection until the agent takes it, then leave it to a task of its own."""
        await self._slots.acquire()
        sock: socket.socket | None = None
        try:
            sock = await self._connect(wire.PARKED)
            self._parked.set()
            header = wire.decode_header(await _receive(sock, wire.HEADER_SIZE))
        except BaseException as error:
            self._slots.release()
            if sock:
                sock.close()
            if isinstance(error, wire.WireError):
                raise AgentError(f"the connect VM's agent sent nonsense: {error}") from error
            raise
        task = self._group.create_task(self._guard(sock, header), name=f"agent-{header.dport}")
        task.add_done_callback(lambda _task: self._slots.release())

    async def _guard(self, sock: socket.socket, header: wire.Header) -> None:
        """A fault in one stream must not end the static IP for all of them."""
        try:
            await self._serve(sock, header)
        except Exception:
            log.exception("port %d: this stream ended by a fault of ours", header.dport)

    async def _serve(self, sock: socket.socket, header: wire.Header) -> None:
        """Open what the header asks for, answer, and carry the bytes."""
        loop = asyncio.get_running_loop()
        with sock:
            try:
                end = await self._session.open(self._host_of(header), header.dport)
            except VshareError as error:
                code = error.code if isinstance(error, RefusedError) else Code.LOST
                log.debug("port %d: %s", header.dport, error)
                await _answer(sock, code)
                return
            try:
                await loop.sock_sendall(sock, bytes([wire.OPENED]))
            except BaseException as error:
                end.reset(Code.LOST)
                if isinstance(error, OSError):
                    return
                raise
            await bridge(end, SocketEnd(sock))

    async def _carry_datagrams(self) -> None:
        sock = await self._connect(wire.DATAGRAMS)
        loop = asyncio.get_running_loop()
        try:
            transport, link = await loop.create_connection(
                lambda: DatagramLink(self._session, self._group, self._on_dropped, self._host_of),
                sock=sock,
            )
        except BaseException:
            sock.close()
            raise
        self._up.set()
        try:
            await link.lost
        finally:
            self._up.clear()
            transport.abort()


async def _receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, none beyond. Raises EOFError, OSError."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise EOFError("the connect VM's agent hung up")
        data += more
    return data


async def _answer(sock: socket.socket, code: Code) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(sock, bytes([code]))
    except OSError:
        log.debug("the connect VM's agent did not wait for an answer")
