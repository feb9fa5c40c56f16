from __future__ import annotations

from pathlib import Path

import pytest

from tests.loops import run
from tunnel.doctor.finding import Finding, State, examine
from vshare.doctor import local_steps

pytestmark = pytest.mark.programs


async def local() -> dict[str, Finding]:
    return {each.name: each async for each in examine(local_steps())}


def vagrant(folder: Path, script: str) -> None:
    program = folder / "vagrant"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "nonsense:///x")
        monkeypatch.setenv("PATH", str(tmp_path))
        found = await local()
        assert found["Vagrant"].text == "not found"
        assert found["libvirt"].hint
        vagrant(tmp_path, "echo Vagrant 9.9")
        assert (await local())["Vagrant"].text == "Vagrant 9.9"
        vagrant(tmp_path, "echo broken gem >&2; exit 1")
        found = await local()
        assert "broken gem" in found["Vagrant"].text
        assert {each.state for each in found.values()} == {State.WARNING}

    run(main)
