"""A site at its public URL, as a browser has it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps import site
from tests.apps.public import Public, Relay, program, public
from tests.browser import new_page, shoot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.programs
SITE = [sys.executable, site.__file__]
UPLOAD = 50_000_000  # bytes
STEPS = 3  # of an upload's progress that are shown, at least
DOWNLOAD = 300  # pieces: 20 MB
PATIENCE = 60_000  # milliseconds for an upload beside others' work; measured 1 s


@pytest.fixture(scope="module")
def shared(folder: Path, at: Relay) -> Iterator[Public]:
    with program(folder, SITE) as application:
        port = application.wait_for("ready", 20.0)["port"]
        with public(folder, at, port) as made:
            yield made


def check_page(page: Page, url: str) -> None:
    """The site's home page is at the URL."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200
    assert page.title() == "Home"


def test_a_page_with_and_without_tls(shared: Public, page: Page) -> None:
    check_page(page, shared.url)
    shoot(page, "site")
    check_page(page, shared.told["https_url"])
    page.goto(shared.url + "headers")
    fields = dict(json.loads(page.locator("pre").inner_text()))
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert f"http://{fields['x-forwarded-host']}/" == shared.url


def test_a_chat_of_two_pages(shared: Public, browser: Browser, page: Page) -> None:
    other = new_page(browser)
    for each in (page, other):
        each.goto(shared.url + "chat")
        each.get_by_text("connected").wait_for()
    for number, each in enumerate((page, other, page)):
        each.get_by_label("Message").fill(f"message {number} für €")
        each.get_by_role("button").click()
        for reader in (page, other):
            reader.get_by_text(f"message {number} für €").wait_for()
    lines = page.locator("li").all_text_contents()
    assert lines == ["connected", *(f"message {number} für €" for number in range(3))]
    shoot(other, "chat")
    other.close()


def test_an_upload_with_progress(shared: Public, page: Page, tmp_path: Path) -> None:
    piece = bytes(range(251)) * 1000
    data = (piece * (UPLOAD // len(piece) + 1))[:UPLOAD]
    file = tmp_path / "upload.bin"
    file.write_bytes(data)
    page.goto(shared.url + "files")
    page.locator("#file").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    page.locator("#digest:not(:empty)").wait_for(timeout=PATIENCE)
    assert page.locator("#digest").text_content() == hashlib.sha256(data).hexdigest()
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert seen[-1] == UPLOAD
    assert len(seen) >= STEPS
    shoot(page, "upload")


def test_events_one_by_one(shared: Public, page: Page) -> None:
    """The site sends each when the page has the one before."""
    page.goto(shared.url + "feed")
    page.get_by_text("last").wait_for()
    lines = page.locator("li").all_text_contents()
    assert lines == [*(f"event {number}" for number in range(site.EVENTS)), "last"]


def test_a_download(shared: Public, page: Page) -> None:
    check_page(page, shared.url)
    with page.expect_download() as started:
        page.evaluate(f"location.href = 'download/{DOWNLOAD}'")
    assert started.value.suggested_filename == "pieces.bin"
    digest = hashlib.sha256(started.value.path().read_bytes()).hexdigest()
    assert digest == hashlib.sha256(site.PIECE * DOWNLOAD).hexdigest()


def check_error(page: Page, url: str, status: int, title: str, picture: str) -> None:
    """A page of ours, for each kind of visitor."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == status
    assert title in page.locator("h1").inner_text()
    shoot(page, picture)
    assert "<" not in curl(url, "*/*")
    json.loads(curl(url, "application/json"))


def curl(url: str, accept: str) -> str:
    """What a program gets."""
    command = ["curl", "-sS", "--noproxy", "*", "-H", f"Accept: {accept}", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_no_such_share(at: Relay, page: Page) -> None:
    check_error(page, at.url_of("no-such-share-0000"), 404, "Nothing is shared", "not-found")


def test_an_application_that_ends_and_a_share_that_ends(
    folder: Path, at: Relay, page: Page
) -> None:
    with program(folder, SITE) as application:
        port = application.wait_for("ready", 20.0)["port"]
        with public(folder, at, port) as shared:
            check_page(page, shared.url)
            application.process.terminate()
            application.process.wait(10)
            check_error(page, shared.url, 502, "not running", "application-down")
            with program(folder, [*SITE, str(port)]) as again:
                again.wait_for("ready", 20.0)
                check_page(page, shared.url)
            shared.program.interrupt()
            check_error(page, shared.url, 410, "has ended", "ended")


def test_a_share_whose_program_is_gone(folder: Path, at: Relay, page: Page) -> None:
    with program(folder, SITE) as application:
        port = application.wait_for("ready", 20.0)["port"]
        with public(folder, at, port) as shared:
            check_page(page, shared.url)
            shared.program.process.kill()
            shared.program.process.wait()
            check_error(page, shared.url, 503, "away", "away")
