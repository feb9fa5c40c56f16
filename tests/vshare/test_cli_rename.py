"""`vshare rename`, as processes: of a share in a terminal, of one in the background, of one that
begins by its unit, of one that does not run."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_commands import SECRET, Desk, desk_in, fetch, site, through

__all__ = ["site"]
pytestmark = pytest.mark.programs

OLD, NEW = "quiet-lynx-0002", "frosty-weasel-0857"
WITHIN = 30.0  # seconds for what takes one on an idle machine


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Desk]:
    """In a folder of its own, with state of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (run := tmp_path / "run").mkdir(mode=0o700)
    with desk_in(tmp_path) as desk:
        desk.environment["XDG_RUNTIME_DIR"] = str(run)
        desk.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
        desk.environment["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
        yield desk
        vshare(desk, "stop", "--all")


def vshare(desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    """To its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "vshare.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        env=desk.environment,
        start_new_session=True,
        check=False,
    )


def renamed(desk: Desk, *arguments: str) -> dict[str, Any]:
    done = vshare(desk, "rename", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def names(desk: Desk) -> list[str]:
    """Of the shares that run."""
    listed = json.loads(vshare(desk, "list", "--json").stdout)
    return [each["name"] for each in listed["shares"]]


def remember(*lines: str) -> Path:
    path = Path("vshare.toml").absolute()
    path.write_text("\n".join(["# ours", "[up]", f'name = "{OLD}"  # the name', *lines]))
    return path


def test_guests_stay_and_the_next_start_has_the_new_name(desk: Desk, site: int) -> None:
    relay = desk.start("vrelay", "serve", "--json", "--listen", "127.0.0.1:0")
    address = relay.wait_for("serving")["relay"]
    file = remember('target = "127.0.0.1"', f"http = {site}", f'relay = "{address}"')
    share, started = desk.share("--yes")
    guest, proxy = desk.connect(started)
    with through(proxy, OLD, site) as held:
        held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        done = renamed(desk, NEW)
        assert (done["before"], done["name"], done["file"]) == (OLD, NEW, str(file))
        told = share.wait_for("renamed")
        assert (told["name"], told["url"]) == (NEW, done["url"])
        assert done["url"].startswith(f"http://{NEW}.")
        notice = guest.wait_for("notice")
        assert (notice["kind"], notice["text"]) == ("renamed", NEW)
        held.sendall(b"Connection: close\r\n\r\n")  # what was open goes on
        assert SECRET in b"".join(iter(lambda: held.recv(65536), b""))
    for name in (OLD, NEW):
        assert SECRET in fetch(proxy, name, site)
    assert f"`vconnect {NEW}@{address}`" in guest.errors.read_text()
    late = vconnect(desk, OLD, started["connect"])
    assert (late.returncode, late.stdout) == (1, "")
    assert "the code is not right" in late.stderr
    newcomer, other_proxy = desk.connect({**started, "connect": done["connect"]})
    assert SECRET in fetch(other_proxy, NEW, site)
    assert newcomer.interrupt() == guest.interrupt() == share.interrupt() == 0
    assert file.read_text().splitlines()[2] == f'name = "{NEW}"  # the name'
    again, started = desk.share("--yes")
    assert started["name"] == NEW
    assert again.interrupt() == 0


def vconnect(desk: Desk, name: str, line: str) -> subprocess.CompletedProcess[str]:
    """Somebody who knows the name of before."""
    code = desk.tmp_path / f"{name}.code"
    command = ["--disable-static-ip", "--code-file", str(code), line]
    return subprocess.run(
        [sys.executable, "-m", "connect_vm.cli", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        env=desk.environment,
        check=False,
    )


def test_in_the_background_and_stopped(desk: Desk) -> None:
    file = remember('target = "127.0.0.1"', "disable-http = true")
    begun = vshare(desk, "up", "--detach", "--yes")
    assert begun.returncode == 0, begun.stderr
    told = vshare(desk, "rename", NEW)
    assert f"Name: {NEW}" in told.stdout
    assert f"Others connect with: vconnect {NEW}@" in told.stdout
    assert f"{file} has the new name" in told.stderr
    assert names(desk) == [NEW]
    (output,) = (desk.tmp_path / "vshare" / "detached").iterdir()
    assert output.name == f"{NEW}.log"
    assert f"the share is called {NEW} from now on" in output.read_text()
    log = vshare(desk, "log", NEW).stdout
    assert f"the share was called {NEW}, and no more {OLD}" in log
    assert vshare(desk, "stop", NEW).returncode == 0
    offline = renamed(desk, "third-name")
    assert (offline["is_running"], offline["before"]) == (False, NEW)
    assert 'name = "third-name"' in file.read_text()
    assert vshare(desk, "up", "--detach", "--yes").returncode == 0
    assert names(desk) == ["third-name"]
    same = vshare(desk, "rename", "third-name")
    assert same.returncode == 2
    assert "called 'third-name' already" in same.stderr
    Path("vshare.toml").write_text(f'[up]\nname = "{OLD}"\n')
    which = vshare(desk, "rename", "fourth-name")
    assert which.returncode == 2
    assert "say which with --share NAME" in which.stderr
    assert names(desk) == ["third-name"]
    assert renamed(desk, "fourth-name", "--share", "third-name")["file"] == ""
    assert renamed(desk, "fifth-name", "--share", OLD)["is_running"] is False
    nobody = vshare(desk, "rename", "sixth-name", "--share", "not-there")
    assert nobody.returncode == 1
    assert "no share 'not-there' runs here" in nobody.stderr


def test_one_that_begins_by_its_unit(desk: Desk) -> None:
    Path("vshare.toml").write_text('[up]\ntarget = "127.0.0.1"\ndisable-http = true\n')
    assert vshare(desk, "service", "install", "--name", OLD).returncode == 0
    unit = Path(desk.environment["XDG_CONFIG_HOME"]) / "systemd" / "user" / f"vshare-{OLD}.service"
    with by_unit(desk, unit):
        done = renamed(desk, NEW)
        assert (done["is_running"], done["unit"], done["file"]) == (True, str(unit), "")
        assert names(desk) == [NEW]
        assert f"{NEW}  is shared" in vshare(desk, "service", "status").stdout
    with by_unit(desk, unit):
        assert names(desk) == [NEW]
    assert f"{NEW}  is not shared now" in vshare(desk, "service", "status").stdout
    assert renamed(desk, "third-name", "--share", NEW)["unit"] == str(unit)
    # The name of before is another share's now, whose unit does not replace the first.
    assert vshare(desk, "service", "install", "--name", OLD).returncode == 0
    listed = vshare(desk, "service", "status").stdout
    assert "third-name  is not" in listed
    assert f"{OLD}  is not" in listed
    assert vshare(desk, "service", "uninstall", "third-name").returncode == 0
    assert not unit.exists()
    assert vshare(desk, "service", "uninstall", OLD).returncode == 0


@contextlib.contextmanager
def by_unit(desk: Desk, unit: Path) -> Iterator[None]:
    """As systemd starts what the unit says, and stops it."""
    said = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
    with subprocess.Popen(
        shlex.split(said["ExecStart"]),
        cwd=said["WorkingDirectory"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=desk.environment,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Your share is running!" in line:
                break
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=WITHIN)
