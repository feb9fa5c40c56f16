"""The guest page of a share that runs, from the relay on, and what other terminals ask about it."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.typing import Origin

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import until
from tests.share_pair import tcp_service
from tests.vshare.test_share import Web, own_directories, run, sharing
from tests.vshare.test_share_commands import ask
from tunnel.browser_tls import dns_names
from vshare import audit, requests
from vshare.guest_page import requests as page_requests
from vshare.guest_page.visitors import KICKED
from vshare.guest_page.web_socket import OUT
from vshare.options import GuestPageOptions, Options, PassthroughOptions
from vshare.together import requests as together

__all__ = ["own_directories"]
PASSCODE = "a-passcode-for-browsers"


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Browser:
    """Asks for one thing after another, all at the relay on `port`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self.host, self.port, self.scheme = parts.hostname or "", parts.port, parts.scheme
        self.cookies: dict[str, str] = {}
        self.certificate = b""

    async def ask(self, path: str, *, host: str = "", form: dict[str, str] | None = None) -> str:
        """The answer to it, as text."""
        host = host or self.host
        tls = unverified() if self.scheme == "https" else None
        name = host if tls else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls, server_hostname=name
        )
        if tls:
            self.certificate = writer.get_extra_info("ssl_object").getpeercert(True)
        body = urlencode(form or {}) if form is not None else ""
        origin = f"{self.scheme}://{host}:{self.port}"
        lines = [f"{'POST' if form is not None else 'GET'} {path} HTTP/1.1"]
        lines += [f"Host: {host}:{self.port}", "Accept: text/html", "Connection: close"]
        lines += [f"Cookie: {self.cookies[host]}"] if host in self.cookies else []
        lines += [f"Origin: {origin}", f"Content-Length: {len(body)}"] if form is not None else []
        lines += ["Content-Type: application/x-www-form-urlencoded"] if form is not None else []
        writer.write("\r\n".join([*lines, "", body]).encode())
        answer = (await reader.read()).decode()
        writer.close()
        if given := re.search(r"(?i)set-cookie: ([^;]+)", answer):
            self.cookies[host] = given[1]
        return answer

    async def come_in(self, name: str) -> None:
        form = {"name": name, "passcode": PASSCODE}
        assert " 303 " in await self.ask("/.vshare/join", form=form)

    def socket(self, path: str) -> connect:
        origin = Origin(f"{self.scheme}://{self.host}:{self.port}")
        return connect(
            f"ws://{self.host}:{self.port}{path}",
            host="127.0.0.1",
            port=self.port,
            origin=origin,
            additional_headers={"Cookie": self.cookies[self.host]},
        )


async def is_served(browser: Browser, host: str) -> bool:
    try:
        await browser.ask("/", host=host)
    except ssl.SSLError as error:
        assert error.reason == "TLSV1_UNRECOGNIZED_NAME"  # noqa: PT017  # what else it says fails
        return False
    return True


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Of shares with a page."""
    file = tmp_path / "passcode"
    file.write_text(PASSCODE)
    return {"target": "127.0.0.1", "ask": False, "guest_page": GuestPageOptions("read", file)}


def test_a_visitor_is_a_guest_for_the_sharer(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with tcp_service(Web) as port, sharing(Options(**options, http_port=port)) as share:
            started = await share.screen.started
            browser = Browser(started["guest_page"])
            await browser.come_in("eve")
            async with browser.socket("/news") as news:
                await news.recv()
                [row] = (await ask(requests.Guests(), requests.GuestList)).guests
                assert (row.name, row.where) == ("eve (browser)", "browser")
                assert (row.address, row.connections) == ("127.0.0.1", 1)
                assert (await ask(requests.Status(), requests.ShareState)).guests == 1
                line = await ask(requests.Line(), requests.LineText)
                assert line.text.startswith("1 guest |")
                page = await ask(page_requests.GuestPage(), page_requests.PageState)
                assert (page.passcode, page.here, page.visitors) == (PASSCODE, 1, 1)
                await ask(requests.Kick("eve"), requests.OneGuest)
                await news.wait_closed()
                assert (news.close_code, news.close_reason) == (OUT, KICKED)
            assert (await ask(requests.Guests(), requests.GuestList)).guests == []
            assert " 403 " in await browser.ask("/")
            (log,) = audit.log_files()
            kinds = re.findall(r'"event":"([a-z-]+)"', log.read_text())
            assert [each for each in kinds if each in ("visitor-joined", "kicked")] == [
                "visitor-joined",
                "kicked",
            ]
            new = await ask(page_requests.ChangePage(""), page_requests.PageState)
            wrong = {"name": "eve", "passcode": PASSCODE}
            assert " 403 " in await browser.ask("/.vshare/join", form=wrong)
            right = {"name": "eve", "passcode": new.passcode}
            assert " 303 " in await browser.ask("/.vshare/join", form=right)

    run(main)


def test_servers_shared_later_where_tls_ends_here(options: dict[str, Any]) -> None:
    """Each new name has a certificate of its own, and the same key."""

    async def main() -> None:
        async with (
            tcp_service(Web) as port,
            tcp_service(Web) as later,
            Relay(RelayConfig()) as relay,
        ):
            through = PassthroughOptions()
            made = Options(**options, http_port=port, relay=str(relay.address), passthrough=through)
            async with sharing(made) as share:
                browser = Browser((await share.screen.started)["guest_page"])
                assert browser.scheme == "https"
                await browser.come_in("eve")
                first = x509.load_der_x509_certificate(browser.certificate)
                await ask(together.Serve(later, "shop"), together.Served)
                await until(lambda: [e for e in share.screen.events if e["event"] == "notice"])
                answer = await browser.ask("/site/shop")
                (link,) = re.findall(r"(?i)location: (\S+)", answer)
                to = urlsplit(link)
                host = browser.host.replace("--join.", "--shop.")
                assert to.hostname == host
                entered = await browser.ask(f"{to.path}?{to.query}", host=host)
                assert " 303 " in entered
                assert (await browser.ask("/", host=host)).endswith("hello")
                own = x509.load_der_x509_certificate(browser.certificate)
                assert dns_names(own) == {host}
                assert own.public_key() == first.public_key()
                [row] = (await ask(requests.Guests(), requests.GuestList)).guests
                assert row.uses == ["shop"]
                told = [each for each in share.screen.events if each["event"] == "notice"]
                assert host in told[0]["text"]
                await ask(together.Unserve("shop"), together.Unserved)
                while await is_served(browser, host):
                    pass

    run(main)
