"""What a visitor's requests come to, as the gateway sees them, for the accounting."""

from __future__ import annotations

import time
from typing import Protocol

from relay.accounting import Accounting, Kind, Request, Visit
from relay.registry import LocalRegistry
from relay.routes import Site


class Counted(Protocol):
    """A stream to a share."""

    @property
    def received(self) -> int:
        """Bytes from the share so far."""

    @property
    def sent(self) -> int:
        """Bytes to it."""


class HttpLedger:
    """For one visitor's connection: one request after another, each a `begin`, what happens to it,
    and a `finish`. `close` must be called at the end."""

    def __init__(self, registry: LocalRegistry, accounting: Accounting, source: str) -> None:
        self._registry, self._accounting = registry, accounting
        self._source = source
        self._site: Site | None = None
        self._visit: Visit | None = None  # to that site
        self._stream: Counted | None = None
        self._method = self._path = b""
        self._is_open = False
        self._since = 0.0
        self._received = self._sent = 0  # bytes on other streams; on this one, before
        self.status = 0  # of the answer; 0: there is none

    def begin(self, site: Site, method: bytes, target: bytes) -> None:
        """A request for a share's site."""
        if site != self._site or self._visit is None or self._visit.share.is_over:
            self._visit_site(site)
        self._method, self._path = method, target.partition(b"?")[0].partition(b"#")[0]
        self._since = time.monotonic()
        self._stream = None
        self._received = self._sent = self.status = 0
        self._is_open = self._visit is not None

    def over(self, stream: Counted, ahead: int = 0) -> None:
        """It goes over `stream`, which has `ahead` bytes of it already."""
        self._add_up()
        self._stream = stream
        self._received -= stream.received
        self._sent -= stream.sent - ahead

    def finish(self) -> None:
        """It is over, answered or not. Idempotent."""
        if not self._is_open or self._visit is None:
            return
        self._is_open = False
        self._add_up()
        seconds = time.monotonic() - self._since
        self._visit.request(
            Request(self._method, self._path, self.status, self._received, self._sent, seconds)
        )

    def close(self) -> None:
        """The visitor's connection has ended."""
        self.finish()
        self._leave()

    def _add_up(self) -> None:
        if self._stream is not None:
            self._received += self._stream.received
            self._sent += self._stream.sent
            self._stream = None

    def _visit_site(self, site: Site) -> None:
        self._leave()
        share = self._registry.get(site.name)
        if share is not None:
            visit = self._accounting.visit(share, Kind.HTTP, self._source, site.label)
            self._site, self._visit = site, visit.__enter__()

    def _leave(self) -> None:
        if self._visit is not None:
            self._visit.__exit__()
        self._site = self._visit = None
