"""`vrelay backup`."""

from __future__ import annotations

from pathlib import Path

import click

from relay.accounts.common_options import common, state_directory
from relay.operation.backup import back_up
from tunnel.console import Console


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@common
def backup(file: Path, state_dir: Path | None, as_json: bool) -> None:
    """Copy what the relay keeps to a tar archive, FILE, while the relay runs.

    It holds private keys: keep it as you keep those. To restore it, stop the relay, and unpack it
    in an empty state directory: tar -xf FILE -C DIRECTORY
    """
    folder = state_directory(state_dir)
    there = back_up(folder, file)
    console = Console("relay", as_json=as_json)
    console.event(file=str(file), files=there)
    console.step(f"{file} has {len(there)} files of {folder}: {', '.join(there)}.")
