"""The page on which a sharer sees what visitors ask for, beside the visitor's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps import site
from tests.apps.public import Relay, program, public
from tests.browser import new_page, shoot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.programs


def test_requests_show_at_once_and_are_replayed(
    folder: Path, at: Relay, browser: Browser, page: Page
) -> None:
    with program(folder, [sys.executable, site.__file__]) as application:
        port = application.wait_for("ready", 20.0)["port"]
        with public(folder, at, port) as shared:
            page.goto(shared.told["dashboard"])
            page.locator("#link", has_text="live").wait_for()
            visitor = new_page(browser)
            for path in ("", "feed", "headers", "not-there"):
                visitor.goto(shared.url + path)
            visitor.goto(shared.url + "chat")
            visitor.get_by_text("connected").wait_for()
            rows = page.locator(".row")
            rows.filter(has_text="/chat/socket").wait_for()
            # the visitor left the page that was being told of events
            rows.filter(has_text="/events").filter(has_not_text="…").wait_for()
            shoot(page, "dashboard")
            rows.filter(has_text="/headers").click()
            details = page.locator("#details")
            details.locator("pre", has_text="x-forwarded-for").wait_for()
            details.get_by_role("button", name="Replay").click()
            again = rows.filter(has_text="/headers").filter(has_text="replay")
            again.filter(has_text="200").wait_for()
            visitor.close()
