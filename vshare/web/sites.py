"""The sites of a share: what `NAME.domain` and `NAME--LABEL.domain` stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.errors import RefusedError

MAIN = ""  # the label of NAME.domain
HTTPS_PORT = 443  # what a visitor who came with TLS is said to want
MAX_SITES = 64  # all of a share: each is a line on the screen


@dataclass(frozen=True, slots=True)
class Site:
    """A website of the machine's. `host`: what its server is sent as Host, and as SNI, where that
    is not the visitor's; `title`: of its page, for people, empty if it is not known."""

    label: str
    port: int
    tls: bool = False
    host: str = ""
    title: str = ""
    loopback: bool = False  # it listens on the machine's loopback, and the sharer named it


@dataclass(frozen=True, slots=True)
class Sites:
    """`http` and `https` are the main site's, as the machine speaks it; `others` by label."""

    http: Site | None = None
    https: Site | None = None
    others: Mapping[str, Site] | None = None

    def find(self, label: str, port: int) -> Site:
        """What a visitor wants who came to `label` with TLS (port 443) or without (port 80).

        The main site is the one of the visitor's own scheme, else the other. Raises RefusedError.
        """
        if label == MAIN:
            pair = (self.https, self.http) if port == HTTPS_PORT else (self.http, self.https)
            site = pair[0] or pair[1]
        else:
            site = (self.others or {}).get(label)
        if site is None:
            raise RefusedError(Code.NOT_ALLOWED, "no site of that name is shared")
        return site

    @property
    def labels(self) -> list[str]:
        """All that are not empty-handed, the main one first."""
        main = [MAIN] if self.http or self.https else []
        return main + sorted(self.others or {})

    def all(self) -> Iterable[Site]:
        """Each site, the main one first."""
        yield from (site for site in (self.http, self.https) if site is not None)
        yield from (self.others or {}).values()

    @property
    def ports(self) -> frozenset[int]:
        """All that the gateway may open."""
        return frozenset(site.port for site in self.all())
