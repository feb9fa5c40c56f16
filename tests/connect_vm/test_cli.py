from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_vm.cli import main
from tests.commands import Command, Outcome, end, started, wait_for
from tests.terminal import Terminal

pytestmark = pytest.mark.programs

NAME, CODE = "frosty-weasel-0857", "abandon-ability-able"
PIN = "0" * 64


@pytest.fixture
def vconnect(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vconnect", main, monkeypatch, capfd)


@pytest.fixture
def code_file(tmp_path: Path) -> str:
    path = tmp_path / "code"
    path.write_text(CODE + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "missing argument"),
        ("ab@127.0.0.1:1", "not a share's name: 'ab'"),
        ("https://frosty-weasel-0857.example.org", "this is a URL"),
        ("frosty_weasel@127.0.0.1:1", "not a share's name"),
        (f"{NAME}", f"which relay has the share '{NAME}'?"),
        (f"{NAME}@", "not an address: ''"),
        (f"{NAME}@127.0.0.1:0", "not a port: '0'"),
        (f"{NAME}@127.0.0.1:70000", "not a port: '70000'"),
        (f"{NAME}@127.0.0.1:1#xyz", "not a relay's fingerprint"),
        (f"{NAME} --relay https://x", "not an address"),
        (f"{NAME}@127.0.0.1:1 --socks-port 70000", "not a port: '70000'"),
        (f"{NAME}@127.0.0.1:1 --socks-port -1", "not a port: '-1'"),
        (f"{NAME}@127.0.0.1:1 --static-ip 300.1.2.3", "not an IPv4 address: '300.1.2.3'"),
        (f"{NAME}@127.0.0.1:1 --static-ip ::1", "not an IPv4 address: '::1'"),
        (f"{NAME}@127.0.0.1:1 --static-ip 8.8.8.8", "is not a private address"),
        (f"{NAME}@127.0.0.1:1 --static-ip 172.16.0.2 --disable-static-ip", "contradict"),
        (f"{NAME}@127.0.0.1:1 --driver qemu", "invalid value for '--driver'"),
        (f"{NAME}@127.0.0.1:1 --bogus", "no such option"),
        (f"{NAME}@127.0.0.1:1 other", "unexpected extra argument"),
        (f"{NAME}@127.0.0.1:1 -- uptime", "unexpected extra argument"),
        (f"{NAME}@127.0.0.1:1 --ssh-password-file x", "--ssh-password-file is for --ssh"),
        (f"--ssh {NAME}@127.0.0.1:1 --ssh-password-file /nowhere/x", "/nowhere/x: no such file"),
        (f"--ssh {NAME}@127.0.0.1:1 --ssh-password-file /dev/null", "there is no password in"),
        (f"--ssh {NAME}@127.0.0.1:1 --static-ip 172.16.0.2", "--static-ip contradict"),
        (f"--ssh {NAME}@127.0.0.1:1 --disable-static-ip", "--disable-static-ip contradict"),
        (f"--ssh {NAME}@127.0.0.1:1 --socks-port 0", "--socks-port contradict"),
        (f"--ssh {NAME}@127.0.0.1:1 --driver libvirt", "--driver contradict"),
        (f"--ssh {NAME}@127.0.0.1:1 --json", "--json contradict"),
        (f"{NAME}@127.0.0.1:1 --code-file /nowhere/code", "/nowhere/code: no such file"),
        (f"{NAME}@127.0.0.1:1 --code-file /", "cannot read the code from /: is a directory"),
    ],
)
def test_what_cannot_be_meant(vconnect: Command, arguments: str, text: str) -> None:
    vconnect(*arguments.split()).check_error(2, text)


@pytest.mark.parametrize("content", [b"", b"otter", b"no such words", bytes(300), b"\xff" * 20])
def test_a_file_without_a_code(vconnect: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code"
    path.write_bytes(content)
    outcome = vconnect(f"{NAME}@127.0.0.1:1", "--code-file", str(path))
    outcome.check_error(2, "this is not a join code")
    assert "otter no" not in outcome.err


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def test_no_relay_there(vconnect: Command, code_file: str, closed_port: int) -> None:
    outcome = vconnect(f"{NAME}@127.0.0.1:{closed_port}", "--code-file", code_file)
    outcome.check_error(1, f"the relay 127.0.0.1:{closed_port}")
    assert "vrelay serve" in outcome.err
    assert CODE not in outcome.err + outcome.out


def test_a_relays_name_that_does_not_resolve(vconnect: Command, code_file: str) -> None:
    vconnect(f"{NAME}@relay.invalid", "--code-file", code_file).check_error(1, "relay.invalid")


def test_errors_are_events_too(vconnect: Command, code_file: str, closed_port: int) -> None:
    line = f"{NAME}@127.0.0.1:{closed_port}"
    outcome = vconnect(line, "--code-file", code_file, "--json")
    event = json.loads(outcome.out.splitlines()[-1])
    assert event["event"] == "error"
    assert event["text"]


def test_no_terminal_to_ask_on() -> None:
    with started("connect_vm.cli", f"{NAME}@127.0.0.1:1") as process:
        out, err = process.communicate(timeout=15)
    Outcome(process.returncode, out, err).check_error(2, "there is no terminal")


# -- with a share


@pytest.fixture(scope="module")
def share() -> Iterator[dict[str, str]]:
    """A share of this host with a relay of its own, as its `started` event describes it."""
    with started(
        "vshare.cli", "--target", "127.0.0.1", "--disable-http", "--port", "9", "--json"
    ) as process:
        lines = wait_for(process, '"started"', on_stdout=True)
        drain = threading.Thread(target=lambda: process.stderr and process.stderr.read())
        drain.start()
        yield json.loads(lines[-1])
        process.kill()
        drain.join()


def test_wrong_code(vconnect: Command, share: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_text("zoo zoo zoo")
    outcome = vconnect(share["connect"], "--code-file", str(path))
    outcome.check_error(1, "the code is not right")


def test_wrong_name(vconnect: Command, share: dict[str, str], code_file: str) -> None:
    relay = share["connect"].partition("@")[2]
    outcome = vconnect(f"no-such-share-0000@{relay}", "--code-file", code_file)
    outcome.check_error(1, "no share named 'no-such-share-0000'")


def test_the_socks_port_is_in_use(vconnect: Command, share: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_text(share["code"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ("--disable-static-ip", "--socks-port", port, "--code-file", str(path))
        vconnect(share["connect"], *arguments).check_error(
            2, f"port {port}: address already in use"
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_it_runs(share: dict[str, str], tmp_path: Path, number: int) -> None:
    path = tmp_path / "code"
    path.write_text(share["code"])
    arguments = (share["connect"], "--disable-static-ip", "--code-file", str(path))
    with started("connect_vm.cli", *arguments) as process:
        wait_for(process, "Press Ctrl-C")
        outcome = end(process, number)
    assert outcome.code == 0, outcome.err
    assert "SOCKS address:" in outcome.out
    assert "Traceback" not in outcome.err


def test_a_name_with_the_code(share: dict[str, str]) -> None:
    name, _, relay = share["connect"].partition("@")
    line = f"{name}-{share['code']}@{relay}"
    with started("connect_vm.cli", line, "--disable-static-ip") as process:
        wait_for(process, "Press Ctrl-C")
        outcome = end(process, signal.SIGINT)
    assert outcome.code == 0
    assert share["code"] not in outcome.err + outcome.out


def test_ctrl_c_while_it_joins(code_file: str) -> None:
    """The relay accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = f"{NAME}@127.0.0.1:{silent.getsockname()[1]}"
        with started("connect_vm.cli", line, "--code-file", code_file) as process:
            wait_for(process, "Connecting to")
            accepted, _ = silent.accept()
            accepted.recv(1)  # its ClientHello
            outcome = end(process, signal.SIGINT, within=5)
            accepted.close()
    assert outcome.code == 130
    assert outcome.err.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in outcome.err


def on_terminal(*arguments: str) -> Terminal:
    return Terminal([sys.executable, "-m", "connect_vm.cli", *arguments])


def test_the_code_is_asked_for_without_an_echo(share: dict[str, str]) -> None:
    terminal = on_terminal(share["connect"], "--disable-static-ip")
    terminal.wait_for("Code of")
    assert not terminal.echoes()
    terminal.type(share["code"].replace("-", " ").upper() + "\n")
    terminal.wait_for("Press Ctrl-C")
    assert terminal.echoes()
    terminal.type("\x03")
    assert terminal.end() == 0
    assert share["code"].split("-")[0].upper() not in terminal.seen


def test_ctrl_c_while_it_asks() -> None:
    terminal = on_terminal(f"{NAME}@127.0.0.1:1")
    terminal.wait_for("Code of")
    terminal.type("\x03")
    terminal.wait_for("interrupted", within=5)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen


def test_nothing_is_typed() -> None:
    terminal = on_terminal(f"{NAME}@127.0.0.1:1")
    terminal.wait_for("Code of")
    terminal.type("\x04")
    terminal.wait_for("nothing was typed")
    assert terminal.end() == 2


def test_what_is_typed_is_no_code() -> None:
    terminal = on_terminal(f"{NAME}@127.0.0.1:1")
    terminal.wait_for("Code of")
    terminal.type("hunter2\n")
    terminal.wait_for("this is not a join code")
    assert terminal.end() == 2
    assert "hunter2" not in terminal.seen
