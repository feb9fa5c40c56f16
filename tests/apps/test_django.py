"""Django as `startproject` makes it: its admin site, whose forms are protected against forgery."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps.installed import from_pypi
from tests.apps.public import Relay, program, public, wait_for_port
from tests.browser import shoot
from tests.ports import refusing

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.programs
PASSWORD = "correct horse battery"
HOSTS = "ALLOWED_HOSTS = []"  # as it is made: localhost and names below it


@pytest.fixture(scope="module")
def python() -> Path:
    return from_pypi("python-web", "django>=5", "flask>=3") / "python"


def run_manage(python: Path, project: Path, *arguments: str) -> None:
    """`manage.py ARGUMENT...`."""
    environment = {**os.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    command = [str(python), "manage.py", *arguments]
    subprocess.run(command, cwd=project, env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def project(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose database has a superuser."""
    made = tmp_path_factory.mktemp("project")
    start = [str(python), "-m", "django", "startproject", "shop", str(made)]
    subprocess.run(start, check=True, timeout=60)
    run_manage(python, made, "migrate", "-v0")
    who = ["--username", "alice", "--email", "alice@example.org"]
    run_manage(python, made, "createsuperuser", "--noinput", "-v0", *who)
    return made


@contextmanager
def served(python: Path, project: Path, folder: Path) -> Iterator[int]:
    """Its port."""
    port = refusing()
    serve = [str(python), str(project / "manage.py"), "runserver", "--noreload", str(port)]
    with program(folder, serve):
        wait_for_port(port)
        yield port


def add_a_group(page: Page, url: str, name: str) -> None:
    """Log in, make one, log out: redirects, cookies, and forms that are sent back."""
    page.goto(url + "admin")  # without the slash: a redirect, and one more to the login
    assert page.url.startswith(url + "admin/login/?next=/admin/")
    page.get_by_label("Username:").fill("alice")
    page.get_by_label("Password:").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(url + "admin/")
    page.goto(url + "admin/auth/group/add/")
    page.get_by_label("Name:").fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(url + "admin/auth/group/")
    page.get_by_text("was added successfully").wait_for()
    page.get_by_role("link", name=name, exact=True).last.wait_for()
    shoot(page, "django")
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("Logged out").first.wait_for()


def test_the_admin_site(python: Path, project: Path, folder: Path, at: Relay, page: Page) -> None:
    with served(python, project, folder) as port, public(folder, at, port) as shared:
        add_a_group(page, shared.url, "editors")


def test_with_a_host_of_its_own(
    python: Path, project: Path, folder: Path, at: Relay, page: Page
) -> None:
    """It serves who asks for app.test, and compares Origin with that when a form comes back."""
    settings = project / "shop" / "settings.py"
    text = settings.read_text()
    assert HOSTS in text
    settings.write_text(text.replace(HOSTS, "ALLOWED_HOSTS = ['app.test']"))
    with served(python, project, folder) as port:
        with public(folder, at, port) as shared:
            answer = page.goto(shared.url + "admin/")
            assert answer is not None
            assert answer.status == 400
        with public(folder, at, port, "--host-header", "app.test") as shared:
            add_a_group(page, shared.url, "writers")
            add_a_group(page, shared.told["https_url"], "readers")
    settings.write_text(text)
