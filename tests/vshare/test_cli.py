from __future__ import annotations

import asyncio
import json
import queue
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.commands import Command, Outcome, end, started, wait_for
from vshare.cli import main

pytestmark = pytest.mark.programs

TARGET = ("--target", "127.0.0.1", "--disable-http")
PIN = "0" * 64


@pytest.fixture
def vshare(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vshare", main, monkeypatch, capfd)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--http 70000", "not a port: '70000'"),
        ("--https 0", "not a port: '0'"),
        ("--port 0", "not a port: '0'"),
        ("--port 65536", "not a port: '65536'"),
        ("--port -1", "not a port: '-1'"),
        ("--port 80,443", "not a port: '80,443'"),
        ("--loopback x", "not a port: 'x'"),
        ("--expires 0", "not a time to expire in: '0'"),
        ("--expires 9s", "not a time to expire in: '9s'"),
        ("--expires 366d", "not a time to expire in: '366d'"),
        ("--expires soon", "not a time to expire in: 'soon'"),
        ("--name https://x.example.org/", "this is a URL"),
        ("--name ab", "not a share's name: 'ab'"),
        ("--name a--b", "not a share's name: 'a--b'"),
        ("--name -abc", "not a share's name: '-abc'"),
        ("--disable-http --http 80", "contradict each other"),
        ("--disable-http --https 443", "contradict each other"),
        ("--lan --relay 127.0.0.1:1", "contradict each other"),
        ("--lan --https-passthrough", "contradict each other"),
        ("--https-cert x", "without --https-passthrough"),
        ("--https-passthrough --https-key x", "--https-key without --https-cert"),
        ("--https-passthrough --https-cert /none", "the certificate for browsers"),
        ("--disable-https --https 443", "contradict each other"),
        ("--disable-http --http-passcode", "contradict each other"),
        ("--disable-http --https-passthrough", "contradict each other"),
        ("--disable-http --host-header rewrite", "contradict each other"),
        ("--disable-http --qr", "contradict each other"),
        ("--host-header a/b", "not a host for --host-header"),
        ("--allow 10.0.0.300", "not a network"),
        ("--http-auth ann:secret", "takes the user alone"),
        ("--target 127.0.0.1 --domain x", "more than one kind of machine is named"),
        ("web --target 127.0.0.1", "more than one kind of machine is named"),
        ("web web", "a machine is named twice"),
        ("web db --lan", "--lan is for one machine"),
        ("--relay http://x", "not an address: 'http://x'"),
        ("--relay x:99999", "not a port: '99999'"),
        ("--relay x#12", "not a relay's fingerprint: '12'"),
        ("--target 127.0.0.1:80", "one of its ports"),
        ("--target ftp://x", "not a target: 'ftp://x'"),
        ("--ssh-once", "an option for SSH without --ssh"),
        ("--ssh-no-password", "an option for SSH without --ssh"),
        ("--ssh-port 22", "an option for SSH without --ssh"),
        ("--ssh-user root", "an option for SSH without --ssh"),
        ("--ssh-password-file x", "an option for SSH without --ssh"),
        ("--ssh --ssh-no-password --ssh-password-file x", "contradict each other"),
        ("--ssh --ssh-port 0", "not a port: '0'"),
        ("--expose 10.0.0.300", "10.0.0.300"),
        ("--expose 10.0.0.1/24", "10.0.0.1/24"),
        ("--expose 0.0.0.0/0", "0.0.0.0/0"),
        ("--unfence redis", "not a port: 'redis'"),
        ("--notify ftp://x", "webhook"),
        ("kick", "missing argument"),
        ("extend soon", "'soon'"),
        ("invite --port 0", "not a port: '0'"),
        ("--bogus", "no such option"),
        ("up --bogus", "no such option"),
        ("--port", "requires an argument"),
    ],
)
def test_what_cannot_be_meant(vshare: Command, arguments: str, text: str) -> None:
    vshare(*arguments.split()).check_error(2, text)


def test_a_password_that_is_too_short(vshare: Command, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("1234567\n")
    outcome = vshare(*TARGET, "--ssh", "--ssh-password-file", str(file))
    outcome.check_error(2, "8 characters")
    assert "1234567" not in outcome.out + outcome.err


def test_a_password_file_that_is_not_there(vshare: Command) -> None:
    vshare(*TARGET, "--ssh", "--ssh-password-file", "/none").check_error(2, "/none")


def test_no_way_to_put_a_key_into_the_machine(vshare: Command) -> None:
    vshare(*TARGET, "--ssh", "--ssh-no-password").check_error(2, "no way to put a key")


@pytest.mark.parametrize("command", ["status", "guests", "code", "invites", "stop", "extend"])
def test_commands_without_a_share(vshare: Command, command: str) -> None:
    vshare(command).check_error(1, "no share runs here")


def test_usage_errors_are_events_too(vshare: Command) -> None:
    outcome = vshare("--port", "0", "--json")
    outcome.check_error(2, "not a port")
    assert json.loads(outcome.out)["event"] == "error"


def test_no_vagrantfile(vshare: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = vshare()
    outcome.check_error(1, "agrant")  # without vagrant that is what is said


def test_no_relay_there(vshare: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    outcome = vshare(*TARGET, "--relay", f"127.0.0.1:{port}#{PIN}")
    outcome.check_error(1, f"the relay 127.0.0.1:{port}")
    assert "vrelay serve" in outcome.err


def test_a_relays_name_that_does_not_resolve(vshare: Command) -> None:
    vshare(*TARGET, "--relay", f"relay.invalid#{PIN}").check_error(1, "relay.invalid")


def test_another_relay_than_the_address_names(vshare: Command) -> None:
    with started("vshare.cli", *TARGET, "--json") as other:  # it has a relay in its process
        line = json.loads(wait_for(other, '"started"', on_stdout=True)[-1])["connect"]
        place = line.partition("@")[2].partition("#")[0]
        outcome = vshare(*TARGET, "--relay", f"{place}#{PIN}")
    outcome.check_error(1, "shows a certificate other than its address")


def test_a_name_that_is_taken(
    vshare: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the same user, and by somebody with another key."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "ours"))
    with started("vshare.cli", *TARGET, "--json", "--name", "my-share") as other:
        line = json.loads(wait_for(other, '"started"', on_stdout=True)[-1])["connect"]
        name, _, relay = line.partition("@")
        assert name == "my-share"
        ours = vshare(*TARGET, "--relay", relay, "--name", "my-share")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        theirs = vshare(*TARGET, "--relay", relay, "--name", "my-share")
    ours.check_error(1, "is in use by another vshare of yours")
    theirs.check_error(1, "the relay refused the share")
    assert "--name" in theirs.err


def test_something_that_is_not_a_relay(vshare: Command) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    ready: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]]
    ready = queue.SimpleQueue()

    async def serve() -> None:
        server = await asyncio.start_server(web, "127.0.0.1", 0)
        over = asyncio.Event()
        async with server:
            port = server.sockets[0].getsockname()[1]
            ready.put((asyncio.get_running_loop(), over, port))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, over, port = ready.get()
    try:
        for pin in ("", f"#{PIN}"):
            outcome = vshare(*TARGET, "--relay", f"127.0.0.1:{port}{pin}")
            outcome.check_error(1, f"127.0.0.1:{port}")
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


def test_ctrl_c_while_it_runs() -> None:
    with started("vshare.cli", *TARGET) as process:
        wait_for(process, "Press Ctrl-C")
        outcome = end(process, signal.SIGINT)
    assert outcome.code == 0
    assert "Halting the share!" in outcome.err
    assert "Traceback" not in outcome.err


def check_interrupted(outcome: Outcome) -> None:
    assert outcome.code == 130
    assert outcome.err.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in outcome.err


def test_ctrl_c_while_it_looks_for_its_relay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        relay = f"127.0.0.1:{silent.getsockname()[1]}#{PIN}"
        with started("vshare.cli", *TARGET, "--relay", relay) as process:
            wait_for(process, "Creating the share")
            check_interrupted(end(process, signal.SIGINT, within=5))


def test_ctrl_c_while_it_asks_for_http() -> None:
    """The machine's web server accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        with started("vshare.cli", "--target", "127.0.0.1", "--http", port) as process:
            wait_for(process, "--port restricts it")
            check_interrupted(end(process, signal.SIGINT, within=5))


def test_sigterm_ends_it_as_ctrl_c_does() -> None:
    with started("vshare.cli", *TARGET, "--json") as process:
        first = wait_for(process, '"started"', on_stdout=True)
        assert json.loads(first[-1])["code"]
        wait_for(process, "Your share is running")
        outcome = end(process, signal.SIGTERM)
    assert outcome.code == 0
    last = json.loads(outcome.out.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("ended", "interrupted")
