from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.loops import run, until
from tunnel.console import Console
from vshare.no_sleep import awake

pytestmark = pytest.mark.programs


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """In the place of systemd-inhibit: it runs what follows its own options."""
    path = tmp_path / "inhibit"
    path.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\n"$@"\n')
    path.chmod(0o700)
    return path


def test_the_lock_lasts_as_long_as_the_block(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = tmp_path / "pid"
    program.write_text(program.read_text().replace('"$@"', f'echo $$ > {pid}; exec "$@"'))

    async def main() -> None:
        async with awake(Console("test"), str(program)):
            assert "does not go to sleep" in capsys.readouterr().err
            held = int(pid.read_text())
            os.kill(held, 0)
        await until(lambda: not Path(f"/proc/{held}").exists())

    run(main)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Failed to inhibit: Access denied' >&2; exit 1", "Failed to inhibit: Access denied"),
        ("exit 1", "ended without a word"),
        (None, "cannot be run: no such file"),
    ],
)
def test_a_host_that_does_not_let_us(
    program: Path, script: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if script is None:
        program.unlink()
    else:
        program.write_text(f"#!/bin/sh\n{script}\n")

    async def main() -> None:
        async with awake(Console("test"), str(program)):
            shown = capsys.readouterr().err
            assert "may go to sleep while it shares" in shown
            assert said in shown

    run(main)
