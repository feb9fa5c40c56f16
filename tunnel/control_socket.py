"""A running program's ear for the other terminals of its user (tunnel/running.py is theirs).

A UNIX socket in a directory that is the user's alone; the kernel's word for who connects is
asked for besides. One request per connection (tunnel/requests.py), unless it begins a session.
`vshare up` has one for each share, `vconnect` one for each share that it is connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, TypeVar

from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.requests import (
    MAX_REQUEST,
    Failure,
    Request,
    serialize_failure,
    serialize_result,
)
from tunnel.run_directory import make_directory, short_path
from tunnel.running import ROOT, Kind, peer_uid

MAX_CONNECTIONS = 16  # at a time: terminals, and those who follow
SENDING_LASTS = 5.0  # seconds for a request to come, and for its answer to be taken
HANDLING_LASTS = 8.0  # seconds; the terminal waits for 10
LOCKING_LASTS = 5.0  # seconds; another program has the lock for as long as a few system calls take
LAST_WORDS = 1.0  # seconds for answers and news under way when the program ends
_LOCK_RETRY = 0.05  # seconds
_ACCEPT_RETRY = 0.1  # seconds, when the process is out of descriptors

Handler: TypeAlias = Callable[[Request], Awaitable[object]]
Session: TypeAlias = Callable[[Request, "Talk"], Awaitable[None]]
Q = TypeVar("Q", bound=Request)
T = TypeVar("T")

_log = logging.getLogger(__name__)


def on(kind: type[Q], handle: Callable[[Q], Awaitable[object]]) -> tuple[type[Request], Handler]:
    """A handler for requests of `kind`, to make a mapping of: `dict([on(Kick, kick), ...])`.

    It returns the result that the request's docstring names, within HANDLING_LASTS, or raises
    VshareError.
    """

    async def handler(request: Request) -> object:
        assert isinstance(request, kind)  # they are kept by their type
        return await handle(request)

    return kind, handler


def session(
    kind: type[Q], hold: Callable[[Q, Talk], Awaitable[None]]
) -> tuple[type[Request], Session]:
    """The same for requests whose connection stays: `hold` has it until it returns or raises
    OSError or TimeoutError; it is cancelled when the program ends and `Talk.closing` was not
    heeded. VshareError says why it does not begin, as long as nothing was sent.
    """

    async def hold_it(request: Request, talk: Talk) -> None:
        assert isinstance(request, kind)  # they are kept by their type
        await hold(request, talk)

    return kind, hold_it


@dataclass(frozen=True, slots=True)
class Talk:
    """The connection of a session. `closing` is set when the program ends: last words, then."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closing: asyncio.Event

    async def answer(self, result: object) -> None:
        """The session begins, with `result`. Raises OSError, TimeoutError."""
        await _send(self.writer, serialize_result(result))

    async def send(self, data: bytes) -> None:
        """Send `data`, for as long as the terminal takes to read it. Raises OSError."""
        await _write(self.writer, data)

    async def hung_up(self) -> None:
        """Return when the terminal has nothing more to say, and throw away what it said."""
        with contextlib.suppress(OSError):
            while await self.reader.read(MAX_REQUEST):
                pass


class TakenError(VshareError):
    """Such a program runs already."""


NO_SESSIONS: Mapping[type[Request], Session] = {}


class ControlSocket:
    """Listens while it is entered; its file is removed at the end.

    `name` tells it from others of its `kind`; `parse` raises RemoteProtocolError. Entering raises
    VshareError: there is no place for the socket, or TakenError: such a program runs already.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        parse: Callable[[bytes], Request],
        handlers: Mapping[type[Request], Handler],
        sessions: Mapping[type[Request], Session] = NO_SESSIONS,
    ) -> None:
        self.name = name
        self.path = Path()
        self._kind = kind
        self._parse = parse
        self._handlers = handlers
        self._sessions = sessions
        self._group = asyncio.TaskGroup()
        self._connections: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> ControlSocket:
        folder = make_directory()
        self.path = folder / f"{self.name}{self._kind.suffix}"
        kind, path = self._kind, self.path
        self._listener = await _in_turn(folder, kind, lambda: _bind(folder, path, kind))
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
            self._closing.set()
            if self._connections:
                await asyncio.wait(self._connections, timeout=LAST_WORDS)
        finally:
            for task in self._connections:
                task.cancel()
            await self._group.__aexit__(kind, error, traceback)

    async def rename(self, name: str) -> None:
        """Be found as `name` from now on; who talks to it already goes on. Raises VshareError as
        entering does, and then nothing has changed."""
        kind, before = self._kind, self.path
        path = before.with_name(f"{name}{kind.suffix}")
        await _in_turn(before.parent, kind, lambda: _move(before, path, kind))
        self.name, self.path = name, path

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
                _log.warning("user %d wanted to control the %s", uid, self._kind.noun)
            elif full:
                failure = Failure(
                    f"{MAX_CONNECTIONS} terminals talk to the {self._kind.noun} already",
                    "end one of them",
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
            request = self._parse(await _receive_line(reader))
            hold = self._sessions.get(type(request))
            if hold is not None:
                await hold(request, Talk(reader, writer, self._closing))
                return
            answer = serialize_result(await self._handle(request))
        except VshareError as error:
            same = f"see `{self._kind.program} --help`; both sides have to be of one version"
            hint = error.hint or same
            answer = serialize_failure(Failure(error.text, hint, error.exit_code))
        await _send(writer, answer)

    async def _handle(self, request: Request) -> object:
        """The result of `request`. Raises VshareError; a fault of ours does not end the program."""
        noun = self._kind.noun
        handler = self._handlers.get(type(request))
        if handler is None:
            raise VshareError(f"this {noun} cannot do that", "see what it was started with")
        try:
            async with asyncio.timeout(HANDLING_LASTS):
                return await handler(request)
        except VshareError:
            raise
        except Exception as error:
            _log.exception("a request of a terminal failed")
            raise VshareError(
                f"something went wrong inside the {noun}: {type(error).__name__}",
                f"the terminal of `{self._kind.command}` says more",
            ) from error


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


async def _in_turn(folder: Path, kind: Kind, work: Callable[[], T]) -> T:
    """What `work` returns, while no other program is finding its place in `folder`."""
    try:
        async with asyncio.timeout(LOCKING_LASTS):
            while True:
                with _locked(folder) as locked:
                    if locked:
                        return work()
                await asyncio.sleep(_LOCK_RETRY)
    except OSError as error:  # TimeoutError is one
        reason = (error.strerror or "another program keeps it locked").lower()
        raise VshareError(
            f"cannot make the {kind.noun}'s socket in {folder}: {reason}",
            "look at that directory; XDG_RUNTIME_DIR says where it is",
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether no other program is finding its place in `folder`; it stays so inside."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


def _bind(folder: Path, path: Path, kind: Kind) -> socket.socket:
    """A listener at `path`, which only its owner could ever have connected to: bound elsewhere,
    closed to others, and moved there in one step."""
    _require_free(path, kind)
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


def _move(before: Path, path: Path, kind: Kind) -> None:
    """The file of a listener; who connects to `before` finds nothing any more."""
    _require_free(path, kind)
    before.rename(path)


def _require_free(path: Path, kind: Kind) -> None:
    """Raise TakenError if a program has that place."""
    if _answers(path):
        raise TakenError(f"a {kind.noun} of that name runs already", kind.taken)


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
