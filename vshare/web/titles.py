"""The titles of the sites' pages, for people who choose between their URLs.

Each site is asked for its page under its own Host. What comes is a peer's, and is shown on a
terminal: it is bounded, and without control characters.
"""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import dataclass, replace

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.http_bodies import Body
from tunnel.http_heads import AnswerHead, maybe_answer
from vshare.machine import LOOPBACK
from vshare.reach import Reach
from vshare.web.rewriting import LOCALHOST, authority
from vshare.web.sites import Site, Sites
from vshare.web.tls_end import TlsEnd

TITLES_WITHIN = 3.0  # seconds for all of them; people wait for it, and a title is an extra
MAX_PARALLEL = 8  # sockets, or SSH channels, at once
MAX_PAGE = 64 * 1024  # bytes of a page in which its title is looked for
MAX_TITLE_SOURCE = 1024  # bytes of it, with entities
MAX_TITLE = 60  # characters that are shown
_SAYS_PORT = (b"nginx", b"openresty")  # servers that make redirects of Host and their own port
MAX_REDIRECTS = 3  # to a page of the same site, as a log-in
_BEGIN = re.compile(rb"<title(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_END = re.compile(rb"</title", re.IGNORECASE)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([A-Za-z0-9_-]{1,20})", re.IGNORECASE)
# Python knows codings that are none of text, and some that take long.
_CODINGS = re.compile(
    r"utf-?8|us-ascii|iso-8859-(?:[1-9]|1[013456])|windows-125[0-8]|shift_jis|euc-(?:jp|kr)|gbk|gb2312|gb18030"
    r"|big5|koi8-[ru]",
    re.IGNORECASE,
)
_PATH = re.compile(rb"(?:(https?)://([^/?#\\@]+))?(/(?!/)[!-~]*)", re.IGNORECASE)


async def add_titles(reach: Reach, sites: Sites) -> Sites:
    """`sites` with the titles of their pages, and what their servers are known to do, as far as
    that comes within TITLES_WITHIN.

    Does not raise for a site.
    """
    titles: dict[Site, str] = {}
    servers: dict[Site, bytes] = {}
    room = asyncio.Semaphore(MAX_PARALLEL)

    async def ask(site: Site) -> None:
        async with room:
            titles[site] = await _title(reach, site, servers)

    try:
        async with asyncio.timeout(TITLES_WITHIN), asyncio.TaskGroup() as group:
            for site in sites.all():
                group.create_task(ask(site), name=f"title of {site.port}")
    except TimeoutError:
        pass  # they have none
    return sites.map(
        lambda site: replace(
            site,
            title=titles.get(site, ""),
            says_port=servers.get(site, b"").lower().startswith(_SAYS_PORT),
        )
    )


def title_of(head: AnswerHead, page: bytes) -> str:
    """The title of a page that begins with `page`, fit for a terminal; "" without one."""
    begin = _BEGIN.search(page)
    if begin is None:
        return ""
    rest = page[begin.end() : begin.end() + MAX_TITLE_SOURCE]
    end = _END.search(rest)
    if end is None:
        return ""
    stated = _CHARSET.search(head.value(b"content-type") or b"") or _CHARSET.search(page)
    coding = stated[1].decode() if stated is not None else ""
    text = rest[: end.start()].decode(coding if _CODINGS.fullmatch(coding) else "utf-8", "replace")
    words = " ".join(html.unescape(text).split())
    return "".join(char for char in words if char.isprintable())[:MAX_TITLE].strip()


@dataclass(frozen=True, slots=True)
class Page:
    """The begin of what a site answered."""

    head: AnswerHead
    body: bytes


class PageReader:
    """Reads one answer, as far as it is wanted. Sans-I/O."""

    def __init__(self) -> None:
        self._head: AnswerHead | None = None
        self._body: Body | None = None
        self._data = bytearray()  # of a head
        self._page = bytearray()
        self.is_done = False

    def receive_data(self, data: Bytes) -> None:
        """Take what came. Raises RemoteProtocolError for what is not plain HTTP/1.1."""
        if self._body is None:
            self._data += data
            data = self._receive_head()
        if self._body is not None and not self.is_done:
            self._body.take(memoryview(data), self._receive_payload)
            self.is_done = self._body.is_whole or len(self._page) >= MAX_PAGE

    def _receive_head(self) -> bytes:
        """What follows the head, once that is whole; interim ones are left out."""
        while (found := maybe_answer(self._data)) is not None:
            head, size = found
            del self._data[:size]
            if head.is_final:
                self._head, self._body = head, head.body(b"GET")
                return bytes(self._data)
        return b""

    def _receive_payload(self, data: Bytes) -> None:
        self._page += data[: MAX_PAGE - len(self._page)]

    @property
    def page(self) -> Page | None:
        """What has come of it; None before its head was whole."""
        return None if self._head is None else Page(self._head, bytes(self._page))


async def _title(reach: Reach, site: Site, servers: dict[Site, bytes]) -> str:
    """The title of the site's first page; "" without one. `servers` is told what answers."""
    host = site.host or authority(LOCALHOST, site.port, tls=site.tls)
    path = b"/"
    for _ in range(MAX_REDIRECTS + 1):
        try:
            page = await _fetch(reach, site, host, path)
        except (RefusedError, RemoteProtocolError):
            return ""
        if page is None:
            return ""
        servers[site] = page.head.value(b"server") or b""
        location = page.head.value(b"location")
        if not 300 <= page.head.status < 400 or location is None:
            return title_of(page.head, page.body)
        match = _PATH.fullmatch(location)
        if match is None or (match[2] and not _is_at(site, host, match)):
            return ""
        path = match[3].partition(b"#")[0]
    return ""


def _is_at(site: Site, host: str, location: re.Match[bytes]) -> bool:
    scheme, place = location[1].decode().lower(), location[2].decode("latin-1").lower()
    return (scheme, place) == (site.scheme, host.lower())


async def _fetch(reach: Reach, site: Site, host: str, path: bytes) -> Page | None:
    """Ask for one page. Raises RefusedError, RemoteProtocolError."""
    end = await reach.open_tcp(LOOPBACK if site.loopback else "", site.port)
    asker = _Asker()
    try:
        if site.tls:
            end = TlsEnd(end, site.server_name or LOCALHOST)
            await end.handshake()
        asker.link(end)
        end.link(asker)
        end.send(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: vshare\r\nAccept: text/html, */*\r\n"
            b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n" % (path, host.encode())
        )
        await asker.done.wait()
    finally:
        end.reset(Code.CLOSED)
        asker.closed(Code.CLOSED)
    if asker.error is not None:
        raise asker.error
    return asker.reader.page


class _Asker(End):
    """The peer of a site that is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = PageReader()
        self.done = asyncio.Event()
        self.error: RemoteProtocolError | None = None

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self.done.is_set():
            return
        try:
            self.reader.receive_data(data)
        except RemoteProtocolError as error:
            self.error = error
        if self.reader.is_done or self.error is not None:
            self.done.set()

    def send_eof(self) -> None:
        """See End.send_eof."""
        self.done.set()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self.done.set()

    def pause_reading(self) -> None:
        """A request fits any buffer."""

    def resume_reading(self) -> None:
        """Nothing is read."""
