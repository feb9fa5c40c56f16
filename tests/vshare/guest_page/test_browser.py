"""The guest page in a real browser, from its TLS on: as with --https-passthrough."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.accepting import accepting
from tests.browser import chromium, new_page, shoot
from tests.share_pair import share_pair
from tests.vshare.guest_page.small_page import DOMAIN, NAME, PASSCODE, SmallPage
from tunnel.follow import Say, Server
from tunnel.names import ShareName
from vshare.guest_page.files import Files
from vshare.guest_page.page import Terminals
from vshare.policy import Policy
from vshare.terminals.terminal import SharedTerminal
from vshare.web.cookies import Cookies
from vshare.web.passcode import Passcode
from vshare.web.site_certificate import make_certificate
from vshare.web.sites import Site, Sites
from vshare.web.tls_door import TlsDoor, hosts_of
from vshare.web.tries import Tries
from vshare.web.visits import Visits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = pytest.mark.programs
T = TypeVar("T")
OTHER = ShareName("quiet-lynx-0002")
STARTS_WITHIN = 10.0  # seconds
PHONE: ViewportSize = {"width": 390, "height": 844}
TABLET: ViewportSize = {"width": 820, "height": 1180}
NASTY = "<img src=x onerror=\"document.title='owned'\">"
SHOP = b"<!doctype html><title>Shop</title><h1>The shop</h1>"
WITHIN = 20.0  # seconds
SCREEN = "document.querySelector('.xterm-rows')?.innerText.replaceAll('\\u00a0', ' ') ?? ''"


class Shell:
    """Echoes what is typed, as a terminal does, and answers lines; `typed` is all of it."""

    def __init__(self, terminal: SharedTerminal) -> None:
        self._terminal = terminal
        self.typed = b""
        self.size = (0, 0)
        terminal.output(b"\x1b[32mvm\x1b[0m:\x1b[38;2;120;170;250m~\x1b[0m$ ")

    def write(self, data: bytes) -> None:
        self.typed += data
        shown = data.replace(b"\r", b"\r\nyou typed it\r\n$ ").replace(b"\x03", b"^C\r\n$ ")
        self._terminal.output(shown)

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        pass


class Running:
    """A share with its page, in a thread of its own: Playwright waits in this one."""

    def __init__(self, terminals: Terminals, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        self.small: SmallPage
        self.shells: dict[str, Shell] = {}
        self.url = ""
        self._terminals = terminals
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
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        authority = f"{NAME}--join.{DOMAIN}:{port}"
        self.url = f"https://{authority}/"
        shop = await asyncio.start_server(_shop, "127.0.0.1", 0)
        at = shop.sockets[0].getsockname()[1]
        policy = Policy(names=frozenset(), http_ports=frozenset({at}))
        async with shop, share_pair(policy) as pair:
            streams = pair.streams
            small = self.small = SmallPage(
                self._terminals,
                url=self.url,
                is_passed_through=True,
                files=Files(),
                clock=time.time,
                board=streams.board,
                hub=streams.terminals,
            )
            sites = Sites(others={"web": Site("web", at, title="Shop")})
            cookies = Cookies(b"vshare", b"k" * 32, time.time)
            asked = Passcode("other-passcode", cookies, Tries(time.time), (), small.tickets)
            visits = streams.visits = Visits(sites, lambda _: [asked])
            visits.add_own(small.page)
            small.sites = visits.sites
            hosts = hosts_of(visits.sites, NAME, DOMAIN)
            other = hosts_of(visits.sites, OTHER, DOMAIN)
            made = make_certificate([*hosts, *other], datetime.datetime.now(datetime.UTC))
            door = self._door = TlsDoor(hosts, made, streams)
            self.certificate.write_bytes(made.chain)
            async with door:
                with accepting(listener, door.visitor):
                    self._ready.set()
                    await self._over.wait()
                small.page.close()

    def do(self, act: Callable[[], T]) -> T:
        """What `act` gives, in the share's thread."""

        async def main() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(main(), self.loop).result()

    def rename(self, name: ShareName) -> None:
        """Another name for the share; the page moves there."""
        hosts = hosts_of(self.small.sites, name, DOMAIN)
        self._door.move(hosts, self._door.certificate)
        _, _, port = self.url.rstrip("/").rpartition(":")
        self.url = f"https://{name}--join.{DOMAIN}:{port}/"
        self.small.page.move(name, self.url)

    def terminal(self, name: str, *, read_write: bool) -> Shell:
        """One that is shared."""

        def share() -> Shell:
            terminal, _ = self.small.terminal(name, read_write=read_write)
            shell = self.shells[name] = Shell(terminal)
            terminal.run(shell)
            return shell

        return self.do(share)

    def serve(self) -> None:
        """Servers by name; one is no website."""
        [web] = [site for site in self.small.sites.all() if not site.is_own]
        self.small.board.set("servers", [Server("web", web.port, "http"), Server("db", 5432)])


async def _shop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(SHOP) + SHOP)
            await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running("write", tmp_path_factory.mktemp("page")) as made:
        made.terminal("main", read_write=True)
        made.terminal("logs", read_write=False)
        made.do(made.serve)
        yield made


@pytest.fixture(scope="module")
def browser(running: Running) -> Iterator[Browser]:
    names = {f"*.{DOMAIN}": "127.0.0.1"}
    with chromium(names=names, certificates=[running.certificate]) as started:
        yield started


@pytest.fixture(params=["desk", "phone", "tablet"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A window; whatever its console says at the end is a fault."""
    if request.param == "desk":
        opened = new_page(browser)
    else:
        size = PHONE if request.param == "phone" else TABLET
        opened = browser.new_page(
            viewport=size, has_touch=True, is_mobile=True, color_scheme="light"
        )
        opened.set_default_timeout(WITHIN * 1000)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    opened.close()
    assert [each for each in said if "403" not in each] == []


def come_in(page: Page, running: Running, name: str = "eve") -> None:
    """By the passcode."""
    page.goto(running.url)
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Passcode").fill(PASSCODE)
    page.get_by_role("button", name="Come in").click()
    page.locator("#link", has_text="live").wait_for()


def wait_for_text(page: Page, text: str) -> None:
    page.wait_for_function(f"text => ({SCREEN}).includes(text)", arg=text)


def is_within(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def picture(page: Page, name: str) -> None:
    where = {PHONE["width"]: "-phone", TABLET["width"]: "-tablet"}.get(width(page), "")
    shoot(page, f"guest-page-{name}{where}")


def width(page: Page) -> int:
    return page.viewport_size["width"] if page.viewport_size is not None else 0


def press(page: Page, name: str) -> None:
    """A key of the row, with a finger where there is no mouse."""
    key = page.get_by_role("toolbar").get_by_role("button", name=name, exact=True)
    if width(page) in (PHONE["width"], TABLET["width"]):
        key.tap()
    else:
        key.click()


def test_the_passcode_and_the_list(page: Page, running: Running) -> None:
    page.goto(running.url)
    page.get_by_text("comes from the sharer's computer itself").wait_for()
    assert is_within(page)
    picture(page, "door")
    page.get_by_label("Passcode").fill("something wrong")
    page.get_by_role("button", name="Come in").click()
    page.get_by_text("That was not the passcode").wait_for()
    come_in(page, running, NASTY)
    page.get_by_text("You are img srcx onerror").wait_for()
    running.do(lambda: running.small.board.set("says", [Say(1, NASTY)]))
    page.get_by_text(NASTY).wait_for()
    assert page.title() == "shop · vshare"
    assert is_within(page)
    page.get_by_role("button", name="Leave").click()
    page.get_by_label("Passcode").wait_for()


def test_a_shared_server(page: Page, running: Running) -> None:
    """The link goes past the site's own passcode, which this browser never saw."""
    come_in(page, running)
    page.get_by_text("not open to browsers").wait_for()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="web").click()
    site = opened.value
    site.get_by_role("heading", name="The shop").wait_for()
    assert site.url.startswith(f"https://{NAME}--web.{DOMAIN}:")
    assert "ticket" not in site.url
    site.close()


def test_the_machines_own_page_gets_nowhere(page: Page, running: Running) -> None:
    """It is a page of the same site, so that the browser sends the cookie along."""
    come_in(page, running)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="web").click()
    site = opened.value
    site.get_by_role("heading", name="The shop").wait_for()
    script = """async ([page, socket]) => {
        const found = {};
        found.read = await fetch(page, {credentials: "include"}).then(() => "read", () => "no");
        const sent = {method: "POST", mode: "no-cors", credentials: "include"};
        await fetch(page + ".vshare/leave", sent);
        found.socket = await new Promise((resolve) => {
            const tried = new WebSocket(socket);
            tried.onopen = () => resolve("open");
            tried.onerror = () => resolve("no");
        });
        found.frame = await new Promise((resolve) => {
            const frame = document.createElement("iframe");
            frame.onload = () => {
                try { resolve(frame.contentDocument ? "read" : "no"); } catch { resolve("no"); }
            };
            frame.src = page;
            document.body.append(frame);
        });
        found.opener = window.opener ? "has" : "no";
        return found;
    }"""
    socket_url = running.url.replace("https://", "wss://") + "terminal?name=main"
    found = site.evaluate(script, [running.url, socket_url])
    assert found == {"read": "no", "socket": "no", "frame": "no", "opener": "no"}
    site.close()
    page.reload()
    page.locator("#link", has_text="live").wait_for()  # it was not sent away either


def test_a_link_from_elsewhere(page: Page, running: Running) -> None:
    """The cookie is not sent along with such a click, and who is in is not asked again."""
    come_in(page, running)
    page.goto("data:text/html,<a href='" + running.url + "'>go</a>")
    page.get_by_role("link", name="go").click()
    page.locator("#link", has_text="live").wait_for()


def test_typing_where_one_may(page: Page, running: Running) -> None:
    come_in(page, running)
    page.get_by_role("button", name="main").click()
    wait_for_text(page, "vm:~$")
    page.get_by_text("you can type").wait_for()
    shell = running.shells["main"]
    shell.typed = b""
    page.keyboard.type("ls -l é")
    page.keyboard.press("Enter")
    wait_for_text(page, "you typed it")
    wait_for(lambda: shell.typed == "ls -l é\r".encode())
    if width(page) == TABLET["width"]:
        picture(page, "terminal")
    assert is_within(page)


def test_the_row_of_keys(page: Page, running: Running) -> None:
    come_in(page, running)
    page.get_by_role("button", name="main").click()
    page.get_by_text("you can type").wait_for()
    shell = running.shells["main"]
    shell.typed = b""
    for key in ("Esc", "Tab", "Left", "Up", "Down", "Right"):
        press(page, key)
    ctrl = page.get_by_role("button", name="Ctrl")
    press(page, "Ctrl")
    assert ctrl.get_attribute("aria-pressed") == "true"
    page.keyboard.type("c")
    page.wait_for_function("document.getElementById('ctrl').ariaPressed === 'false'")
    page.keyboard.type("c")
    wait_for(lambda: shell.typed.endswith(b"\x03c"))
    assert shell.typed == b"\x1b\t\x1b[D\x1b[A\x1b[B\x1b[C\x03c"


def test_a_terminal_to_look_at(page: Page, running: Running) -> None:
    """No key comes through, and none is offered; what the shell says is shown."""
    come_in(page, running)
    page.get_by_role("button", name="logs").click()
    wait_for_text(page, "vm:~$")
    page.get_by_text("read only").wait_for()
    shell = running.shells["logs"]
    page.keyboard.type("rm -rf /\n")
    refused = "open.state = {...open.state, write: true}; open.send(new TextEncoder().encode('x'))"
    page.evaluate(refused)  # a page that was tampered with is refused by the share
    assert not page.get_by_role("toolbar").is_visible()
    running.do(lambda: running.small.hub.find("logs").output(b"\r\nline two\r\n"))
    wait_for_text(page, "line two")
    assert shell.typed == b""
    assert is_within(page)
    page.get_by_role("button", name="Back to the list").click()
    page.get_by_role("heading", name="Terminals").wait_for()


def test_who_is_kicked_is_told_so(page: Page, running: Running) -> None:
    """Whatever is shown just then; and it stays out until it gives the passcode."""
    come_in(page, running, "mallory")
    page.get_by_role("button", name="logs").click()
    page.get_by_text("read only").wait_for()
    people = running.small.page.visitors
    found = people.maybe_named("mallory", exactly=False)
    assert found is not None
    running.do(lambda: people.kick(found))
    page.get_by_text("The sharer removed you from this page").wait_for()
    assert not page.locator("#screen").is_visible()
    assert is_within(page)
    picture(page, "out")
    page.get_by_role("button", name="To the passcode").click()
    page.get_by_label("Passcode").wait_for()


def wait_for(holds: Callable[[], object]) -> None:
    """For what happens in the share's thread."""
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_share_with_another_name(page: Page, running: Running) -> None:
    """Who has the page open is led to where it is now."""
    come_in(page, running)
    try:
        running.do(lambda: running.rename(OTHER))
        page.wait_for_url(running.url)
        page.get_by_label("Passcode").wait_for()
        come_in(page, running)
        page.locator("#share", has_text=OTHER).wait_for()
    finally:
        running.do(lambda: running.rename(NAME))
