"""Shares that go on by themselves, as processes."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunnel.errors import VshareError
from vshare.detach import log_path
from vshare.requests import ShareState, Status
from vshare.running import running_shares

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("default_signals")]

WITHIN = 30.0  # seconds for what takes one on an idle machine
BARE = ("--no-config", "--target", "127.0.0.1", "--disable-http")
NAME = "quiet-lynx-0002"


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Sockets, logs and settings of these shares are not among the user's; none outlives a test."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("VSHARE_RELAY", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    for state in shares():
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.process, signal.SIGKILL)


def vshare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """To its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "vshare.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        start_new_session=True,
        check=False,
    )


def shares() -> list[ShareState]:
    found = []
    for share in running_shares():
        with contextlib.suppress(VshareError):  # it has just ended
            found.append(share.ask(Status(), ShareState))
    return found


def soon(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"  # nobody waits for it here


@contextlib.contextmanager
def web() -> Iterator[int]:
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_the_life_of_a_detached_share(folders: Path) -> None:
    with web() as port:
        lines = ('target = "127.0.0.1"', f"http = {port}", f"port = {port}", f'name = "{NAME}"')
        (folders / "vshare.toml").write_text("\n".join(("[up]", *lines)))
        before = vshare("wait", "--timeout", "1s")
        assert before.returncode == 1
        assert "no share runs here" in before.stderr
        begun = vshare("up", "--detach", "--yes")  # returns, though its pipes are the share's, too
        assert begun.returncode == 0, begun.stderr
        for text in (f"Name: {NAME}", "Code: ", "URL: http://", "Others connect with: vconnect "):
            assert text in begun.stdout
        assert "Press Ctrl-C" not in begun.stderr
        answers = vshare("wait", NAME)
        assert answers.returncode == 0, answers.stderr  # the site's own 404 is an answer
        (state,) = shares()
        assert (state.name, state.guests) == (NAME, 0)
        process = state.process
        assert os.getsid(process) == process
        assert NAME in vshare("list").stdout
        again = vshare("up", "--detach", "--yes")
        assert again.returncode == 1
        assert "in use by another vshare" in again.stderr
        os.kill(process, signal.SIGHUP)  # of no terminal: but who sends one means it
        soon(lambda: gone(process))
        assert "Halting the share!" in log_path(NAME).read_text()
    assert log_path(NAME).stat().st_mode & 0o777 == 0o600
    assert shares() == []


def test_what_fails_before_it_is_up_is_told_as_ever() -> None:
    outcome = vshare("up", "--detach", *BARE, "--relay", "127.0.0.1:1")
    assert outcome.returncode == 1
    assert "error: " in outcome.stderr
    assert vshare("up", "--detach", *BARE, "--port", "0").returncode == 2
    assert shares() == []


def test_stopped_killed_and_in_the_way_of_nobody() -> None:
    for name in ("first-share", "second-share"):
        assert vshare("up", "--detach", *BARE, "--name", name).returncode == 0
    first, second = shares()
    assert [first.name, second.name] == ["first-share", "second-share"]
    assert "2 shares run" in vshare("stop").stderr
    os.kill(first.process, signal.SIGKILL)
    soon(lambda: [each.name for each in shares()] == ["second-share"])
    assert vshare("up", "--detach", *BARE, "--name", "first-share").returncode == 0
    third = next(each for each in shares() if each.name == "first-share")
    stopped = vshare("stop", "--all")
    assert stopped.stderr.count("The share has ended.") == 2
    assert gone(second.process)
    assert gone(third.process)


def test_attached_and_left() -> None:
    assert vshare("up", "--detach", *BARE, "--name", NAME).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "vshare.cli", "attach", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as looking:
        assert looking.stdout is not None
        assert json.loads(looking.stdout.readline())["event"] == "attached"
        vshare("code", "--rotate")
        assert json.loads(looking.stdout.readline())["event"] == "code-rotated"
        looking.send_signal(signal.SIGINT)
        assert looking.wait(WITHIN) == 0
    with subprocess.Popen(
        [sys.executable, "-m", "vshare.cli", "attach", NAME],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as looking:
        assert looking.stderr is not None
        assert "Ctrl-C leaves" in looking.stderr.readline()
        assert vshare("stop").returncode == 0
        assert "The share has ended." in looking.stderr.read()
        assert looking.wait(WITHIN) == 0


def test_questions_are_asked_before_it_leaves_the_terminal() -> None:
    """The terminal is closed then, and the share goes on."""
    with web() as port:
        url = ("--no-config", "--target", "127.0.0.1", "--http", str(port), "--port", str(port))
        child, terminal = pty.fork()
        if not child:
            arguments = ("up", "--detach", *url, "--name", NAME, "--http-auth", "ann")
            os.execv(sys.executable, (sys.executable, "-m", "vshare.cli", *arguments))
        try:
            read_until(terminal, b"visitors who log in as")
            os.write(terminal, b"correct horse battery\n")
            said = read_until(terminal, b"vshare stop` ends it")
            _, status = os.waitpid(child, 0)
        finally:
            os.close(terminal)  # whose foreground processes are told SIGHUP
        assert os.waitstatus_to_exitcode(status) == 0, said
        assert b"correct horse" not in said
        assert vshare("wait", NAME).returncode == 0  # it is there: 401 is an answer
        assert vshare("stop").returncode == 0
        assert shares() == []


def test_ctrl_c_while_it_starts_ends_both() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        relay = f"127.0.0.1:{silent.getsockname()[1]}#{'0' * 64}"
        child, terminal = pty.fork()
        if not child:
            arguments = ("up", "--detach", *BARE, "--relay", relay)
            os.execv(sys.executable, (sys.executable, "-m", "vshare.cli", *arguments))
        try:
            read_until(terminal, b"Creating the share")
            silent.settimeout(WITHIN)
            held, _ = silent.accept()  # it waits for an answer
            os.write(terminal, b"\x03")
            read_until(terminal, b"interrupted")
            held.close()
            _, status = os.waitpid(child, 0)
        finally:
            os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == 130
        assert shares() == []


def read_until(terminal: int, text: bytes) -> bytes:
    said = bytearray()
    while text not in said:
        ready, _, _ = select.select([terminal], [], [], WITHIN)
        assert ready, said
        said += os.read(terminal, 4096)
    return bytes(said)


def test_a_service(folders: Path, tmp_path: Path) -> None:
    nothing = vshare("service", "install", "--name", NAME)
    assert nothing.returncode == 2
    assert "nothing here says what to share" in nothing.stderr
    (folders / "vshare.toml").write_text('[up]\ntarget = "127.0.0.1"\n')
    assert "needs a name of its own" in vshare("service", "install").stderr
    made = vshare("service", "install", "--name", NAME)
    assert made.returncode == 0, made.stderr
    assert "loginctl enable-linger" in made.stderr
    unit = tmp_path / "XDG_CONFIG_HOME" / "systemd" / "user" / f"vshare-{NAME}.service"
    assert f"Unit: {unit}" in made.stdout
    assert f"WorkingDirectory={folders}\n" in unit.read_text()
    assert NAME in vshare("service", "status").stdout
    assert "no share 'other-one' begins" in vshare("service", "uninstall", "other-one").stderr
    assert vshare("service", "uninstall").returncode == 0
    assert not unit.exists()
    (folders / "vshare.toml").write_text('[up]\ntarget = "127.0.0.1"\nssh = true\n')
    assert "nobody can type" in vshare("service", "install", "--name", NAME).stderr
