"""A running share's ear for the other terminals of its user (vshare/running.py is theirs).

A UNIX socket in a directory that is the user's alone; the kernel's word for who connects is
asked for besides. One request per connection (vshare/requests.py); `follow` stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, TypeVar

from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.names import ShareName
from vshare.news import News, Newsroom
from vshare.requests import (
    MAX_REQUEST,
    Failure,
    Follow,
    Following,
    Request,
    parse,
    serialize_failure,
    serialize_news,
    serialize_result,
)
from vshare.run_directory import SUFFIX, make_directory, short_path

MAX_CONNECTIONS = 16  # at a time: terminals, and those who follow
MAX_QUEUED = 256  # lines for a follower that does not read: it is cut off then
SENDING_LASTS = 5.0  # seconds for a request to come, and for its answer to be taken
HANDLING_LASTS = 8.0  # seconds; the terminal waits for 10
LOCKING_LASTS = 5.0  # seconds; another share has the lock for as long as a few system calls take
LAST_WORDS = 1.0  # seconds for answers and news under way when the share ends
_LOCK_RETRY = 0.05  # seconds
_ACCEPT_RETRY = 0.1  # seconds, when the process is out of descriptors
_UCRED = struct.Struct("iII")  # pid, uid, gid (unix(7))
ROOT = 0

Handler: TypeAlias = Callable[[Request], Awaitable[object]]
Q = TypeVar("Q", bound=Request)

_log = logging.getLogger("vshare.control_socket")


def on(kind: type[Q], handle: Callable[[Q], Awaitable[object]]) -> tuple[type[Request], Handler]:
    """A handler for requests of `kind`, to make a mapping of: `dict([on(Kick, kick), ...])`.

    It returns the result that the request's docstring names, within HANDLING_LASTS, or raises
    VshareError.
    """

    async def handler(request: Request) -> object:
        assert isinstance(request, kind)  # they are kept by their type
        return await handle(request)

    return kind, handler


def peer_uid(sock: socket.socket) -> int:
    """Whose process is at the other end of a UNIX socket, as the kernel says."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


class ControlSocket:
    """Listens while it is entered; its file is removed at the end.

    Entering raises VshareError: there is no place for the socket, or the share runs already.
    """

    def __init__(
        self,
        name: ShareName,
        handlers: Mapping[type[Request], Handler],
        newsroom: Newsroom,
    ) -> None:
        self.name = name
        self.path = Path()
        self._handlers = handlers
        self._newsroom = newsroom
        self._group = asyncio.TaskGroup()
        self._connections: set[asyncio.Task[None]] = set()
        self._followers: set[_Follower] = set()
        self._retry: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> ControlSocket:
        folder = make_directory()
        self.path = folder / f"{self.name}{SUFFIX}"
        self._listener = await _listen(folder, self.path)
        self._inode = self.path.lstat().st_ino
        await self._group.__aenter__()
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._remove()
            self._stop_listening()
            for follower in self._followers:
                follower.end()
            if self._connections:
                await asyncio.wait(self._connections, timeout=LAST_WORDS)
        finally:
            for task in self._connections:
                task.cancel()
            await self._group.__aexit__(kind, error, traceback)

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self._inode:  # else somebody put another there
                self.path.unlink()

    def _stop_listening(self) -> None:
        loop = asyncio.get_running_loop()
        if self._retry is not None:
            self._retry.cancel()
        loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.warning("cannot accept a terminal: %s", error)
            loop.remove_reader(self._listener)
            self._retry = loop.call_later(
                _ACCEPT_RETRY, lambda: loop.add_reader(self._listener, self._accept)
            )
            return
        connection = self._connection(sock, full=len(self._connections) >= MAX_CONNECTIONS)
        task = self._group.create_task(connection, name="control connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: sock.close())  # whether or not it came to its transport

    async def _connection(self, sock: socket.socket, *, full: bool) -> None:
        try:
            uid = peer_uid(sock)
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_REQUEST)
        except OSError as error:
            _log.debug("a terminal is gone: %s", error)
            return
        writer.transport.set_write_buffer_limits(high=0)  # what is drained is with the kernel
        try:
            if uid not in (os.getuid(), ROOT):
                _log.warning("user %d wanted to control the share", uid)
            elif full:
                failure = Failure(
                    f"{MAX_CONNECTIONS} terminals talk to the share already", "end one of them"
                )
                await _send(writer, serialize_failure(failure))
            else:
                await self._serve(reader, writer)
        except (OSError, TimeoutError) as error:
            _log.debug("a terminal is gone: %s", error)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = parse(await _receive_line(reader))
            if isinstance(request, Follow):
                await self._follow(reader, writer)
                return
            answer = serialize_result(await self._handle(request))
        except VshareError as error:
            hint = error.hint or "see `vshare --help`; both sides have to be of one version"
            answer = serialize_failure(Failure(error.text, hint, error.exit_code))
        await _send(writer, answer)

    async def _handle(self, request: Request) -> object:
        """The result of `request`. Raises VshareError; a fault of ours does not end the share."""
        handler = self._handlers.get(type(request))
        if handler is None:
            raise VshareError("this share cannot do that", "see what it was started with")
        try:
            async with asyncio.timeout(HANDLING_LASTS):
                return await handler(request)
        except VshareError:
            raise
        except Exception as error:
            _log.exception("a request of a terminal failed")
            raise VshareError(
                f"something went wrong inside the share: {type(error).__name__}",
                "the terminal of `vshare up` says more",
            ) from error

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        follower = _Follower(writer)
        self._followers.add(follower)
        unsubscribe = self._newsroom.subscribe(follower.told)
        try:
            await _send(writer, serialize_result(Following()))
            await follower.run(reader)
        finally:
            unsubscribe()
            self._followers.discard(follower)


class _Follower:
    """One terminal that follows the news."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_QUEUED)
        self._cut_off = asyncio.Event()

    def told(self, news: News) -> None:
        """A listener of the newsroom's."""
        self._put(serialize_news(news))

    def end(self) -> None:
        """Nothing more will come."""
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        try:
            self._lines.put_nowait(line)
        except asyncio.QueueFull:
            self._cut_off.set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Send lines until `end`, until the terminal hangs up, or until it is too slow."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._send_lines(), name="news"),
                group.create_task(_end_of(reader), name="hang-up"),
                group.create_task(self._too_slow(), name="slowness"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    async def _send_lines(self) -> None:
        with contextlib.suppress(OSError):  # it hung up
            while (line := await self._lines.get()) is not None:
                await _write(self._writer, line)

    async def _too_slow(self) -> None:
        await self._cut_off.wait()
        _log.warning("a terminal that follows does not read: cut off")


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(MAX_REQUEST):  # it has nothing more to say
            pass


async def _receive_line(reader: asyncio.StreamReader) -> bytes:
    """One request. Raises RemoteProtocolError, TimeoutError."""
    try:
        async with asyncio.timeout(SENDING_LASTS):
            return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise RemoteProtocolError(f"a request of more than {MAX_REQUEST} bytes") from None
    except asyncio.IncompleteReadError:
        raise RemoteProtocolError("a request without an end of line") from None


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Raises OSError, TimeoutError."""
    async with asyncio.timeout(SENDING_LASTS):
        await _write(writer, line)


async def _write(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Raises OSError."""
    if writer.is_closing():  # uvloop raises RuntimeError, asyncio nothing
        raise ConnectionResetError("the terminal is gone")
    writer.write(line)
    await writer.drain()


async def _listen(folder: Path, path: Path) -> socket.socket:
    """A listener at `path`, which only its owner could ever have connected to."""
    try:
        async with asyncio.timeout(LOCKING_LASTS):
            while True:
                with _locked(folder) as locked:
                    if locked:
                        return _bind(folder, path)
                await asyncio.sleep(_LOCK_RETRY)
    except OSError as error:  # TimeoutError is one
        reason = (error.strerror or "another share keeps it locked").lower()
        raise VshareError(
            f"cannot make the share's socket in {folder}: {reason}",
            "look at that directory; XDG_RUNTIME_DIR says where it is",
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether no other share is finding its place in `folder`; it stays so inside."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


def _bind(folder: Path, path: Path) -> socket.socket:
    """Bound elsewhere, closed to others, and moved to `path` in one step."""
    if _answers(path):
        raise VshareError(
            "a share of that name runs already", "`vshare status` shows it, `vshare stop` ends it"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as private:  # made with mode 0700
            bound = Path(private) / "s"
            with short_path(bound) as short:
                listener.bind(short)
            bound.chmod(0o600)
            listener.listen(MAX_CONNECTIONS)
            listener.setblocking(False)
            bound.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    """Whether a process listens at `path`; the file of one that was killed is left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with short_path(path) as short:
                probe.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:  # its backlog is full
            return True
        return True
