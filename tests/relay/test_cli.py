import datetime
import json
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from relay.certificate import make_certificate, make_key
from relay.cli import main
from tests.commands import Command, end, started, wait_for
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


@pytest.mark.programs
def test_sighup_reads_the_certificate_again(tmp_path: Path) -> None:
    key = make_key()
    path = tmp_path / "relay.pem"
    now = datetime.datetime.now(datetime.UTC)
    path.write_bytes(make_certificate(key, "localhost", now) + key)
    arguments = ["--listen", "127.0.0.1:0", "--cert", str(path), "--state-dir", str(tmp_path)]
    with started("relay.cli", "serve", *arguments) as relay:
        wait_for(relay, "relay address", on_stdout=True)
        relay.send_signal(signal.SIGHUP)
        wait_for(relay, "is the one in use")
        path.write_bytes(make_certificate(key, "localhost", now) + key)
        relay.send_signal(signal.SIGHUP)
        wait_for(relay, "new connections get the certificate")
        path.write_bytes(key)
        relay.send_signal(signal.SIGHUP)
        wait_for(relay, "goes on with the certificate that it has")
        assert end(relay, signal.SIGTERM).code == 0


@pytest.mark.programs
def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    arguments = ["serve", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)]
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "relay.cli", *arguments])
    shown = b""
    while b"relay address" not in shown:
        shown += os.read(terminal, 4096)
    os.kill(child, signal.SIGHUP)  # it still has its terminal: somebody wants a reload
    while b"no files to read again" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitpid(child, 0) == (child, 0)
