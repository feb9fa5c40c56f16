"""Who comes in to the guest page, and what is said to those who do not."""

from __future__ import annotations

import html

import pytest

from tests.loops import run
from tests.vshare.guest_page.small_page import HOST, PASSCODE, SmallPage
from tests.vshare.web.requests import BROWSER, cookie, refused, request, value
from tunnel.names import make_code
from vshare.guest_page.door import MAX_NAME, visitors_name


def test_the_passcode_opens_it() -> None:
    async def main() -> None:
        small = SmallPage()
        asked = refused(small.ask(request(host=HOST, more=BROWSER)))
        assert asked.status == 403
        assert b'name="passcode"' in asked.body
        wrong = small.join(passcode="k7mq-2xdq")
        assert wrong.status == 403
        assert value(wrong, b"Set-Cookie") is None
        right = small.join(passcode=f" {PASSCODE} ")
        assert (right.status, value(right, b"Location")) == (303, b"/")
        page = refused(small.ask(request(host=HOST, more={**BROWSER, "Cookie": cookie(right)})))
        assert page.status == 200
        assert b"Who is here" in page.body

    run(main)


def test_no_file_is_shown_to_who_is_not_in() -> None:
    async def main() -> None:
        small = SmallPage()
        for path in ("/", "/page.js", "/site/web", "/news", "/.vshare/leave"):
            assert refused(small.ask(request(path, host=HOST))).status == 403

    run(main)


def test_wrong_passcodes_are_limited() -> None:
    async def main() -> None:
        small = SmallPage()
        statuses = [small.join(passcode=f"wrong-{number}-xx").status for number in range(12)]
        assert statuses == [403] * 10 + [429] * 2
        assert small.join().status == 429  # the right one, too: else a guesser would know it

    run(main)


def test_a_form_from_elsewhere_is_not_read() -> None:
    async def main() -> None:
        small = SmallPage()
        for origin in (
            "https://frosty-weasel-0857.relay.example",
            "https://evil.example",
            "null",
            f"http://{HOST}",
        ):
            reply = small.join(origin=origin)
            assert reply.status == 403
            assert value(reply, b"Set-Cookie") is None

    run(main)


def test_a_join_code_is_told_apart_and_opens_nothing() -> None:
    async def main() -> None:
        small = SmallPage()
        reply = small.join(passcode=str(make_code(lambda below: 7)))
        assert reply.status == 403
        assert b"guests join with" in reply.body

    run(main)


def test_who_could_read_along_is_said_before_the_passcode_is_typed() -> None:
    async def main() -> None:
        through_relay = SmallPage()
        said = html.unescape(
            refused(through_relay.ask(request(host=HOST, more=BROWSER))).body.decode()
        )
        assert "encryption ends at the relay, relay.example: whoever runs it could read" in said
        passed = SmallPage(is_passed_through=True)
        said = html.unescape(refused(passed.ask(request(host=HOST, more=BROWSER))).body.decode())
        assert "comes from the sharer's computer itself" in said
        plain = SmallPage(url=f"http://{HOST}/")
        head = request(host=HOST, tls=False, more=BROWSER)
        assert "without encryption" in html.unescape(refused(plain.ask(head)).body.decode())

    run(main)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("Ada L.", "Ada L."),
        ("\x1b]0;owned\x07\x1b[2J", "0owned2J"),
        ("<img src=x onerror=alert(1)>", "img srcx onerroralert1"),
        ("bob (browser)", "bob browser"),
        ("--help", "help"),
        ("\u202eevil", "evil"),
        ("Ada\u3164", "Ada"),
        ("  ", "visitor"),
        ("x" * 100, "x" * MAX_NAME),
    ],
)
def test_names_mean_nothing_to_terminals_and_pages(wanted: str, name: str) -> None:
    assert visitors_name(wanted) == name
