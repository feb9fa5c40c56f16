from __future__ import annotations

import pytest

from tests.vshare.web.requests import (
    BROWSER,
    FORM,
    HOST,
    Clock,
    cookie,
    refused,
    request,
    submit,
    value,
)
from vshare.web.cookies import Cookies
from vshare.web.interstitial import Interstitial, about
from vshare.web.rules import Form

PATH = "/.vshare/continue"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


def rule() -> Interstitial:
    sentences = about("Ada & <friends>", "the demo machine", "frosty-weasel-0857")
    key = b"k" * 32
    return Interstitial("Ada & <friends>", sentences, key, Cookies(b"vshare-seen", key, Clock()))


def test_it_says_who_shares_what() -> None:
    reply = refused(rule().request(request("/a?b=c", more=BROWSER)))
    assert reply.status == 200
    assert b"<h1>Ada &amp; &lt;friends&gt; shares this site</h1>" in reply.body
    assert b"shares the demo machine with you for a while, as frosty-weasel-0857" in reply.body
    assert b'<form method="post" action="/.vshare/continue">' in reply.body
    assert b'name="to" value="/a?b=c"' in reply.body
    assert b"<small>200 OK, answered by vshare, not by the machine</small>" in reply.body
    assert value(reply, b"Cache-Control") == b"no-store"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("GET", {"Accept": "*/*"}),
        ("GET", {"Accept": "application/json"}),
        ("GET", {}),
        ("POST", BROWSER),
        ("PUT", BROWSER),
        ("OPTIONS", BROWSER),
        ("GET", BROWSER | UPGRADE),
        ("GET", BROWSER | {"Sec-Fetch-Mode": "cors"}),
        ("GET", BROWSER | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ],
)
def test_programs_do_not_see_it(method: str, more: dict[str, str]) -> None:
    assert rule().request(request("/", method, more=more)) is None


def test_it_is_seen_once() -> None:
    first = rule()
    post = request(PATH, "POST", more=FORM | {"Origin": f"https://{HOST}"})
    reply = submit(first.request(post), to="/a")
    assert (reply.status, value(reply, b"Location")) == (303, b"/a")
    head = request("/a", more=BROWSER | {"Cookie": f"a=b; {cookie(reply)}"})
    assert first.request(head) is None
    assert head.value(b"cookie") == b"a=b"


def test_other_sites_cannot_skip_it() -> None:
    post = request(PATH, "POST", more=FORM | {"Origin": "https://evil.example"})
    reply = submit(rule().request(post), to="/a")
    assert (reply.status, value(reply, b"Set-Cookie")) == (403, None)
    assert submit(rule().request(request(PATH, "POST")), to="/a").status == 400
    assert not isinstance(rule().request(request(PATH, more=BROWSER)), Form)


def test_nobody_is_led_to_another_site() -> None:
    reply = submit(rule().request(request(PATH, "POST", more=FORM)), to="//evil.example")
    assert value(reply, b"Location") == b"/"
    link = rule().invite_link("//evil.example")
    reply = refused(rule().request(request(link, more=BROWSER)))
    assert value(reply, b"Location") == b"/"


@pytest.mark.parametrize(
    ("before", "after"),
    [("/a", b"/a"), ("/a?b=c&{}", b"/a?b=c"), ("/a?{}&b=c", b"/a?b=c"), ("/?{}", b"/"),
     ("/a?{}&b&{}", b"/a?b")],
)  # fmt: skip
def test_an_invite_link_skips_it(before: str, after: bytes) -> None:
    first = rule()
    link = first.invite_link(before) if "{}" not in before else before
    token = first.invite_link("").lstrip("?")
    target = link.replace("{}", token)
    reply = refused(first.request(request(target, more=BROWSER)))
    assert (reply.status, value(reply, b"Location")) == (303, after)
    assert first.request(request("/a", more=BROWSER | {"Cookie": cookie(reply)})) is None
    head = request(target, more={"Accept": "*/*"})
    assert first.request(head) is None
    assert head.target == after


def test_other_tokens_are_the_machines() -> None:
    first = rule()
    head = request("/a?vshare=1", more=BROWSER)
    assert refused(first.request(head)).status == 200
    assert head.target == b"/a?vshare=1"
    other = Interstitial("Eve", [], b"x" * 32, Cookies(b"vshare-seen", b"x" * 32, Clock()))
    assert refused(first.request(request(other.invite_link("/"), more=BROWSER))).status == 200
