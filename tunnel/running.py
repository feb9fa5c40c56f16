"""The programs of this user that run on this host, as another terminal finds and asks them.

The counterpart is tunnel/control_socket.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.requests import MAX_ANSWER, Request, Result, parse_answer, serialize
from tunnel.run_directory import directories, short_path

ANSWER_WITHIN = 10.0  # seconds; the program gives its handlers 8
PROBE_WITHIN = 1.0  # seconds; connecting takes no time unless the program is stuck
ROOT = 0
_READ = 64 * 1024  # bytes at once
_UCRED = struct.Struct("iII")  # pid, uid, gid (unix(7))

R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of program that other terminals talk to, and its words in messages."""

    noun: str  # "share"
    program: str  # "vshare"
    command: str  # "vshare up": what starts one
    suffix: str  # of the files of their sockets
    parse: Callable[[str], str]  # a name that one may have; raises UsageError
    taken: str  # what to do about one that runs already


def peer_uid(sock: socket.socket) -> int:
    """Whose process is at the other end of a UNIX socket, as the kernel says."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


@dataclass(frozen=True, slots=True)
class Running:
    """A program that somebody may be asked about; it may have ended meanwhile."""

    kind: Kind
    name: str
    path: Path

    def ask(self, request: Request, result: type[R]) -> R:
        """Its answer, which is a `result`. Waits up to ANSWER_WITHIN. Raises VshareError."""
        return self._result(_exchange(self, serialize(request)), result)

    @contextlib.asynccontextmanager
    async def session(
        self, request: Request, result: type[R]
    ) -> AsyncIterator[tuple[R, asyncio.StreamReader, asyncio.StreamWriter]]:
        """Begin a session (tunnel/control_socket.py) with `request`: its answer, and what follows
        it, in lines of at most MAX_ANSWER bytes. Raises VshareError."""
        deadline = time.monotonic() + ANSWER_WITHIN
        with _translated(self), _connected(self, deadline) as sock:
            sock.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=sock.dup(), limit=MAX_ANSWER)
        try:
            with _translated(self):
                async with asyncio.timeout(ANSWER_WITHIN):
                    writer.write(serialize(request))
                    line = await reader.readline()
                if not line.endswith(b"\n"):
                    raise ConnectionResetError(errno.ECONNRESET, "it hung up")
            yield self._result(line, result), reader, writer
        finally:
            writer.transport.abort()

    def _result(self, line: bytes, result: type[R]) -> R:
        answer = parse_answer(line)
        if not answer.ok:
            error = VshareError(answer.error, answer.hint)
            error.exit_code = answer.exit
            raise error
        try:
            return msgspec.json.decode(answer.result, type=result)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise RemoteProtocolError(
                f"the {self.kind.noun} {self.name!r} gave an answer that does not parse: {error}"
            ) from None


def all_running(kind: Kind) -> list[Running]:
    """Every one that answers, by name. The sockets of those that were killed are passed over."""
    found: dict[str, Running] = {}
    for folder in directories():
        with contextlib.suppress(OSError):  # it is not there, or it is not ours
            for path in folder.glob(f"*{kind.suffix}"):
                with contextlib.suppress(UsageError):
                    one = Running(kind, kind.parse(path.name.removesuffix(kind.suffix)), path)
                    if one.name not in found and _answers(one):
                        found[one.name] = one
    return [found[name] for name in sorted(found)]


def choose(kind: Kind, name: str | None) -> Running:
    """The one called `name`, or the only one. Raises VshareError that says which there are."""
    noun = kind.noun
    wanted = kind.parse(name) if name is not None else None
    running = all_running(kind)
    names = ", ".join(one.name for one in running)
    for one in running:
        if one.name == wanted or (wanted is None and len(running) == 1):
            return one
    if not running:
        what = f"no {noun} runs" if wanted is None else f"no {noun} {wanted!r} runs"
        raise VshareError(f"{what} here", f"start one with `{kind.command}`")
    if wanted is None:
        raise UsageError(f"{len(running)} {noun}s run: {names}", "say which with --share NAME")
    raise VshareError(f"no {noun} {wanted!r} runs here", f"these do: {names}")


def _answers(one: Running) -> bool:
    try:
        with _connected(one, time.monotonic() + PROBE_WITHIN):
            return True
    except TimeoutError:
        return True  # it is there, and busy
    except (OSError, VshareError):
        return False


def _exchange(one: Running, request: bytes) -> bytes:
    """One line for one line. Raises VshareError."""
    deadline = time.monotonic() + ANSWER_WITHIN
    with _translated(one), _connected(one, deadline) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(request)  # it may have answered without having listened
        return _receive_line(sock, deadline)


@contextlib.contextmanager
def _translated(one: Running) -> Iterator[None]:
    """What the kernel says of a connection to `one` becomes a VshareError."""
    try:
        yield
    except TimeoutError:
        raise VshareError(
            f"the {one.kind.noun} {one.name!r} does not answer",
            "look at the terminal that it runs in",
        ) from None
    except OSError as error:
        raise VshareError(
            f"the {one.kind.noun} {one.name!r} has ended: {(error.strerror or str(error)).lower()}",
            f"start it again with `{one.kind.command}`",
        ) from error


@contextlib.contextmanager
def _connected(one: Running, deadline: float) -> Iterator[socket.socket]:
    """A connection to a process of this user's, or root's. Raises VshareError, OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _set_deadline(sock, deadline)
        with short_path(one.path) as short:
            sock.connect(short)
        if peer_uid(sock) not in (os.getuid(), ROOT):
            raise VshareError(f"{one.path} belongs to another user's process", "remove that file")
        yield sock


def _receive_line(sock: socket.socket, deadline: float) -> bytes:
    """Raises VshareError, OSError, TimeoutError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        _set_deadline(sock, deadline)
        part = sock.recv(_READ)
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "it hung up")
        line += part
        if len(line) > MAX_ANSWER:
            raise RemoteProtocolError(f"an answer of more than {MAX_ANSWER} bytes")
    return bytes(line)


def _set_deadline(sock: socket.socket, deadline: float) -> None:
    sock.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean: do not wait
