from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.loops import run
from tests.vshare.web.requests import BROWSER, refused, request
from tunnel.errors import UsageError
from vshare.news import News, Newsroom
from vshare.web import access_setup
from vshare.web.access import Addresses, BasicAuth
from vshare.web.access_setup import (
    Access,
    AccessOptions,
    make_access,
    parse_network,
    parse_sharer,
    parse_user,
)
from vshare.web.interstitial import Interstitial
from vshare.web.passcode import Passcode

NAME, MACHINE = "frosty-weasel-0857", "the demo machine"


def made(options: AccessOptions, newsroom: Newsroom | None = None) -> Access:
    options.check()
    found: list[Access] = []

    async def main() -> None:
        found.append(await make_access(options, NAME, MACHINE, newsroom or Newsroom()))

    run(main)
    return found[0]


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "secret"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def kinds(access: Access) -> list[type]:
    return [type(rule) for rule in access.rules]


def test_without_options_all_may_come() -> None:
    assert made(AccessOptions()) == Access()


def test_the_order(tmp_path: Path) -> None:
    network = parse_network("203.0.113.0/24")
    auth = written(tmp_path, "ada:correct horse\n")
    options = AccessOptions(allow=(network,), auth_file=auth, passcode=True)
    assert kinds(made(options)) == [Addresses, BasicAuth, Passcode]
    options = AccessOptions(deny=(network,), auth_file=auth, sharer="Ada")
    assert kinds(made(options)) == [Addresses, BasicAuth, Interstitial]


def test_the_passcodes_page_says_who_shares() -> None:
    access = made(AccessOptions(passcode=True, sharer="Ada"))
    assert kinds(access) == [Passcode]
    assert access.interstitial is None
    assert b"Ada shares the demo machine" in refused(
        access.rules[0].request(request(more=BROWSER))
    ).body  # fmt: skip
    assert access.passcode
    assert access.passcode not in repr(access)
    assert access.rules[0].request(request(more={"X-Vshare-Passcode": access.passcode})) is None


def test_who_guesses_is_told_of(tmp_path: Path) -> None:
    newsroom, told = Newsroom(), list[News]()
    newsroom.subscribe(told.append)
    options = AccessOptions(passcode=True, auth_file=written(tmp_path, "ada:correct horse"))
    login, passcode = made(options, newsroom).rules
    for number in range(3):
        refused(login.request(request(more={"Authorization": "Basic YWRhOnNlc2FtZQ=="})))
        refused(passcode.request(request(more={"X-Vshare-Passcode": f"guess-{number}"})))
    assert [each.fields["address"] for each in told] == ["203.0.113.7"]


def test_each_share_has_a_passcode_and_a_link_of_its_own() -> None:
    one, other = (made(AccessOptions(passcode=True)) for _ in range(2))
    assert one.passcode != other.passcode
    one, other = (made(AccessOptions(sharer="Ada")) for _ in range(2))
    assert one.interstitial
    assert other.interstitial
    assert one.interstitial.invite_link("/") != other.interstitial.invite_link("/")


def test_a_passcode_from_a_file(tmp_path: Path) -> None:
    access = made(AccessOptions(passcode_file=written(tmp_path, " open sesame\n")))
    assert access.passcode == "open sesame"


def test_a_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(prompt: str, hint: str) -> str:
        assert prompt == "Password for visitors who log in as ada: "
        await asyncio.sleep(0)
        return "correct horse"

    monkeypatch.setattr(access_setup, "ask_hidden", ask)
    access = made(AccessOptions(user="ada"))
    head = request(more={"Authorization": "Basic YWRhOmNvcnJlY3QgaG9yc2U="})
    assert access.rules[0].request(head) is None


@pytest.mark.parametrize(
    "text",
    [
        "ada",
        "",
        "ada:short",
        ":correct horse",
        "a\tb:correct horse",
        "ada:" + "x" * 257,
        b"ada:" + b"\xff" * 8,
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(UsageError) as caught:
        AccessOptions(auth_file=written(tmp_path, text)).check()
    assert "correct" not in caught.value.text + caught.value.hint


@pytest.mark.parametrize("text", ["", "short", "orange-crystal-salmon\n", b"\xff" * 9])
def test_passcodes_that_cannot_be_used(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(UsageError):
        AccessOptions(passcode_file=written(tmp_path, text)).check()


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    for options in (
        AccessOptions(user="ada", auth_file=path),
        AccessOptions(passcode=True, passcode_file=path),
        AccessOptions(auth_file=path),
        AccessOptions(passcode_file=path),
    ):
        with pytest.raises(UsageError):
            options.check()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "x", "", "fe80::1%eth0", "10.0.0"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(UsageError):
        parse_network(text)


def test_users_and_sharers() -> None:
    assert parse_user("ada") == "ada"
    assert parse_sharer(" Ada, of Example Ltd ") == "Ada, of Example Ltd"
    for text in ("", "a\nb", "x" * 65, "ada:hunter2!"):
        with pytest.raises(UsageError) as caught:
            parse_user(text)
        assert "hunter2" not in caught.value.text + caught.value.hint
    for text in ("", "\x1b[1m", "x" * 81):
        with pytest.raises(UsageError):
            parse_sharer(text)


def test_what_the_sharer_is_told(tmp_path: Path) -> None:
    access = made(
        AccessOptions(
            allow=(parse_network("203.0.113.0/24"), parse_network("2001:db8::1")),
            deny=(parse_network("203.0.113.7"),),
            auth_file=written(tmp_path, "ada:correct horse"),
            sharer="Ada",
        )
    )
    assert access.lines == (
        "Visitors may come from 203.0.113.0/24, 2001:db8::1 (addresses are the relay's word)",
        "Visitors may not come from 203.0.113.7 (addresses are the relay's word)",
        "Visitors log in as ada",
        "Browsers are told first that Ada shares the site",
    )
