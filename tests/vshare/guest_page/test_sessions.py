"""Cookies of the guest page."""

from __future__ import annotations

import itertools

from tests.vshare.guest_page.small_page import HOST
from tests.vshare.web.requests import Clock, request
from vshare.guest_page.sessions import LASTS, MAX_SESSIONS, Sessions

OTHER = "frosty-weasel-0857.relay.example"


def sessions(clock: Clock | None = None) -> Sessions:
    secrets = map("secret-{}".format, itertools.count())
    return Sessions(lambda: next(secrets), clock or Clock())


def begun(table: Sessions, name: str = "eve", *, tls: bool = True) -> tuple[str, str]:
    """The whole Set-Cookie, and what a browser sends back."""
    made = table.begin(request(host=HOST, tls=tls), name)
    assert made is not None
    field = made[1][1].decode()
    return field, field.partition(";")[0]


def is_in(table: Sessions, cookie: str, *, host: str = HOST, tls: bool = True) -> bool:
    return table.find(request(host=host, tls=tls, more={"Cookie": cookie})) is not None


def test_a_cookie_says_who_it_is() -> None:
    table = sessions()
    field, cookie = begun(table)
    assert field == (
        f"__Host-vshare-page=secret-0; Path=/; Max-Age={LASTS}; HttpOnly; SameSite=Strict; Secure"
    )
    found = table.find(request(host=HOST, more={"Cookie": f"a=b; {cookie}; c=d"}))
    assert found is not None
    assert found.visitor.name == "eve (browser)"
    assert found.visitor.address == "203.0.113.7"
    assert not is_in(table, "")
    assert not is_in(table, cookie + "x")


def test_it_counts_for_its_host_and_its_scheme() -> None:
    table = sessions()
    cookie = begun(table)[1]
    assert not is_in(table, cookie, host=OTHER)
    assert not is_in(table, cookie, tls=False)
    assert not is_in(table, cookie.removeprefix("__Host-"), tls=False)
    plain, bare = begun(table, tls=False)
    assert "Secure" not in plain
    assert is_in(table, bare, tls=False)
    assert not is_in(table, "__Host-" + bare)


def test_no_visitor_is_taken_for_another() -> None:
    table = sessions()
    for name in ("alice", "Al1ce", "аlicе"):  # noqa: RUF001  (letters that look alike)
        begun(table, name)
    names = [each.visitor.name for each in table]
    assert names == ["alice (browser)", "Al1ce-2 (browser)", "аlicе-3 (browser)"]  # noqa: RUF001


def test_it_ends() -> None:
    clock = Clock()
    table = sessions(clock)
    cookie = begun(table)[1]
    clock.now += LASTS - 1
    assert is_in(table, cookie)
    clock.now += 1
    assert not is_in(table, cookie)
    begun(table)
    assert len(list(table)) == 1


def test_who_is_struck_out_is_out_with_all_that_is_open() -> None:
    table = sessions()
    cookie = begun(table)[1]
    [session] = table
    closed: list[str] = []
    session.open[closed.append] = ""
    table.end(session, "why")
    assert closed == ["why"]
    assert not is_in(table, cookie)


def test_names_are_unlike_each_other() -> None:
    table = sessions()
    for _ in range(3):
        begun(table)
    names = [session.visitor.name for session in table]
    assert names == ["eve (browser)", "eve-2 (browser)", "eve-3 (browser)"]


def test_who_has_nothing_open_makes_room() -> None:
    table = sessions()
    first = begun(table)[1]
    [session] = table
    session.open[lambda why: None] = ""
    second = begun(table)[1]
    for _ in range(MAX_SESSIONS - 1):
        begun(table)
    assert is_in(table, first)
    assert not is_in(table, second)
    for each in table:
        each.open[lambda why: None] = ""
    assert table.begin(request(host=HOST), "eve") is None
