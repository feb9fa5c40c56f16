"""Titles of pages: asked under the right Host, and fit for a terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loops import run
from tests.vshare.peers import free_port, tcp_server
from tests.vshare.test_http_probe import https
from tunnel.errors import RemoteProtocolError
from tunnel.http_heads import AnswerHead
from vshare.reach_direct import DirectReach
from vshare.web import titles
from vshare.web.sites import Site, Sites
from vshare.web.titles import MAX_PAGE, PageReader, add_titles, title_of

HTML = [(b"Content-Type", b"text/html")]


def head(content_type: bytes = b"text/html") -> AnswerHead:
    return AnswerHead(1, [(b"Content-Type", content_type)], 200, b"OK")


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<html><head><title>Welcome to nginx!</title>", "Welcome to nginx!"),
        (b"<TITLE lang='en'>\n  A &amp; B\t&eacute;&#8364;\n</TITLE >", "A & B \u00e9\u20ac"),
        (b"<title>\xc3\xbcber</title>", "\u00fcber"),
        (b"<title></title>", ""),
        (b"<title>no end", ""),
        (b"<titles>x</titles>", ""),
        (b"no title", ""),
        (b"", ""),
        (b"<title>a</title><title>b</title>", "a"),
        (b"<title>" + b"x" * 100 + b"</title>", "x" * 60),
        (b"<title>" + b"x" * 2000 + b"</title>", ""),
        # Nothing of it moves the cursor, rings, or turns the text around.
        (b"<title>a\x1b[31m&#27;[2J&#7;\x00\x9b\xe2\x80\xae&#x202e;b</title>", "a[31m[2J\ufffdb"),
        (b"<title>&#10;&#13;x&nbsp;y</title>", "x y"),
        (b"<title>&lt;b&gt;</title>", "<b>"),
        (b"<title>&#99999999999999;&notanentity;</title>", "\ufffd\u00acanentity;"),
    ],
)  # fmt: skip
def test_titles_of_pages(page: bytes, title: str) -> None:
    assert title_of(head(), page) == title


@pytest.mark.parametrize(
    ("content_type", "page", "title"),
    [
        (b"text/html; charset=iso-8859-1", b"<title>\xfc</title>", "\u00fc"),
        (b"text/html", b"<meta charset=windows-1252><title>\x80</title>", "\u20ac"),
        (b"text/html;charset=Shift_JIS", b"<title>\x83\x81</title>", "\u30e1"),
        (b"text/html; charset=zlib", b"<title>x</title>", "x"),
        (b"text/html; charset=punycode", b"<title>x-y</title>", "x-y"),
        (b"text/html; charset=nonsense", b"<title>\xc3\xbc</title>", "\u00fc"),
        (b"text/html; charset=iso-8859-99", b"<title>x</title>", "x"),
    ],
)
def test_codings(content_type: bytes, page: bytes, title: str) -> None:
    assert title_of(head(content_type), page) == title


@given(st.binary(max_size=80), st.binary(max_size=30))
def test_any_page_has_a_title_that_can_be_shown(inside: bytes, charset: bytes) -> None:
    title = title_of(head(b"text/html; charset=" + charset), b"<title>" + inside + b"</title>")
    assert title.isprintable()
    assert len(title) <= 60


def reader(*pieces: bytes) -> PageReader:
    found = PageReader()
    for piece in pieces:
        found.receive_data(piece)
    return found


CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n4\r\n you\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_page_is_read_without_its_framing(step: int) -> None:
    found = reader(*(CHUNKED[at : at + step] for at in range(0, len(CHUNKED), step)))
    assert found.is_done
    assert found.page is not None
    assert (found.page.head.status, found.page.body) == (200, b"hello you")


def test_no_more_is_read_than_is_wanted() -> None:
    found = reader(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (MAX_PAGE - 1))
    before: bool = found.is_done
    assert not before
    found.receive_data(b"yz")
    done: bool = found.is_done
    assert done
    assert found.page is not None
    assert found.page.body == b"x" * (MAX_PAGE - 1) + b"y"


def test_what_is_no_answer() -> None:
    assert reader(b"HTTP/1.1 200 OK\r\n").page is None
    with pytest.raises(RemoteProtocolError):
        reader(b"SSH-2.0-x\r\n\r\n")


class Machine:
    """A web server with virtual hosts; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path, host = lines[0].split()[1], lines[1].removeprefix("Host: ")
        self.asked.append((host, path))
        to = self._redirect(host, path)
        if to is not None:
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode())
        else:
            page = f"<title>{host.partition(':')[0]} {path}</title>"
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + page.encode())
        await writer.drain()
        writer.close()

    def _redirect(self, host: str, path: str) -> str | None:
        if host == "far.test" and path == "/":
            return "http://elsewhere.test/there"
        if host == "twice.test":
            return "//twice.test/x"
        if host == "loop.test":
            return "/loop"
        if host == "log-in.test" and path == "/":
            return "/log-in?next=/#x"
        if host == f"full.test:{self.port}" and path == "/":
            return f"http://FULL.test:{self.port}/full"
        return None


def test_each_site_is_asked_under_its_own_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "TITLES_WITHIN", 0.5)  # one is mute

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        machine = Machine()
        async with (
            tcp_server(machine.serve) as port,
            tcp_server(silence) as mute,
            https(tmp_path) as secure,
            DirectReach("127.0.0.1") as reach,
        ):
            machine.port = port
            hosts = ["app.test", "log-in.test", "far.test", "twice.test", "loop.test"]
            sites = Sites(
                http=Site("", port),
                https=Site("", secure, tls=True),
                others={
                    **{host: Site(host, port, host=host) for host in hosts},
                    "full": Site("full", port, host=f"full.test:{port}"),
                    "no-tls": Site("no-tls", port, tls=True),
                    "closed": Site("closed", free_port()),
                    "mute": Site("mute", mute),
                },
            )
            found = await add_titles(reach, sites)
        shown = {label: found.find(label, 80).title for label in found.labels}
        assert {label: title for label, title in shown.items() if title} == {
            "": "localhost /",
            "app.test": "app.test /",
            "log-in.test": "log-in.test /log-in?next=/",
            "full": "full.test /full",
        }
        assert found.ports == sites.ports
        assert sum(host == "loop.test" for host, _ in machine.asked) == 4

    run(main)


@pytest.mark.parametrize(
    ("server", "says_port"),
    [("nginx/1.22.1", True), ("nginx", True), ("openresty/1.21", True), ("Apache", False)],
)
def test_whose_redirects_have_its_own_port(server: str, says_port: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 404 Not Found\r\nServer: {server}\r\n\r\n".encode())
        writer.close()

    async def main() -> None:
        async with tcp_server(serve) as port, DirectReach("127.0.0.1") as reach:
            found = await add_titles(reach, Sites(Site("", port)))
        assert found.find("", 80).says_port is says_port

    run(main)
