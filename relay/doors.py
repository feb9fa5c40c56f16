"""Which door of a share a visitor's requests are for, and what the share is told of the visitor."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from relay.http_rules import HttpError, Origin, site_of
from relay.routes import Site, Sites, strip_port
from relay.source_buckets import SourceBuckets
from relay.streams import UpstreamStream
from relay.upstreams import Door, Upstreams
from tunnel.source import source_of


class Doors:
    """For the requests of one visitor, who mostly asks for the same host again."""

    def __init__(
        self, origin: Origin, upstreams: Upstreams, sites: Sites, misses: SourceBuckets
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin, self._source = origin, source_of(origin.address)
        self._upstreams, self._sites, self._misses = upstreams, sites, misses
        self._host = b""  # the last one that was plain, and what goes with it
        self._site: Site | None = None
        self._is_own = False  # it is at an own domain, which may be another share's by now
        self._fields = b""

    def door_of(self, site: Site) -> Door:
        """The door that `site` means. Raises HttpError, also for what is there, to a source that
        asked for too many names that are not: else names could be tried without end."""
        now = self._loop.time()
        if not self._misses.has(self._source, now):
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many names were asked for that nothing is shared under",
                "Try again in a minute.",
            )
        try:
            return self._upstreams.door_of(site, tls=self._origin.tls)
        except HttpError as error:
            if error.status is HTTPStatus.NOT_FOUND:
                self._misses.take(self._source, now)
            raise

    def maybe_door(self, host: bytes) -> Door | None:
        """The door that a plain request with this Host is for; None where the answer is a page."""
        try:
            if host != self._host or self._site is None or self._is_own:
                self._remember(host)
            if self._site is None or not self._misses.has(self._source, self._loop.time()):
                return None
            return self._upstreams.door_of(self._site, tls=self._origin.tls)
        except HttpError:
            return None

    def maybe_open(self, door: Door, begin: bytes) -> UpstreamStream | None:
        """See Upstreams.maybe_open."""
        return self._upstreams.maybe_open(door, begin)

    def fields(self, host: bytes) -> bytes:
        """The fields that the gateway adds to a plain request with this Host, and the head's end.

        `maybe_door` has found a door for it.
        """
        if host != self._host:
            self._remember(host)
        return self._fields

    def _remember(self, host: bytes) -> None:
        text = host.decode("ascii")
        self._site = None
        self._site, self._host = site_of(text, self._origin, self._sites), host
        self._is_own = self._sites.is_own(strip_port(text))
        lines = [b": ".join(field) for field in self._origin.forwarding_fields(text)]
        self._fields = b"\r\n".join((*lines, b"", b""))
