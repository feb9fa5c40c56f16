"""Browsers of the guest page as guests: told of, listed, removed."""

from __future__ import annotations

import pytest

from tests.loops import run, until
from tests.vshare.guest_page.small_page import HOST, PASSCODE, SmallPage, upgrade
from tests.vshare.guest_page.test_web_socket import Browser
from tests.vshare.web.requests import cookie, refused, request, submit, value
from tests.vshare.web.test_stage import Keeper
from tunnel.errors import UsageError
from tunnel.follow import Server
from vshare.guest_page import requests, visitors
from vshare.guest_page.handlers import PageHandlers
from vshare.guest_page.page import CHANGED, SHUT
from vshare.guest_page.visitors import KICKED
from vshare.guest_page.web_socket import OUT
from vshare.web.cookies import Cookies
from vshare.web.passcode import Passcode
from vshare.web.sites import Site, Sites
from vshare.web.tries import Tries
from vshare.web.visits import Visits

SITE = "frosty-weasel-0857--web.relay.example"


def kinds(small: SmallPage) -> list[str]:
    return [each.kind for each in small.told]


def reason(browser: Browser) -> str:
    """Why the share closed its socket."""
    assert browser.closed_with is not None
    return browser.closed_with.reason


def test_it_is_listed_with_what_it_uses() -> None:
    async def main() -> None:
        small = SmallPage("write")
        small.terminal("main")
        eve = small.come_in("eve")
        [away] = small.page.visitors.all()
        assert (away.is_here, away.opened) == (False, 0)
        news = Browser(small, "/news", eve)
        Browser(small, "/terminal?name=main", eve)
        Browser(small, "/terminal?name=other", eve)  # which there is not
        [here] = small.page.visitors.all()
        assert (here.is_here, here.opened, here.terminals) == (True, 2, ["main"])
        assert here.session.visitor.name == "eve (browser)"
        assert here.session.visitor.address == "203.0.113.7"
        assert here.session.visitor.bytes_out > len(news.sent) > 0
        assert here.session.visitor.bytes_in > 0
        assert kinds(small) == ["visitor-joined"]
        small.page.close()

    run(main)


def test_who_closes_the_page_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "GONE_AFTER", 0.01)

    async def main() -> None:
        small = SmallPage()
        browser = Browser(small, "/news")
        browser.peer.send_eof()
        await until(lambda: kinds(small) == ["visitor-joined", "visitor-left"])
        [away] = small.page.visitors.all()
        assert not away.is_here
        assert small.page.visitors.count_here() == 0

    run(main)


def test_who_is_kicked_is_told_and_asked_again() -> None:
    async def main() -> None:
        small = SmallPage("write")
        small.terminal(read_write=True)
        eve, mallory = small.come_in("eve"), small.come_in("mallory")
        news, terminal = Browser(small, "/news", mallory), Browser(small, "/terminal", mallory)
        stays = Browser(small, "/news", eve)
        people = small.page.visitors
        assert people.maybe_named("mallory", exactly=True) is None
        found = people.maybe_named("mallory", exactly=False)
        assert found is people.maybe_named("mallory (browser)", exactly=True)
        assert found is not None
        people.kick(found)
        for each in (news, terminal):
            assert each.closed_with is not None
            assert (each.closed_with.code, each.closed_with.reason) == (OUT, KICKED)
            assert each.is_done
        assert stays.closed_with is None
        assert [each.session.visitor.name for each in people.all()] == ["eve (browser)"]
        assert kinds(small)[-1] == "kicked"
        assert not small.hub.find("main").viewers
        page = refused(small.ask(request("/", host=HOST, more={"Cookie": mallory})))
        assert page.status == 403
        assert small.join("mallory").status == 303  # it knows the passcode
        small.page.close()

    run(main)


def asked_site(small: SmallPage) -> tuple[Passcode, Visits]:
    """A site that asks for the page's passcode."""
    cookies = Cookies(b"vshare", b"k" * 32, small.clock)
    came = small.page.visitors.came
    rule = Passcode(PASSCODE, cookies, Tries(small.clock), (), small.tickets, came)
    visits = Visits(Sites())
    visits.add(Site("web", 3000), [rule])
    small.page.visitors.on_removed = lambda session: visits.cut(
        lambda label, head: rule.owner_of(head) == session.number
    )
    return rule, visits


def test_who_goes_to_a_site_is_there_until_it_asks_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visitors, "GONE_AFTER", 0.0)

    async def main() -> None:
        small = SmallPage()
        rule, _ = asked_site(small)
        small.board.set("servers", [Server("shop", 3000)])
        more = {"Cookie": small.come_in(), "Sec-Fetch-Site": "same-origin"}
        link = value(refused(small.ask(request("/site/web", host=HOST, more=more))), b"Location")
        assert link is not None
        path = "/" + link.decode().split("/", 3)[3]
        entered = cookie(refused(rule.request(request(path, host=SITE))))
        assert not small.page.visitors.count_here()
        assert rule.request(request(host=SITE, more={"Cookie": entered})) is None
        [there] = small.page.visitors.all()
        assert (there.is_here, there.sites) == (True, ["web"])
        assert small.page.server_names(there.sites) == ["shop"]
        assert kinds(small) == ["visitor-joined"]
        small.page.visitors.kick(there.session)
        assert refused(rule.request(request(host=SITE, more={"Cookie": entered}))).status == 403

    run(main)


def test_who_gives_the_passcode_at_a_site_is_a_visitor_too() -> None:
    async def main() -> None:
        small = SmallPage()
        rule, _ = asked_site(small)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        head = request("/.vshare/passcode", "POST", host=SITE, more=form)
        entered = cookie(submit(rule.request(head), passcode=PASSCODE))
        assert [each.session.visitor.name for each in small.page.visitors.all()] == [
            "visitor (browser)"
        ]
        assert rule.request(request(host=SITE, more={"Cookie": entered})) is None
        small.page.close()
        assert refused(rule.request(request(host=SITE, more={"Cookie": entered}))).status == 403

    run(main)


def test_what_it_has_open_at_a_site_is_cut() -> None:
    async def main() -> None:
        small = SmallPage()
        rule, visits = asked_site(small)
        owners, streams = [], []
        for name in ("eve", "mallory"):
            small.come_in(name)
            owners.append(list(small.sessions)[-1])
            visitor = Keeper()
            set_cookie = rule._cookies.make(request(host=SITE), owners[-1].number)[1]
            given = set_cookie.partition(b";")[0].decode()
            stage = visits.stage(visits.sites.find("web", 443), visitor)
            head = request(host=SITE, more={"Cookie": given}).serialize()
            machine = Keeper()
            machine.peer = stage
            stage.link(machine)
            visitor.peer.send(head)
            assert machine.sent.startswith(b"GET / ")
            streams.append((visitor, machine))
        small.page.visitors.kick(owners[1])
        assert [visitor.is_done for visitor, _ in streams] == [False, True]
        assert [machine.is_done for _, machine in streams] == [False, True]

    run(main)


def test_the_passcode_can_be_changed() -> None:
    async def main() -> None:
        small = SmallPage()
        handlers = PageHandlers(small.page)
        stays = Browser(small, "/news")
        kept = await handlers.change(requests.ChangePage("another-passcode", keep=True))
        assert (kept.passcode, kept.out, kept.here) == ("another-passcode", 0, 1)
        assert stays.closed_with is None
        assert small.join(passcode=PASSCODE).status == 403
        assert small.join(passcode="another-passcode").status == 303
        drawn = await handlers.change(requests.ChangePage(""))
        assert (drawn.out, drawn.visitors) == (2, 0)
        assert drawn.passcode not in ("", "another-passcode")
        assert reason(stays) == CHANGED
        assert small.join(passcode=drawn.passcode).status == 303
        assert drawn.passcode not in repr(drawn) + repr(requests.ChangePage(drawn.passcode))
        assert drawn.passcode not in str(small.told)
        with pytest.raises(UsageError):
            await handlers.change(requests.ChangePage("short"))
        assert small.page.passcode == drawn.passcode

    run(main)


def test_it_can_be_closed_and_opened_again() -> None:
    async def main() -> None:
        small = SmallPage()
        handlers = PageHandlers(small.page)
        browser = Browser(small, "/news")
        closed = await handlers.change(requests.ChangePage(is_open=False))
        assert (closed.is_open, closed.out) == (False, 1)
        assert reason(browser) == SHUT
        assert refused(small.ask(request("/", host=HOST))).status == 503
        refused(small.ask(upgrade("/news", "x=y")))
        assert (await handlers.change(requests.ChangePage(is_open=True))).is_open
        assert refused(small.ask(request("/", host=HOST))).status == 403
        assert kinds(small)[-2:] == ["page-closed", "page-opened"]
        with pytest.raises(UsageError, match="no guest page"):
            await PageHandlers(None).state(requests.GuestPage())

    run(main)
