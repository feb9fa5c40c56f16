"""A Flask application that redirects to absolute URLs and keeps who logged in in a cookie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apps.installed import from_pypi
from tests.apps.public import Public, Relay, program, public, wait_for_port
from tests.ports import refusing

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.programs
APPLICATION = """
import os
from flask import Flask, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.secret_key = "of the test"
if os.environ.get("BEHIND_PROXY"):
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)

@app.get("/")
def home():
    if "who" not in session:
        return redirect(url_for("login", _external=True))
    return f"<title>Home</title><p>Hello {session['who']} at {url_for('home', _external=True)}</p>"

@app.route("/login", methods=["GET", "POST"])
def login():
    if request.method == "POST":
        session["who"] = request.form["who"]
        return redirect(url_for("home", _external=True))
    return '<title>Login</title><form method="post"><input name="who"><button>Go</button></form>'
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return from_pypi("python-web", "django>=5", "flask>=3") / "python"


@pytest.fixture(params=["", "1"], ids=["alone", "behind a proxy"])
def shared(
    request: pytest.FixtureRequest, python: Path, folder: Path, at: Relay
) -> Iterator[Public]:
    """The application, told to believe what a proxy says, or not."""
    (folder / "application.py").write_text(APPLICATION)
    port = refusing()
    command = [str(python), "-m", "flask", "--app", "application", "run", "--port", str(port)]
    environment = {**os.environ, "BEHIND_PROXY": request.param}
    with program(folder, command, environment):
        wait_for_port(port)
        with public(folder, at, port) as made:
            yield made


def test_absolute_redirects_come_back_to_the_url(shared: Public, page: Page) -> None:
    answer = page.goto(shared.url)
    assert answer is not None
    assert page.url == shared.url + "login"
    page.locator("input").fill("bob")
    page.get_by_role("button").click()
    page.get_by_text("Hello bob").wait_for()
    assert page.url == shared.url
    assert page.get_by_text(f"at {shared.url}").count() == 1


@pytest.mark.parametrize("shared", ["1"], indirect=True)
def test_they_stay_with_tls(shared: Public, page: Page) -> None:
    page.goto(shared.told["https_url"])
    assert page.url == shared.told["https_url"] + "login"
    page.locator("input").fill("bob")
    page.get_by_role("button").click()
    page.get_by_text(f"at {shared.told['https_url']}").wait_for()
