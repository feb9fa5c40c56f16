from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.loops import run
from tests.vshare.ssh_machine import SshMachine, ssh_machine
from vshare import ssh_leftovers
from vshare.authorized_keys import AuthorizedKeys
from vshare.key_place import OverSsh
from vshare.machine import SshAccess
from vshare.ssh_key import make_key
from vshare.ssh_leftovers import MAX_NOTE, Leftover, Note, Owner, clean_leftovers
from vshare.ssh_link import SshLink

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
KEY = make_key("vshare-frosty-weasel-0857", None)
GONE = Owner(0, "1", "an earlier boot")
# A share that is killed: it says "in" when its key is in the machine.
SHARE = """
import asyncio, sys, time
from pathlib import Path
from vshare.authorized_keys import AuthorizedKeys
from vshare.machine import SshAccess
from vshare.news import Newsroom
from vshare.ssh_key import make_key
from vshare.ssh_link import SshLink
from vshare.ssh_sharing import SshSharing

async def main(port, user, key_file, notes):
    access = SshAccess("127.0.0.1", int(port), user, (Path(key_file),))
    async with SshLink(access) as link:
        place, key = AuthorizedKeys(link), make_key("vshare-killed", None)
        until = time.time() + 600
        sharing = SshSharing(
            key, None, place, Newsroom(), port=22, expires_at=until, notes=Path(notes)
        )
        async with sharing:
            print("in", flush=True)
            await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshMachine]:
    with ssh_machine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


def cleaned(folder: Path) -> list[str]:
    """What `clean_leftovers` told."""
    told: list[str] = []
    run(lambda: clean_leftovers(told.append, folder))
    return told


def over_ssh(access: SshAccess) -> OverSsh:
    return OverSsh(access.host, access.port, access.user, [str(access.key_files[0])], None)


def note_file(folder: Path, note: Note, name: str = "note.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(msgspec.json.encode(note))
    return folder / name


def test_what_a_killed_share_left_is_removed_by_the_next_run(
    machine: SshMachine, tmp_path: Path
) -> None:
    access = machine.access
    args = [str(access.port), str(access.user), str(access.key_files[0]), str(tmp_path)]
    command = [sys.executable, "-W", "ignore", "-c", SHARE, *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as share:
        assert share.stdout is not None
        assert share.stdout.readline() == b"in\n"
        assert "vshare-killed" in machine.keys
        assert cleaned(tmp_path) == []  # it lives: its key is its own
        assert "vshare-killed" in machine.keys
        share.send_signal(signal.SIGKILL)
    assert "vshare-killed" in machine.keys
    assert cleaned(tmp_path) == [f"removed the SSH key of an earlier share from {access}"]
    assert machine.keys == ""
    assert os.listdir(tmp_path) == []
    assert cleaned(tmp_path) == []


def test_a_note_is_private_and_tells_no_secret(machine: SshMachine, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "ssh-keys"
    leftover = Leftover(over_ssh(machine.access), KEY.public, folder)
    leftover.write(1.0)
    leftover.write(2.0)  # in place of the first
    (path,) = folder.iterdir()
    assert path == leftover.path
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    note = msgspec.json.decode(path.read_bytes(), type=Note)
    assert (note.expires_at, note.owner.pid) == (2.0, os.getpid())
    assert note.owner.is_alive
    leftover.remove()
    leftover.remove()
    assert list(folder.iterdir()) == []


def test_a_password_and_a_proxy_command_are_not_written_down() -> None:
    access = SshAccess("h", user="u", password="hunter2")
    where = AuthorizedKeys(SshLink(access)).where()
    assert b"hunter2" not in msgspec.json.encode(where)
    assert AuthorizedKeys(SshLink(SshAccess("h", proxy_command="touch /x"))).where() is None


def test_a_process_with_a_dead_ones_number_is_another() -> None:
    alive = ssh_leftovers._owner(os.getpid())
    assert alive.is_alive
    assert not Owner(alive.pid, "1", alive.boot).is_alive
    assert not Owner(alive.pid, alive.started, "another boot").is_alive
    assert not Owner(0, "", "").is_alive
    with subprocess.Popen(["true"]) as process:
        dead = ssh_leftovers._owner(process.pid)
    assert not dead.is_alive


@pytest.mark.parametrize(
    ("age", "ends_by_itself", "stays"),
    [(-600, True, True), (600, True, False), (600, False, True), (40 * 24 * 3600, False, False)],
)
def test_a_machine_that_is_off_is_tried_until_its_key_has_ended(
    tmp_path: Path, *, age: float, ends_by_itself: bool, stays: bool
) -> None:
    where = OverSsh("127.0.0.1", 1, "nobody", [], None)
    note = Note(GONE, where, KEY.public, time.time() - age, ends_by_itself)
    path = note_file(tmp_path, note)
    told = cleaned(tmp_path)
    assert path.exists() == stays
    assert ("is still in nobody@127.0.0.1:1" in "".join(told)) == stays


def test_a_machine_that_never_answers_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_leftovers, "REMOVE_TIMEOUT_SECONDS", 0.5)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, no more
            port = silent.getsockname()[1]
            for number in range(20):
                where = OverSsh("127.0.0.1", port, "nobody", [], None)
                note = Note(GONE, where, KEY.public, time.time() + 600)
                note_file(tmp_path, note, f"{number}.json")
            told: list[str] = []
            began = time.monotonic()
            await clean_leftovers(told.append, tmp_path)
            assert time.monotonic() - began < 0.5 * ssh_leftovers.MAX_NOTES  # all at once
            assert len(told) == ssh_leftovers.MAX_NOTES
            assert "does not answer" in told[0]

    run(main)
    assert len(list(tmp_path.iterdir())) == 20


def test_what_is_no_note_is_left_alone(tmp_path: Path, machine: SshMachine) -> None:
    sound = over_ssh(machine.access)
    good = msgspec.json.encode(Note(GONE, sound, KEY.public, 0))
    bad = {
        "empty.json": b"",
        "nonsense.json": b"\xff{",
        "deep.json": b"[" * 5000,
        "long.json": good + b" " * MAX_NOTE,
        "option.json": good.replace(b"127.0.0.1", b"-oProxyCommand=x"),
        "port.json": good.replace(str(machine.access.port).encode(), b"0"),
        "line.json": good.replace(b"vshare-frosty", b"'; touch /tmp/x; '"),
        "kind.json": good.replace(b'"type":"ssh"', b'"type":"shell"'),
        "other.txt": good,
    }
    for name, data in bad.items():
        assert data != good or name == "other.txt"
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link.json").symlink_to(tmp_path / "other.txt")
    os.mkfifo(tmp_path / "fifo.json")
    assert cleaned(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == len(bad) + 2
    assert cleaned(tmp_path / "missing") == []
