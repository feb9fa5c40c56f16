"""`vshare rename`: another name for a share, whether it runs or not, and where the next start finds
it: in vshare.toml, and in the unit of `vshare service`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from tunnel.console import Console
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName, parse_name
from tunnel.running import Running
from vshare import requests
from vshare.cli_running import of_a_share
from vshare.cli_service import rename_unit, unit_of
from vshare.name_key import OtherKeyError, name_key
from vshare.running import choose_share, running_shares
from vshare.share_file import FILE, find_share_file, name_in, rename_in


@dataclass(frozen=True, slots=True)
class _Stopped:
    """A share that does not run: `file` is the vshare.toml that has its name."""

    name: ShareName
    file: Path | None = None


@click.command()
@click.argument("new", metavar="NEW")
@of_a_share
def rename(new: str, share: str | None, as_json: bool) -> None:
    """Let a share be called NEW, now and at its next start.

    Guests who are in stay in, with all that they have open, and the code stays the same. What has
    the name in it changes: the URL, and what newcomers type. One that does not run is renamed in
    the vshare.toml of this folder.
    """
    name = parse_name(new)
    chosen = _choose(share)
    if isinstance(chosen, _Stopped):
        _rename_stopped(chosen, name, as_json)
        return
    done = chosen.ask(requests.Rename(name), requests.Renamed)
    console = Console(name, as_json=as_json)
    console.step(f"The share {done.before} is called {done.name} now. Guests who are in stay.")
    if not as_json:
        console.result("Name:", done.name)
        if done.url:
            console.result("URL:", done.url)
        console.result("Others connect with:", f"vconnect {done.connect}")
    console.detail(f"{done.before} leads nowhere any more; your key keeps it for seven days.")
    file = Path(done.file) if done.file else None
    kept = _keep(console, ShareName(done.before), name, file)
    console.event(share=name, is_running=True, **{**msgspec.to_builtins(done), **kept})


def _choose(share: str | None) -> Running | _Stopped:
    """Which share is meant: one that runs, or that of this folder. Raises VshareError."""
    running = [each.name for each in running_shares()]
    file = find_share_file()
    here = name_in(file) if file is not None else None
    wanted = parse_name(share) if share is not None else here if not running else None
    if wanted is not None and wanted not in running:
        if wanted == here:
            return _Stopped(wanted, file)
        if unit_of(wanted) is not None:
            return _Stopped(wanted)
    if share is None and here is not None and running and not _is_one_of(here, running):
        raise UsageError(
            f"{here}, which {FILE} names here, does not run, and {', '.join(running)} does",
            "say which with --share NAME",
        )
    return choose_share(share)


def _is_one_of(name: str, running: list[str]) -> bool:
    """Whether it runs; of several machines, each has its own behind that name."""
    return any(each == name or each.startswith(f"{name}-") for each in running)


def _rename_stopped(share: _Stopped, name: ShareName, as_json: bool) -> None:
    """Raises VshareError."""
    if name == share.name:
        raise UsageError(f"the share is called {name!r} already", "give another name")
    if name in (each.name for each in running_shares()):
        raise VshareError(f"a share {name!r} runs already", "choose another name")
    with name_key(share.name) as key, contextlib.suppress(OtherKeyError), name_key(name, key=key):
        pass  # the relay knows it by the same key
    console = Console(name, as_json=as_json)
    kept = _keep(console, share.name, name, share.file)
    console.step(f"The share {share.name} is called {name} when it begins the next time.")
    console.detail("The relay is asked for that name then, and may refuse it.")
    console.event(share=name, is_running=False, name=name, before=share.name, **kept)


def _keep(
    console: Console, before: ShareName, name: ShareName, file: Path | None
) -> dict[str, str]:
    """Where the next start finds the name: in these."""
    kept: dict[str, str] = {"file": "", "unit": ""}
    try:
        if file is not None and rename_in(file, before, name):
            kept["file"] = str(file)
            console.detail(f"{file} has the new name.")
        unit = rename_unit(console, before, name)
        if unit is not None:
            kept["unit"] = str(unit)
            console.detail(f"{unit} has the new name; the unit is called as before.")
    except VshareError as error:
        console.warn(f"{error.text}; {error.hint}")
        return kept
    if not any(kept.values()):
        console.detail(
            f'To begin with it the next time: --name {name}, or name = "{name}" in {FILE}'
        )
    return kept


COMMANDS: tuple[click.Command, ...] = (rename,)
