from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import pytest

from tunnel.errors import UsageError
from tunnel.names import ShareName
from vshare.cli import up
from vshare.share_file import FILE, find_share_file, keys, name_in, rename_in, said_in_file

OLD, NEW = ShareName("my-share"), ShareName("new-name")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAGRANT_CWD", raising=False)
    return tmp_path


RENAMED = '# ours\r\n[up]\nhttp = 80 # name = "my-share"\nname = "new-name"  # it\nport=["1"]'


def test_another_name_and_nothing_else() -> None:
    path = Path(FILE)
    path.write_bytes(RENAMED.replace('"new-name"', "'My-Share'").encode())
    path.chmod(0o640)
    assert name_in(path) == OLD
    assert not rename_in(path, NEW, OLD)
    assert rename_in(path, OLD, NEW)
    assert path.read_bytes() == RENAMED.encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "[up]\nhttp = 80", "up = 1", "[up]\nname = 3"])
def test_a_file_without_a_name(text: str) -> None:
    Path(FILE).write_text(text)
    assert name_in(Path(FILE)) is None
    assert not rename_in(Path(FILE), OLD, NEW)
    assert Path(FILE).read_text() == text


def test_a_name_that_is_hard_to_find_is_left_to_people() -> None:
    text = '[up]\n"n\\u0061me" = "my-share"'
    Path(FILE).write_text(text)
    with pytest.raises(UsageError, match="not understood well enough"):
        rename_in(Path(FILE), OLD, NEW)
    assert Path(FILE).read_text() == text


def options_of(*arguments: str) -> dict[str, Any]:
    """The options of `vshare up arguments`, here."""
    with up.make_context("up", list(arguments)) as context:
        return context.params


def write(*lines: str) -> None:
    Path(FILE).write_text("\n".join(("[up]", *lines)))


def test_all_kinds_of_options() -> None:
    write(
        'name = "my-share"',
        "http = 8080",
        'port = [80, "443"]',
        "unfence = 6379",
        'expose = ["192.168.121.0/24"]',
        'expires = "2d"',
        "approve = true",
        "ssh = false",
    )
    options = options_of()
    assert (options["name"], options["http_port"]) == ("my-share", 8080)
    assert (options["ports"], options["unfence"]) == ((80, 443), (6379,))
    assert options["expose"] == (ip_network("192.168.121.0/24"),)
    assert options["expires_in"] == 2 * 86_400
    assert (options["approve"], options["ssh"]) == (True, False)


@pytest.mark.parametrize(
    ("line", "name", "values"),
    [
        ('machine = "web"', "machines", ("web",)),
        ('machine = ["web", "db"]', "machines", ("web", "db")),
        ('target = "10.0.0.1"', "targets", ("10.0.0.1",)),
        ('domain = ["a", "b"]', "domains", ("a", "b")),
    ],
)
def test_machines(line: str, name: str, values: tuple[str, ...]) -> None:
    write(line)
    options = options_of()
    assert {each: options[each] for each in ("machines", "targets", "domains")} == {
        "machines": (), "targets": (), "domains": (), name: values,
    }  # fmt: skip


def test_the_command_line_counts_before_it() -> None:
    write('name = "my-share"', "port = [80]", 'expires = "2d"')
    options = options_of("--name", "other", "--port", "81", "--expires", "1h")
    assert (options["name"], options["ports"], options["expires_in"]) == ("other", (81,), 3600)
    assert options_of("--no-config")["name"] is None


def test_another_machine_or_relay_takes_the_place_of_the_files() -> None:
    write('target = "10.0.0.1"', 'relay = "relay.example.org"')
    options = options_of("--domain", "db", "--lan")
    assert (options["targets"], options["domains"]) == ((), ("db",))
    assert (options["relay"], options["lan"]) == (None, True)


def test_the_machine_or_relay_of_the_file() -> None:
    write('target = "10.0.0.1"', "lan = true")
    options = options_of()
    assert (options["targets"], options["lan"]) == (("10.0.0.1",), True)


def test_what_counts_of_it_is_said(folder: Path) -> None:
    (folder / "hook").write_text("https://chat.example.org/secret")
    write(
        'target = "127.0.0.1"',
        'name = "my-share"',
        'relay = "relay.example.org"',
        "unfence = [6379, 5432]",
        "approve = true",
        "ssh = false",
        'notify = "@hook"',
        f'ssh-user = "{"x" * 100}y"',
    )
    with up.make_context("up", ["--name", "other"]) as context:
        assert said_in_file(context).split("; ") == [
            "target = 127.0.0.1",
            "relay = relay.example.org",
            "ssh = False",
            f"ssh-user = {'x' * 100}...",
            "unfence = 6379, 5432",
            "approve",
            "notify = chat.example.org",
        ]
    with up.make_context("up", ["--no-config"]) as context:
        assert said_in_file(context) == "nothing that counts"


def test_it_is_said_before_anything_is_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write('target = "127.0.0.1"')
    monkeypatch.setattr("vshare.cli.run", lambda console, main: 0)
    with pytest.raises(SystemExit):
        up.main([])
    assert f"{FILE}: target = 127.0.0.1" in capsys.readouterr().err


def test_a_relays_token_is_not_sent_where_the_file_says(folder: Path) -> None:
    (folder / "token").write_text("vsr_")
    write('relay = "relay.example.org"', 'token-file = "token"')
    with pytest.raises(UsageError, match="token is not taken from here"):
        options_of()


def test_files_are_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the command is given in a folder below."""
    (folder / "Vagrantfile").touch()
    (folder / "hook").write_text("https://chat.example.org/x")
    write('ssh-password-file = "secret"', 'notify = "@hook"')
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    options = options_of()
    assert options["ssh_password_file"] == folder / "secret"
    assert options["notify"] == "https://chat.example.org/x"


def test_where_it_is_looked_for(folder: Path) -> None:
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    write()
    assert find_share_file(folder) == folder / FILE
    assert find_share_file(below) is None  # nothing says that it is meant
    (folder / "Vagrantfile").touch()
    assert find_share_file(below) == folder / FILE
    (folder / "a" / "Vagrantfile").touch()
    assert find_share_file(below) is None
    (below / FILE).touch()
    assert find_share_file(below) == below / FILE


def test_a_file_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    if os.getuid():
        monkeypatch.setattr("os.getuid", lambda: 65_534)
    else:
        os.chown(folder / FILE, 65_534, -1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_share_file(folder)
    assert options_of("--no-config")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[up]\nssh = true\nprot = 80", "line 3: there is no option 'prot'"),
        ("ssh = true", "line 1: there is no 'ssh'"),
        ("[up]\n[down]\nx = 1", "line 2: there is no 'down'"),
        ("[up]\n\nport = [80, 70000]", "line 3: not a port: '70000'"),
        ("[up]\nssh = 1", "line 2: ssh is true or false"),
        ("[up]\nname = true", "line 2: name cannot be True"),
        ("[up]\nname = ['a', 'b']", "line 2: name cannot be"),
        ("[up]\nport = [[80]]", "line 2: port cannot be"),
        ("[up]\nexpires = 'soon'", "line 2: not a time to expire in"),
        ("[up]\nnotify = 'https://chat.example.org/x'", "line 2: notify is a secret"),
        ("[up]\ndetach = true", "line 2: there is no option 'detach'"),
        ("[up]\njson = true", "line 2: there is no option 'json'"),
        ("[up]\nx = ", "is not TOML"),
        ("up = 3", "line 1: it is a table"),
        ("# " + "x" * 70_000, "more than"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    Path(FILE).write_text(text)
    with pytest.raises(UsageError) as caught:
        options_of()
    assert FILE in caught.value.text
    assert said in caught.value.text
    assert "chat.example.org" not in caught.value.text


def test_bytes_that_are_no_text() -> None:
    Path(FILE).write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        options_of()


def test_what_can_be_in_it_is_what_up_can() -> None:
    known = keys(up.params)
    assert {"machine", "target", "ssh", "port", "http-passcode", "no-sleep"} <= set(known)
    for key, param in known.items():
        assert key == "machine" or f"--{key}" in param.opts
        assert isinstance(param, click.Option | click.Argument)
