"""`vrelay history`: who shared what by the relay of this state directory, and who came."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from relay.accounts.common_options import common, state_directory
from relay.history.reader import (
    MAX_ROWS,
    Page,
    RequestEntry,
    SessionEntry,
    VisitEntry,
    Wanted,
    history_reader,
)
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError

SHOWN = 50  # rows, unless more are asked for
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_STILL = "lasts"


@click.command("history")
@click.argument("name", required=False, default="")
@click.option(
    "--since",
    "since_text",
    metavar="WHEN",
    help="90m, 8h, 2d ago, or a time: 2026-03-01, 2026-03-01T14:30 (UTC).",
)
@click.option("--connections", "what", flag_value="connections", help="Of visitors, one a line.")
@click.option("--requests", "what", flag_value="requests", help="Of HTTP that went through here.")
@click.option("--search", default="", metavar="TEXT", help="In names, addresses, paths.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    default=SHOWN,
    show_default=True,
    metavar="N",
    help="The newest ones.",
)
@common
def history(
    name: str,
    since_text: str | None,
    what: str | None,
    search: str,
    limit: int,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """What was shared by this relay, of all names or of NAME, and when; the newest first.

    With --connections or --requests who came. The relay may run meanwhile.
    """
    since = None if since_text is None else parse_since(since_text, time.time())
    wanted, page = Wanted(name=name, search=search, since=since), Page(limit=limit)
    console = Console("relay", as_json=as_json)
    with history_reader(state_directory(state_dir)) as reader:
        if what == "connections":
            visits = reader.visits(wanted, page)
            console.event(connections=[asdict(each) for each in visits])
            rows = [_visit(each) for each in visits]
        elif what == "requests":
            requests = reader.requests(wanted, page)
            console.event(requests=[asdict(each) for each in requests])
            rows = [_request(each) for each in requests]
        else:
            what = "shares"
            sessions = reader.sessions(wanted, page)
            console.event(shares=[asdict(each) for each in sessions])
            rows = [_session(each) for each in sessions]
    if not as_json:
        _show(rows, what, limit)


def parse_since(text: str, now: float) -> float:
    """Seconds since the epoch. Raises UsageError."""
    ago = _AGO.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        then = datetime.fromisoformat(text)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"not a time: {text[:40]!r}", "write 90m, 8h or 2d, or a date such as 2026-03-01"
        ) from None


def _show(rows: Sequence[tuple[str, ...]], what: str, limit: int) -> None:
    if not rows:
        click.echo(f"the history has no such {what}", err=True)
        return
    print_table(rows)
    if len(rows) == limit:
        click.echo(f"there may be more {what}: --limit shows them, --since fewer", err=True)


def _session(entry: SessionEntry) -> tuple[str, ...]:
    lasted = f"for {_duration((entry.ended_at or time.time()) - entry.began_at)}"
    return (
        _moment(entry.began_at),
        entry.name,
        f"token {entry.token}" if entry.token else "no token",
        entry.how or _STILL,
        lasted,
        _count(entry.visits, "connection"),
        _count(entry.requests, "request"),
        f"{_bytes(entry.received)} out",
        f"{_bytes(entry.sent)} in",
    )


def _visit(entry: VisitEntry) -> tuple[str, ...]:
    return (
        _moment(entry.began_at),
        _site(entry),
        entry.kind,
        entry.source or "-",
        _STILL if entry.ended_at is None else _duration(entry.seconds),
        f"{_bytes(entry.received)} out",
        f"{_bytes(entry.sent)} in",
    )


def _request(entry: RequestEntry) -> tuple[str, ...]:
    return (
        _moment(entry.at),
        _site(entry),
        entry.source or "-",
        entry.method,
        entry.path,
        str(entry.status or "no answer"),
        f"{_bytes(entry.received)} out",
        f"{_bytes(entry.sent)} in",
        f"{entry.seconds:.3f} s",
    )


def _site(entry: VisitEntry | RequestEntry) -> str:
    return f"{entry.name}--{entry.label}" if entry.label else entry.name


def _moment(at: float) -> str:
    """In UTC, as an operator's logs have it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float) -> str:
    left = max(0, int(seconds))
    for size, unit, smaller in ((86_400, "d", "h"), (3600, "h", "min"), (60, "min", "s")):
        if left >= size:
            rest = left % size // {"h": 3600, "min": 60, "s": 1}[smaller]
            return f"{left // size} {unit} {rest} {smaller}"
    return f"{max(0.0, seconds):.1f} s"


def _bytes(number: int) -> str:
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
