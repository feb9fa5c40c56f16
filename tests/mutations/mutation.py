"""One defence and what it is to take it away: an edit of one file, and the tests that see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleError(Exception):
    """The table does not fit the source any more: the text says where, and how."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """`old`, which is in `file` exactly once, becomes `new`; then one of `tests` (pytest's node
    ids) has to fail. `name` says what is lost. `also`: further edits of the same file, where both
    sides of an exchange are in it, so that all else still works."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    also: tuple[tuple[str, str], ...] = ()


def mutated(mutation: Mutation, source: str) -> str:
    """The file with the defence taken away. Raises StaleError."""
    changed = source
    for old, new in ((mutation.old, mutation.new), *mutation.also):
        found = changed.count(old)
        if found != 1:
            raise StaleError(f"{mutation.file}: {old!r} is there {found} times, not once")
        changed = changed.replace(old, new)
    try:
        compile(changed, mutation.file, "exec")
    except SyntaxError as error:
        raise StaleError(f"{mutation.file}: not Python any more: {error}") from error
    return changed


def read(root: Path, mutation: Mutation) -> str:
    """The file that `mutation` is about. Raises StaleError."""
    try:
        return (root / mutation.file).read_text(encoding="utf-8")
    except OSError as error:
        raise StaleError(f"{mutation.file}: {error.strerror}") from error
