"""The dashboard's page in a real browser."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.browser import chromium, new_page, shoot
from tests.vshare.dashboard.small_share import SmallShare, head, seen
from vshare.dashboard.figures import Totals
from vshare.dashboard.server import Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.programs
T = TypeVar("T")
STARTS_WITHIN = 10.0  # seconds
NASTY = "<img src=x onerror=\"document.title='owned'\">"


class Running:
    """A share and its dashboard, in a thread of their own: Playwright waits in this one."""

    def __init__(self) -> None:
        self.share: SmallShare
        self.dashboard: Dashboard
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(STARTS_WITHIN)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self.share = SmallShare()
        async with Dashboard(self.share.parts) as self.dashboard:
            self._ready.set()
            await self._over.wait()

    def do(self, act: Callable[[], T]) -> T:
        """What `act` gives, in the share's thread."""

        async def main() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(main(), self.loop).result()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as made:
        yield made


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """Open, and live; whatever its console says at the end is a fault."""
    opened = new_page(browser)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(running.dashboard.url)
    opened.locator("#link", has_text="live").wait_for()
    yield opened
    opened.close()
    assert not said


def some_requests(share: SmallShare) -> None:
    share.now = Totals(20_000, 300_000, 9, 4)
    for number in range(4):
        seen(share.log, head(f"/static/logo-{number}.png"), body=b"\x89PNG" * 900)
    seen(share.log, head("/old"), 302, site="docs", Location="/new")
    seen(share.log, head(f"/missing?{NASTY.replace(' ', '+')}"), 404, NASTY.encode())
    cart = gzip.compress(b'{"id":12345678901234567890,"items":[{"sku":"a"}],"note":"it\'s"}')
    kind = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
    sent = b'{"cart":[1,2]}'
    fields = {"Content_Type": "application/json", "Content_Length": str(len(sent))}
    asked = head("/api/orders", "POST", User_Agent=NASTY, **fields)
    seen(share.log, asked, 201, cart, sent, **kind)


def test_requests_come_live_and_one_is_looked_at_and_replayed(page: Page, running: Running) -> None:
    assert "token" not in page.url
    assert page.locator("#name").text_content() == "frosty-weasel-0857"
    running.do(lambda: some_requests(running.share))
    rows = page.locator(".row")
    page.locator("#count", has_text="7 shown").wait_for()
    assert rows.first.text_content() is not None
    rows.first.click()
    details = page.locator("#details")
    details.locator("text=decoded from gzip").wait_for()
    bodies = details.locator("pre").all_text_contents()
    assert bodies[0] == '{\n  "cart": [\n    1,\n    2\n  ]\n}'
    assert '"id": 12345678901234567890,' in bodies[1]
    assert details.locator("dd", has_text=NASTY).count() == 1
    place = rows.first.locator(".target").bounding_box()
    assert place is not None
    assert place["width"] > 80
    shoot(page, "inspector")
    details.get_by_role("button", name="Replay").click()
    details.locator("text=replay of number 7").wait_for()
    assert rows.first.locator(".tag").text_content() == "replay"
    assert bytes(running.share.machines[0].sent).endswith(b'\r\n\r\n{"cart":[1,2]}')
    details.get_by_role("button", name="Close").click()
    assert details.is_hidden()
    assert page.title() == "frosty-weasel-0857, vshare"


def test_search_and_keys(page: Page, running: Running) -> None:
    running.do(lambda: some_requests(running.share))
    page.locator("#count", has_text="7 shown").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("status:2xx logo")
    page.locator("#count", has_text="4 shown").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.locator("#details .title", has_text="GET /static/logo-2.png").first.wait_for()
    assert page.locator(".row[aria-selected=true] .target").text_content() == "/static/logo-2.png"
    page.keyboard.press("Escape")
    assert page.locator("#details").is_hidden()
    page.locator("#search").fill("")
    page.locator("#count", has_text="7 shown").wait_for()


def test_a_thousand_are_a_few_rows(page: Page, running: Running) -> None:
    def many() -> None:
        for number in range(1_500):
            seen(running.share.log, head(f"/{number}"))

    running.do(many)
    page.locator("#count", has_text="1,000 shown").wait_for()
    page.locator(".row .target", has_text="/1499").wait_for()
    assert page.locator(".row").count() < 60
    page.locator("#list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
    page.locator(".row .target", has_text="/500").wait_for()
    assert page.locator(".row").count() < 60


def test_copy_as_curl(page: Page, running: Running) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    running.do(lambda: some_requests(running.share))
    page.locator(".row").first.click()
    page.get_by_role("button", name="Copy as curl").click()
    page.locator("#toast", has_text="copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl 'https://frosty-weasel-0857.relay.example/api/orders' \\\n")


def test_guests_expiry_and_the_end(page: Page, running: Running) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("tab", name="Guests").click()
    page.get_by_role("button", name="Kick bob").click()
    page.locator("#guests", has_text="Nobody is in").wait_for()
    page.get_by_role("tab", name="Events").click()
    page.locator("#news", has_text="bob was removed").wait_for()
    page.get_by_role("tab", name="Streams").click()
    page.locator("#streams", has_text="tcp machine:22").wait_for()
    assert page.get_by_role("cell", name="site main").count() == 1
    page.get_by_role("button", name="+1 h").click()
    page.locator("#ends", has_text="ends in 1 h 59 min").wait_for()
    page.get_by_role("button", name="QR").click()
    page.wait_for_function("document.getElementById('qr').naturalWidth > 100")
    page.get_by_role("button", name="End share").click()
    page.locator("#toast", has_text="The share ends now").wait_for()
    assert running.do(lambda: running.share.stopped)
