"""A virtual host as a web server's configuration has it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILES = 500  # of one server's configuration
MAX_FOUND = 2048  # of one machine: more than anybody writes, and each costs time


@dataclass(frozen=True, slots=True, order=True)
class VirtualHost:
    """A name that a server answers to at a port. `address`: where it listens, empty for every one
    of the machine's. `ssl` as far as the configuration says it."""

    name: str
    port: int
    address: str = ""
    ssl: bool = False
    default: bool = False


def parse_port(text: str) -> int | None:
    """A port, or None."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536):
        return None
    return int(text)


def parse_address(text: str) -> str:
    """Where a server listens; empty for every address."""
    bare = text.removeprefix("[").removesuffix("]").lower()
    return "" if bare in ("", "*", "0.0.0.0", "::", "_default_") else bare


def parse_files(text: str) -> dict[str, str]:
    """The files in what `nginx -T` prints, by path, in their order."""
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith(_FILE) and line.endswith(":") and len(files) < MAX_FILES:
            lines = files.setdefault(line[len(_FILE) : -1], [])
        else:
            lines.append(line)
    return {path: "\n".join(lines) for path, lines in files.items()}


_FILE = "# configuration file "
