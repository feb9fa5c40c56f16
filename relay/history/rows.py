"""What is written of what happens, on its way to the disk. Pure."""

from __future__ import annotations

import msgspec


class SessionRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A share's session, as it is now. The IDs of all rows count from the relay's start."""

    id: int
    name: str
    token: str
    http: bool
    passthrough: bool
    began_at: float
    ended_at: float | None
    how: str


class VisitRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A visit, as it is now."""

    id: int
    session: int
    kind: str
    label: str
    source: str
    began_at: float
    ended_at: float | None
    seconds: float
    received: int
    sent: int


# A request that is over: session, visit, at, method, path, status, received, sent, seconds.
RequestRow = tuple[int, int, float, str, str, int, int, int, float]


class FlowRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a session had since its last such row."""

    session: int
    at: float
    received: int
    sent: int
    visits: int  # that began
    requests: int


class Batch(msgspec.Struct):
    """Rows that are written together. Of a session and of a visit, the last one counts."""

    sessions: dict[int, SessionRow] = {}
    visits: dict[int, VisitRow] = {}
    requests: list[RequestRow] = []
    flows: list[FlowRow] = []
    alive_at: float = 0.0  # the relay was then; 0: nothing new
    lasting: list[int] | None = None  # the IDs of all sessions and visits that last, if it matters

    def __len__(self) -> int:
        return len(self.sessions) + len(self.visits) + len(self.requests) + len(self.flows)


def shown(data: bytes, most: int) -> str:
    """`data` as text, with nothing unprintable in it; beyond `most` characters an ellipsis."""
    text = data[: most * 4].decode("utf-8", "backslashreplace")
    if len(text) > most:
        text = text[:most] + "\N{HORIZONTAL ELLIPSIS}"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
