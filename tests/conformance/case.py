"""A case: what a visitor sends, what the application answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

HOST = b"@HOST@"  # stands for the site's own
CASE = b"@CASE@"  # stands for a case's number: what comes late is told from the next case's
OK = b"HTTP/1.1 200 OK\r\nX-App: 1\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nX-App: 1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
)


class Step(enum.Enum):
    """What a visitor does besides sending."""

    HEAD = "wait for a head"
    PAUSE = "wait a moment, so that what follows comes apart"
    FIN = "end its side"


class Then(enum.Enum):
    """What the application does with a connection after an answer."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    ECHO = "echo"  # all that comes, to its end


@dataclass(frozen=True)
class Answer:
    """The application's. `early`: sent before the request's body was read; `asks`: 100 first."""

    data: bytes = OK
    then: Then = Then.KEEP
    early: bool = False
    asks: bool = False
    pieces: tuple[bytes, ...] = ()  # after `data`, each a moment later


@dataclass(frozen=True)
class Case:
    """`count`: final answers that are to come; `probes`: whether another request is sent then, to
    see if the connection was kept; `head`: whether the answers are to HEAD."""

    name: str
    steps: tuple[bytes | Step, ...]
    answers: tuple[Answer, ...] = (Answer(),)
    count: int = 1
    probes: bool = True
    head: bool = False

    @property
    def group(self) -> str:
        """What the name begins with."""
        return self.name.partition(": ")[0]


def message(
    first: bytes | str, *fields: bytes | str, body: bytes = b"", host: bytes | None = HOST
) -> bytes:
    """A request with `fields`, and Host unless that is None."""
    lines = [_bytes(first)]
    if host is not None:
        lines.append(b"Host: " + host)
    lines += [_bytes(each) for each in fields]
    return b"\r\n".join((*lines, b"X-Case: " + CASE, b"", b"")) + body


def answer(status: str, *fields: bytes | str, body: bytes = b"", version: str = "1.1") -> bytes:
    """An answer, marked as the application's."""
    lines = [f"HTTP/{version} {status}".encode(), b"X-App: 1", *(_bytes(each) for each in fields)]
    return b"\r\n".join((*lines, b"", b"")) + body


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
