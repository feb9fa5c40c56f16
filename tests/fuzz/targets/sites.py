"""What the machine says of its sites: configurations, pages, and names in its answers."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from tests.fuzz.target import Target, choose, require, same_however_cut
from tunnel.errors import RemoteProtocolError
from tunnel.http_heads import AnswerHead, RequestHead, maybe_answer, maybe_request
from tunnel.names import ShareName
from vshare.machine import Machine, Source
from vshare.web.rewriting import Places, Redirects, Rewriting
from vshare.web.sites import Site, Sites
from vshare.web.titles import MAX_PAGE, MAX_TITLE, PageReader, title_of
from vshare.web.vhosts import MAX_NAME, parse_vhosts

NAME = ShareName("frosty-weasel-0857")
APP = Site("app-test", 80, host="app.test")
SITES = Sites(
    http=Site("", 8000, host="localhost:8000", as_local=True),
    others={"app-test": APP, "shop-test": Site("shop-test", 8080, host="shop.test:8080")},
)
PUBLIC = {f"{NAME}{label}.relay.example" for label in ("", "--app-test", "--shop-test")}
OWN = {"app.test", "shop.test", "localhost", "127.0.0.1", "::1", "192.0.2.7", "web"}
MACHINE = Machine("web", "x", "running", "192.0.2.7", Source.VAGRANT)
RULE = Rewriting(APP, Places(SITES, MACHINE), NAME, f"https://{NAME}.relay.example/")
PLAIN = Site("", 8000)
KEPT = Redirects(
    PLAIN,
    Places(Sites(http=PLAIN, others=SITES.others), MACHINE),
    NAME,
    f"https://{NAME}.relay.example:7443/",
    f"http://{NAME}.relay.example:7443/",
)
VISITOR = [
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", f"{NAME}--app-test.relay.example".encode()),
]
NAMES = (b"Location", b"Refresh", b"Link", b"Set-Cookie", b"Access-Control-Allow-Origin")


def _host(url: bytes) -> str:
    """As another reader of URLs has it."""
    try:
        return (urlsplit(url.decode("latin-1")).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def run_rewriting(data: bytes) -> None:
    value = bytes(each for each in data if each == 9 or (32 <= each != 127)).strip(b" \t")
    asked = RequestHead(1, [(b"Host", b"x"), *VISITOR], b"GET", b"/")
    answer = AnswerHead(1, [(name, value) for name in NAMES], 302, b"Found")
    RULE.answer(asked, answer)
    require([name for name, _ in answer.fields] == list(NAMES), "fields are as many as before")
    require(maybe_answer(answer.serialize()) is not None, "the head is one")
    location = answer.fields[0][1]
    if location != value:
        require(_host(value) in OWN, "what was brought back was the machine's", value)
        require(_host(location) in PUBLIC, "it leads to the share", location)
    sent = RequestHead(1, [(b"Origin", value), *asked.fields], b"GET", b"/")
    require(RULE.request(sent) is None, "it answers nothing itself")
    require(maybe_request(sent.serialize()) is not None, "the head is one")
    origin = sent.value(b"origin") or b""
    if origin != value:
        require(_host(value) in PUBLIC, "strangers stay strangers", value)
        require(_host(origin) in OWN, "the machine knows itself", origin)


def run_redirects(data: bytes) -> None:
    """Where Host is kept: only what names a virtual host, or this site at another port."""
    value = bytes(each for each in data if each == 9 or (32 <= each != 127)).strip(b" \t")
    host = f"{NAME}.relay.example:7443".encode()
    asked = RequestHead(
        1, [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", host)], b"GET", b"/"
    )
    answer = AnswerHead(1, [(name, value) for name in NAMES], 302, b"Found")
    KEPT.answer(asked, answer)
    require([name for name, _ in answer.fields] == list(NAMES), "fields are as many as before")
    require(maybe_answer(answer.serialize()) is not None, "the head is one")
    require(all(each == value for _, each in answer.fields[2:]), "all else is kept")
    location = answer.fields[0][1]
    if location != value:
        virtual = {"app.test", "shop.test", f"{NAME}.relay.example"}
        require(_host(value) in virtual, "what was brought back was the machine's", value)
        require(_host(location) in PUBLIC, "it leads to the share", location)
        require(b":7443" in location, "at the relay's port", location)


def run_vhosts(data: bytes) -> None:
    """Never an exception: what does not fit is left out."""
    found = parse_vhosts(data.decode("utf-8", "replace"))
    for each in found.hosts:
        require(0 < each.port < 65_536, "a port is one", each)
        require(0 < len(each.name) <= MAX_NAME, "a name has its length", each)
        require(each.name.isascii() and each.name.isprintable(), "a name can be shown", each)


def run_title(data: bytes) -> None:
    which, data = choose(data)
    head = AnswerHead(1, [(b"Content-Type", data[: which & 31])], 200, b"OK")
    title = title_of(head, data)
    require(len(title) <= MAX_TITLE and title.isprintable(), "a title can be shown", title)


def run_page(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        reader = PageReader()
        try:
            for piece in pieces:
                if not reader.is_done:
                    reader.receive_data(piece)
        except RemoteProtocolError:
            return "error"
        page = reader.page
        require(page is None or len(page.body) <= MAX_PAGE, "no more is kept")
        return reader.is_done, page

    same_however_cut(data, feed)


URLS = (
    b"http://app.test/a?b#c", b"https://shop.test:8080", b"//localhost:8000/",
    b"https://frosty-weasel-0857--shop-test.relay.example", b"5; url='http://app.test/'",
    b"http://frosty-weasel-0857.relay.example:8000/",
    b'<http://[::1]:8000/>; rel="x"', b"a=b; Domain=.app.test; Secure", b"http://u:p@192.0.2.7:8000/",
)  # fmt: skip
URL_WORDS = (
    b"http://", b"https:", b"//", b"@", b":80", b":8080", b"\\", b"#", b"?", b"app.test",
    b"frosty-weasel-0857", b"--app-test", b".relay.example", b"localhost", b"[::1]", b"; Domain=",
    b"0;url=", b"<", b">", b'"', b".", b"%2f", b"evil.example",
)  # fmt: skip
CONFIGURED = (
    b"== nginx\n# configuration file /nginx.conf:\nhttp { include a/*; server { listen 80;"
    b' server_name .a.test "~x"; } }\n# configuration file /a/b:\nserver { listen [::1]:443 ssl;'
    b" server_name b.test; }\n",
    b"== apache\nVirtualHost configuration:\n*:80  is a NameVirtualHost\n"
    b"         port 80 namevhost a.test (/a:1)\n                 alias b.test\n",
    b"== container 0.0.0.0:81->80/tcp\n# configuration file /x:\nserver { server_name a.test; }\n",
    b"== apache\n# configuration file /x:\nListen 81\n<VirtualHost *>\nServerName a.test\n"
    b"</VirtualHost>\n",
)
CONFIG_WORDS = (
    b"== nginx\n", b"== apache\n", b"# configuration file /x:\n", b"server {", b"}", b";", b"{",
    b"listen ", b"server_name ", b"include ", b"*", b'"', b"'", b"\\", b"${", b"#", b"~", b".",
    b"<VirtualHost ", b"</VirtualHost>\n", b"ServerAlias ", b"->", b"/tcp", b"\n", b"65536",
    "\u0663".encode(), b"\x1b[2J",
)  # fmt: skip
PAGES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Hi\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhi\r\n0\r\n\r\n",
)
TARGETS = (
    Target("rewriting", run_rewriting, (), URLS, ("vshare.web.rewriting",), URL_WORDS),
    Target("redirects", run_redirects, (), URLS, ("vshare.web.rewriting",), URL_WORDS),
    Target(
        "virtual-hosts", run_vhosts, (), CONFIGURED,
        ("vshare.web.vhosts", "vshare.web.nginx", "vshare.web.apache"), CONFIG_WORDS, None, 8192,
    ),
    Target(
        "page-title", run_title, (),
        (b"\x1ftext/html;charset=utf-8<title>a &amp; b</title>", b"\0<TITLE>x\n</title >"),
        ("vshare.web.titles",), (b"<title>", b"</title>", b"&#x202e;", b"&#", b"charset="),
    ),
    Target("page", run_page, (), PAGES, ("vshare.web.titles",), (b"\r\n", b"HTTP/1.1 ")),
)  # fmt: skip
