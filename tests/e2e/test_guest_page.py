"""The guest page between hosts: bob has a browser and nothing else; the terminals are real ones."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium, new_page, shoot
from tests.demo import world
from tests.lab import Host, Lab, services
from tests.tmux import Person, Run, person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e
PASSCODE = "a-passcode-for-browsers"
WEB, LATER = 8000, 8010
PATIENCE = 60_000  # milliseconds
STARTS_WITHIN = 20.0  # seconds
PHONE = (390, 844)
SCREEN = "document.querySelector('.xterm-rows')?.innerText.replaceAll('\\u00a0', ' ') ?? ''"
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<!doctype html><title>Shop</title><h1>The shop</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", {}), Handler).serve_forever()
"""


def on(host: Host) -> Run:
    """A Run there."""

    def run(command: Sequence[str]) -> str:
        return host.run(command, env={"TERM": "xterm-256color"}).stdout

    return run


def serve(machine: Host, port: int) -> subprocess.Popen[str]:
    """A website there, once it listens."""
    nowhere = subprocess.DEVNULL
    command = ["python3", "-c", SERVER.format(port)]
    server = machine.popen(command, stdout=nowhere, stderr=nowhere)
    deadline = time.monotonic() + STARTS_WITHIN
    while machine.run(["ss", "-Hltn", f"sport = :{port}"]).stdout == "":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return server


@dataclass(frozen=True, slots=True)
class Stage:
    """A share with its page, alice at a terminal that all may type in, and one to look at."""

    lab: Lab
    share: world.Share
    url: str
    shell: Person
    logs: Person


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The machine is the host beside alice, by its SSH."""
    with Lab(("relay", "alice", "bob", "services")) as lab, ExitStack() as stack:
        alice, machine = lab.alice, lab.services
        services.start(machine)
        ssh = alice.home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        theirs = machine.home / ".ssh"
        (ssh / "id_ed25519").write_bytes((theirs / "id_ed25519").read_bytes())
        (ssh / "id_ed25519").chmod(0o600)
        key = " ".join((theirs / "host_ed25519.pub").read_text().split()[:2])
        (ssh / "known_hosts").write_text(f"{machine.ip} {key}\n")
        stack.callback(serve(machine, WEB).kill)
        passcode = alice.tmp / "page-passcode"
        passcode.write_text(PASSCODE + "\n")
        relay = stack.enter_context(world.relay(lab, world.RELAY_PORT))
        page = ["--guest-page", "--guest-page-terminals", "write"]
        page += ["--guest-page-passcode-file", str(passcode)]
        what = [
            "--target",
            f"ssh://root@{machine.ip}",
            "--serve",
            f"{WEB}=shop",
            "--yes",
            "--show-guests",
        ]
        share = stack.enter_context(world.share(alice, relay, alice.home, *what, *page))
        parts = urlsplit(share.url)
        url = f"{parts.scheme}://{share.name}--join.{parts.netloc.partition('.')[2]}/"
        seats = []
        for name, mode in (("shell", "--read-write"), ("logs", "--read-only")):
            words = f"vshare terminal {name} {mode} --share {share.name}"
            seat = person(on(alice), f"seat-{name}", f"sh -c '{words}; exec cat'", (80, 24))
            seats.append(stack.enter_context(seat))
        yield Stage(lab, share, url, *seats)


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Iterator[Browser]:
    """Bob's. It finds the relay's names, as DNS would tell it."""
    with chromium(host=stage.lab.bob, names={"*.localhost": stage.lab.relay.ip}) as started:
        yield started


@contextlib.contextmanager
def come_in(browser: Browser, stage: Stage, size: tuple[int, int] | None = None) -> Iterator[Page]:
    """By the passcode, with a window of this size."""
    page = new_page(browser)
    page.set_default_timeout(PATIENCE)
    if size is not None:
        page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(stage.url)
    page.get_by_label("Your name").fill("bob")
    page.get_by_label("Passcode").fill(PASSCODE)
    page.get_by_role("button", name="Come in").click()
    page.locator("#link", has_text="live").wait_for()
    yield page
    page.close()


def wait_for_text(page: Page, text: str) -> None:
    page.wait_for_function(f"text => ({SCREEN}).includes(text)", arg=text)


SIZES = pytest.mark.parametrize("size", [None, PHONE], ids=["desk", "phone"])


@SIZES
def test_bob_types_and_alice_sees_it(
    browser: Browser, stage: Stage, size: tuple[int, int] | None
) -> None:
    with come_in(browser, stage, size) as page:
        page.get_by_role("button", name="shell").click()
        page.get_by_text("you can type").wait_for()
        word = "phone" if size else "desk"
        page.keyboard.type(f"echo typed by ${{LOGNAME:-root}} at the {word}")
        page.keyboard.press("Enter")
        wait_for_text(page, f"typed by root at the {word}")
        stage.shell.wait_for(f"typed by root at the {word}")
        stage.shell.type(f"echo alice answers the {word}")
        stage.shell.press("Enter")
        wait_for_text(page, f"alice answers the {word}")
        shoot(page, "guest-page-terminal-phone" if size else "guest-page-terminal")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@SIZES
def test_bob_looks_on_where_he_may_not_type(
    browser: Browser, stage: Stage, size: tuple[int, int] | None
) -> None:
    with come_in(browser, stage, size) as page:
        page.get_by_role("button", name="logs").click()
        page.get_by_text("read only").wait_for()
        page.keyboard.type("echo not this\n")
        word = "phone" if size else "desk"
        stage.logs.type(f"echo a line for the {word}")
        stage.logs.press("Enter")
        wait_for_text(page, f"a line for the {word}")
        assert "not this" not in "\n".join(stage.logs.screen())


@SIZES
def test_bob_follows_a_shared_server(
    browser: Browser, stage: Stage, size: tuple[int, int] | None
) -> None:
    """Also one that is shared while he looks."""
    with come_in(browser, stage, size) as page:
        with page.expect_popup() as opened:
            page.get_by_role("link", name=f"shop port {WEB}").click()
        opened.value.get_by_role("heading", name="The shop").wait_for()
        say = ["vshare", "say", "restarting the db", "--share", stage.share.name]
        stage.lab.alice.run(say)
        page.get_by_text("restarting the db").wait_for()
        shoot(page, "guest-page-list-phone" if size else "guest-page-list")
        name, port = ("later-phone", LATER + 1) if size else ("later", LATER)
        begun = serve(stage.lab.services, port)
        try:
            command = ["vshare", "serve", str(port), "--name", name, "--share", stage.share.name]
            stage.lab.alice.run(command)
            with page.expect_popup() as opened:
                page.get_by_role("link", name=f"{name} port {port}").click()
            site = opened.value
            site.get_by_role("heading", name="The shop").wait_for()
            with contextlib.closing(new_page(browser)) as stranger:
                stranger.goto(site.url)  # without the page's passcode
                stranger.get_by_text("This site asks for a passcode").wait_for()
            stage.lab.alice.run(["vshare", "unserve", name, "--share", stage.share.name])
            page.get_by_role("link", name=f"{name} port").wait_for(state="detached")
            gone = site.reload()
            assert gone is not None
            assert gone.status == 404
        finally:
            begun.kill()
