from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loops import run
from tests.vshare.ssh_machine import SshMachine, ssh_machine
from tunnel.errors import VshareError
from vshare.authorized_keys import AuthorizedKeys, public_line, script
from vshare.key_place import Expiry, OverSsh
from vshare.ssh_key import make_key
from vshare.ssh_link import SshLink

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
KEY = make_key("vshare-frosty-weasel-0857", None)
OTHER = make_key("vshare-other-0001", None)
# What authorized_keys look like; each has to be the same again when our line is gone.
FILES = {
    "one key": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO someone@home\n",
    "no newline at its end": b"# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO someone@home",
    "CRLF": b"# windows\r\nssh-rsa AAAAB3 x\r\n\r\nssh-rsa AAAAB4 y\r\n",
    "comments and options": b'\n\n  # a\n\nfrom="10.*",command="echo \\"|\\"" ssh-rsa AAAA z\n\n',
    "empty": b"",
    "Latin-1": b"ssh-rsa AAAAB3 Andr\xe9\nssh-rsa AAAAB4 \xff\xfe",
    "binary": b"ssh-rsa AAAAB3 x\n\x00\x01\x02\nssh-rsa AAAAB4 y",
    "a newline alone": b"\n",
    "a long line": b"ssh-rsa " + b"A" * 20_000 + b" x\nssh-rsa AAAAB4 y",
}

Shell = Callable[[Path, bytes], str]


@pytest.fixture(scope="module", params=["dash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a script as `sh -s` does on a machine with this shell (and with its programs)."""
    path = os.environ["PATH"]
    program = shutil.which(request.param)
    if request.param == "busybox":
        program, path = busybox(tmp_path_factory.mktemp("busybox"))
    if program is None:
        pytest.skip(f"no {request.param} is installed")

    def run_it(home: Path, text: bytes) -> str:
        words = ["sh", "-s"] if request.param == "busybox" else ["-s"]
        env = {"PATH": path, "HOME": str(home), "TZ": "Pacific/Auckland"}
        done = subprocess.run(
            [program, *words], input=text, stdout=subprocess.PIPE, env=env, check=False, cwd="/"
        )
        return done.stdout.decode(errors="replace").strip()

    return run_it


def busybox(folder: Path) -> tuple[str | None, str]:
    """A busybox, installed or out of the package that the images are made of; a PATH of it."""
    program = shutil.which("busybox")
    package = next(iter((ROOT / "box/cache").glob("busybox-static_*.deb")), None)
    if program is None and package is not None and shutil.which("dpkg-deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        program = str(folder / "bin/busybox")
    if program is None:
        return None, ""
    applets = folder / "applets"
    applets.mkdir()
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        (applets / name).symlink_to(program)
    return program, str(applets)


def home_with(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "authorized_keys").write_bytes(content)
    (folder / "authorized_keys").chmod(mode)
    return tmp_path / "home"


# -- the script, in the shells that machines have


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_every_other_byte_stays(shell: Shell, tmp_path: Path, content: bytes) -> None:
    home = home_with(tmp_path, content)
    file = home / ".ssh/authorized_keys"
    assert shell(home, script("insert", KEY.public)) == "vshare-keys: ok inserted"
    assert file.read_bytes() == KEY.public.encode() + b"\n" + content
    assert shell(home, script("remove", KEY.public)) == "vshare-keys: ok removed"
    assert file.read_bytes() == content
    assert [each.name for each in file.parent.iterdir()] == ["authorized_keys"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o664])
def test_the_mode_stays(shell: Shell, tmp_path: Path, mode: int) -> None:
    home = home_with(tmp_path, FILES["one key"], mode)
    file = home / ".ssh/authorized_keys"
    for action in ("insert", "remove"):
        assert " ok " in shell(home, script(action, KEY.public))
        assert file.stat().st_mode & 0o7777 == mode
    assert file.read_bytes() == FILES["one key"]


def test_a_symbolic_link_stays_one(shell: Shell, tmp_path: Path) -> None:
    home = home_with(tmp_path, b"")
    target = tmp_path / "dotfiles" / "keys"
    target.parent.mkdir()
    target.write_bytes(FILES["no newline at its end"])
    file = home / ".ssh/authorized_keys"
    file.unlink()
    file.symlink_to("../../dotfiles/keys")
    assert " ok " in shell(home, script("insert", KEY.public))
    assert KEY.public in target.read_text()
    assert " ok " in shell(home, script("remove", KEY.public))
    assert file.is_symlink()
    assert target.read_bytes() == FILES["no newline at its end"]


def test_what_was_missing_is_made_and_goes_again(shell: Shell, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert " ok inserted" in shell(home, script("insert", KEY.public))
    folder = home / ".ssh"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "authorized_keys").stat().st_mode & 0o777 == 0o600
    # a later time must not forget that it was made here
    assert " ok inserted" in shell(home, script("insert", KEY.public, "60", utc=True))
    assert " ok removed" in shell(home, script("remove", KEY.public))
    assert list(home.iterdir()) == []


def test_a_file_that_was_made_and_then_used_stays(shell: Shell, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    assert " ok inserted" in shell(home, script("insert", KEY.public))
    with (home / ".ssh/authorized_keys").open("a") as file:
        file.write("ssh-rsa AAAAB3 added meanwhile\n")
    assert " ok removed" in shell(home, script("remove", KEY.public))
    assert (home / ".ssh/authorized_keys").read_text() == "ssh-rsa AAAAB3 added meanwhile\n"


def test_an_empty_file_that_was_there_stays(shell: Shell, tmp_path: Path) -> None:
    home = home_with(tmp_path, b"")
    shell(home, script("insert", KEY.public))
    shell(home, script("remove", KEY.public))
    assert (home / ".ssh/authorized_keys").read_bytes() == b""


def test_removing_what_is_not_there_is_no_failure(shell: Shell, tmp_path: Path) -> None:
    home = home_with(tmp_path, FILES["CRLF"])
    inode = (home / ".ssh/authorized_keys").stat().st_ino
    assert shell(home, script("remove", KEY.public)) == "vshare-keys: ok absent"
    assert (home / ".ssh/authorized_keys").stat().st_ino == inode
    (tmp_path / "bare").mkdir()
    assert shell(tmp_path / "bare", script("remove", KEY.public)) == "vshare-keys: ok absent"
    assert list((tmp_path / "bare").iterdir()) == []


def test_inserting_again_replaces_our_line_alone(shell: Shell, tmp_path: Path) -> None:
    home = home_with(tmp_path, FILES["no newline at its end"])
    file = home / ".ssh/authorized_keys"
    shell(home, script("insert", OTHER.public))
    shell(home, script("insert", KEY.public, "60", utc=True))
    first = file.read_text()
    shell(home, script("insert", KEY.public, "7200", utc=True))
    second = file.read_text()
    assert first != second
    assert second.count(KEY.blob) == second.count(OTHER.blob) == 1
    assert second.encode().endswith(FILES["no newline at its end"])


@pytest.mark.parametrize("utc", [True, False])
def test_the_expiry_is_in_the_line(shell: Shell, tmp_path: Path, *, utc: bool) -> None:
    home = home_with(tmp_path, b"")
    now = time.time()
    said = shell(home, script("insert", KEY.public, "3600", utc=utc))
    line = (home / ".ssh/authorized_keys").read_text()
    match = re.fullmatch(r'expiry-time="(\d{14})(Z?)" (.*)\n', line)
    assert match is not None
    assert match[2] == ("Z" if utc else "")
    assert match[3] == KEY.public
    assert match[1] in said
    zone = time.gmtime if utc else time.localtime  # the system's, although TZ says another
    at = time.strftime("%Y%m%d%H%M%S", zone(now + 3600))
    assert abs(int(match[1]) - int(at)) < 100 or match[1][:8] != at[:8]


def test_a_lock_of_the_dead_is_waited_out(tmp_path: Path) -> None:
    home = home_with(tmp_path, b"")
    (home / ".ssh/vshare.lock").mkdir()
    command, env = ["sh", "-s"], {**os.environ, "HOME": str(home)}
    text = script("insert", KEY.public)
    done = subprocess.run(command, input=text, capture_output=True, env=env, check=False)
    assert b" ok inserted" in done.stdout
    assert not (home / ".ssh/vshare.lock").exists()


def test_failures_say_what_is_wrong(shell: Shell, tmp_path: Path) -> None:
    home = home_with(tmp_path, b"")
    file = home / ".ssh/authorized_keys"
    file.unlink()
    file.mkdir()
    assert "failed ~/.ssh/authorized_keys is not a file" in shell(
        home, script("insert", KEY.public)
    )
    file.rmdir()
    file.symlink_to("nowhere")
    assert "is a link to nothing" in shell(home, script("insert", KEY.public))
    assert "failed no home directory" in shell(tmp_path / "gone", script("insert", KEY.public))
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/.ssh").write_text("")
    assert "failed cannot make ~/.ssh" in shell(tmp_path / "plain", script("insert", KEY.public))


@pytest.mark.parametrize(
    "line",
    ["", "x y z", f"{KEY.public}'; touch /x; '", f"{KEY.public}\n", KEY.public.replace(" ", "  ")],
)
def test_a_line_cannot_break_out_of_the_script(line: str) -> None:
    with pytest.raises(ValueError, match="not a line"):
        script("insert", line)
    assert public_line(KEY.public) == KEY.blob


# -- what servers understand


@pytest.mark.parametrize(
    ("greeting", "understood", "in_utc"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10", True, True),
        ("SSH-2.0-OpenSSH_9.1", True, True),
        ("SSH-2.0-OpenSSH_8.9p1 Ubuntu-3", True, False),
        ("SSH-2.0-OpenSSH_7.7", True, False),
        ("SSH-2.0-OpenSSH_7.6p1", False, False),
        ("SSH-2.0-OpenSSH_10.0p2", True, True),
        ("SSH-2.0-dropbear_2022.83", False, False),
        ("SSH-2.0-OpenSSH_for_Windows_8.1", False, False),
        ("", False, False),
    ],
)
def test_who_understands_expiry_times(greeting: str, *, understood: bool, in_utc: bool) -> None:
    expiry = Expiry(greeting)
    assert (expiry.understood, expiry.in_utc) == (understood, in_utc)


# -- over SSH, with a real server


def private_file(folder: Path) -> Path:
    path = folder / "guest_key"
    path.write_bytes(KEY.private)
    path.chmod(0o600)
    return path


def test_a_key_lets_in_until_it_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        async with SshLink(machine.access) as link:
            place = AuthorizedKeys(link)
            assert not await asyncio.to_thread(machine.lets_in, private)
            assert await place.insert(KEY.public, time.time() + 600)
            assert await asyncio.to_thread(machine.lets_in, private)
            logged_in = await place.try_key(KEY, None)
            assert logged_in.user == machine.access.user
            assert logged_in.host_keys == machine.host_keys
            await place.remove(KEY.public)
            assert not await asyncio.to_thread(machine.lets_in, private)
            assert not machine.authorized_keys.parent.exists()

    private = private_file(tmp_path)
    with ssh_machine(tmp_path) as machine:
        run(main)


def test_the_server_itself_refuses_an_expired_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with SshLink(machine.access) as link:
            place = AuthorizedKeys(link)
            assert await place.insert(KEY.public, time.time() - 2)
            assert not await asyncio.to_thread(machine.lets_in, private)
            with pytest.raises(VshareError, match="does not accept the key"):
                await place.try_key(KEY, None)
            await place.insert(KEY.public, time.time() + 60)  # extended
            assert await asyncio.to_thread(machine.lets_in, private)

    private = private_file(tmp_path)
    with ssh_machine(tmp_path) as machine:
        run(main)


@pytest.mark.parametrize("seconds", ["-2", "60"])
def test_the_older_form_of_the_expiry_counts_as_well(tmp_path: Path, seconds: str) -> None:
    """In the machine's own time zone, for servers before 9.1; later ones still read it."""

    async def main() -> None:
        async with SshLink(machine.access) as link:
            await AuthorizedKeys(link)._run("insert", KEY.public, seconds, utc=False)
            assert 'Z" ' not in machine.keys
            assert await asyncio.to_thread(machine.lets_in, private) == (seconds == "60")

    private = private_file(tmp_path)
    with ssh_machine(tmp_path) as machine:
        run(main)


def test_a_server_that_looks_elsewhere_is_found_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with SshLink(machine.access) as link:
            place = AuthorizedKeys(link)
            await place.insert(KEY.public, time.time() + 600)
            with pytest.raises(VshareError, match="does not accept the key") as refused:
                await place.try_key(KEY, None)
            assert "AuthorizedKeysFile" in refused.value.hint

    with ssh_machine(tmp_path, keys="/nonexistent") as machine:
        run(main)


def test_a_machine_that_cannot_take_a_key(tmp_path: Path) -> None:
    async def main(machine: SshMachine) -> None:
        async with SshLink(machine.access) as link:
            with pytest.raises(VshareError) as refused:
                await AuthorizedKeys(link).insert(KEY.public, time.time() + 600)
            assert "could not be inserted: " in refused.value.text
            assert "cannot make ~/.ssh" in refused.value.text
            assert "without --ssh" in refused.value.hint

    with ssh_machine(tmp_path) as machine:
        (machine.home / ".ssh").write_text("a file")
        run(lambda: main(machine))


def test_two_shares_at_once_lose_no_line(tmp_path: Path) -> None:
    keys = [make_key(f"vshare-{number}", None) for number in range(6)]

    async def insert(access: AuthorizedKeys, line: str) -> None:
        await access.insert(line, time.time() + 600)
        await access.remove(line)
        await access.insert(line, time.time() + 600)

    async def main() -> None:
        async with SshLink(machine.access) as link, asyncio.TaskGroup() as group:
            place = AuthorizedKeys(link)
            for key in keys:
                group.create_task(insert(place, key.public))
        assert all(machine.keys.count(key.blob) == 1 for key in keys)

    with ssh_machine(tmp_path) as machine:
        run(main)


def test_how_a_later_run_finds_the_machine(tmp_path: Path) -> None:
    with ssh_machine(tmp_path) as machine:
        where = AuthorizedKeys(SshLink(machine.access)).where()
    assert isinstance(where, OverSsh)
    assert where.key_files == [str(tmp_path / "admin")]
