"""Another Host for the machine's server, and its own names in what it answers brought back. Pure.

`--host-header` says which Host the machine gets (`wanted_host`); virtual hosts get their names
whatever it says. A server that was asked under its own name answers with that name: in redirects,
cookies, and what it allows other origins. So where Host is changed (`Rewriting`),

* Origin, Referer and Destination that name the visitor's own site, or another one of the share,
  name what the machine knows it by. Servers compare them with Host, against forged requests and
  for WebSockets. Those of strangers stay as they are: that is what the comparison is for.
* Location, Content-Location, Refresh, Link and Access-Control-Allow-Origin that name the machine
  name the public URL of the site that is meant, where it is shared. A visitor with TLS keeps it.
* the Domain of a cookie is dropped where it is the machine's: the cookie is that one site's then.

Where Host is the visitor's own (`keep`), a server that sends visitors on to one of its virtual
hosts still names that, and nginx makes absolute URLs of that Host and the port where it listens
itself. Location and Refresh that would lead nowhere are brought back (`Redirects`); nothing else.

X-Forwarded-Host and -Proto go on to virtual hosts: what trusts them makes public URLs. With
`rewrite` the machine shall believe that it is visited from within. There they would be compared
with Origin (Next.js, code-server), or refused themselves (Rails), so they are left out.

Bodies are not touched. What is malformed is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.errors import UsageError
from tunnel.http_heads import AnswerHead, Head, RequestHead
from tunnel.names import ShareName
from vshare.machine import LOOPBACK, Machine, parse_ip
from vshare.web.rules import Reply
from vshare.web.sites import HTTPS_PORT, MAIN, Site, Sites, host_of, with_label

KEEP, REWRITE = "keep", "rewrite"
LOCALHOST = "localhost"  # what development servers accept unasked, more often than an address
MAX_HOST_HEADER = 255  # characters: a name's 253 (RFC 1035) do not have all of them with a port
_PORTS = {"http": 80, "https": HTTPS_PORT}

_ASKED = (b"origin", b"referer", b"destination")
_ANSWERED = (b"location", b"content-location", b"access-control-allow-origin")
_LEADING_ON = (b"location", b"refresh")
_TELLING = (b"x-forwarded-host", b"x-forwarded-proto", b"forwarded")
_AUTHORITY = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?"
_HOST = re.compile(_AUTHORITY)
# A URL with an authority, up to its path; userinfo is the second group.
_URL = re.compile(
    rb"(?:(https?):)?//([^/?#\\@\s\"'<>\[\]]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    rb"(?::(\d{0,5}))?(?=[/?#]|\Z)",
    re.IGNORECASE,
)
# What stands before the URL in `5; url=URL`, as browsers read it.
_REFRESH = re.compile(rb"[\d.\s]++[;,]\s*+(?:url\s*+=\s*+)?+", re.IGNORECASE)
_LINK = re.compile(rb"\"(?:[^\"\\]|\\.)*+\"?+|<([^<>]*+)>")  # what is quoted is no target


def check_host_header(text: str) -> None:
    """Raise UsageError unless `text` is what `--host-header` takes."""
    if len(text) > MAX_HOST_HEADER or not _HOST.fullmatch(text):
        raise UsageError(
            f"not a host for --host-header: {text[:60]!r}",
            "give keep, rewrite, or the host that the machine's server knows, such as app.test or"
            " app.test:8080",
        )


def wanted_host(host_header: str, port: int, *, tls: bool) -> str:
    """The Host that `--host-header` wants a site at `port` to get; empty: the visitor's."""
    if host_header == KEEP:
        return ""
    if host_header == REWRITE:
        return authority(LOCALHOST, port, tls=tls)
    return host_header


def authority(host: str, port: int, *, tls: bool) -> str:
    """`HOST[:PORT]` as browsers write it."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == _PORTS["https" if tls else "http"] else f"{shown}:{port}"


class Places:
    """Which of the shared sites is meant by what the machine calls its own."""

    def __init__(self, sites: Sites, machine: Machine) -> None:
        self.sites = sites
        names = {LOCALHOST, LOOPBACK, "::1", machine.name.lower()}
        if machine.address:
            names.add(_plain(machine.address))
        self._names = names
        self._sites: dict[tuple[str, int], Site] = {}
        for site in sites.all():
            own = {_plain(site.server_name)} if site.host else set()
            for name in own if site.is_virtual else own | names:
                self._sites.setdefault((name, site.port), site)
        outside = {each.guest: each.host for each in machine.forwarded}
        for (name, port), site in list(self._sites.items()):
            if port in outside:  # how the sharer's own browser sees the machine
                self._sites.setdefault((name, outside[port]), site)

    def find(self, scheme: str, host: str, port: int | None, asked: Site) -> Site | None:
        """The site at `scheme://host:port`, in the answer of `asked`; None: not a shared one.

        Without a port, the scheme's is meant, or else that of `asked`: some servers do not know
        theirs.
        """
        name = _plain(host)
        found = self._sites.get((name, port or _PORTS[scheme]))
        if found is None and port is None:
            found = self._sites.get((name, asked.port))
        return found

    def has_domain(self, domain: str, asked: Site) -> bool:
        """Whether a cookie's Domain is the machine's, for a server that was sent `asked.host`."""
        host = _plain(asked.server_name)
        return domain in self._names or domain == host or host.endswith("." + domain)


@dataclass(frozen=True, slots=True)
class _Visit:
    """Where a visitor is, as the browser shows it."""

    scheme: str
    host: str  # with the port, if it is not the scheme's


class _Outward:
    """What brings URLs that the machine's server names back to the share's public ones.

    `https_url` is that of the share's main site, empty if there is none.
    """

    def __init__(self, site: Site, places: Places, name: ShareName, https_url: str) -> None:
        self._site, self._places, self._name = site, places, name
        match = _URL.match(https_url.encode())
        self._secure_host = "" if match is None else _host_and_port(match).decode()

    def _outside(self, url: bytes, visit: _Visit) -> bytes:
        """A URL of the machine's, as the visitor knows it."""
        match = _URL.match(url)
        if match is None:
            return url
        scheme = match[1].decode().lower() if match[1] else self._site.scheme
        port = int(match[4]) if match[4] else None
        site = self._find(scheme, match, port, visit)
        if site is None:
            return url
        secure = scheme == "https" and bool(self._secure_host)
        public = "https" if secure or visit.scheme == "https" else "http"
        host = self._public_host(site.label, public, visit)
        if host is None:
            return url
        begin = f"{public}://" if match[1] else "//"
        return begin.encode() + (match[2] or b"") + host.encode() + url[match.end() :]

    def _find(
        self, scheme: str, named: re.Match[bytes], port: int | None, visit: _Visit
    ) -> Site | None:
        """The site that is meant by a URL of the machine's; None: it is to stay as it is."""
        return self._places.find(scheme, host_of(named[3].decode()), port, self._site)

    def _public_host(self, label: str, scheme: str, visit: _Visit) -> str | None:
        """Where a site is, for this visitor; None if there it cannot be told."""
        if scheme == visit.scheme:
            host, at = visit.host, self._site.label
        elif scheme == "https":
            host, at = self._secure_host, MAIN
        else:
            return None
        return host if label == at else with_label(host, self._name, label)


class Redirects(_Outward):
    """The Rule of a `site` whose server is sent the visitor's Host. It comes after all others.

    `url` is the share's main site's without TLS, empty if there is none.
    """

    def __init__(
        self, site: Site, places: Places, name: ShareName, https_url: str, url: str
    ) -> None:
        super().__init__(site, places, name, https_url)
        match = _URL.match(url.encode())
        self._plain_host = "" if match is None else _host_and_port(match).decode()

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        return None

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        """See Rule.answer."""
        if not any(name.lower() in _LEADING_ON for name, _ in head.fields):
            return  # nearly all
        visit = _visit(request)
        if visit is None:
            return

        def back(url: bytes) -> bytes:
            return self._outside(url, visit)

        _change(head, (b"location",), back)
        _change(head, (b"refresh",), lambda value: _in_refresh(value, back))

    def _find(
        self, scheme: str, named: re.Match[bytes], port: int | None, visit: _Visit
    ) -> Site | None:
        """A virtual host's, or what is at a port of the machine's under the visitor's own Host."""
        host = _plain(host_of(named[3].decode()))
        if host == host_of(visit.host):
            if not named[1] or self._is_public(scheme, _host_and_port(named).decode(), visit):
                return None
            return self._places.find(scheme, LOCALHOST, port, self._site)
        site = self._places.find(scheme, host, port, self._site)
        return site if site is not None and site.is_virtual else None

    def _is_public(self, scheme: str, host: str, visit: _Visit) -> bool:
        """Whether this site is there, so that the visitor gets there anyway."""
        if scheme == visit.scheme:
            return host.lower() == visit.host
        main = self._secure_host if scheme == "https" else self._plain_host
        return host.lower() == (with_label(main, self._name, self._site.label) or main)


class Rewriting(_Outward):
    """The Rule of a `site` that has a host of its own. It comes after all others."""

    def __init__(self, site: Site, places: Places, name: ShareName, https_url: str) -> None:
        super().__init__(site, places, name, https_url)
        self._host = site.host.encode()

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        visit = _visit(head)
        if visit is not None:
            _change(head, _ASKED, lambda value: self._inside(value, visit))
        if self._site.as_local:
            for name in _TELLING:
                head.drop(name)
        head.set(b"Host", self._host)
        return None

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        """See Rule.answer."""
        visit = _visit(request)
        if visit is None:
            return

        def back(url: bytes) -> bytes:
            return self._outside(url, visit)

        _change(head, _ANSWERED, back)
        _change(head, (b"refresh",), lambda value: _in_refresh(value, back))
        _change(head, (b"link",), lambda value: _in_links(value, back))
        _change(head, (b"set-cookie",), self._without_domain)

    # -- what the machine is told

    def _inside(self, url: bytes, visit: _Visit) -> bytes:
        """A URL of the visitor's, as the machine knows it."""
        match = _URL.match(url)
        if match is None or not match[1] or match[2]:
            return url
        scheme = match[1].decode().lower()
        site = self._public_site(_Visit(scheme, _host_and_port(match).decode().lower()), visit)
        if site is None or not site.host:
            return url
        return f"{site.scheme}://{site.host}".encode() + url[match.end() :]

    def _public_site(self, named: _Visit, visit: _Visit) -> Site | None:
        """The site with this public URL."""
        if named == visit:
            return self._site
        sites = self._places.sites
        for label in sites.labels:
            if self._public_host(label, named.scheme, visit) == named.host:
                return sites.find(label, _PORTS[named.scheme])
        return None

    # -- what the visitor is told

    def _without_domain(self, cookie: bytes) -> bytes:
        """A Set-Cookie without the machine's own Domain; of several the last counts (RFC 6265
        5.3)."""
        parts = cookie.split(b";")
        domains = [at for at, part in enumerate(parts) if at and _attribute(part)[0] == b"domain"]
        if not domains:
            return cookie
        domain = _attribute(parts[domains[-1]])[1].lower().removeprefix(b".")
        if not self._places.has_domain(domain.decode("latin-1"), self._site):
            return cookie
        return b";".join(part for at, part in enumerate(parts) if at not in domains)


def _plain(host: str) -> str:
    """A host, to be compared."""
    address = parse_ip(host)
    return str(address) if address is not None else host.removesuffix(".").lower()


def _visit(request: RequestHead) -> _Visit | None:
    """As the gateway has said it; None if it has not."""
    scheme = (request.value(b"x-forwarded-proto") or b"").decode("latin-1").lower()
    host = (request.value(b"x-forwarded-host") or b"").decode("latin-1").lower()
    if scheme not in _PORTS or not _HOST.fullmatch(host):
        return None
    return _Visit(scheme, _without_default_port(host, scheme))


def _without_default_port(host: str, scheme: str) -> str:
    return host.removesuffix(f":{_PORTS[scheme]}") if not host.endswith("]") else host


def says_other_port(site: Site, url: str) -> bool:
    """Whether redirects that name the port where `site` listens lead visitors of `url` nowhere."""
    match = _URL.match(url.encode())
    if match is None or not site.says_port:
        return False
    public = int(match[4]) if match[4] else _PORTS[(match[1] or b"http").decode().lower()]
    return public != site.port


def _host_and_port(match: re.Match[bytes]) -> bytes:
    """The authority of a _URL, without the port that goes without saying."""
    port = match[4]
    if not port or int(port) == _PORTS.get((match[1] or b"").decode().lower()):
        return match[3]
    return match[3] + b":" + port


def _change(head: Head, names: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> None:
    """Change the values of all fields with these names (lower case)."""
    head.fields[:] = [
        (name, change(value) if name.lower() in names else value) for name, value in head.fields
    ]


def _attribute(part: bytes) -> tuple[bytes, bytes]:
    name, _, value = part.partition(b"=")
    return name.strip().lower(), value.strip()


def _in_refresh(value: bytes, change: Callable[[bytes], bytes]) -> bytes:
    match = _REFRESH.match(value)
    if match is None:
        return value
    begin, url = match[0], value[match.end() :]
    if url[:1] in (b"'", b'"'):
        begin, (url, quote, rest) = begin + url[:1], url[1:].partition(url[:1])
        return begin + change(url) + quote + rest
    return begin + change(url)


def _in_links(value: bytes, change: Callable[[bytes], bytes]) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        return match[0] if match[1] is None else b"<" + change(match[1]) + b">"

    return _LINK.sub(one, value)
