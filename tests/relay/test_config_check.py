import datetime
import json
import os
import socket
from pathlib import Path

import pytest

from relay import settings_file
from relay.certificate import make_certificate, make_key
from relay.cli import main
from relay.config_check import ENDS_SOON, check
from relay.settings_file import Problem, read_settings
from tests.commands import Command
from tunnel.browser_tls import self_signed


@pytest.fixture(autouse=True)
def _nothing_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("VRELAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(settings_file, "PLACE", tmp_path / "etc" / "relay.toml")


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vrelay", main, monkeypatch, capfd)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "relay.toml"
    path.write_text("\n".join(('listen = "127.0.0.1:0"', *lines)))
    path.chmod(0o644)
    return path


def problems(folder: Path, *lines: str) -> list[Problem]:
    return list(check(read_settings(write(folder, *lines)), folder / "state"))


def pem(folder: Path, domain: str, begins: datetime.timedelta = datetime.timedelta()) -> Path:
    key = make_key()
    path = folder / "relay.pem"
    path.write_bytes(
        make_certificate(key, domain, datetime.datetime.now(datetime.UTC) + begins) + key
    )
    path.chmod(0o640)
    return path


def test_nothing_is_wrong(tmp_path: Path) -> None:
    pem(tmp_path, "a.b")
    assert not problems(tmp_path, 'domain = "a.b"', 'cert = "relay.pem"')


@pytest.mark.parametrize(
    ("lines", "text", "name", "is_warning"),
    [
        (['domian = "a"'], "there is no setting 'domian'", "domian", False),
        (
            ['domain = "b.c"', 'pages-host = "a.b.c"'],
            "in the domain of the shares",
            "pages-host",
            False,
        ),
        (['domain = "a.b"', 'acme = "c@a.b"'], "port 80, where nothing listens", "acme", True),
        (['domain = "c.b"', 'cert = "relay.pem"'], "is not for c.b and *.c.b", "cert", True),
        (['cert = "relay.toml"'], "cannot be used", "cert", False),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, lines: list[str], text: str, name: str, is_warning: bool
) -> None:
    pem(tmp_path, "a.b")
    (problem,) = problems(tmp_path, *lines)
    assert text in problem.text
    assert (problem.name, problem.warning) == (name, is_warning)
    assert problem.hint


def test_files_that_others_can_read_or_write(tmp_path: Path) -> None:
    path = pem(tmp_path, "localhost")
    path.chmod(0o644)
    (tmp_path / "state").mkdir(mode=0o755)
    found = problems(tmp_path, 'cert = "relay.pem"')
    assert [(each.name, each.warning) for each in found] == [("cert", False), ("state-dir", True)]
    file = write(tmp_path)
    file.chmod(0o666)
    (first, _) = check(read_settings(file), tmp_path / "state")
    assert "others than its owner can write it" in first.text


def test_the_dates_of_a_certificate(tmp_path: Path) -> None:
    pem(tmp_path, "localhost", datetime.timedelta(days=2))
    (problem,) = problems(tmp_path, 'cert = "relay.pem"')
    assert "is not valid yet" in problem.text
    assert not problem.warning
    key = make_key()
    from cryptography import x509

    from relay.certificate import parse_key

    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("*.localhost")]
    now, soon = datetime.datetime.now(datetime.UTC), ENDS_SOON / 2
    (tmp_path / "relay.pem").write_bytes(self_signed(parse_key(key), names, now, soon) + key)
    (problem,) = problems(tmp_path, 'cert = "relay.pem"')
    assert "ends soon" in problem.text
    assert problem.warning


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(tmp_path).write_text(f'listen = "127.0.0.1:{port}"')
        (problem,) = check(read_settings(tmp_path / "relay.toml"), tmp_path / "state")
    assert f"cannot listen on 127.0.0.1:{port}" in problem.text
    assert problem.warning


def test_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VRELAY_PUBLIC_PORT", "many")
    monkeypatch.setenv("VRELAY_OPNE", "1")
    first, second = problems(tmp_path)
    assert (first.warning, second.warning) == (True, False)
    assert "VRELAY_PUBLIC_PORT: " in second.text
    monkeypatch.setenv("VRELAY_PUBLIC_PORT", "443")
    monkeypatch.delenv("VRELAY_OPNE")
    monkeypatch.setenv("VRELAY_LISTEN", "0.0.0.0:0")
    monkeypatch.setenv("VRELAY_OPEN", "yes")
    (problem,) = problems(tmp_path)
    assert "everybody who reaches this relay" in problem.text


def test_the_command_says_all_with_lines(vrelay: Command, tmp_path: Path) -> None:
    path = write(tmp_path, 'domian = "a"', "# remark", 'key = "relay.toml"')
    outcome = vrelay("check-config", str(path))
    assert outcome.code == 1
    assert f"error: {path}, line 2: there is no setting 'domian'" in outcome.err
    assert f"error: {path}, line 4: --key was given without --cert" in outcome.err
    told = json.loads(vrelay("check-config", str(path), "--json").out)
    assert (told["ok"], [each["line"] for each in told["problems"]]) == (False, [2, 4])
    assert vrelay("check-config", str(write(tmp_path))).code == 0
    vrelay("check-config", str(tmp_path / "none.toml")).check_error(2, "cannot read")
