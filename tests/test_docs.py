"""The documents' references: what they name exists, and what exists is in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from connect_vm import cli as connect_cli
from relay import cli as relay_cli
from tunnel.attempts import (
    BUCKET,
    REFILL_SECONDS,
    SLOW_AFTER,
    SLOW_REFILL_SECONDS,
    SOURCE_BUCKET,
    SOURCE_REFILL_SECONDS,
    Attempts,
)
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.frames import FrameType
from tunnel.names import CODE_WORDS, code_words
from vshare import cli as share_cli

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECURITY, PARITY, LOGGING, PROTOCOL = (
    ROOT / "docs" / f"{name}.md" for name in ("security", "parity", "logging", "protocol")
)
_CODE_PATH = re.compile(r"\b(?:tests|tunnel|vshare|connect_vm|relay|box|docs|bench)/[\w./-]*\w")
# Made by `make box`; ALPN names; folders of the user's.
_BUILT = re.compile(
    r"box/(images|cache)|vshare/(\d|names|connect|kvm\.json|log|ssh-keys|tokens|relay\.toml|NAME)"
)
_FUNCTION = re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
# `tests/x/test_y.py::test_z`, and `::test_z` for another of the file named before.
_TEST = re.compile(r"(tests/[\w/]+\.py)?::(\w+)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+\w")
_CODE = re.compile(r"```(.*?)```|`([^`\n]+)`", re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?(vshare|vrelay) ([a-z][a-z-]*)", re.MULTILINE)
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
_HEAD = re.compile(r"^\|.*\|\n\|[ |:-]+\|$", re.MULTILINE)


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The test functions of a file."""
    return frozenset(_FUNCTION.findall(path.read_text()))


def named_tests(text: str) -> Iterator[tuple[str, str]]:
    """Each (file, function)."""
    for line in text.splitlines():
        file = ""
        for match in _TEST.finditer(line):
            file = match[1] or file
            yield file, match[2]


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The heads and rows of all tables."""
    for match in _HEAD.finditer(text):
        end = re.search(r"\n(?!\|)", text[match.end() :])
        body = text[match.end() : match.end() + end.start() if end else len(text)]
        rows = [_cells(row[1]) for row in _ROW.finditer(body)]
        yield _cells(match[0].splitlines()[0].strip("|")), rows


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")]


def test_paths_in_the_documents_exist() -> None:
    missing = [
        f"{document.name}: {path}"
        for document in DOCS
        for path in _CODE_PATH.findall(document.read_text())
        if not (ROOT / path).exists() and not _BUILT.match(path)
    ]
    assert not missing


def test_links_between_documents_lead_somewhere() -> None:
    missing = [
        f"{document.name}: {link}"
        for document in DOCS
        for link in _LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert not missing


def test_tests_in_the_documents_exist() -> None:
    named = [
        (document.name, file, test)
        for document in DOCS
        for file, test in named_tests(document.read_text())
    ]
    assert len(named) > 100
    missing = [
        f"{document}: {file}::{test}"
        for document, file, test in named
        if not file or not (ROOT / file).is_file() or test not in functions_of(ROOT / file)
    ]
    assert not missing


def test_every_promise_names_the_test_that_shows_it() -> None:
    shown = [rows for head, rows in tables(SECURITY.read_text()) if head[-1] == "shown by"]
    assert len(shown) >= 10
    bare = [row[0] for rows in shown for row in rows if not list(named_tests(row[-1]))]
    assert not bare


def test_parity_has_every_row_once() -> None:
    rows = re.findall(r"^\| ((?:VS|VC|LS)-\d+)", PARITY.read_text(), re.MULTILINE)
    assert len(rows) > 80
    assert len(rows) == len(set(rows))


def test_the_odds_are_those_of_the_code() -> None:
    """The table's numbers follow from the limits, and its formula is what the limits do."""
    text = SECURITY.read_text()
    codes = len(code_words()) ** CODE_WORDS
    assert f"{codes:,}" in text
    slow_from = (SLOW_AFTER - BUCKET) * REFILL_SECONDS
    assert f"= {slow_from / 60:.0f} minutes" in text
    for hours in (8, 24, 7 * 24, 30 * 24):
        later = int((hours * 3600 - slow_from) // SLOW_REFILL_SECONDS)
        odds = codes / (SLOW_AFTER + later)
        said = f"1 in {odds / 1e6:.1f} million" if odds > 1e6 else f"1 in {odds:,.0f}"
        row = f"| {SLOW_AFTER:,} + {later:,} | "
        assert row in text
        told = text.partition(row)[2].partition(" |")[0]
        assert said.endswith("million") is told.endswith("million")
        number = float(told.removeprefix("1 in ").removesuffix(" million").replace(",", ""))
        assert number == pytest.approx(odds / 1e6 if odds > 1e6 else odds, rel=0.01)
    alone = SOURCE_BUCKET + 8 * 3600 / SOURCE_REFILL_SECONDS
    assert f"= {alone:.0f} guesses in 8 hours" in text


def test_a_guesser_has_no_more_than_the_odds_say() -> None:
    attempts, made = Attempts(0.0), 0
    hours = 4
    for now in range(0, hours * 3600 + 1, int(REFILL_SECONDS)):
        while True:
            source = f"10.{made >> 16 & 255}.{made >> 8 & 255}.{made & 255}"  # always a new one
            try:
                attempts.take(source, float(now))
            except RefusedError:
                break
            attempts.failed(source, float(now))
            made += 1
    slow_from = (SLOW_AFTER - BUCKET) * REFILL_SECONDS
    assert abs(made - SLOW_AFTER - (hours * 3600 - slow_from) / SLOW_REFILL_SECONDS) <= 1


def told_kinds() -> dict[str, set[str]]:
    """Every kind of news that vshare tells, with its fields."""
    kinds: dict[str, set[str]] = {}
    for path in (ROOT / "vshare").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".tell(" in text else ():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "tell" or not node.args:
                continue
            kind = node.args[0]
            if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
                fields = {each.arg for each in node.keywords if each.arg} - {"warning"}
                kinds.setdefault(kind.value, set()).update(fields)
    return kinds


def test_every_event_is_in_the_table_with_its_fields() -> None:
    documented = {
        kind: set(re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)", "", row[1])))
        for head, rows in tables(LOGGING.read_text())
        if head == ["event", "fields", "when"]
        for row in rows
        for kind in re.findall(r"`([a-z-]+)`", row[0])
    }
    told = told_kinds()
    assert len(told) > 15
    assert told.keys() - documented.keys() == set()
    assert documented.keys() - told.keys() <= {"gap"}  # the log's own
    for kind, fields in told.items():
        assert fields <= documented[kind], kind


def commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from commands(each)


def test_options_and_commands_in_the_documents_exist() -> None:
    programs = (share_cli.cli, connect_cli.cli, relay_cli.cli)
    known = {
        option
        for program in programs
        for command in commands(program)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "--version"}
    names = {"vshare": set(share_cli.cli.commands), "vrelay": set(relay_cli.cli.commands)}
    wrong = []
    for document in (ROOT / "README.md", SECURITY, LOGGING, ROOT / "docs" / "architecture.md"):
        text = document.read_text()
        wrong += [f"{document.name}: {each}" for each in set(_OPTION.findall(text)) - known]
        code = "\n".join(block or word for block, word in _CODE.findall(text))
        wrong += [
            f"{document.name}: {program} {command}"
            for program, command in _COMMAND.findall(code)
            if command not in names[program]
        ]
    assert not wrong


def test_every_frame_and_code_is_in_the_protocol() -> None:
    text = PROTOCOL.read_text()
    rows = {(row[0], row[1]) for _, rows in tables(text) for row in rows if len(row) > 1}
    for frame in FrameType:
        assert (str(int(frame)), frame.name) in rows
    for code in Code:
        assert (str(int(code)), code.name.lower().replace("_", "-")) in rows
