"""`vconnect --ssh` as users run it: a process, a terminal, OpenSSH on both sides."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Outcome
from tests.connect_vm.ssh_harness import PASSWORD, Sharing, sharing
from tests.share_pair import CODE, NAME
from tests.terminal import Terminal
from tunnel.identity import Role

pytestmark = pytest.mark.programs

VCONNECT = [sys.executable, "-m", "connect_vm.cli"]


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Sharing]:
    with sharing(tmp_path) as running:
        yield running


def vconnect(share: Sharing, *arguments: str, stdin: str = "", **environment: str) -> Outcome:
    done = subprocess.run(
        [*VCONNECT, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=share.environment | environment,
        timeout=25,
        start_new_session=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def without_ssh(share: Sharing) -> dict[str, str]:
    """A PATH without OpenSSH's client."""
    empty = share.folder / "bin"
    empty.mkdir()
    return {"PATH": str(empty)}


def terminal(share: Sharing, *arguments: str, **environment: str) -> Terminal:
    return Terminal([*VCONNECT, *arguments], share.environment | environment)


def check_nothing_is_left(share: Sharing) -> None:
    assert share.left_behind() == []


@pytest.mark.parametrize("system", [True, False], ids=["openssh", "builtin"])
def test_a_command(share: Sharing, system: bool) -> None:
    environment = {} if system else without_ssh(share)
    arguments = (*share.arguments, "--", "cat; echo problem >&2; exit 7")
    outcome = vconnect(share, *arguments, stdin="typed", **environment)
    assert (outcome.code, outcome.out) == (7, "typed"), outcome.err
    steps = [f"Loading share '{NAME}'...", "Executing SSH...", "problem"]
    assert [step for step in steps if step in outcome.err] == steps
    assert "Machine IP" not in outcome.out
    assert PASSWORD not in outcome.err
    (guest,) = share.pair.guests.of_role(Role.GUEST)
    assert guest.has_ssh_key
    check_nothing_is_left(share)


@pytest.mark.parametrize("system", [True, False], ids=["openssh", "builtin"])
def test_a_shell_on_a_terminal_after_a_wrong_password(share: Sharing, system: bool) -> None:
    environment = {} if system else without_ssh(share)
    screen = terminal(share, "--ssh", share.line, **environment)
    screen.wait_for("Code of")
    screen.type(CODE + "\n")
    screen.wait_for("Password for the private key:")
    assert not screen.echoes()
    screen.type("incorrect horse\n")
    screen.wait_for("the password is not right; 2 tries left")
    screen.wait_for("Password for the private key:")
    screen.type(PASSWORD + "\n")
    screen.wait_for("Executing SSH...")
    screen.type("echo $((20 + 22)); tty\n")
    screen.wait_for("42")
    screen.wait_for("/dev/")
    screen.type("sh -c 'echo re\"\"ady; exec sleep 100'\n")  # its job is in front by then
    screen.wait_for("ready")
    screen.type("\x03")  # is for the machine
    screen.wait_for("^C")
    screen.type("exit 3\n")
    assert screen.end() == 3
    assert screen.echoed_at_the_end
    assert PASSWORD not in screen.seen
    check_nothing_is_left(share)


def test_three_wrong_passwords(share: Sharing) -> None:
    screen = terminal(share, "--ssh", share.line, "--code-file", str(share.code_file))
    for left in ("2 tries left", "1 try left", "no tries are left"):
        screen.wait_for("Password for the private key:")
        screen.type("incorrect\n")
        screen.wait_for(f"the password is not right; {left}")
    assert screen.end() == 1
    (guest,) = share.pair.guests.of_role(Role.GUEST)
    assert not guest.has_ssh_key


def test_a_wrong_password_in_a_file_is_tried_once(share: Sharing) -> None:
    share.password_file.write_text("incorrect")
    vconnect(share, *share.arguments, "--", "true").check_error(1, "not right; 2 tries left")


def test_a_key_without_a_password_that_is_handed_out_once(tmp_path: Path) -> None:
    with sharing(tmp_path, None, once=True) as share:
        arguments = ("--ssh", share.line, "--code-file", str(share.code_file))
        outcome = vconnect(share, *arguments, "--", "echo", "hello")
        assert (outcome.code, outcome.out) == (0, "hello\n"), outcome.err
        assert "handed out once" in outcome.err
        used_up = vconnect(share, *arguments, "--", "echo", "hello")
        used_up.check_error(1, "handed out already")
        assert "once" in used_up.err.splitlines()[-1]


def test_not_shared(share: Sharing) -> None:
    share.info["ssh"] = None
    outcome = vconnect(share, *share.arguments)
    outcome.check_error(1, "SSH is not shared")
    assert "--ssh" in outcome.err.splitlines()[-1]
    assert "once" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("system", [True, False], ids=["openssh", "builtin"])
def test_another_machines_host_key(share: Sharing, system: bool) -> None:
    """What answers is not what the share named: no login, and no command, whatever the user's
    own known_hosts says."""
    environment = {} if system else without_ssh(share)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", share.folder / "other"], check=True
    )
    other = " ".join((share.folder / "other.pub").read_text().split()[:2])
    share.ssh.host_keys = (other,)
    outcome = vconnect(share, *share.arguments, "--", "echo", "in", **environment)
    assert outcome.code == (255 if system else 1)
    assert outcome.out == ""
    assert "host key" in outcome.err.lower()


def test_no_configuration_is_read(share: Sharing) -> None:
    outcome = vconnect(share, *share.arguments, "--", "-v", "echo", "in")
    assert (outcome.code, outcome.out) == (0, "in\n"), outcome.err
    assert "debug1: Connecting to" in outcome.err
    assert "Reading configuration data /" not in outcome.err


def test_arguments_are_for_ssh(share: Sharing) -> None:
    outcome = vconnect(
        share, *share.arguments, "--", "-o", "StrictHostKeyChecking=no", "-o", "SendEnv=X", "-v",
        "echo", "in",
    )  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "in\n")
    assert "debug1:" in outcome.err
    outcome = vconnect(share, *share.arguments, "--", "-L", "1:2:3", **without_ssh(share))
    outcome.check_error(2, "without the program ssh there are no options")


def test_a_port_that_the_share_refuses(share: Sharing) -> None:
    """`ssh` cannot know why there is no connection."""
    share.ssh.port = 1
    vconnect(share, *share.arguments, "--", "true").check_error(1, "no SSH connection: ")


def running(share: Sharing) -> subprocess.Popen[str]:
    """`vconnect --ssh` whose command has begun and does not end by itself."""
    process = subprocess.Popen(
        [*VCONNECT, *share.arguments, "--", "echo begun; exec sleep 100"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=share.environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_ssh_and_removes_everything(share: Sharing, number: int) -> None:
    with running(share) as process:
        assert share.left_behind()
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert process.returncode in (143, 255), err
    assert "Traceback" not in err
    check_nothing_is_left(share)


def test_nothing_secret_is_on_disk_even_when_it_was_killed(share: Sharing) -> None:
    secrets = [PASSWORD.encode(), share.key.private[100:140], b"PRIVATE KEY"]
    with running(share) as process:
        (agent,) = (path for path in share.left_behind() if path.is_socket())
        listed = subprocess.run(
            ["ssh-add", "-l"], env={"SSH_AUTH_SOCK": str(agent), "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "vshare" in listed.stdout
        process.kill()
        process.communicate(timeout=10)  # the pipes too: so `ssh` has ended as well
    for path in share.left_behind():
        if path.is_file():
            assert not [each for each in secrets if each in path.read_bytes()], path
        assert path.stat().st_mode & 0o077 == 0 or path.parent != share.runtime
    gone = subprocess.run(
        ["ssh-add", "-l"], env={"SSH_AUTH_SOCK": str(agent), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert gone.returncode == 2  # there is no agent any more


def test_the_sharer_ends_it(share: Sharing) -> None:
    with running(share) as process:
        (guest,) = share.pair.guests.of_role(Role.GUEST)
        share.do(lambda: share.pair.server.notify("expires", value=600))
        share.do(lambda: share.pair.guests.remove(guest))
        _, err = process.communicate(timeout=10)
    Outcome(process.returncode, "", err).check_error(1, "you were removed by the sharer")
    assert "The share ends in 10 minutes (" in err
    check_nothing_is_left(share)


def test_no_answer(share: Sharing) -> None:
    """Ctrl-C while the share is silent."""
    share.ssh._spake = asyncio.Semaphore(0)
    screen = terminal(share, *share.arguments)
    screen.wait_for("The key has a password")
    screen.type("\x03")
    assert screen.end() == 130
    check_nothing_is_left(share)
