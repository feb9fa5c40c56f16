"""What the sharer sees with `--ssh`, on a terminal, as Vagrant Share had it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.terminal import Terminal
from tests.vshare.peers import free_port
from tests.vshare.ssh_machine import SshMachine, ssh_machine

pytestmark = pytest.mark.programs

PASSWORD = "correct horse"
WITHIN = 60.0  # seconds; a key is made, and the machine logged in to several times


@contextmanager
def sharing(folder: Path, *options: str) -> Iterator[tuple[Terminal, SshMachine]]:
    """`vshare up --ssh` of a machine that only SSH reaches, as a user with a home of his own."""
    with ssh_machine(folder) as machine:
        home, run = folder / "sharer", folder / "run"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        run.mkdir(mode=0o700)
        shutil.copy(folder / "admin", home / ".ssh" / "id_ed25519")
        where = f"[127.0.0.1]:{machine.access.port}"
        known = "".join(f"{where} {key}\n" for key in machine.host_keys)
        (home / ".ssh" / "known_hosts").write_text(known)
        target = f"ssh://{machine.access.user}@127.0.0.1:{machine.access.port}"
        command = [sys.executable, "-m", "vshare.cli", "up", "--target", target, "--yes", "--ssh"]
        kept = {name: text for name, text in os.environ.items() if name != "VSHARE_RELAY"}
        own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(run), "XDG_STATE_HOME": str(home / "s")}
        own |= {"SSH_AUTH_SOCK": "/nowhere", "TERM": "dumb"}
        screen = Terminal([*command, *options], kept | own)
        try:
            yield screen, machine
        finally:
            os.kill(screen.pid, signal.SIGTERM)
            screen.end()


def enter(screen: Terminal, first: str, again: str) -> None:
    screen.wait_for("Please enter a password to encrypt the key: ", WITHIN)
    assert not screen.echoes()
    screen.type(first + "\n")
    screen.wait_for("Repeat the password to confirm: ", WITHIN)
    screen.type(again + "\n")


def test_the_lines_of_vagrant_share(tmp_path: Path) -> None:
    with sharing(tmp_path, "--disable-http") as (screen, machine):
        screen.wait_for("SSH Port: ", WITHIN)
        screen.wait_for("Generating new SSH key...", WITHIN)
        screen.wait_for("Please enter a password to encrypt the key: ", WITHIN)
        screen.type("seven..\n")
        screen.wait_for("8 characters or more", WITHIN)
        enter(screen, PASSWORD, "correct house")
        screen.wait_for("They are not the same.", WITHIN)
        enter(screen, PASSWORD, PASSWORD)
        for line in (
            "Inserting generated SSH key into machine...",
            "Checking authentication and authorization...",
            "Creating the share...",
            "Share will be at: ",
            "Your share is running!",
            "Code: ",
            "and by SSH with: vconnect --ssh ",
            "needs the SSH password as well: tell it apart.",
            "Press Ctrl-C to end the share.",
        ):
            screen.wait_for(line, WITHIN)
        assert PASSWORD not in screen.seen
        assert machine.keys.count(" vshare-") == 1
    assert machine.keys == ""


def test_without_http_ssh_is_shared_all_the_same(tmp_path: Path) -> None:
    with sharing(tmp_path, "--ssh-no-password", "--http", str(free_port())) as (screen, _):
        screen.wait_for("there is no public URL, SSH is shared all the same", WITHIN)
        screen.wait_for("the SSH key has no password: every guest who knows the code", WITHIN)
        screen.wait_for("and by SSH with: ", WITHIN)
