"""Who may see a site, as a browser has it: a password, a passcode, a page that comes first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps import site
from tests.apps.public import Relay, program, public
from tests.browser import WITHIN, new_page, shoot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.programs
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with program(folder, [sys.executable, site.__file__]) as application:
        yield application.wait_for("ready", 20.0)["port"]


def chat(page: Page, url: str) -> None:
    """A WebSocket is opened, for which no browser asks for a password."""
    page.goto(url + "chat")
    page.get_by_text("connected").wait_for()


def test_a_password(port: int, folder: Path, at: Relay, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"bob:{PASSWORD}\n")
    with public(folder, at, port, "--http-auth-file", str(file)) as shared:
        stranger = new_page(browser)
        with pytest.raises(Exception, match="ERR_INVALID_AUTH_CREDENTIALS"):  # nobody to be asked
            stranger.goto(shared.url)
        stranger.close()
        guest = browser.new_context(http_credentials={"username": "bob", "password": PASSWORD})
        guest.set_default_timeout(WITHIN * 1000)
        page = guest.new_page()
        answer = page.goto(shared.url)
        assert answer is not None
        assert answer.status == 200
        chat(page, shared.url)
        guest.close()


def test_a_passcode(port: int, folder: Path, at: Relay, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "passcode"
    file.write_text("k7mq-2xdp\n")
    with public(folder, at, port, "--http-passcode-file", str(file)) as shared:
        page.goto(shared.url + "feed?from=link")
        shoot(page, "passcode")
        page.get_by_label("Passcode").fill("k7mq-2xdq")
        with page.expect_navigation():
            page.get_by_role("button").click()
        page.get_by_label("Passcode").fill("k7mq-2xdp")
        page.get_by_role("button").click()
        page.wait_for_url(shared.url + "feed?from=link")
        assert page.title() == "Feed"
        chat(page, shared.url)


def test_a_page_that_comes_first(port: int, folder: Path, at: Relay, page: Page) -> None:
    with public(folder, at, port, "--interstitial", "Alice") as shared:
        page.goto(shared.url + "files")
        page.get_by_text("Alice shares this site").first.wait_for()
        shoot(page, "interstitial")
        page.get_by_role("button").click()
        page.wait_for_url(shared.url + "files")
        assert page.title() == "Files"
        page.goto(shared.url)
        assert page.title() == "Home"
        chat(page, shared.url)
