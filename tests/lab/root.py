"""Become root: `python -m tests.lab.root MODULE ARGUMENT...` runs a Python module as root.

Directly where this user is root, and through sudo elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

KEPT = ("VSHARE_E2E", "VSHARE_RECOVERS", "VSHARE_SLOW", "TERM", "CI")
"""Settings that sudo would drop and that the tests look at."""


def run_as_root(module: str, arguments: Sequence[str]) -> None:
    """Replace this process by `python -m MODULE ARGUMENT...`, as root. Does not return."""
    command = [sys.executable, "-m", module, *arguments]
    if os.geteuid() != 0:
        kept = [f"{name}={os.environ[name]}" for name in KEPT if name in os.environ]
        # bytecode written by root would be in the user's way
        command = ["sudo", "env", *kept, "PYTHONDONTWRITEBYTECODE=1", *command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    run_as_root(sys.argv[1], sys.argv[2:])
