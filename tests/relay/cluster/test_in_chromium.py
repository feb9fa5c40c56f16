"""A cluster's pages in a real browser: what was at both relays, in one list."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from relay.accounting import Kind
from relay.cluster import histories
from tests.browser import MANDATORY, chromium, shoot
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured
from tests.relay.website.rows import add_request, add_session, history
from tests.relay.website.running import RunningRelay
from tests.relay.website.test_in_chromium import AXE, DESKTOP, PHONE, Window, faults_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.programs, needs_redis]
NAME = "frosty-weasel-0857"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningRelay]]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        cluster = configured(folder, stack.enter_context(redis_server(folder))).cluster
        yield [stack.enter_context(RunningRelay(folder / n, cluster)) for n in ("one", "two")]


@pytest.fixture(scope="module")
def browser(pair: list[RunningRelay]) -> Iterator[Browser]:
    with chromium(certificates=[each.certificate for each in pair]) as started:
        yield started


def test_the_history_of_all_keeps_nobody_out(
    browser: Browser, pair: list[RunningRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """axe-core has nothing against the pages, in both schemes, on a desk and on a phone; a share at
    the other relay is seen live; a relay that does not answer is named."""
    if not AXE.exists() and os.environ.get(MANDATORY) != "1":
        pytest.skip("needs axe-core; `tools/install` fetches it")
    here, there = pair
    token = here.token("flo", "share pages admin")
    now = time.time()
    for running, name in ((here, "tidy-badger-6666"), (there, "calm-heron-2222")):
        with history(running.folder) as database:
            add_session(database, 1_000, name, token.id, began=now - 7_200)
            for at in range(9):
                add_request(database, 1_000 + at, 1_000, f"/static/logo-{at}.png")
            database.execute("UPDATE requests SET at = ? + id", (now - 8_000,))
    there.share(token, NAME)
    there.visit(NAME, Kind.CONNECT, "192.0.2.7", 4_200_000, 81_000)
    faults: list[str] = []
    for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        # Its own words may not run it in the page: for that the policy is left out, and only here.
        with Window(browser, here, viewport=size, color_scheme=scheme, bypass_csp=True) as window:
            page = window.page

            def check(window: Window = window) -> None:
                window.page.evaluate(AXE.read_text())
                faults.extend(faults_of(window.page))
                assert window.is_wide_enough(), window.page.url

            window.sign_in(token.text)
            page.get_by_role("link", name=NAME).click()
            now_there = page.get_by_role("region", name="Connections to the share now")
            now_there.get_by_role("rowheader", name="192.0.2.7").wait_for()
            source = f"192.0.2.{size['width'] % 200}"
            there.visit(NAME, Kind.HTTP, source, 1_000, 1_000)
            now_there.get_by_role("rowheader", name=source).wait_for()  # without a click
            page.get_by_role("heading", name="Time line").wait_for()
            check()
            shoot(page, f"cluster-share-{scheme}")
            for path in ("/log", "/log?of=connections", "/history"):
                window.goto(path)
                page.get_by_role("columnheader", name="Relay").wait_for()
                check()
            shoot(page, f"cluster-history-{scheme}")
            page.get_by_role("link", name="calm-heron-2222").click()
            page.get_by_role("heading", name="calm-heron-2222").wait_for()
            check()
            with monkeypatch.context() as patch:
                patch.setattr(histories, "MAX_WAITING", 0)
                window.goto("/history")
                page.get_by_text("did not answer: what it knows is missing here").wait_for()
                page.get_by_role("link", name="tidy-badger-6666").wait_for()
                check()
            assert window.said == []
    assert faults == []
