"""What flows through a relay, counted in one place, for whoever keeps it: history, limits, metrics.

A share's session, a visit (one connection of a visitor's to it), and each request where the relay
speaks HTTP. What is inside TLS that ends elsewhere (a guest's streams, ssh, terminals, sites whose
TLS ends at the share) cannot be seen here, but for when it came, from where, and how many bytes.
Headers, bodies, the query of a path and tokens never come here: of a token only its ID.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from tunnel.names import ShareName

# The bytes that (the visitor received, the visitor sent) so far.
Meter = Callable[[], tuple[int, int]]
_Sink = TypeVar("_Sink", bound="Sink")


class Kind(enum.StrEnum):
    """How a visitor came."""

    CONNECT = "connect"  # a guest's connection, whatever is inside
    JOIN = "join"  # with a code
    HTTP = "http"  # a browser's, whose requests go through the relay's gateway
    HTTPS = "https"  # a browser's, whose TLS ends at the share


class How(enum.StrEnum):
    """How a share's session ended."""

    ENDED = "ended"  # its owner has ended it
    PAGE = "page"  # its owner has, from the relay's pages
    LOST = "lost"  # its connection broke: it may come back
    EXPIRED = "expired"  # its time was over
    REVOKED = "revoked"  # its token was, or the token's time was over
    KICKED = "kicked"  # by the relay's operator
    MOVED = "moved"  # the same share connected again
    RENAMED = "renamed"  # it goes on under another name
    FAULT = "fault"  # it broke the protocol
    STOPPED = "stopped"  # the relay stops


class Session(Protocol):
    """A share's session, as it is accounted for (relay.registry.Share)."""

    # In seconds since the epoch; `token` is an ID, or empty.
    name: ShareName
    token: str
    ends_at: float
    http: bool
    passthrough: bool
    is_over: bool


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request that was answered, or was not: then `status` is 0.

    `method` and `path` are what the visitor sent, as it came, but without the query.
    """

    method: bytes
    path: bytes
    status: int
    received: int  # bytes of the answer
    sent: int  # bytes of the request
    seconds: float


class Visit:
    """One connection of a visitor's to a share. `with` it while it lasts.

    `label`: of the share's sites, where it has more than one.
    """

    __slots__ = (
        "_accounting", "_meter", "_received", "_sent", "began", "began_at", "kind", "label",
        "share", "source",
    )  # fmt: skip

    def __init__(
        self, accounting: Accounting, share: Session, kind: Kind, source: str, label: str
    ) -> None:
        self._accounting = accounting
        self.share, self.kind, self.source, self.label = share, kind, source, label
        self.began = time.monotonic()
        self.began_at = time.time()  # seconds since the epoch
        self._received = self._sent = 0
        self._meter: Meter | None = None

    @property
    def received(self) -> int:
        """Bytes that the visitor received so far."""
        return self._received + (self._meter()[0] if self._meter else 0)

    @property
    def sent(self) -> int:
        """Bytes that the visitor sent so far."""
        return self._sent + (self._meter()[1] if self._meter else 0)

    def total(self) -> int:
        """Bytes both ways so far."""
        return self.received + self.sent

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.began

    def measure(self, meter: Meter) -> None:
        """Ask `meter` for the bytes whenever they are wanted; beside what is counted."""
        self._meter = meter

    def count(self, received: int, sent: int) -> None:
        """So many bytes more."""
        self._received += received
        self._sent += sent

    def request(self, request: Request) -> None:
        """One request is over; its bytes are counted with it."""
        self._received += request.received
        self._sent += request.sent
        for sink in self._accounting.sinks:
            sink.request(self, request)

    def __enter__(self) -> Visit:
        self._accounting.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._accounting.end(self)


class Sink(Protocol):
    """Who is told. Each call is in the event loop's thread, in the middle of what is told of: it
    takes a moment, waits for nothing, and raises nothing."""

    def share_began(self, share: Session) -> None:
        """It registered."""

    def share_ended(self, share: Session, how: How) -> None:
        """Its session is over; visits may outlast it."""

    def visit_began(self, visit: Visit) -> None:
        """The visitor is connected to the share."""

    def visit_ended(self, visit: Visit) -> None:
        """With all of its bytes."""

    def request(self, visit: Visit, request: Request) -> None:
        """One of `visit`'s is over."""


class Accounting:
    """Tells the sinks. Whoever wants to see the bytes of what has not ended looks at `visits`."""

    def __init__(self, *sinks: Sink) -> None:
        self.sinks: tuple[Sink, ...] = sinks
        self.visits: set[Visit] = set()  # which last

    def add(self, sink: _Sink) -> _Sink:
        """Tell `sink`, too, of what comes from now on."""
        self.sinks = (*self.sinks, sink)
        return sink

    def visit(self, share: Session, kind: Kind, source: str, label: str = "") -> Visit:
        """A visitor from `source` (an address) is about to be connected to `share`."""
        return Visit(self, share, kind, source, label)

    def share_began(self, share: Session) -> None:
        """It registered."""
        for sink in self.sinks:
            sink.share_began(share)

    def share_ended(self, share: Session, how: How) -> None:
        """Its session is over."""
        for sink in self.sinks:
            sink.share_ended(share, how)

    def begin(self, visit: Visit) -> None:
        """See Visit."""
        self.visits.add(visit)
        for sink in self.sinks:
            sink.visit_began(visit)

    def end(self, visit: Visit) -> None:
        """See Visit."""
        self.visits.discard(visit)
        for sink in self.sinks:
            sink.visit_ended(visit)
