"""`vrelay service`: a relay that begins when the host does, by a systemd unit."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from relay.service_unit import STATE, UNIT, USER, USER_TEXT, unit_text
from relay.settings import BY_NAME
from relay.settings_file import PLACE, SettingsFile, read_settings
from tunnel.console import Console
from tunnel.errors import UsageError, VshareError

UNITS = Path("/etc/systemd/system")
USERS = Path("/etc/sysusers.d")
WITHIN = 90.0  # seconds; systemctl waits until a unit has begun or ended, and it may drain


@click.group()
def service() -> None:
    """Run a relay at boot, by a systemd unit."""


_CONFIG = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    default=PLACE,
    show_default=True,
    help="What it serves.",
)


@service.command()
@_CONFIG
def show(file: Path) -> None:
    """Print the unit that `install` would write."""
    click.echo(_unit(file), nl=False)


@service.command()
@_CONFIG
def install(file: Path) -> None:
    """Serve from now on and after each boot, as a user who may do nothing else."""
    console = Console("relay")
    text = _unit(file)
    _write(USERS / f"{USER}.conf", USER_TEXT)
    path = _write(UNITS / UNIT, text)
    console.result("Unit:", str(path))
    _run(console, "systemd-sysusers", f"{USER}.conf")
    state = _state_of(read_settings(file))
    if state.is_dir():  # `vrelay init` made it
        _run(console, "chown", "-R", f"{USER}:", str(state))
    if _run(console, "systemctl", "daemon-reload"):
        _run(console, "systemctl", "enable", "--now", UNIT)
    console.detail(f"Its log: journalctl -u {UNIT}")


@service.command()
def uninstall() -> None:
    """End the relay, and begin it no more at boot; its state directory and settings stay."""
    console = Console("relay")
    _run(console, "systemctl", "disable", "--now", UNIT)
    for path in (UNITS / UNIT, USERS / f"{USER}.conf"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    _run(console, "systemctl", "daemon-reload")
    console.step(f"The unit {UNIT} is gone.")


def _unit(path: Path) -> str:
    """Raises UsageError."""
    file = read_settings(path)
    file.check()
    if os.path.commonpath([path, "/tmp"]) == "/tmp":
        raise UsageError(f"the unit does not see {path}", f"put it at {PLACE}")
    drain = file.values.get("drain", BY_NAME["drain"].initial)
    return unit_text(sys.executable, path, _state_of(file), drain)


def _state_of(file: SettingsFile) -> Path:
    state = file.values.get("state_dir")
    return state if isinstance(state, Path) else Path(STATE)


def _write(path: Path, text: str) -> Path:
    """Raises VshareError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "as root: sudo vrelay service install; `vrelay service show` prints it"
        raise VshareError(f"cannot write {path}: {reason}", hint) from error
    return path


def _run(console: Console, *words: str) -> bool:
    """Whether it was done; else what its user can do."""
    said, line = "there is no such program", " ".join(words)
    program = shutil.which(words[0])
    if program is not None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                [program, *words[1:]], capture_output=True, text=True, timeout=WITHIN, check=False
            )
            if done.returncode == 0:
                console.step(line)
                return True
            said = done.stderr.strip().partition("\n")[0] or "it failed"
    console.warn(f"not done: {line}: {said}")
    return False
