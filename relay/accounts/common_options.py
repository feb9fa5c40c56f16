"""What all commands about a relay's state directory have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import platformdirs

from relay.settings_file import said

Command = Callable[..., Any]


def state_directory(chosen: Path | None) -> Path:
    """The relay's, as `vrelay serve` has it: of flag, environment or file. Raises UsageError."""
    return chosen or said("state-dir") or platformdirs.user_state_path("vrelay", appauthor=False)


def common(command: Command) -> Command:
    """The options that all of them have."""
    folder = click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The relay's, as `vrelay serve` has it.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    return folder(as_json(command))
