"""The pages in a real browser: by mouse, by keyboard, on a phone, without JavaScript."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relay.accounting import Kind
from relay.history.tables import BUCKET
from tests.browser import MANDATORY, WITHIN, chromium, shoot
from tests.relay.website.rows import add_request, add_session, history
from tests.relay.website.running import HOST, RunningRelay

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

pytestmark = pytest.mark.programs
AXE = Path(__file__).parent / "vendor/axe.js"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1100, "height": 720}
NAME, OTHER = "frosty-weasel-0857", "sunny-otter-1234"
NASTY = "/<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRelay]:
    with RunningRelay(tmp_path_factory.mktemp("relay")) as made:
        yield made


@pytest.fixture(scope="module")
def browser(running: RunningRelay) -> Iterator[Browser]:
    with chromium(certificates=[running.certificate]) as started:
        yield started


class Window:
    """A page, and what its console said, which is a fault."""

    def __init__(self, browser: Browser, running: RunningRelay, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(
            **{"viewport": DESKTOP, "color_scheme": "light", **options}
        )
        self.context.set_default_timeout(WITHIN * 1_000)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.url = running.url

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def goto(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def sign_in(self, token: str, path: str = "/") -> None:
        self.goto(path)
        self.page.get_by_label("Your token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    def is_wide_enough(self) -> bool:
        """Whether nothing is beyond the window's edge but what scrolls by itself."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_share_is_ended_from_a_phone(browser: Browser, running: RunningRelay) -> None:
    token = running.token()
    link = running.share(token, NAME)
    running.visit(NAME, Kind.CONNECT, "192.0.2.7", 30_000, 2_000)
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    with Window(browser, running, **phone) as window:
        page = window.page
        window.sign_in(token.text, f"/shares/{NAME}")
        assert token.text not in page.content()
        assert token.text not in page.url
        page.get_by_role("link", name=NAME).wait_for()
        shoot(page, "relay-shares-phone")
        button = page.get_by_role("button", name=f"End the share {NAME}")
        box = button.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]  # without scrolling
        assert box["y"] + box["height"] <= PHONE["height"]
        assert box["height"] >= 44
        assert window.is_wide_enough()
        button.tap()
        page.get_by_role("status").get_by_text(f"{NAME} was ended.").wait_for()
        assert running.do(lambda: link.ended).code == "page"
        page.get_by_text("0 shares now").wait_for()
        window.goto(f"/shares/{NAME}")
        page.get_by_role("heading", name="There is no such thing here").wait_for()
        assert [each for each in window.said if "404" not in each] == []


def test_what_changes_is_seen_without_a_click(browser: Browser, running: RunningRelay) -> None:
    token = running.token("bob")
    first = running.share(token, "loud-gecko-1111")
    with Window(browser, running) as window:
        page = window.page
        window.sign_in(token.text)
        page.get_by_text("1 share now").wait_for()
        page.get_by_role("link", name="loud-gecko-1111").focus()
        second = running.share(token, OTHER)
        page.get_by_role("link", name=OTHER).wait_for()
        assert (
            page.evaluate("document.activeElement.id") == "share-loud-gecko-1111"
        )  # keys go on there
        running.visit(OTHER, Kind.HTTP, "2001:db8::7", 900, 90)
        page.get_by_role("link", name=OTHER).click()
        now = page.get_by_role("region", name="Connections to the share now")
        now.get_by_role("rowheader", name="2001:db8::7").wait_for()
        running.visit(OTHER, Kind.CONNECT, "192.0.2.9", 1_000, 1_000)
        now.get_by_role("rowheader", name="192.0.2.9").wait_for()
        page.get_by_role("button", name="End the share").click()
        page.get_by_text("1 share now").wait_for()
        assert running.do(lambda: second.ended).code == "page"
        assert not first.ended.done()
        assert window.said == []


def test_by_keyboard_alone(browser: Browser, running: RunningRelay) -> None:
    token = running.token("cleo")
    link = running.share(token, "calm-heron-2222")
    with Window(browser, running) as window:
        page = window.page
        window.goto("/tokens")
        keys = page.keyboard
        for _ in range(3):  # past the skip link and the brand
            keys.press("Tab")
        keys.type(token.text)
        keys.press("Enter")
        page.get_by_role("heading", name="Tokens", exact=True).wait_for()
        keys.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]  # it is there
        keys.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        window.goto("/shares")
        wanted = "End the share calm-heron-2222"
        for _ in range(20):
            keys.press("Tab")
            if page.evaluate("document.activeElement.textContent") == wanted:
                break
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        keys.press("Enter")
        page.get_by_text("calm-heron-2222 was ended.").wait_for()
        assert running.do(lambda: link.ended).code == "page"


def test_without_javascript(browser: Browser, running: RunningRelay) -> None:
    token = running.token("dora")
    link = running.share(token, "brave-finch-3333")
    with Window(browser, running, java_script_enabled=False) as window:
        page = window.page
        window.sign_in(token.text)
        page.get_by_role("link", name="Tokens").click()
        page.get_by_label("Label").fill("laptop")
        page.get_by_label("Shares at once").fill("2")
        page.get_by_role("button", name="Make it").click()
        made = page.locator("#made").text_content()
        assert made is not None
        assert made.startswith("vsr_")
        page.reload()
        assert made not in page.content()
        assert page.locator("td", has_text="laptop").count() == 1  # one, though it was reloaded
        page.get_by_role("link", name="History").click()
        page.get_by_role("searchbox").fill("brave")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("heading", name="Shares with brave").wait_for()
        page.get_by_role("link", name="Shares").click()
        page.get_by_role("button", name="End the share").click()
        page.get_by_text("brave-finch-3333 was ended.").wait_for()
        assert running.do(lambda: link.ended).code == "page"
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        page.go_back()
        assert "brave-finch" not in page.content()


def test_a_page_elsewhere_does_nothing_here(browser: Browser, running: RunningRelay) -> None:
    """A form that another site sends, as browsers really send it; and nobody frames the pages."""
    token = running.token("erin")
    link = running.share(token, "proud-raven-4444")
    with Window(browser, running) as window:
        page = window.page
        window.sign_in(token.text)
        there = f"{window.url}/shares/proud-raven-4444/end"
        elsewhere = f"https://evil.localhost:{running.relay.port}/"
        form = f'<form method="post" action="{there}"><button>x</button></form>'
        frame = f'<iframe src="{window.url}/shares"></iframe>'
        body = form + frame
        page.route(elsewhere, lambda it: it.fulfill(body=body, content_type="text/html"))
        page.goto(elsewhere)
        assert not any(HOST in each.url for each in page.frames[1:])
        page.get_by_role("button").click()
        page.wait_for_url(there)
        page.get_by_role("heading").wait_for()
        assert "ended" not in page.content()
        assert not link.ended.done()


def _tell(running: RunningRelay, token: str, now: int) -> None:
    """A history with something in it, also of the share that lasts."""
    number = running.session_of("mellow-crane-5555")
    with history(running.folder) as database:
        add_session(database, 100_000, "tidy-badger-6666", token, began=now - 7_200)
        for at in range(60):
            path = NASTY if at == 59 else f"/static/logo-{at}.png"
            add_request(database, 100_000 + at, 100_000, path, (200, 304, 404)[at % 3])
        database.execute("UPDATE requests SET at = ? + id - 100000", (now - 7_000,))
        database.execute("UPDATE sessions SET began_at = ? WHERE id = ?", (now - 5_400, number))
        for minute in range(90):
            amount = 30_000 * (1 + minute * 13 % 17) * (minute % 30 > 4)
            database.execute(
                "INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?, 1, 2)",
                (number, now // BUCKET - 90 + minute, amount, amount // 5),
            )


def faults_of(page: Page) -> list[str]:
    """What axe-core finds against the page."""
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{page.url}: {each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_keeps_anybody_out(
    browser: Browser, running: RunningRelay, scheme: str, size: dict[str, int]
) -> None:
    """axe-core has nothing against any page, and nothing is too wide."""
    if not AXE.exists() and os.environ.get(MANDATORY) != "1":
        pytest.skip("needs axe-core; `tools/install` fetches it")
    token, other = running.token("flo", "share pages admin"), running.token("flo")
    if running.relay.registry.get("mellow-crane-5555") is None:  # type: ignore[arg-type]  # a name
        running.share(other, "mellow-crane-5555")
        for kind, source in ((Kind.CONNECT, "192.0.2.7"), (Kind.HTTP, "2001:db8::7")):
            running.visit("mellow-crane-5555", kind, source, 4_200_000, 81_000)
        _tell(running, other.id, int(time.time()))
    # Its own words may not run it in the page: for that the policy is left out, and only here.
    with Window(browser, running, viewport=size, color_scheme=scheme, bypass_csp=True) as window:
        page, faults = window.page, []

        def check() -> None:
            page.evaluate(AXE.read_text())
            faults.extend(faults_of(page))
            assert window.is_wide_enough(), page.url

        window.goto("/sign-in")
        check()
        page.get_by_label("Your token").fill("vsr_wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        check()
        window.sign_in(token.text)
        for path in ("/shares", "/shares/mellow-crane-5555", "/history", "/history/100000",
                     "/history?q=nothing", "/log", "/log?of=connections", "/log?status=5",
                     "/tokens", "/nothing", "/shares/nothing-here-0000"):  # fmt: skip
            window.goto(path)
            check()
            name = "relay" + path.partition("?")[0].replace("/", "-").replace("-100000", "-session")
            if scheme == "light" and size is DESKTOP and "?" not in path:
                shoot(page, name)
            if scheme == "dark" and size is PHONE and path.startswith("/shares/m"):
                shoot(page, f"{name}-dark-phone")
            assert page.title() != "owned"
        for summary in page.locator("summary").all():
            summary.click()
        window.goto("/tokens")
        page.get_by_label("Label").fill("a laptop")
        page.get_by_role("button", name="Make it").click()
        page.locator("#made").wait_for()
        check()
        window.goto("/history/100000")
        page.get_by_text("The same as a table").click()
        check()
        assert faults == []
