"""The virtual hosts of Apache's httpd, as `httpd -S` lists them, or in its files. Pure.

The text is a peer's: what does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from vshare.web.virtual_host import (
    MAX_FOUND,
    VirtualHost,
    parse_address,
    parse_files,
    parse_port,
)

LISTED = "VirtualHost configuration"  # how the list begins
_HTTPS_PORT = 443  # the list does not tell TLS

# "*:80   is a NameVirtualHost" or "*:80   app.test (FILE:LINE)".
_PLACE = re.compile(r"(\S+):(\d{1,5}) +(?:is a NameVirtualHost|(\S+) \(\S+\))")
_NAMED = re.compile(r"\s+(default server|port \d{1,5} namevhost) (\S+) \(\S+\)")
_ALIAS = re.compile(r"\s+(?:wild )?alias (\S+)")

_LISTEN = re.compile(r"listen\s+(?:\S+:)?(\d{1,5})(?:\s+https?)?\s*", re.IGNORECASE)
_BEGIN = re.compile(r"<virtualhost\s+([^>]+)>?", re.IGNORECASE)
_END = re.compile(r"</virtualhost\s*>", re.IGNORECASE)
_NAME = re.compile(r"server(?:name|alias)\s+(\S.*)", re.IGNORECASE)
_SSL = re.compile(r"sslengine\s+on", re.IGNORECASE)
# What ServerName may have around the name.
_SERVER_NAME = re.compile(r"(?:[a-z]+://)?([^/:]*)(?::\d*)?", re.IGNORECASE)


def virtual_hosts(text: str) -> Iterator[VirtualHost]:
    """What is printed in `text`, a list or files, names as they are written."""
    found = _listed_and_in_files(text) if LISTED in text else _in_files(text)
    yield from islice(found, MAX_FOUND)


def _listed_and_in_files(text: str) -> Iterator[VirtualHost]:
    """The list leaves out what else a server is called that is alone at its port; the files, which
    are those of the list, have variables."""
    yield from _listed(text)
    yield from (each for each in _in_files(text) if "$" not in each.name)


def _listed(text: str) -> Iterator[VirtualHost]:
    place: tuple[str, int] | None = None
    default = ""
    for line in text.split("\n"):
        if match := _PLACE.match(line):
            port = parse_port(match[2])
            place = None if port is None else (parse_address(match[1]), port)
            default = match[3] or ""
            name = default
        elif match := _NAMED.match(line):
            if match[1] == "default server":
                default = match[2]
                continue
            name = match[2]
        elif match := _ALIAS.match(line):
            name = match[1]
        else:
            continue
        if place is not None and name:
            address, port = place
            yield VirtualHost(name, port, address, port == _HTTPS_PORT, name == default)


def _in_files(text: str) -> Iterator[VirtualHost]:
    lines = [
        line.strip()
        for file in parse_files(text).values()
        for line in file.replace("\\\n", " ").split("\n")
    ]
    listened = [port for match in map(_LISTEN.fullmatch, lines) if match is not None
                for port in [parse_port(match[1])] if port is not None]  # fmt: skip
    places: list[tuple[str, int]] = []
    names: list[str] = []
    ssl = False
    for line in lines:
        if match := _BEGIN.match(line):
            places, names, ssl = _places(match[1], listened), [], False
        elif _END.match(line):
            for name in names:
                for address, port in places:
                    yield VirtualHost(name, port, address, ssl)
            places = []
        elif match := _NAME.fullmatch(line):
            names += [_bare(word) for word in match[1].split()]
        elif _SSL.fullmatch(line):
            ssl = True


def _places(text: str, listened: list[int]) -> list[tuple[str, int]]:
    """The addresses and ports of `<VirtualHost ...>`; without a port, all that are listened on."""
    places = []
    for word in text.split():
        host, colon, last = word.rpartition(":")
        if not colon or last.endswith("]") or last == "*":
            places += [(parse_address(host if last == "*" else word), port) for port in listened]
        elif (port := parse_port(last)) is not None:
            places.append((parse_address(host), port))
    return places


def _bare(word: str) -> str:
    text = word.strip("\"'")
    match = _SERVER_NAME.fullmatch(text)
    return match[1] if match is not None else text
