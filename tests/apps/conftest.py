"""What the tests of applications have in common: a relay, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps.public import Relay, relay
from tests.browser import chromium, new_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what the module's programs write."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def at(folder: Path) -> Iterator[Relay]:
    with relay(folder) as made:
        yield made


@pytest.fixture(scope="module")
def browser(at: Relay) -> Iterator[Browser]:
    with chromium(certificates=[at.certificate]) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = new_page(browser)
    yield opened
    opened.close()
