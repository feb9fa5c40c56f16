"""Copying a text: by a program of this desktop's, and by the terminal (OSC 52), which may be far
away, at the other end of an SSH connection."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping

TAKES = 2.0  # seconds; it forks and stays, to hand the text out
MAX_TEXT = 4_096  # bytes; terminals take less than 100 kB
# What each needs to find the desktop, and how it is called.
PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--input", "--clipboard")),
)
TERMINAL = "/dev/tty"  # the terminal at hand, wherever stdout goes


def osc52(text: str) -> bytes:
    """What makes a terminal copy `text` (xterm's Operating System Command 52)."""
    return b"\x1b]52;c;" + base64.b64encode(text.encode()[:MAX_TEXT]) + b"\x07"


def copy_text(text: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The ways by which `text` was copied, in words. A terminal does not say whether it did."""
    ways = [name] if (name := _by_program(text, environment)) else []
    if environment.get("TERM", "dumb") != "dumb" and _by_terminal(text):
        ways.append("by the terminal, if it allows that")
    return ways


def _by_program(text: str, environment: Mapping[str, str]) -> str:
    for variable, command in PROGRAMS:
        if not environment.get(variable) or shutil.which(command[0]) is None:
            continue
        try:
            subprocess.run(
                command,
                input=text.encode()[:MAX_TEXT],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TAKES,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return f"by {command[0]}"
    return ""


def _by_terminal(text: str) -> bool:
    try:
        with open(TERMINAL, "wb", buffering=0) as terminal:
            terminal.write(osc52(text))
    except OSError:  # there is none
        return False
    return True
