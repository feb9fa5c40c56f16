import os
from pathlib import Path

import pytest

from relay import settings_file
from relay.settings import SETTINGS
from relay.settings_file import CONFIG, chosen_file, nearest, read_settings, said, unknown_variables
from tunnel.errors import UsageError


@pytest.fixture(autouse=True)
def _nothing_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("VRELAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(settings_file, "PLACE", tmp_path / "etc" / "relay.toml")


def write(folder: Path, text: str) -> Path:
    path = folder / "relay.toml"
    path.write_text(text)
    return path


def test_a_file_says_what_flags_say(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    file = read_settings(
        write(
            tmp_path,
            'listen = ["0.0.0.0:443", "0.0.0.0:80"]\n# a remark\ndomain = "shares.example"\n'
            'cert = "cert.pem"\npublic-port = 443\nopen = false\n',
        )
    )
    file.check()
    assert file.values == {
        "listen": ("0.0.0.0:443", "0.0.0.0:80"),
        "domain": "shares.example",
        "cert": tmp_path / "cert.pem",
        "public_port": 443,
        "open": False,
    }
    assert file.lines["domain"] == 3


def test_one_place_needs_no_list(tmp_path: Path) -> None:
    file = read_settings(write(tmp_path, 'listen = "0.0.0.0:443"'))
    assert file.values == {"listen": ("0.0.0.0:443",)}


@pytest.mark.parametrize(
    ("line", "text", "hint"),
    [
        ('domian = "a.b"', "there is no setting 'domian'", "the nearest that there is: domain"),
        ("public_port = 1", "there is no setting 'public_port'", "there is: public-port"),
        ("[relay]", "there is no setting 'relay'", "docs/relay-settings.md"),
        ("public-port = 0", "public-port: 0 is not in the range", "URLs"),
        ('public-port = "443"', "it is a number, not '443'", "URLs"),
        ("public-port = true", "it is a number, not True", "URLs"),
        ("domain = 1", "it is a text in quotes, not 1", "URLs"),
        ('domain = ["a", "b"]', "it is a text in quotes, not", "URLs"),
        ('open = "yes"', "it is true or false, not 'yes'", "share"),
        ('key = "none.pem"', "does not exist", "key"),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, line: str, text: str, hint: str) -> None:
    file = read_settings(write(tmp_path, f"\n{line}\n"))
    (problem,) = file.problems
    assert text in problem.text
    assert hint in problem.hint
    with pytest.raises(UsageError, match=r"relay\.toml, line 2: "):
        file.check()


def test_every_problem_is_told(tmp_path: Path) -> None:
    problems = read_settings(write(tmp_path, 'domian = "a"\nopen = 1\nlisten = "b:1"\n')).problems
    assert [(problem.name, problem.line) for problem in problems] == [("domian", 1), ("open", 2)]


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"domain = x", "is not TOML"), (b"\xff", "not UTF-8"), (b"#" * 70_000, "has more than")],
)
def test_what_is_no_such_file(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=text):
        read_settings(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_settings(tmp_path / "none")


def test_which_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_file() is None
    place = settings_file.PLACE
    place.parent.mkdir()
    place.touch()
    assert chosen_file() == place
    monkeypatch.setenv(CONFIG, "other.toml")
    assert chosen_file() == Path("other.toml")
    assert chosen_file(tmp_path) == tmp_path


def test_one_setting_for_other_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said("state-dir") is None
    monkeypatch.setenv(CONFIG, str(write(tmp_path, 'state-dir = "state"')))
    assert said("state-dir") == tmp_path / "state"
    monkeypatch.setenv("VRELAY_STATE_DIR", "/elsewhere")
    assert said("state-dir") == Path("/elsewhere")
    assert not list(unknown_variables())
    monkeypatch.setenv("VRELAY_DOMIAN", "a.b")
    (problem,) = unknown_variables()
    assert problem.text.startswith("VRELAY_DOMIAN ")
    assert "domain" in problem.hint


def test_the_nearest_is_of_the_table() -> None:
    assert all(f": {each.name};" in nearest(each.name) for each in SETTINGS)
