"""The shares of this user that run on this host, as another terminal finds and asks them.

The counterpart is vshare/control_socket.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.names import ShareName, parse_name
from vshare.control_socket import ROOT, peer_uid
from vshare.requests import MAX_ANSWER, Request, Result, parse_answer, serialize
from vshare.run_directory import SUFFIX, directories, short_path

ANSWER_WITHIN = 10.0  # seconds; the share gives its handlers 8
PROBE_WITHIN = 1.0  # seconds; connecting takes no time unless the share is stuck
_READ = 64 * 1024  # bytes at once

R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class RunningShare:
    """A share that somebody may be asked about; it may have ended meanwhile."""

    name: ShareName
    path: Path

    def ask(self, request: Request, result: type[R]) -> R:
        """Its answer, which is a `result`. Waits up to ANSWER_WITHIN. Raises VshareError."""
        answer = parse_answer(_exchange(self, serialize(request)))
        if not answer.ok:
            error = VshareError(answer.error, answer.hint)
            error.exit_code = answer.exit
            raise error
        try:
            return msgspec.json.decode(answer.result, type=result)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise RemoteProtocolError(
                f"the share {self.name!r} gave an answer that does not parse: {error}"
            ) from None


def running_shares() -> list[RunningShare]:
    """Every share that answers, by name. The sockets of those that were killed are passed over."""
    found: dict[str, RunningShare] = {}
    for folder in directories():
        with contextlib.suppress(OSError):  # it is not there, or it is not ours
            for path in folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(UsageError):
                    share = RunningShare(parse_name(path.name.removesuffix(SUFFIX)), path)
                    if share.name not in found and _answers(share):
                        found[share.name] = share
    return [found[name] for name in sorted(found)]


def choose_share(name: str | None) -> RunningShare:
    """The share called `name`, or the only one. Raises VshareError that says which there are."""
    wanted = parse_name(name) if name is not None else None
    shares = running_shares()
    names = ", ".join(share.name for share in shares)
    for share in shares:
        if share.name == wanted or (wanted is None and len(shares) == 1):
            return share
    if not shares:
        what = "no share runs" if wanted is None else f"no share {wanted!r} runs"
        raise VshareError(f"{what} here", "start one with `vshare up`")
    if wanted is None:
        raise UsageError(f"{len(shares)} shares run: {names}", "say which with --share NAME")
    raise VshareError(f"no share {wanted!r} runs here", f"these do: {names}")


def _answers(share: RunningShare) -> bool:
    try:
        with _connected(share, time.monotonic() + PROBE_WITHIN):
            return True
    except TimeoutError:
        return True  # it is there, and busy
    except (OSError, VshareError):
        return False


def _exchange(share: RunningShare, request: bytes) -> bytes:
    """One line for one line. Raises VshareError."""
    deadline = time.monotonic() + ANSWER_WITHIN
    try:
        with _connected(share, deadline) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)  # it may have answered without having listened
            return _receive_line(sock, deadline)
    except TimeoutError:
        raise VshareError(
            f"the share {share.name!r} does not answer", "look at the terminal that it runs in"
        ) from None
    except OSError as error:
        raise VshareError(
            f"the share {share.name!r} has ended: {(error.strerror or str(error)).lower()}",
            "start it again with `vshare up`",
        ) from error


@contextlib.contextmanager
def _connected(share: RunningShare, deadline: float) -> Iterator[socket.socket]:
    """A connection to a process of this user's, or root's. Raises VshareError, OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _set_deadline(sock, deadline)
        with short_path(share.path) as short:
            sock.connect(short)
        if peer_uid(sock) not in (os.getuid(), ROOT):
            raise VshareError(f"{share.path} belongs to another user's process", "remove that file")
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
