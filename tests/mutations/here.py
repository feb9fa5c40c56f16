"""A plugin for pytest in a copy of the source: what is tested is the copy and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PACKAGES = frozenset({"tunnel", "vshare", "connect_vm", "relay", "tests"})
STRAYED = 70  # the exit status; not one of pytest's own


def strays(root: Path) -> list[str]:
    """Modules of ours that were imported from elsewhere than `root`."""
    return [
        f"{name} is {module.__file__}"
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in PACKAGES
        and getattr(module, "__file__", None)
        and not Path(str(module.__file__)).resolve().is_relative_to(root)
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """An editable installation points at the original, which would pass every test."""
    found = strays(Path(os.getcwd()).resolve())
    if found or not (PACKAGES - {"tests"}) & sys.modules.keys():
        pytest.exit(f"not the copy: {found[:3] or 'nothing of it was imported'}", STRAYED)
