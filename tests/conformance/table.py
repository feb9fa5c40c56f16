"""Runs everything; the document that says what came of it."""
# ruff: noqa: E501 - text of a document

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.conformance import proxies
from tests.conformance.case import Case
from tests.conformance.cases_answers import answers
from tests.conformance.cases_requests import requests
from tests.conformance.compare import Difference, differences
from tests.conformance.explanations import (
    EXPLANATIONS,
    FIRST_AND_LATER,
    Explanation,
    explain,
)
from tests.conformance.run import run_all

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-conformance.md"
_MARKUP = re.compile(r"([\\`*_<>\[\]#~])")

_HEAD = """# HTTP: the gateway beside nginx

{count} odd requests and odd answers of an application, each sent through nginx {version} (Debian's, as
reverse proxy with HTTP/1.1 and kept connections towards the application, buffers off, all else as it
is when nothing is said) and through a relay's gateway and a share, to the same application, which
records what reaches it. Compared are the answers that the visitor gets, their framing, fields, bodies
and trailers, what becomes of the visitor's connection, and the same of the requests that the
application gets. In {same} cases there is no difference. Below is every difference, under its reason.

Each case is run through the gateway twice: as a connection's first request, which decides who answers
the connection, and behind another. The last section says where that matters.

`python -m tests.conformance --write` writes this file; tests/conformance/test_conformance.py fails for
a difference without a reason and for a reason without a difference.

In the tables, *own* is a page that the proxy made itself; *kept*, *closed*: the visitor's connection
behind the answers; *silent*: nothing came for 4 s; *broken off*: closed before an answer was whole.
"""


@dataclass
class Found:
    """What came of it."""

    cases: int
    same: int
    version: str
    beside_nginx: dict[Explanation, list[Difference]]
    first_and_later: dict[Explanation, list[Difference]]
    unexplained: list[Difference]

    @property
    def unused(self) -> list[str]:
        """Reasons for nothing."""
        both = (*self.beside_nginx.items(), *self.first_and_later.items())
        return [each.title for each, found in both if not found]


def all_cases() -> list[Case]:
    """In their order."""
    return [*requests(), *answers()]


async def compare_all() -> Found:
    """Run all cases through both."""
    cases = all_cases()
    async with proxies.nginx() as lanes:
        theirs = await run_all(lanes, cases, warm=False)
    async with proxies.gateway() as lanes:
        first = await run_all(lanes, cases, warm=False)
    async with proxies.gateway() as lanes:
        later = await run_all(lanes, cases, warm=True)
    pairs = [differences(*pair) for pair in zip(theirs, later, strict=True)]
    beside, unexplained = explain(list(chain(*pairs)), EXPLANATIONS)
    own = list(chain(*(differences(*pair) for pair in zip(first, later, strict=True))))
    between, unexplained_too = explain(own, FIRST_AND_LATER)
    same = sum(not each for each in pairs)
    return Found(
        len(cases), same, proxies.version(), beside, between, [*unexplained, *unexplained_too]
    )


def render(found: Found) -> str:
    """The document."""
    parts = [_HEAD.format(count=found.cases, version=found.version, same=found.same)]
    parts += [_section(*each, ("nginx", "vshare")) for each in found.beside_nginx.items()]
    parts.append("# First and later requests\n")
    parts += [_section(*each, ("first", "later")) for each in found.first_and_later.items()]
    return "\n".join(parts)


def _section(explanation: Explanation, rows: list[Difference], columns: tuple[str, str]) -> str:
    lines = [f"## {explanation.title}\n", explanation.text, ""]
    lines += [f"| case | {columns[0]} | {columns[1]} |", "| --- | --- | --- |"]
    for row in rows:
        cells = (_cell(each) for each in (row.case, row.theirs, row.ours))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    plain = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in plain)
    return _MARKUP.sub(r"\\\1", plain).replace("|", "&#124;")
