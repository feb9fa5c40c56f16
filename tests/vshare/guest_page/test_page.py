"""What the guest page answers to who is in, and to pages of other sites."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import run
from tests.vshare.guest_page.small_page import HOST, SmallPage, upgrade
from tests.vshare.web.requests import BROWSER, refused, request, value
from tests.vshare.web.test_stage import Keeper, Room
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.names import ShareName
from vshare.guest_page.sessions import MAX_OPEN
from vshare.policy import Policy, Target
from vshare.reach_direct import DirectReach
from vshare.web.rules import Form, Reply
from vshare.web.sites import Sites
from vshare.web.visits import Visits

MACHINE = "https://frosty-weasel-0857.relay.example"  # the machine's own page: another origin


def test_files_say_what_browsers_may_do_with_them() -> None:
    async def main() -> None:
        small = SmallPage()
        cookie = small.come_in()
        for path in ("/", "/page.js", "/page.css", "/icon.svg"):
            reply = refused(small.ask(request(path, host=HOST, more={"Cookie": cookie})))
            assert reply.status == 200
            policy = (value(reply, b"Content-Security-Policy") or b"").decode()
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert value(reply, b"Cross-Origin-Resource-Policy") == b"same-origin"
            assert value(reply, b"Cross-Origin-Opener-Policy") == b"same-origin"
        assert refused(small.ask(request("/x", host=HOST, more={"Cookie": cookie}))).status == 404

    run(main)


def test_a_file_that_did_not_change_is_not_sent_again() -> None:
    async def main() -> None:
        small = SmallPage()
        more = {"Cookie": small.come_in(), "Accept-Encoding": "gzip"}
        first = refused(small.ask(request("/page.js", host=HOST, more=more)))
        assert value(first, b"Content-Encoding") == b"gzip"
        tag = value(first, b"ETag")
        assert tag is not None
        more["If-None-Match"] = tag.decode()
        again = refused(small.ask(request("/page.js", host=HOST, more=more)))
        assert (again.status, again.body) == (304, b"")

    run(main)


def test_the_page_has_nothing_inline_and_nothing_of_others() -> None:
    async def main() -> None:
        small = SmallPage()
        page = refused(small.ask(request(host=HOST, more={"Cookie": small.come_in()}))).body
        assert b"<style" not in page
        assert b" style=" not in page
        assert b"<script>" not in page
        assert b"://" not in page

    run(main)


@pytest.mark.parametrize("origin", [MACHINE, "https://evil.example", f"http://{HOST}", "null", ""])
def test_a_web_socket_from_another_origin_is_refused(origin: str) -> None:
    async def main() -> None:
        small = SmallPage("write")
        small.terminal(read_write=True)
        cookie = small.come_in()
        for path in ("/news", "/terminal?name=main"):
            reply = small.open(upgrade(path, cookie, origin))
            assert isinstance(reply, Reply)
            assert reply.status == 403
        assert not small.page.visitors.count_here()

    run(main)


def test_a_web_socket_without_a_cookie_is_refused() -> None:
    async def main() -> None:
        small = SmallPage("write")
        small.terminal(read_write=True)
        for cookie in ("", "__Host-vshare-page=secret-9", "__Host-vshare=x"):
            reply = small.open(upgrade("/terminal?name=main", cookie))
            assert isinstance(reply, Reply)
            assert reply.status == 403

    run(main)


def test_pages_of_the_machine_cannot_ask_in_a_visitors_name() -> None:
    """Their requests come with the cookie: they are of the same site, though of another origin."""

    async def main() -> None:
        small = SmallPage()
        cookie = small.come_in()
        elsewhere = {"Cookie": cookie, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
        for path in ("/", "/page.js", "/site/web", "/news"):
            assert refused(small.ask(request(path, host=HOST, more=elsewhere))).status == 403
        link = {**elsewhere, "Sec-Fetch-Mode": "navigate"}
        assert refused(small.ask(request("/site/web", host=HOST, more=link))).status == 403
        assert refused(small.ask(request("/", host=HOST, more=link))).status == 200
        leave = request("/.vshare/leave", "POST", host=HOST, more={**elsewhere, "Origin": MACHINE})
        assert refused(small.ask(leave)).status == 403
        own = request(
            "/.vshare/leave",
            "POST",
            host=HOST,
            more={"Cookie": cookie, "Origin": f"https://{HOST}"},
        )
        assert refused(small.ask(own)).status == 303
        assert not list(small.sessions)

    run(main)


def test_without_tls_it_is_not_opened_where_there_is_tls() -> None:
    async def main() -> None:
        small = SmallPage()
        reply = refused(small.ask(request(host=HOST, tls=False, more=BROWSER)))
        assert (reply.status, value(reply, b"Location")) == (308, f"https://{HOST}/".encode())

    run(main)


def test_a_share_with_another_name() -> None:
    """Who comes by then is in the page of that name; who comes without TLS is sent there."""

    async def main() -> None:
        small, name = SmallPage(), ShareName("quiet-lynx-0002")
        host = f"{name}--join.relay.example"
        small.page.move(name, f"https://{host}/")
        reply = refused(small.ask(request(host=host, tls=False, more=BROWSER)))
        assert value(reply, b"Location") == f"https://{host}/".encode()
        assert f"as {name}." in small.join(passcode="wrong", host=host).body.decode()
        more = {"Cookie": small.come_in(host=host), "Sec-Fetch-Site": "same-origin"}
        reply = refused(small.ask(request("/site/web", host=host, more=more)))
        assert f"https://{name}--web.relay.example/" in (value(reply, b"Location") or b"").decode()

    run(main)


def test_a_host_that_is_none_leads_nowhere() -> None:
    """The relay says what the visitor's browser asked for, and may say anything."""

    async def main() -> None:
        small = SmallPage()
        host = HOST.replace("relay", "relé")
        more = {"Cookie": small.come_in(host=host), "Sec-Fetch-Site": "same-origin"}
        assert refused(small.ask(request("/site/web", host=host, more=more))).status == 404

    run(main)


def test_links_lead_to_sites_past_their_passcode() -> None:
    async def main() -> None:
        small = SmallPage()
        more = {"Cookie": small.come_in(), "Sec-Fetch-Site": "same-origin"}
        site = "frosty-weasel-0857--web.relay.example"
        reply = refused(small.ask(request("/site/web", host=HOST, more=more)))
        to = (value(reply, b"Location") or b"").decode()
        assert reply.status == 303
        assert to.startswith(f"https://{site}/.vshare/passcode?ticket=")
        ticket = to.partition("=")[2].encode()
        assert not small.tickets.maybe_redeem(ticket + b"x", site.encode())
        assert small.tickets.maybe_redeem(ticket, site.encode())
        assert not small.tickets.maybe_redeem(ticket, site.encode())
        for path in ("/site/5432", "/site/join", "/site/", "/site/..%2f"):
            assert refused(small.ask(request(path, host=HOST, more=more))).status == 404

    run(main)


def test_it_has_so_many_sockets() -> None:
    async def main() -> None:
        small = SmallPage()
        cookie = small.come_in()
        ends = [small.open(upgrade("/news", cookie)) for _ in range(MAX_OPEN)]
        for end in ends:
            assert isinstance(end, End)
            end.peer = Keeper()
        full = small.open(upgrade("/news", cookie))
        assert isinstance(full, Reply)
        assert full.status == 503
        small.page.close()
        assert all(isinstance(end, End) and end.is_done for end in ends)
        assert not small.page.visitors.count_here()

    run(main)


def test_no_terminals_where_the_sharer_shows_none() -> None:
    async def main() -> None:
        small = SmallPage("none")
        small.terminal(read_write=True)
        reply = small.open(upgrade("/terminal?name=main", small.come_in()))
        assert isinstance(reply, Reply | Form)
        assert refused(reply).status == 404

    run(main)


def test_nobody_looks_on() -> None:
    """The dashboard would show the cookies, and could send a request again."""

    async def main() -> None:
        small, room = SmallPage(), Room()
        visits = Visits(Sites(), lambda _: (), room)
        visits.add_own(small.page)
        assert visits.sites.labels == ["join"]
        visitor = Keeper()
        stage = visits.stage(small.page.site, visitor)
        head = request(host=HOST).serialize()  # without a cookie
        asyncio.get_running_loop().call_soon(lambda: visitor.peer.send(head))
        await visits.open(small.page.site, Target("", 0), DirectReach("127.0.0.1"), stage)
        assert not room.seen
        assert visitor.sent.startswith(b"HTTP/1.1 403 ")

    run(main)


def test_the_passcode_gives_no_rights_but_the_pages() -> None:
    """A visitor has no certificate, and a role that opens no port, no terminal by a stream."""

    async def main() -> None:
        small = SmallPage("write")
        small.come_in()
        [session] = small.sessions
        policy = Policy(names=frozenset(), http_ports=frozenset({3000}))
        role = session.visitor.role
        for port in (22, 5432):
            with pytest.raises(RefusedError):
                policy.decide(role, "tcp", "", port)
        with pytest.raises(RefusedError):
            policy.decide_terminal(role, session.visitor.rights)
        with pytest.raises(RefusedError):
            policy.decide(role, "tcp", "", small.page.site.port)
        assert small.page.site.port not in small.sites.ports

    run(main)
