"""`vshare service`: a share that begins when the host does, by a systemd unit of the user's."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tunnel.console import Console
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName, parse_name
from vshare.cli_login import warn_of_missing_token
from vshare.find_vagrant import find_root
from vshare.running import running_shares
from vshare.service_unit import PREFIX, Service, renamed, share_in, unit_name, unit_text
from vshare.share_file import FILE, find_share_file, said_in_file

SYSTEMCTL_WITHIN = 30.0  # seconds; it waits until a unit has begun or ended
EXPIRES = "30d"  # as long as a relay grants; then it begins anew, under the same name
_RELAY = "VSHARE_RELAY"


@click.group()
def service() -> None:
    """Share at boot, by a systemd unit of this user's."""


@service.command()
@click.option("--name", help="what the share is called, always [as in vshare.toml]")
@click.pass_context
def install(context: click.Context, name: str | None) -> None:
    """Share what `vshare up` shares in this folder, from now on and after each boot.

    What is shared and how is said by vshare.toml; nothing can be asked.
    """
    options = _options_of_up(context)
    share = parse_name(name or options.params["name"] or _no_name())
    _check(options.params)
    command = [sys.executable, "-P", "-m", "vshare.cli", "up", "--yes", "--name", share]
    if options.get_parameter_source("expires_in") is ParameterSource.DEFAULT:
        command += ["--expires", EXPIRES]
    environment = {}
    relay = os.environ.get(_RELAY)
    if relay and not options.params["relay"] and not options.params["lan"]:
        environment[_RELAY] = relay
    path = unit_of(share) or _free_place(share)
    _write(path, unit_text(Service(share, Path.cwd(), command, environment)))
    console = Console(share)
    console.result("Unit:", str(path))
    if FILE in options.meta:
        console.detail(f"It shares what {FILE} says at each start; now: {said_in_file(options)}")
    if not (environment or options.params["relay"]):
        console.warn("no relay is named: the share is for this host alone (relay in vshare.toml)")
    else:
        named = str(options.params["relay"] or relay)
        warn_of_missing_token(console, named)
    _begin(console, path.name)
    console.detail("To share before anybody logs in: loginctl enable-linger")
    console.detail("`vshare code` shows the code, which is a new one after each start.")


@service.command()
@click.argument("name", required=False)
def uninstall(name: str | None) -> None:
    """End the share, and share no more at boot."""
    path = _chosen(name)
    console = Console(_share_of(path))
    _tell(console, _systemctl("disable", "--now", path.name), f"disable --now {path.name}")
    path.unlink(missing_ok=True)
    _systemctl("daemon-reload")
    console.step(f"The unit {path.name} is gone. The name stays yours for some days.")


@service.command()
@click.argument("name", required=False)
def status(name: str | None) -> None:
    """Which shares begin at boot, and whether they run."""
    paths = [_chosen(name)] if name is not None else _units()
    if not paths:
        click.echo("no share begins at boot: `vshare service install` makes one")
    running = {share.name for share in running_shares()}
    for path in paths:
        share = _share_of(path)
        state = _systemctl("is-active", path.name)
        said = state.stdout.strip() if state is not None else ""
        is_here = any(name == share or name.startswith(f"{share}-") for name in running)
        here = "is shared" if is_here else "is not shared now"
        click.echo(f"  {share}  {here}  unit {said or 'unknown to systemd'}  {path}")


def _options_of_up(context: click.Context) -> click.Context:
    """What `vshare up` would do here. Raises UsageError."""
    if find_share_file() is None:
        try:
            find_root(Path.cwd())
        except VshareError as error:
            raise UsageError(
                f"nothing here says what to share: neither {FILE} nor a Vagrantfile",
                f"write {FILE}, or go to the folder of a Vagrantfile",
            ) from error
    group = context.find_root().command
    assert isinstance(group, click.Group)
    return group.commands["up"].make_context("vshare up", [])


def _no_name() -> str:
    raise UsageError(
        "a share that begins at boot needs a name of its own",
        f'say --name NAME, or write name = "NAME" into {FILE}',
    )


def _check(options: Mapping[str, Any]) -> None:
    """Raise UsageError for what would be asked for: at boot nobody is there to answer."""
    if options["ssh"] and not (options["ssh_no_password"] or options["ssh_password_file"]):
        raise UsageError(
            "at boot nobody can type the SSH password",
            "write ssh-password-file, or ssh-no-password = true, into vshare.toml",
        )
    if options["user"] and not options["auth_file"]:
        raise UsageError(
            "at boot nobody can type the visitors' password",
            "write http-auth-file in place of http-auth into vshare.toml",
        )


def _folder() -> Path:
    """Where a user's units are (systemd.unit(5))."""
    config = os.environ.get("XDG_CONFIG_HOME") or ""
    base = Path(config) if os.path.isabs(config) else Path.home() / ".config"
    return base / "systemd" / "user"


def _units() -> list[Path]:
    return sorted(_folder().glob(f"{PREFIX}*.service"))


def unit_of(share: ShareName) -> Path | None:
    """The file of the unit that shares at boot as `share`, if there is one."""
    return next((path for path in _units() if _share_of(path) == share), None)


def rename_unit(console: Console, before: ShareName, name: ShareName) -> Path | None:
    """Let the unit that shares as `before`, if there is one, share as `name` when it begins the
    next time; its file. Raises VshareError."""
    path = unit_of(before)
    if path is not None:
        _write(path, renamed(path.read_text(), before, name))
        _tell(console, _systemctl("daemon-reload"), "daemon-reload")
    return path


def _free_place(share: ShareName) -> Path:
    """For the unit of `share`: that of another may have its name, from before it was renamed."""
    first = _folder() / unit_name(share)
    others = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())


def _share_of(path: Path) -> ShareName:
    """What it says; its file has the name that the share had first."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if said := share_in(path.read_text()):
            return parse_name(said)
    return parse_name(path.name.removeprefix(PREFIX).removesuffix(".service"))


def _chosen(name: str | None) -> Path:
    """The unit of the share called `name`, or the only one. Raises VshareError."""
    paths = _units()
    if name is None and len(paths) == 1:
        return paths[0]
    if name is not None and (path := unit_of(parse_name(name))) is not None:
        return path
    names = ", ".join(map(_share_of, paths)) or "none"
    if name is not None or not paths:
        what = f"no share {name!r} begins" if name is not None else "no share begins"
        raise VshareError(f"{what} at boot", f"these do: {names}")
    raise UsageError(f"{len(paths)} shares begin at boot", f"say which: {names}")


def _write(path: Path, text: str) -> None:
    """Raises VshareError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VshareError(f"cannot write {path}: {reason}", "see whose that folder is") from error


def _begin(console: Console, unit: str) -> None:
    """Now, and at each boot."""
    if _tell(console, _systemctl("daemon-reload"), "daemon-reload"):
        _tell(console, _systemctl("enable", "--now", unit), f"enable --now {unit}")
    else:
        console.detail(f"and then: systemctl --user enable --now {unit}")


def _tell(console: Console, done: subprocess.CompletedProcess[str] | None, arguments: str) -> bool:
    """Whether it was done; else what its user can do."""
    if done is not None and done.returncode == 0:
        console.step(f"systemctl --user {arguments}")
        return True
    why = done.stderr.strip().partition("\n")[0] if done is not None else "there is no systemctl"
    console.warn(f"systemd was not told: {why or 'no answer'}")
    console.detail(f"where it runs for you, type: systemctl --user {arguments}")
    return False


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """None: it is not there, or hangs."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            [program, "--user", *arguments],
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_WITHIN,
            check=False,
        )
    return None
