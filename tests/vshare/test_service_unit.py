from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunnel.errors import UsageError
from tunnel.names import ShareName
from vshare.service_unit import Service, renamed, share_in, unit_name, unit_text

NAME = ShareName("quiet-lynx-0002")


def test_what_is_in_a_unit() -> None:
    text = unit_text(Service(NAME, Path("/srv/a"), ["/bin/true", "up"], {"VSHARE_RELAY": "r:1#2"}))
    for line in (
        "WorkingDirectory=/srv/a",
        'ExecStart="/bin/true" "up"',
        'Environment="VSHARE_RELAY=r:1#2"',
        "StandardOutput=null",  # the journal is no place for the code
        "Restart=on-failure",
        "RestartPreventExitStatus=2 3",
    ):
        assert line in text.splitlines()


def test_another_name() -> None:
    command = ["/bin/python", "up", "--name", NAME, "--relay", NAME]
    text = unit_text(Service(NAME, Path(f"/srv/{NAME}"), command))
    assert share_in(text) == NAME
    changed = renamed(text, NAME, "other-name")
    assert share_in(changed) == "other-name"
    was = set(text.splitlines()) - set(changed.splitlines())
    assert len(was) == 2
    assert f'"--name" "other-name" "--relay" "{NAME}"' in changed
    assert f"WorkingDirectory=/srv/{NAME}" in changed
    assert share_in("[Unit]\nDescription=another\n") == ""


def test_names_that_systemd_would_read_in_its_own_way() -> None:
    odd = 'it\'s 5% of "a\\b" $HOME'
    text = unit_text(Service(NAME, Path("/srv") / odd, ["/bin/true", odd]))
    assert "WorkingDirectory=/srv/it's 5%% of" in text
    assert '"it\'s 5%% of \\"a\\\\b\\" $$HOME"' in text


@pytest.mark.parametrize("folder", ["/srv/a\nExecStartPre=/bin/false", "/srv/a\\", "/srv/a "])
def test_a_line_of_its_own_is_not_to_be_had(folder: str) -> None:
    with pytest.raises(UsageError, match="no unit can have"):
        unit_text(Service(NAME, Path(folder), ["/bin/true"]))


@pytest.mark.programs
def test_systemd_takes_it(tmp_path: Path) -> None:
    """systemd-analyze(1) knows what a unit may say."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd")
    folder = tmp_path / "it's 5% of a"
    folder.mkdir()
    path = tmp_path / unit_name(NAME)
    path.write_text(unit_text(Service(NAME, folder, [sys.executable, "-P"], {"A": "b c"})))
    command = [program, "verify", "--user", str(path)]
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
