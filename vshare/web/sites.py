"""The sites of a share: what `NAME.domain` and `NAME--LABEL.domain` stand for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.names import ShareName, host_label

MAIN = ""  # the label of NAME.domain
HTTPS_PORT = 443  # what a visitor who came with TLS is said to want
MAX_SITES = 64  # all of a share: each is a line on the screen


@dataclass(frozen=True, slots=True)
class Site:
    """A website of the machine's. `host`: what its server is sent as Host, with the port where
    that belongs to it, if that is not the visitor's; `title`: of its page, for people, empty if it
    is not known. `as_local`: its server is told of no other scheme and host than its own."""

    label: str
    port: int
    tls: bool = False
    host: str = ""
    title: str = ""
    loopback: bool = False  # it listens on the machine's loopback, and the sharer named it
    as_local: bool = False
    says_port: bool = False  # its server writes the port where it listens into redirects
    is_own: bool = False  # the share's own, which the machine does not see; `port` is 0

    @property
    def scheme(self) -> str:
        """As the machine speaks it."""
        return "https" if self.tls else "http"

    @property
    def server_name(self) -> str:
        """`host` without its port: the SNI, where it is a name; empty with an empty `host`."""
        return host_of(self.host)

    @property
    def is_virtual(self) -> bool:
        """Whether it is one of several that its server tells apart by Host."""
        return self.label not in (MAIN, str(self.port)) and not self.is_own


@dataclass(frozen=True, slots=True)
class Sites:
    """`http` and `https` are the main site's, as the machine speaks it; `others` by label.

    What the machine speaks HTTPS for *as well* is in `https_others`, under the same label.
    """

    http: Site | None = None
    https: Site | None = None
    others: Mapping[str, Site] | None = None
    https_others: Mapping[str, Site] | None = None

    def find(self, label: str, port: int) -> Site:
        """What a visitor wants who came to `label` with TLS (port 443) or without (port 80).

        It is the one of the visitor's own scheme, else the other. Raises RefusedError.
        """
        http, https = self.pair(label)
        site = (https or http) if port == HTTPS_PORT else (http or https)
        if site is None:
            raise RefusedError(Code.NOT_ALLOWED, "no site of that name is shared")
        return site

    def pair(self, label: str) -> tuple[Site | None, Site | None]:
        """What stands for `label` as HTTP and as HTTPS, each None where there is no such site."""
        if label == MAIN:
            return self.http, self.https
        return (self.others or {}).get(label), (self.https_others or {}).get(label)

    @property
    def labels(self) -> list[str]:
        """All that are not empty-handed, the main one first, ports in their order."""
        main = [MAIN] if self.http or self.https else []
        others = {*(self.others or {}), *(self.https_others or {})}
        return main + sorted(others, key=_order)

    def all(self) -> Iterable[Site]:
        """Each site, the main one first."""
        for label in self.labels:
            yield from (site for site in self.pair(label) if site is not None)

    def map(self, change: Callable[[Site], Site]) -> Sites:
        """The same with each site changed; `change` leaves labels as they are."""

        def changed(sites: Mapping[str, Site] | None) -> dict[str, Site]:
            return {label: change(site) for label, site in (sites or {}).items()}

        http, https = (None if site is None else change(site) for site in (self.http, self.https))
        return Sites(http, https, changed(self.others), changed(self.https_others))

    def without_https(self) -> Sites:
        """Those that the machine speaks plain HTTP for."""
        others = {label: site for label, site in (self.others or {}).items() if not site.tls}
        return Sites(self.http, None, others)

    @property
    def ports(self) -> frozenset[int]:
        """All that the gateway may open."""
        return frozenset(site.port for site in self.all() if not site.is_own)


def host_of(authority: str) -> str:
    """`HOST[:PORT]` without its port, and without the brackets of IPv6."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def with_label(authority: str, name: ShareName, label: str) -> str | None:
    """`HOST[:PORT]`, one of the share `name`'s, as that of its site `label`; None if it is none
    of them, as where a relay has but one share, under the relay's own name."""
    first, dot, rest = authority.partition(".")
    if not dot or (first != name and not first.startswith(f"{name}--")):
        return None
    return f"{host_label(name, label)}.{rest}"


def site_urls(
    sites: Sites, name: ShareName, url: str, https_url: str
) -> Iterator[tuple[str, Site]]:
    """The URL of each site of the share `name`, and the site that stands there.

    `url` and `https_url` are the main site's, each empty if there is none. Below `.localhost`
    browsers ask for no TLS, and have no certificate that they believe.
    """
    local = host_of(url.partition("://")[2].partition("/")[0]).endswith(".localhost")
    scheme, _, rest = (url if local else https_url or url).partition("://")
    authority, slash, path = rest.partition("/")
    for label in sites.labels if authority else ():
        host = with_label(authority, name, label)
        if host is None and label == MAIN:
            host = authority
        if host is not None:
            site = sites.find(label, HTTPS_PORT if scheme == "https" else 0)
            yield f"{scheme}://{host}{slash}{path}", site


def site_lines(sites: Sites, name: ShareName, url: str, https_url: str) -> list[str]:
    """For the screen of the share `name`: each site's URL, what it is, its title. The URLs are as
    for `site_urls`. Nothing is said where there is but the main site."""
    rows = [
        (shown, _what(site), site.title) for shown, site in site_urls(sites, name, url, https_url)
    ]
    if len(rows) < 2:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [
        f"{url.ljust(widths[0])}  {what.ljust(widths[1])}  {title}".rstrip()
        for url, what, title in rows
    ]


def _order(label: str) -> tuple[bool, int, str]:
    is_port = label.isascii() and label.isdigit()
    return not is_port, len(label) if is_port else 0, label


def _what(site: Site) -> str:
    if site.is_own:
        return "vshare"
    return site.host if site.is_virtual else f"port {site.port}"
