"""Debian's Chromium, headless, driven by Playwright: what people look at the pages with.

It resolves and reaches nothing but this machine's loopback, or what a host of the lab reaches.
A certificate that nobody vouches for is accepted by its own key alone. With $VSHARE_SCREENSHOTS
set to a folder, `shoot` leaves pictures there.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab.host import Host, entering

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
MANDATORY = "VSHARE_E2E"
"""Set by `tox -e e2e`: a browser that cannot be had is then a failure, not a reason to skip."""
SCREENSHOTS = "VSHARE_SCREENSHOTS"
LAUNCH_WITHIN = 60.0  # seconds; measured 0.5, and 10 beside VMs that are emulated
WITHIN = 20.0  # seconds for each step in a page
WINDOW = (880, 560)  # pixels: pictures that fit a document
PICTURE_LIMIT = 150_000  # bytes: they are kept in git
NOWHERE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost"
ALONE = ("--disable-sync", "--disable-domain-reliability")  # no talk with its maker


@contextmanager
def chromium(
    *,
    host: Host | None = None,
    proxy: str = "",
    names: Mapping[str, str] | None = None,
    certificates: Sequence[Path] = (),
) -> Iterator[Browser]:
    """A browser, on a host of the lab if one is given; its processes end with the block.

    `proxy` is as Playwright takes it (socks5://ADDRESS:PORT). `names` has addresses for names
    ("*.relay.test"), since the lab has no DNS. The keys of `certificates` (PEM files) are
    accepted, whatever else is wrong with them.
    """
    _check_installed()
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vshare-browser-")))
        if host is None:
            program, environment = CHROMIUM, {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        else:
            program, environment = str(_program_on(host, home)), host.environment
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[*ALONE, *_mapping(host, names or {}), *_accepting(certificates)],
            env={**environment, "HOME": str(home), "TMPDIR": str(home)},
            proxy={"server": proxy} if proxy else None,
            chromium_sandbox=os.geteuid() != 0,  # it does not run as root
            timeout=LAUNCH_WITHIN * 1000,
        )
        stack.callback(browser.close)
        yield browser


def new_page(browser: Browser) -> Page:
    """A window of its own, with cookies of its own. What a step waits for is bounded."""
    page = browser.new_page(
        viewport={"width": WINDOW[0], "height": WINDOW[1]}, color_scheme="light"
    )
    page.set_default_timeout(WITHIN * 1000)
    return page


def shoot(page: Page, name: str) -> None:
    """A picture of the page, NAME.png, for the documents; only if it was asked for."""
    if folder := os.environ.get(SCREENSHOTS):
        path = Path(folder, f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = page.screenshot(path=path, animations="disabled", caret="hide")
        assert len(data) < PICTURE_LIMIT, f"{path} has {len(data)} bytes"


def _check_installed() -> None:
    missing = "" if os.access(CHROMIUM, os.X_OK) else "Debian's chromium"
    try:
        import playwright  # noqa: F401
    except ImportError:
        missing = "Playwright"
    if missing and os.environ.get(MANDATORY) == "1":
        pytest.fail(f"{missing} is not installed; `tools/install` does")
    if missing:
        pytest.skip(f"needs {missing}; `tools/install` installs it")


def _program_on(host: Host, folder: Path) -> Path:
    """A program that starts the browser on the host; it is spoken with through inherited files."""
    script = folder / "chromium"
    command = shlex.join(entering(host.pid, Path("/"), [CHROMIUM]))
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o700)
    return script


def _mapping(host: Host | None, names: Mapping[str, str]) -> list[str]:
    rules = [f"MAP {name} {address}" for name, address in names.items()]
    if host is None:
        rules.append(NOWHERE)
    return [f"--host-resolver-rules={', '.join(rules)}"] if rules else []


def _accepting(certificates: Sequence[Path]) -> list[str]:
    if not certificates:
        return []
    keys = ",".join(base64.b64encode(_key_digest(path)).decode() for path in certificates)
    return [f"--ignore-certificate-errors-spki-list={keys}"]


def _key_digest(path: Path) -> bytes:
    key = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
