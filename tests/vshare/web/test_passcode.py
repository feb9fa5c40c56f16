from __future__ import annotations

import secrets

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
from tunnel.errors import UsageError
from tunnel.names import make_code, make_invite_code
from vshare.web.cookies import LASTS, Cookies
from vshare.web.passcode import Passcode, check_passcode, is_like_join_code, make_passcode
from vshare.web.rules import Form
from vshare.web.tries import Tries

CODE = "k7mq-2xdp"
PATH = "/.vshare/passcode"


def rule(clock: Clock | None = None) -> Passcode:
    clock = clock or Clock()
    return Passcode(CODE, Cookies(b"vshare", b"k" * 32, clock), Tries(clock), ["Ada shares it."])


def test_a_browser_is_asked() -> None:
    reply = refused(rule().request(request('/a?b=c&d="e"', more=BROWSER)))
    assert reply.status == 403
    assert b'<form method="post" action="/.vshare/passcode">' in reply.body
    assert b'name="to" value="/a?b=c&amp;d=&quot;e&quot;"' in reply.body
    assert b"<p>Ada shares it.</p>" in reply.body
    assert CODE.encode() not in reply.body


def test_a_program_is_told() -> None:
    reply = refused(rule().request(request(more={"Accept": "*/*"})))
    assert reply.status == 403
    assert b"X-Vshare-Passcode" in reply.body
    assert b"<" not in reply.body


def test_a_websocket_gets_no_page() -> None:
    upgrade = BROWSER | {"Connection": "Upgrade", "Upgrade": "websocket"}
    reply = refused(rule().request(request(more=upgrade)))
    assert reply.status == 403
    assert b"<" not in reply.body


@pytest.mark.parametrize("tls", [False, True])
def test_the_right_one_opens_the_site_until_the_cookie_ends(tls: bool) -> None:
    clock = Clock()
    guard = rule(clock)
    post = request(PATH, "POST", tls=tls, more=FORM | {"Origin": f"https://{HOST}"})
    reply = submit(guard.request(post), passcode=f" {CODE} ", to="/a?b=c")
    assert (reply.status, value(reply, b"Location")) == (303, b"/a?b=c")
    assert value(reply, b"Cache-Control") == b"no-store"
    assert cookie(reply).startswith("__Host-vshare=" if tls else "vshare=")

    mine = {"Cookie": f"theirs=1; {cookie(reply)}"}
    head = request("/a?b=c", tls=tls, more=mine)
    assert guard.request(head) is None
    assert head.values(b"cookie") == [b"theirs=1"]
    assert refused(guard.request(request(tls=tls, host="other.example", more=mine))).status == 403
    clock.now += LASTS
    assert refused(guard.request(request(tls=tls, more=mine))).status == 403


@pytest.mark.parametrize(
    "to", ["//evil.example", "/\\evil.example", "https://evil.example", "/\r\nX: y", PATH, ""]
)
def test_nobody_is_led_to_another_site(to: str) -> None:
    reply = submit(rule().request(request(PATH, "POST", more=FORM)), passcode=CODE, to=to)
    assert value(reply, b"Location") == b"/"


def test_a_wrong_one_is_asked_for_again() -> None:
    reply = submit(
        rule().request(request(PATH, "POST", more=FORM | BROWSER)), passcode="nope", to="/a"
    )
    assert reply.status == 403
    assert value(reply, b"Set-Cookie") is None
    assert b"That was not the passcode." in reply.body
    assert b'name="to" value="/a"' in reply.body
    assert b"nope" not in reply.body


def test_it_cannot_be_tried_without_end() -> None:
    guard = rule()

    def post(passcode: str) -> int:
        return submit(guard.request(request(PATH, "POST", more=FORM)), passcode=passcode).status

    def header(passcode: str) -> int:
        answer = guard.request(request(more={"X-Vshare-Passcode": passcode}))
        return refused(answer).status

    statuses = [post("wrong") for _ in range(8)] + [header("wrong") for _ in range(8)]
    assert statuses[:5] == [403] * 5
    assert statuses[-1] == 429
    assert (post(CODE), header(CODE)) == (429, 429)


def test_who_is_in_does_not_feel_guessers() -> None:
    guard = rule()
    reply = submit(guard.request(request(PATH, "POST", more=FORM)), passcode=CODE)
    for i in range(30):
        head = request(more={"X-Vshare-Passcode": "wrong"}, address=f"198.51.100.{i}")
        guard.request(head)
    assert guard.request(request(more={"Cookie": cookie(reply)})) is None


def test_programs_send_it_in_a_field_that_the_machine_does_not_see() -> None:
    head = request(more={"X-Vshare-Passcode": CODE})
    assert rule().request(head) is None
    assert head.value(b"x-vshare-passcode") is None
    again = submit(rule().request(request(PATH, "POST", more=FORM)), passcode=CODE)
    both = request(more={"X-Vshare-Passcode": "wrong", "Cookie": cookie(again)})
    assert rule().request(both) is None
    assert (both.value(b"x-vshare-passcode"), both.value(b"cookie")) == (None, None)


def test_it_is_not_taken_from_the_url() -> None:
    assert refused(rule().request(request(f"/?passcode={CODE}"))).status == 403
    assert refused(rule().request(request(f"{PATH}?passcode={CODE}"))).status == 403


def test_forms_of_other_sites_are_no_tries() -> None:
    guard = rule()
    for _ in range(50):
        post = request(PATH, "POST", more=FORM | {"Origin": "https://evil.example"})
        assert submit(guard.request(post), passcode="wrong").status == 403
    reply = submit(guard.request(request(PATH, "POST", more=FORM)), passcode=CODE)
    assert reply.status == 303


def test_what_is_no_form() -> None:
    assert submit(rule().request(request(PATH, "POST")), passcode=CODE).status == 400
    assert submit(rule().request(request(PATH, "POST", more=FORM)), other=CODE).status == 400


def test_other_paths_are_the_machines() -> None:
    head = request(PATH + "/x", "POST", more=FORM | {"X-Vshare-Passcode": CODE})
    assert not isinstance(rule().request(head), Form)
    guard = rule()
    reply = submit(guard.request(request(PATH, "POST", more=FORM)), passcode=CODE)
    answer = refused(guard.request(request(PATH, more={"Cookie": cookie(reply)})))
    assert (answer.status, value(answer, b"Location")) == (303, b"/")


def test_who_types_the_join_code_is_warned() -> None:
    reply = submit(
        rule().request(request(PATH, "POST", more=FORM | BROWSER)), passcode="Orange crystal salmon"
    )
    assert b"It opens the whole machine" in reply.body
    assert b"salmon" not in reply.body


def test_what_is_made_is_no_join_code() -> None:
    assert make_passcode(lambda n: n - 1) == "zzzz-zzzz"
    made = {make_passcode(secrets.randbelow) for _ in range(100)}
    assert len(made) == 100
    for each in made:
        assert check_passcode(each) == each
    for code in (make_code(secrets.randbelow), make_invite_code("tiger", secrets.randbelow)):
        assert is_like_join_code(code)


@pytest.mark.parametrize("text", ["short", "x" * 65, "line\nbreak1", "orange-crystal-salmon"])
def test_what_cannot_be_a_passcode(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_passcode(text)
    assert text not in caught.value.text + caught.value.hint
