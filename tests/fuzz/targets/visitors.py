"""What visitors of a share's sites send to be let in: credentials, cookies, forms, requests."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from urllib.parse import urlencode, urljoin, urlsplit

from tests.fuzz.target import Target, choose, require, same_however_cut
from tests.fuzz.targets import loop
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.http_heads import RequestHead
from tunnel.http_pages import Media, Page, body_of, fields_of, negotiate
from vshare.web.access import BasicAuth, credentials_of
from vshare.web.cookies import Cookies
from vshare.web.passcode import PATH, Passcode
from vshare.web.rules import Form, Watcher
from vshare.web.stage import Stage
from vshare.web.tries import Tries
from vshare.web.visit import safe_place

SITE = b"frosty-weasel-0857.relay.example"
CODE = "k7mq-2xdp"
USER, PASSWORD = "ada", "pa:ss\u00e9"
RIGHT = base64.b64encode(f"{USER}:{PASSWORD}".encode())
FORWARDED = [
    (b"X-Forwarded-For", b"203.0.113.7"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", SITE),
]
GET = b"GET /a HTTP/1.1\r\nHost: " + SITE + b"\r\nX-Forwarded-Proto: https\r\n"


def _now() -> float:
    return 1_800_000_000.0


COOKIES = Cookies(b"vshare", b"k" * 32, _now)


def _head(
    *fields: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/"
) -> RequestHead:
    return RequestHead(1, [(b"Host", SITE), *fields, *FORWARDED], method, target)


def _text(data: bytes) -> bytes:
    """As a field's value can be."""
    return bytes(each for each in data if each == 9 or (32 <= each != 127)).strip(b" \t")


GOOD = COOKIES.make(_head())[1].partition(b";")[0]


def run_credentials(data: bytes) -> None:
    head = _head((b"Authorization", _text(data)))
    given = credentials_of(head)
    rule = BasicAuth(USER, PASSWORD, "frosty-weasel-0857", Tries(_now))
    answer = rule.request(head)
    if answer is None:
        require(given == f"{USER}:{PASSWORD}", "nobody else comes in", given)
        require(not head.values(b"authorization"), "the machine does not see it")
    else:
        require(answer.status == 401, "who does not is asked", answer.status)


def run_cookies(data: bytes) -> None:
    value = _text(data)
    head = _head((b"Cookie", value))
    pairs = [pair.strip(b" \t") for pair in value.split(b";")]
    found = COOKIES.take(head)
    require(found == (GOOD in pairs), "a good cookie is known, and no other", found)
    left = [pair.strip(b" \t") for each in head.values(b"cookie") for pair in each.split(b";")]
    ours = (b"vshare", b"__Host-vshare")
    others = [pair for pair in pairs if pair.partition(b"=")[0] not in ours]
    require(left == others, "the others stay, in their order", left)


def run_form(data: bytes) -> None:
    rule = Passcode(CODE, COOKIES, Tries(_now))
    kind = (b"Content-Type", b"application/x-www-form-urlencoded")
    answer = rule.request(_head(kind, method=b"POST", target=PATH))
    assert isinstance(answer, Form)
    reply = answer.reply(data)
    fields = dict(reply.fields)
    require(reply.status in (303, 400, 403), "it is one of these", reply.status)
    require((reply.status == 303) == (b"Set-Cookie" in fields), "who is in has a cookie")
    if reply.status == 303:
        require(CODE.encode() in data or b"%" in data, "nobody comes in without it", data)
        place = fields[b"Location"]
        require(place == safe_place(place), "the way back is safe", place)
        url = urljoin(f"https://{SITE.decode()}/.vshare/passcode", place.decode())
        require(urlsplit(url).hostname == SITE.decode(), "the way back is to this site", place)
    lines = b"".join(b"%b: %b\n" % field for field in reply.fields)
    require(b"\r" not in lines and lines.count(b"\n") == len(reply.fields), "fields are lines")


def run_accept(data: bytes) -> None:
    media = negotiate(data)
    text = data.decode("utf-8", "replace")
    page = Page(503, text, [text], text, 5)
    body = body_of(page, media)
    require(fields_of(page, media), "a page has fields")
    if media is Media.HTML:
        empty = body_of(Page(503, "", [""]), media)
        require(body.count(b"<") == empty.count(b"<"), "texts are no markup", body)
    if media is Media.TEXT:
        require(body.count(b"\n") == 2 and b"\x1b" not in body, "texts are lines", body)


class _Keeper(End):
    """Keeps what it is told to send."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.ended = False

    def send(self, data: Bytes) -> None:
        self.said += data

    def send_eof(self) -> None:
        self.ended = True

    def reset(self, code: Code) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Nobody:
    """A Gallery without visitors."""

    is_empty = True

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        return None


async def _visit(pieces: Iterable[bytes]) -> tuple[bytes, bytes, bool]:
    visitor, machine = _Keeper(), _Keeper()
    rule = Passcode(CODE, COOKIES, Tries(_now))
    stage = Stage(visitor, "", [rule], _Nobody(), lambda: None)
    stage.link(machine)
    for piece in pieces:
        if piece:
            visitor.peer.send(piece)
    return bytes(visitor.said), bytes(machine.said), visitor.ended


def run_stage(data: bytes) -> None:
    """Without the passcode nothing reaches the machine, whatever is said and how it arrives."""
    said, reached, ended = loop.run(_visit([data]))
    knows = CODE.encode() in data or GOOD.partition(b"=")[2] in data
    require(knows or not reached, "nobody comes in without it", reached)
    require(b"\nx-vshare-passcode:" not in reached.lower(), "it stays here", reached)
    if said:
        require(said.startswith(b"HTTP/1.1 "), "visitors get HTTP", said[:50])
        require(ended, "a reply is the last", said[:50])
    same_however_cut(data, lambda pieces: loop.run(_visit(pieces)))


def _form(chance: random.Random) -> bytes:
    places = ("/a?b=c", "//evil.example", "/\\evil.example", "https://evil.example", "/\r\nX: y")
    fields = {"to": chance.choice(places), "passcode": chance.choice((CODE, "wrong", ""))}
    return urlencode(fields).encode()


def _request(chance: random.Random) -> bytes:
    which, cookie = choose(chance.randbytes(1) + chance.choice((GOOD, b"a=b", b"vshare=1")))
    if which % 2:
        field = b"X-Vshare-Passcode: " + chance.choice((CODE.encode(), b"wrong"))
    else:
        field = b"Cookie: a=b; " + cookie
    again = chance.choice((b"", GET + b"\r\n"))
    return GET + field + b"\r\n\r\n" + again


_POST = (
    b"POST /.vshare/passcode HTTP/1.1\r\nHost: a\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n13\r\npasscode=k7mq-2xdp&\r\n0\r\n\r\n"
)
_WORDS = (
    b"passcode=", CODE.encode(), b"to=%2F", b"&", b"%", b"Basic ", RIGHT, b"__Host-vshare=",
    b"vshare=", b"; ", GOOD, b"Cookie: ", b"X-Vshare-Passcode: ", b"/.vshare/passcode", b"\r\n\r\n",
    b"text/html", b"application/json", b";q=0.", b"*/*",
)  # fmt: skip
_ACCEPTS = (b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", b"application/json", b"", b"\x1b\n")
TARGETS = (
    Target(
        "visitor-credentials", run_credentials, (),
        (b"Basic " + RIGHT, b"basic YTpi", b"Bearer x", b"Basic YWRh\xff"),
        ("vshare.web.access",), _WORDS,
    ),
    Target(
        "visitor-cookies", run_cookies, (),
        (GOOD, b"a=b; " + GOOD + b";c=d", b"vshare=1; __Host-vshare=1.x", b'a="; vshare=2"'),
        ("vshare.web.cookies",), _WORDS,
    ),
    Target(
        "visitor-form", run_form, (),
        (b"passcode=k7mq-2xdp&to=%2Fa", b"to=%2F%2Fevil.example&passcode=k7mq-2xdp", b"", b"%"),
        ("vshare.web.passcode", "vshare.web.visit"), _WORDS, _form,
    ),
    Target("visitor-accept", run_accept, (), _ACCEPTS, ("tunnel.http_pages",), _WORDS),
    Target(
        "visitor-stage", run_stage, (),
        (GET + b"\r\n", GET + b"Cookie: " + GOOD + b"\r\n\r\n", _POST),
        ("vshare.web.stage", "vshare.web.passcode"), _WORDS, _request,
        share=0.5, slow="one stage for each way to cut it",
    ),
)  # fmt: skip
