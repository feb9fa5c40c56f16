"""How an examination is told: lines for people as they come, or objects for scripts."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator

from tunnel.address import RelayAddress
from tunnel.console import Console, printable
from tunnel.doctor.finding import Finding, State, Step, examine
from tunnel.doctor.verdict import Verdict, judge
from tunnel.doctor.way import Way, steps_without_relay

_STATE_WIDTH, _NAME_WIDTH = 8, 16  # characters of the columns


async def examine_all(
    relay: RelayAddress | None,
    local: Iterator[Step],
    console: Console,
    say: Callable[[str], None],
    *,
    sharing: bool,
) -> bool:
    """Examine the way to `relay`, then what is `local`, and tell; whether all is well.

    `say` prints a line for people. `sharing`: also what only a share needs of the network.
    """
    way = Way(relay, os.environ, sharing=sharing) if relay else None
    network = way.steps() if way else steps_without_relay(os.environ)
    findings = await tell_findings(examine(itertools.chain(network, local)), console, say)
    verdict = judge(findings, relay, way.proxy if way else None)
    tell_verdict(verdict, console, say)
    return verdict.well


async def tell_findings(
    findings: AsyncIterator[Finding], console: Console, say: Callable[[str], None]
) -> list[Finding]:
    """Tell each finding when it comes; all of them, in the end."""
    told = []
    async for each in findings:
        told.append(each)
        milliseconds = round((each.seconds or 0.0) * 1000)
        if console.as_json:
            console.event(
                event="step",
                name=each.name,
                state=each.state.value,
                text=each.text,
                hint=each.hint,
                ask=each.ask,
                milliseconds=milliseconds,
            )
            continue
        line = f"{each.state.value:{_STATE_WIDTH}} {each.name:{_NAME_WIDTH}} {each.text}"
        took = "" if each.state is State.SKIPPED else f" ({milliseconds} ms)"
        say(printable(line + took))
        if each.hint:
            say(printable(f"{'':{_STATE_WIDTH}} hint: {each.hint}"))
    return told


def tell_verdict(verdict: Verdict, console: Console, say: Callable[[str], None]) -> None:
    """Tell how it all ended."""
    if console.as_json:
        console.event(event="verdict", ok=verdict.well, text=verdict.text, tell=verdict.tell)
        return
    say(printable(f"Verdict: {verdict.text}."))
    if verdict.tell:
        say(printable(f"Tell your network's administrator: {verdict.tell}"))
