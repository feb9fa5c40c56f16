"""One-time ways past a site's passcode."""

from __future__ import annotations

import itertools

from tests.vshare.web.requests import HOST, Clock, cookie, refused, request, value
from vshare.web.cookies import Cookies
from vshare.web.passcode import Passcode
from vshare.web.tickets import LASTS, MAX_TICKETS, Tickets
from vshare.web.tries import Tries

OTHER = b"other.relay.example"


def tickets(clock: Clock | None = None) -> Tickets:
    numbers = itertools.count()
    return Tickets(lambda: f"ticket-{next(numbers)}", clock or Clock())


def test_a_ticket_is_good_once_and_at_its_host() -> None:
    desk = tickets()
    token = desk.issue(HOST.encode(), "3").encode()
    assert not desk.maybe_redeem(b"ticket-9", HOST.encode())
    assert desk.maybe_redeem(token, HOST.encode())
    assert not desk.maybe_redeem(token, HOST.encode())
    elsewhere = desk.issue(HOST.encode(), "3").encode()
    assert not desk.maybe_redeem(elsewhere, OTHER)


def test_a_ticket_is_good_for_a_while() -> None:
    clock = Clock()
    desk = tickets(clock)
    token = desk.issue(OTHER, "3").encode()
    clock.now += LASTS
    assert not desk.maybe_redeem(token, OTHER)


def test_so_many_are_kept() -> None:
    desk = tickets()
    tokens = [desk.issue(OTHER, "3").encode() for _ in range(MAX_TICKETS + 1)]
    assert not desk.maybe_redeem(tokens[0], OTHER)
    assert desk.maybe_redeem(tokens[1], OTHER)


def test_the_sites_passcode_takes_it_and_gives_its_cookie() -> None:
    desk, clock = tickets(), Clock()
    cookies = Cookies(b"vshare", b"k" * 32, clock)
    rule = Passcode("k7mq-2xdp", cookies, Tries(clock), (), desk)
    path = f"/.vshare/passcode?ticket={desk.issue(HOST.encode(), '3')}"
    entered = refused(rule.request(request(path)))
    assert (entered.status, value(entered, b"Location")) == (303, b"/")
    assert rule.request(request(more={"Cookie": cookie(entered)})) is None
    assert rule.owner_of(request(more={"Cookie": cookie(entered)})) == "3"
    assert refused(rule.request(request(path))).status == 403
    assert refused(rule.request(request("/?ticket=ticket-0"))).status == 403


def test_who_was_put_out_is_asked_again() -> None:
    desk, clock = tickets(), Clock()
    rule = Passcode("k7mq-2xdp", Cookies(b"vshare", b"k" * 32, clock), Tries(clock), (), desk)
    path = f"/.vshare/passcode?ticket={desk.issue(HOST.encode(), '3')}"
    more = {"Cookie": cookie(refused(rule.request(request(path))))}
    out: set[str] = set()
    desk.still_in = lambda owner, host: owner not in out
    assert rule.request(request(more=more)) is None
    out.add("3")
    assert refused(rule.request(request(more=more))).status == 403
