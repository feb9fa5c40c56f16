"""The inputs that are kept: one file each, `corpus/TARGET/HASH`, replayed by the unit tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
HASH = 16  # hex digits


def load(target: str) -> list[bytes]:
    """The kept inputs of a target, in order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def keep(target: str, data: bytes) -> Path:
    """Write an input; its file's name is its hash."""
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:HASH]
    path.write_bytes(data)
    return path
