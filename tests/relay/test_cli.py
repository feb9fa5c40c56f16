import json
import signal
from pathlib import Path

import pytest

from relay.cli import main
from tests.commands import Command, started
from tunnel.address import parse_relay


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vrelay", main, monkeypatch, capfd)


@pytest.mark.programs
def test_serve_prints_its_address_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    pins = set()
    for extra in ([], ["--json"]):
        arguments = ["serve", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path), *extra]
        with started("relay.cli", *arguments) as relay:
            assert relay.stdout is not None
            line = relay.stdout.readline()
            text = json.loads(line)["relay"] if extra else line.partition("relay address: ")[2]
            pins.add(parse_relay(text).fingerprint)
            relay.send_signal(signal.SIGINT)
            assert relay.wait(10) == 0
    assert len(pins) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "missing command"),
        ("nothing", "no such command 'nothing'"),
        ("serve --bogus", "no such option"),
        ("serve more", "unexpected extra argument"),
        ("serve --listen nowhere:port", "not an address: 'nowhere:port'"),
        ("serve --listen 127.0.0.1:70000", "not a port: '70000'"),
        ("serve --public-port 0", "invalid value for '--public-port'"),
        ("serve --cert /no/such/file", "does not exist"),
        (f"serve --key {__file__}", "--key was given without --cert"),
    ],
)
def test_wrong_command_lines(vrelay: Command, arguments: str, text: str) -> None:
    vrelay(*arguments.split()).check_error(2, text)


def test_wrong_command_lines_for_scripts(vrelay: Command) -> None:
    outcome = vrelay("serve", "--json", "--bogus")
    assert outcome.code == 2
    assert json.loads(outcome.out)["event"] == "error"


def test_a_certificate_that_is_none(vrelay: Command, tmp_path: Path) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--cert", __file__, "--state-dir", str(tmp_path)]
    vrelay("serve", *arguments).check_error(1, "certificate or key cannot be used")


def test_a_place_that_is_taken(vrelay: Command, tmp_path: Path) -> None:
    arguments = ["--listen", "192.0.2.1:0", "--state-dir", str(tmp_path)]
    vrelay("serve", *arguments).check_error(1, "cannot listen on 192.0.2.1:0")
