"""Who looks at a terminal. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A person. `key` is what rights hang on: a guest's fingerprint, a browser visitor's session.
    `read_only`: never types, cannot be granted it, whatever the terminal allows."""

    key: str
    name: str
    is_sharer: bool = False
    read_only: bool = False


SHARER = Identity("", "the sharer", is_sharer=True)
