"""JupyterLab: a cell runs through the URL, which takes several WebSockets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps.installed import from_pypi
from tests.apps.public import Relay, program, public, wait_for_port
from tests.browser import shoot
from tests.ports import refusing

if TYPE_CHECKING:
    from playwright.sync_api import Page

SLOW = "VSHARE_SLOW"  # 1: half a minute to install, 300 MB
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.environ.get(SLOW) != "1", reason=f"only with {SLOW}=1"),
]
TOKEN = "of-the-test"
PATIENCE = 90_000  # milliseconds; a kernel takes seconds to start, and more on a busy machine
CELL = "sum(number ** 2 for number in range(100))"
RESULT = "328350"
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "one",
            "metadata": {},
            "source": CELL,
            "outputs": [],
            "execution_count": None,
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="module")
def programs() -> Path:
    return from_pypi("jupyter", "jupyterlab>=4", "ipykernel>=6")


@pytest.fixture
def port(programs: Path, folder: Path, tmp_path: Path) -> Iterator[int]:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "notes.ipynb").write_text(json.dumps(NOTEBOOK))
    port = refusing()
    settings = {"ip": "127.0.0.1", "port": port, "root_dir": notes, "port_retries": 0}
    options = [f"--ServerApp.{name}={value}" for name, value in settings.items()]
    options += [f"--IdentityProvider.token={TOKEN}", "--no-browser", "--allow-root"]
    options += [
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    command = [str(programs / "python"), "-m", "jupyterlab", *options]
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {**os.environ, **own, "IPYTHONDIR": str(tmp_path / "ipython")}
    with program(folder, command, environment):
        wait_for_port(port)
        yield port


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_cell_runs(port: int, folder: Path, at: Relay, page: Page, scheme: str) -> None:
    """Its server takes requests for localhost alone, and WebSockets from its own pages."""
    page.set_default_timeout(PATIENCE)
    with public(folder, at, port, "--host-header", "rewrite") as shared:
        url = shared.url if scheme == "http" else shared.told["https_url"]
        page.goto(f"{url}lab/tree/notes.ipynb?token={TOKEN}")
        page.locator(".jp-CodeCell .cm-content").first.click()
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        idle.wait_for(state="attached")  # the kernel has answered
        page.keyboard.press("Control+Enter")
        page.locator(".jp-OutputArea-output", has_text=RESULT).wait_for()
        shoot(page, "jupyterlab")
