"""The systemd user unit that shares at boot (systemd.service(5)). Pure.

There is no secret in it: others read such files, and the journal. Results (the code, a passcode)
go to standard output, which is thrown away; `vshare code` shows them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunnel.errors import UsageError
from tunnel.names import ShareName
from vshare.refusals import EXIT_ENDED

PREFIX = "vshare-"
USAGE = 2  # the exit code of what cannot be meant, which it cannot be the next time either
RESTART_AFTER = 10  # seconds; a relay or a machine that is away is waited for by trying again
STOP_WITHIN = 30  # seconds; a key is taken out of the machine
_DESCRIPTION = re.compile(r"^Description=vshare: (\S+)$", re.MULTILINE)
_TEMPLATE = """\
# Written by `vshare service install`; `vshare service uninstall` removes it.
[Unit]
Description=vshare: {description}
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={folder}
{environment}ExecStart={command}
StandardOutput=null
Restart=on-failure
RestartSec={restart}
RestartPreventExitStatus={usage} {ended}
TimeoutStopSec={stop}

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What is shared at boot: the command, where it runs, and what its environment needs."""

    name: ShareName
    folder: Path
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


def unit_name(name: str) -> str:
    """The file that the share called `name` has among the units."""
    return f"{PREFIX}{name}.service"


def unit_text(service: Service) -> str:
    """The unit. Raises UsageError for what no unit can say."""
    lines = [
        f'Environment="{_quoted(f"{key}={value}")}"\n' for key, value in service.environment.items()
    ]
    return _TEMPLATE.format(
        description=service.name,
        folder=_folder(str(service.folder)),
        environment="".join(lines),
        command=" ".join(f'"{_quoted(word, of_command=True)}"' for word in service.command),
        restart=RESTART_AFTER,
        usage=USAGE,
        ended=EXIT_ENDED,
        stop=STOP_WITHIN,
    )


def share_in(text: str) -> str:
    """What the unit with this text calls the share; empty if it is none of ours."""
    found = _DESCRIPTION.search(text)
    return found[1] if found is not None else ""


def renamed(text: str, before: str, name: str) -> str:
    """The unit's text with another name."""
    text = _DESCRIPTION.sub(lambda found: found[0].replace(before, name), text, count=1)
    return text.replace(f'"--name" "{before}"', f'"--name" "{name}"', 1)


def _quoted(word: str, *, of_command: bool = False) -> str:
    """What stands between double quotes: no escapes, specifiers or variables are in it."""
    text = _one_line(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return text.replace("$", "$$") if of_command else text


def _folder(path: str) -> str:
    """It is not quoted: of a backslash at the end systemd makes one line with the next one, and a
    blank there it takes away."""
    if path.endswith(("\\", " ")):
        raise UsageError(f"no unit can have {path!r} in it", "rename that folder")
    return _one_line(path).replace("%", "%%")


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise UsageError(f"no unit can have {text!r} in it", "rename that folder")
    return text
