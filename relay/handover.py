"""How a relay's work goes to another process of the same state directory, for an upgrade.

The old one listens at `handover.sock` there, which its user alone can reach. The new one connects:

    new: take-over 1                      (the version of this)
    old: {"places": [[host, port], ...]}  with the listening sockets, in that order (unix(7))
    new: ready                            all is set up but for letting visitors in
    old: yours                            it lets nobody in any more
    new: serving

Whoever connects in between waits in the kernel, in the sockets that both have. Until `yours` either
side may hang up, and all is as it was before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from relay.front import OUT_OF_DESCRIPTORS, PAUSE
from relay.listening import Listening, Place
from tunnel.errors import VshareError
from tunnel.run_directory import short_path
from tunnel.running import peer_uid

FILE = "handover.sock"
HELLO, READY, YOURS, SERVING = b"take-over 1\n", b"ready\n", b"yours\n", b"serving\n"
MAX_MESSAGE = 16 * 1024  # bytes: some hundred places
MAX_SOCKETS = 64  # that are passed on; a relay has a handful
ANSWER_WITHIN = 10.0  # seconds for each word of the other side, but for READY
READY_WITHIN = 120.0  # seconds: a large state directory on a slow disk
_UCRED = struct.Struct("3i")

log = logging.getLogger(__name__)


class HandoverError(VshareError):
    """The relay that runs does not hand over."""


class Predecessor:
    """A relay that runs, and hands over: `listening` has its sockets."""

    def __init__(self, sock: socket.socket, listening: Listening) -> None:
        self._sock = sock
        self.listening = listening

    async def stand_back(self) -> None:
        """All is ready here: from now on it lets nobody in. Raises HandoverError."""
        loop = asyncio.get_running_loop()
        with _said(ANSWER_WITHIN):
            async with asyncio.timeout(ANSWER_WITHIN):
                await loop.sock_sendall(self._sock, READY)
                if await loop.sock_recv(self._sock, len(YOURS)) != YOURS:
                    raise HandoverError("the relay that runs has ended meanwhile", "try again")

    async def serving(self) -> None:
        """This process serves."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._sock, SERVING)


@contextlib.asynccontextmanager
async def predecessor(folder: Path) -> AsyncIterator[Predecessor | None]:
    """The relay of the state directory `folder` that runs; None: there is none. Raises
    HandoverError."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            with short_path(folder / FILE) as path:
                await loop.sock_connect(sock, path)
        except (FileNotFoundError, ConnectionRefusedError):
            yield None
            return
        except OSError as error:
            raise HandoverError(
                f"cannot reach {folder / FILE}: {error}", "see whose it is"
            ) from error
        with _said(ANSWER_WITHIN):
            async with asyncio.timeout(ANSWER_WITHIN):
                await loop.sock_sendall(sock, HELLO)
                places, found = await _receive(sock)
        with Listening(list(zip(places, found, strict=True))) as listening:
            yield Predecessor(sock, listening)


async def _receive(sock: socket.socket) -> tuple[list[Place], list[socket.socket]]:
    """Raises HandoverError, OSError."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    data, descriptors, _, _ = socket.recv_fds(sock, MAX_MESSAGE, MAX_SOCKETS)
    found = [socket.socket(fileno=each) for each in descriptors]
    try:
        places = [(str(host), int(port)) for host, port in json.loads(data)["places"]]
        if len(places) != len(found):
            raise ValueError("it passed on another number of sockets than it said")
    except (ValueError, KeyError, TypeError) as error:
        for each in found:
            each.close()
        hint = "stop it, and start this one"
        raise HandoverError(f"the relay that runs hands nothing over: {error}", hint) from error
    for each in found:
        each.setblocking(False)
    return places, found


@contextlib.contextmanager
def _said(within: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        text = f"the relay that runs did not answer within {within:g} s"
        raise HandoverError(text, "stop it, and start this one") from None
    except OSError as error:
        text = f"the relay that runs broke off: {error}"
        raise HandoverError(text, "stop it, and start this one") from error


class Successors:
    """Waits at the state directory `folder` for who takes over; `listening` has what is passed on.
    `stand_back` is called when the other one is ready: it lets nobody in any more. Then `taken` is
    set, and `pid` is the other process's."""

    def __init__(self, folder: Path, listening: Listening, stand_back: Callable[[], None]) -> None:
        self._path, self._listening, self._stand_back = folder / FILE, listening, stand_back
        self.taken = asyncio.Event()
        self.pid = 0

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Until the block ends, or somebody has taken over."""
        with self._bound() as listener:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._run(listener), name="handover")
                try:
                    yield
                finally:
                    task.cancel()

    @contextlib.contextmanager
    def _bound(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            inode = 0
            try:
                with short_path(self._path) as path:
                    Path(path).unlink(missing_ok=True)
                    before = os.umask(0o177)
                    try:
                        listener.bind(path)
                    finally:
                        os.umask(before)
                    listener.listen(1)
                    inode = os.stat(path).st_ino
            except OSError as error:
                log.warning("nobody can take over from this relay: %s: %s", self._path, error)
            try:
                yield listener
            finally:
                with contextlib.suppress(OSError):
                    if inode and self._path.stat().st_ino == inode:  # else it is the successor's
                        self._path.unlink()

    async def _accept(self, listener: socket.socket) -> tuple[socket.socket, object]:
        return await asyncio.get_running_loop().sock_accept(listener)

    async def _run(self, listener: socket.socket) -> None:
        while not self.taken.is_set():
            try:
                sock, _ = await self._accept(listener)
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:  # it could not be bound
                    return
                await asyncio.sleep(PAUSE)
                continue
            with sock:
                try:
                    await self._hand_over(sock)
                except (OSError, TimeoutError) as error:
                    log.warning("another relay did not take over: %s", error or "it was silent")
                except Exception:  # this one serves on, and can still be taken over from
                    log.exception("another relay did not take over: this is a bug")

    async def _hand_over(self, sock: socket.socket) -> None:
        """Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        if peer_uid(sock) not in (os.geteuid(), 0):
            return
        sock.setblocking(False)
        async with asyncio.timeout(ANSWER_WITHIN):
            if await loop.sock_recv(sock, len(HELLO)) != HELLO:
                log.warning("another relay speaks another version of the handover")
                return
        open_ = self._listening.open
        message = json.dumps({"places": [place for place, _ in open_]}).encode()
        socket.send_fds(sock, [message], [each.fileno() for _, each in open_])
        async with asyncio.timeout(READY_WITHIN):
            if await loop.sock_recv(sock, len(READY)) != READY:
                raise ConnectionResetError("it ended before it was ready")
        pid, _, _ = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        with contextlib.suppress(BlockingIOError):  # it is there, and says nothing more
            if not sock.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("it ended when it was ready")
        try:
            self._stand_back()
        except Exception:  # doors may be closed by now, which only the other one can open
            log.exception("this relay stands back, not as it should: this is a bug")
        self.pid = pid
        self.taken.set()
        await loop.sock_sendall(sock, YOURS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN):
                await loop.sock_recv(sock, len(SERVING))
