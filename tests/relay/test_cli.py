import contextlib
import datetime
import json
import os
import pty
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.certificate import make_certificate, make_key
from relay.cli import main
from tests.commands import Command, end, started, wait_for
from tests.ports import silent
from tests.relay.acme_server import CHALLENGES, PEBBLE, acme_server
from tunnel.address import parse_relay


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vrelay", main, monkeypatch, capfd)


@pytest.mark.programs
def test_serve_prints_its_address_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    pins = set()
    for extra in ([], ["--pages-host", "pages.example", "--json"]):
        arguments = ["serve", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path), *extra]
        with started("relay.cli", *arguments) as relay:
            assert relay.stdout is not None
            line = relay.stdout.readline()
            assert not extra or json.loads(line)["pages_host"] == "pages.example"
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
        ("serve --acme-server https://ca.example/dir", "there is no --acme for"),
        (f"serve --acme-dns-hook {sys.executable}", "there is no --acme for"),
        ("serve --acme a@b.c --acme-dns-hook /no/such/program", "does not exist"),
        (f"serve --acme a@b.c --domain b.c --cert {__file__}", "were both given"),
        ("serve --acme a@b.c --domain b.c --acme-server http://ca/dir", "not a URL of https"),
        ("serve --acme a@b.c", "no authority gives a certificate for 'localhost'"),
        ("serve --acme a@b.c --domain 192.0.2.1", "no authority gives a certificate"),
        ("serve --acme yes --domain b.c", "not an address: 'yes'"),
        ("serve --domain b.c --pages-host b.c", "is in the domain of the shares, b.c"),
        ("serve --domain b.c --pages-host A.B.C.", "is in the domain of the shares, b.c"),
        ("serve --domain a.b.c --pages-host b.c", "is above the domain of the shares, a.b.c"),
        ("serve --domain b.c --pages-host d.e:80", "not a host for --pages-host: 'd.e:80'"),
        ("serve --domain b.c --pages-host 192.0.2.1", "not a host for --pages-host"),
        ("serve --domain b.c --pages-host -d.e", "not a host for --pages-host"),
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
    with hanging_up(), started("relay.cli", "serve", *arguments) as relay:
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


@contextlib.contextmanager
def hanging_up() -> Iterator[None]:
    """What is started inside hears SIGHUP, although whoever started us may ignore it (nohup(1))."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.programs
def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    arguments = ["serve", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)]
    with hanging_up():
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


@pytest.mark.programs
@pytest.mark.skipif(not (PEBBLE and CHALLENGES), reason="pebble is not installed")
def test_one_command_gets_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["serve", "--listen", "127.0.0.1:0", "--domain", "relay.example"]
    arguments += ["--acme", "op@relay.example", "--state-dir", str(tmp_path / "state")]
    with acme_server(tmp_path) as server:
        arguments += ["--listen", f"127.0.0.1:{server.http_port}"]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.trusted))
        arguments += ["--acme-server", server.directory]
        with started("relay.cli", *arguments) as relay:
            (line,) = wait_for(relay, "relay address", on_stdout=True)
            assert parse_relay(line.partition("relay address: ")[2].strip()).fingerprint is None
            assert "browsers warn" in end(relay, signal.SIGTERM).err


@pytest.mark.programs
def test_it_ends_at_once_while_it_asks_for_a_certificate(tmp_path: Path) -> None:
    arguments = ["serve", "--listen", "127.0.0.1:0", "--domain", "relay.example", "-v"]
    arguments += ["--acme", "op@relay.example", "--state-dir", str(tmp_path / "state")]
    with silent() as (host, port):
        arguments += ["--acme-server", f"https://{host}:{port}/dir"]
        with started("relay.cli", *arguments) as relay:
            wait_for(relay, "connectionpool")
            assert end(relay, signal.SIGINT, within=10).code == 130  # a request may take longer
