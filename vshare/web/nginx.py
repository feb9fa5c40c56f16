"""The virtual hosts in nginx's configuration, as `nginx -T` prints it. Pure.

The text is a peer's: what does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from vshare.web.virtual_host import (
    MAX_FOUND,
    VirtualHost,
    parse_address,
    parse_files,
    parse_port,
)

MAX_DIRECTIVES = 50_000  # of all files, with what they include
MAX_INCLUDES = 100  # different ones: each is compared with all files
MAX_DEPTH = 16  # blocks in blocks, files in files; nginx itself has a handful
MAX_VARIABLE = 64  # characters of a name in ${...}
_HTTP_PORT = 80  # without `listen`, or with an address alone

_TOKEN = re.compile(
    r"#[^\n]*+"  # a comment
    r"|\"(?:[^\"\\]|\\.)*+(?:\"|\Z|\\)|'(?:[^'\\]|\\.)*+(?:'|\Z|\\)"
    r"|[{};]"
    rf"|(?:\$\{{[^}}\s]{{0,{MAX_VARIABLE}}}\}}|\\.|[^\s{{}};\\])++",
    re.DOTALL,
)
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._*-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class _Directive:
    """`words ... ;`, or `words ... { block }`."""

    words: tuple[str, ...]
    block: list[_Directive]

    @property
    def name(self) -> str:
        return self.words[0]


@dataclass(frozen=True, slots=True)
class _Listen:
    address: str
    port: int
    ssl: bool
    default: bool


def virtual_hosts(text: str) -> Iterator[VirtualHost]:
    """What is printed in `text`, names as they are written."""
    yield from islice(_virtual_hosts(text), MAX_FOUND)


def _virtual_hosts(text: str) -> Iterator[VirtualHost]:
    for server in _Files(parse_files(text)).servers():
        names = [name for each in server if each.name == "server_name" for name in each.words[1:]]
        ssl_on = any(each.words[:2] == ("ssl", "on") for each in server)
        listens = [each for each in server if each.name == "listen"]
        places = [_listen(each.words[1:], ssl_on) for each in listens]
        if not listens:
            places = [_Listen("", _HTTP_PORT, ssl_on, False)]
        for place in places:
            if place is not None:
                for name in names:
                    yield VirtualHost(name, place.port, place.address, place.ssl, place.default)


def _listen(words: tuple[str, ...], ssl_on: bool) -> _Listen | None:
    """Where `listen` says; None for what no visitor comes to: sockets of the file system, QUIC."""
    if not words or "quic" in words:
        return None
    flags = ("ssl" in words or ssl_on, "default_server" in words or "default" in words)
    if words[0].isdigit():
        port = parse_port(words[0])
        return None if port is None else _Listen("", port, *flags)
    match = _LISTEN.fullmatch(words[0])
    if match is None:
        return None
    port = parse_port(match[2]) if match[2] else _HTTP_PORT
    return None if port is None else _Listen(parse_address(match[1]), port, *flags)


class _Files:
    """nginx.conf and what it includes; without it, each file is taken for one that is included."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        main = next(iter(files), "")
        self._main = main if PurePosixPath(main).name == "nginx.conf" else ""
        self._folder = PurePosixPath(main).parent
        self._left = MAX_DIRECTIVES
        self._parsed: dict[str, list[_Directive]] = {}
        self._matches: dict[str, list[str]] = {}  # of patterns
        self._compared = 0  # patterns, with all files

    def servers(self) -> Iterator[list[_Directive]]:
        """What stands in each `server` block of `http`."""
        if not self._main:
            for path in self._files:
                yield from self._servers_of(self._read(path, 0))
            return
        for each in self._read(self._main, 0):
            if each.name == "http":
                yield from self._servers_of(self._expand(each.block, 0))

    def _servers_of(self, directives: Iterator[_Directive]) -> Iterator[list[_Directive]]:
        for each in directives:
            if each.name == "server" and each.words == ("server",):
                yield list(self._expand(each.block, 0))

    def _read(self, path: str, depth: int) -> Iterator[_Directive]:
        if path not in self._parsed:
            self._parsed[path] = _parse(self._files[path])
        return self._expand(self._parsed[path], depth)

    def _expand(self, directives: list[_Directive], depth: int) -> Iterator[_Directive]:
        """With the files in place of what includes them."""
        for each in directives:
            self._left -= 1
            if self._left < 0:
                return
            if each.name != "include" or len(each.words) != 2:
                yield each
            elif depth < MAX_DEPTH:
                for path in self._matching(each.words[1]):
                    yield from self._read(path, depth + 1)

    def _matching(self, pattern: str) -> list[str]:
        if pattern not in self._matches:
            self._matches[pattern] = self._find(pattern)
        return self._matches[pattern]

    def _find(self, pattern: str) -> list[str]:
        wanted = str(self._folder / pattern)
        if "*" not in wanted:
            return [wanted] if wanted in self._files else []
        self._compared += 1
        if self._compared > MAX_INCLUDES:
            return []
        return [path for path in self._files if _fits(path, wanted)]


def _fits(path: str, pattern: str) -> bool:
    """Whether `path` is one of `pattern`, which has at most one `*` between slashes: other
    patterns are not met with, and would cost time."""
    parts, wanted = path.split("/"), pattern.split("/")
    if len(parts) != len(wanted):
        return False
    for part, each in zip(parts, wanted, strict=True):
        begin, star, end = each.partition("*")
        if not star and part != each:
            return False
        if star and not (
            len(part) >= len(begin) + len(end) and part.startswith(begin) and part.endswith(end)
        ):
            return False
    return True


def _parse(text: str) -> list[_Directive]:
    """The directives of a file; what is open at its end is closed there."""
    top: list[_Directive] = []
    blocks = [top]
    words: list[str] = []
    depth = 0  # of blocks that are not kept: they are too deep
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token[0] == "#":
            continue
        if token not in ("{", "}", ";"):
            words.append(_unquoted(token))
            continue
        if words and not depth:
            directive = _Directive(tuple(words), [])
            blocks[-1].append(directive)
            if token == "{" and len(blocks) < MAX_DEPTH:
                blocks.append(directive.block)
            elif token == "{":
                depth = 1
        elif token == "{":
            depth += 1
        if token == "}" and depth:
            depth -= 1
        elif token == "}" and len(blocks) > 1:
            blocks.pop()
        words = []
    return top


def _unquoted(token: str) -> str:
    if token[0] not in "\"'":
        return token
    end = -1 if len(token) > 1 and token[-1] == token[0] else len(token)
    return token[1:end]
