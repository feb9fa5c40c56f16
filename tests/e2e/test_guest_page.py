"""The guest page between hosts: bob has a browser and nothing else; the terminals are real ones.
His browser's TLS ends at the relay, as it does unless the sharer says something else.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.browser import chromium, new_page, shoot
from tests.demo import world
from tests.lab import Host, Lab, services
from tests.tmux import Person, Run, person
from tunnel.browser_tls import self_signed
from tunnel.identity import make_key, private_pem

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e
PASSCODE, OTHER = "a-passcode-for-browsers", "another-passcode"
DOMAIN = "relay.test"
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


def relays_certificate(folder: Path) -> Path:
    """One for all sites of the relay, with its key."""
    key, path = make_key(), folder / "sites.pem"
    names = [x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}")]
    now, lasts = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    path.write_bytes(self_signed(key, names, now, lasts) + private_pem(key))
    return path


@dataclass(frozen=True, slots=True)
class Stage:
    """A share with its page, alice at a terminal that all may type in, and one to look at."""

    lab: Lab
    share: world.Share
    url: str
    certificate: Path  # of the relay, for its browsers
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
        certificate = relays_certificate(lab.relay.tmp)
        secured = ["--cert", str(certificate)]
        begun = world.relay(lab, world.RELAY_PORT, *secured, domain=DOMAIN)
        relay = stack.enter_context(begun)
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
        url = f"https://{share.name}--join.{DOMAIN}:{world.RELAY_PORT}/"
        seats = []
        for name, mode in (("shell", "--read-write"), ("logs", "--read-only")):
            words = f"vshare terminal {name} {mode} --share {share.name}"
            seat = person(on(alice), f"seat-{name}", f"sh -c '{words}; exec cat'", (80, 24))
            seats.append(stack.enter_context(seat))
        yield Stage(lab, share, url, certificate, *seats)


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Iterator[Browser]:
    """Bob's. It finds the relay's names, as DNS would tell it."""
    names = {f"*.{DOMAIN}": stage.lab.relay.ip}
    certificates = [stage.certificate]
    with chromium(host=stage.lab.bob, names=names, certificates=certificates) as started:
        yield started


@contextlib.contextmanager
def come_in(browser: Browser, stage: Stage, size: tuple[int, int] | None = None) -> Iterator[Page]:
    """By the passcode, with a window of this size."""
    page = new_page(browser)
    page.set_default_timeout(PATIENCE)
    if size is not None:
        page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(stage.url)
    give_passcode(page, "bob", PASSCODE)
    page.get_by_text("encryption ends at the relay").wait_for()
    yield page
    page.close()


def give_passcode(page: Page, name: str, passcode: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Passcode").fill(passcode)
    page.get_by_role("button", name="Come in").click()
    page.locator("#link", has_text="live").wait_for()


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


def test_alice_sees_who_is_there_lets_one_type_and_puts_one_out(
    browser: Browser, stage: Stage
) -> None:
    """What a guest at `vconnect` is, a browser is for her."""

    def vshare(*words: str) -> Any:
        command = ["vshare", *words, "--share", stage.share.name, "--json"]
        return json.loads(stage.lab.alice.run(command).stdout.splitlines()[-1])

    with contextlib.closing(new_page(browser)) as page:
        page.set_default_timeout(PATIENCE)
        page.goto(stage.url)
        give_passcode(page, "mallory", PASSCODE)
        who = "mallory (browser)"
        page.get_by_role("button", name="logs").click()
        page.get_by_text("read only").wait_for()
        [row] = [each for each in vshare("guests")["guests"] if each["name"] == who]
        assert (row["where"], row["uses"]) == ("browser", ["terminal logs"])
        assert row["address"] == stage.lab.hosts["bob-nat"].ip
        vshare("terminal", "grant", who, "--terminal", "logs")
        page.get_by_text("you can type").wait_for()
        page.keyboard.type("echo with a right\n")
        stage.logs.wait_for("with a right")
        vshare("terminal", "revoke", who, "--terminal", "logs")
        page.get_by_text("read only").wait_for()
        vshare("kick", who)
        page.get_by_text("The sharer removed you from this page").wait_for()
        assert who not in str(vshare("guests"))
        file = stage.lab.alice.tmp / "other-passcode"
        file.write_text(OTHER)
        vshare("page", "--passcode-file", str(file))
        page.get_by_role("button", name="To the passcode").click()
        page.get_by_label("Passcode").fill(PASSCODE)
        page.get_by_role("button", name="Come in").click()
        page.get_by_text("That was not the passcode").wait_for()
        give_passcode(page, "mallory", OTHER)
        vshare("page", "--off")
        page.get_by_text("The sharer closed this page").wait_for()
        page.reload()
        page.get_by_role("heading", name="This page is closed").wait_for()
        vshare("page", "--on")
        file.write_text(PASSCODE)
        vshare("page", "--passcode-file", str(file))
