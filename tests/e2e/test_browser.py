"""The demo machine's site in a real browser: its URL, its static IP, and through SOCKS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from connect_vm.images import ImageError, find_image
from tests.browser import chromium, new_page, shoot
from tests.demo import world
from tests.demo.checks import digest
from tests.lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e
PATIENCE = 60_000  # milliseconds: the site's CPU is emulated
SIZE = 1_000_000  # bytes: the first link of its page of files


@dataclass(frozen=True, slots=True)
class Made:
    """Alice's machine is shared, and bob is connected to it."""

    lab: Lab
    share: world.Share
    link: world.Connection


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    try:
        find_image()
    except ImageError as error:
        pytest.skip(error.text)
    with Lab(("relay", "alice", "bob")) as lab, ExitStack() as stack:
        relay = stack.enter_context(world.relay(lab, world.RELAY_PORT))
        folder = lab.alice.vagrant_up()
        lab.bob.start_libvirtd()
        share = stack.enter_context(world.share(lab.alice, relay, folder))
        yield Made(lab, share, stack.enter_context(world.connect(lab.bob, share)))


@contextmanager
def page_on_bob(made: Made, proxy: str = "") -> Iterator[Page]:
    """Bob's browser. It finds the relay's names, as DNS would tell it."""
    names = {"*.localhost": made.lab.relay.ip}
    with chromium(host=made.lab.bob, proxy=proxy, names=names) as browser:
        page = new_page(browser)
        page.set_default_timeout(PATIENCE)
        yield page


def use_the_site(page: Page, url: str, picture: str) -> None:
    """Its pages by their links, its WebSocket, a download."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200
    assert page.get_by_role("heading").inner_text() == "It works"
    shoot(page, picture)
    page.get_by_role("link", name="WebSocket", exact=True).click()
    page.get_by_text("connected").wait_for()
    for number in range(3):
        page.get_by_label("Message").fill(f"message {number}")
        page.get_by_role("button", name="Send").click()
        page.get_by_text(f"echo: message {number}").wait_for()
    page.get_by_role("link", name="Files", exact=True).click()
    with page.expect_download() as started:
        page.get_by_role("link", name="1 MB").click()
    got = hashlib.sha256(started.value.path().read_bytes()).hexdigest()
    assert got == digest(SIZE)
    page.get_by_role("link", name="Request", exact=True).click()
    assert fields(page)["Host"] == urlsplit(url).netloc


def fields(page: Page) -> dict[str, str]:
    """What the machine was asked, as it shows it."""
    return dict(row.split("\t", 1) for row in page.locator("tr").all_inner_texts())


def test_the_url(made: Made) -> None:
    with page_on_bob(made) as page:
        use_the_site(page, made.share.url, "demo-url")
        page.goto(made.share.url + "request")
        # bob as the relay sees him: his router's address
        assert fields(page)["X-Forwarded-For"] == made.lab.hosts["bob-nat"].ip


def test_the_static_ip(made: Made) -> None:
    with page_on_bob(made) as page:
        use_the_site(page, f"http://{made.link.ip}/", "demo-static-ip")


def test_the_socks_proxy_by_name_and_by_ip(made: Made) -> None:
    with page_on_bob(made, f"socks5://{made.link.socks}") as page:
        use_the_site(page, f"http://{made.share.name}/", "demo-socks-name")
        use_the_site(page, f"http://{made.link.ip}/", "demo-socks-ip")
