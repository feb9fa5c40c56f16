"""What a share is about to expose: what listens, what of it lets everybody in, who may reach it.

`examine` finds out, over the way that guests take; `describe` says it to people, under a policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tunnel.console import printable
from vshare.listening import Listener, Listening, Protocol
from vshare.machine import LOOPBACK, Machine, is_loopback
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.weaknesses import mongodb, mysql, postgresql, redis
from vshare.weaknesses.asking import ask
from vshare.weaknesses.danger import Danger, Verdict, Weakness
from vshare.weaknesses.dialogue import Conversation
from vshare.weaknesses.vagrant_key import KeyTrial, try_vagrant_key

# People wait for it before each share; two rounds of asking fit, and a slow log-in.
EXAMINE_SECONDS = 9.0
MAX_PARALLEL = 8  # sockets, or SSH channels, at once: one round for nearly every machine
MAX_ASKED = 32  # ports; more databases on one machine are not asked, and a note says so
MAX_NOTE = 200  # characters; some of a note may be a server's words
MAX_LINES = 40  # of the report on the screen
MAX_DANGERS_SHOWN = 8  # they stand above everything else; the rest is counted
MAX_NOTES_SHOWN = 6
MAX_ADDRESSES_SHOWN = 3  # of one program at one port
_EVERY = "every address"
_UNCONFIRMED = "fenced off until you confirm"
_KEY = "Vagrant's publicly known SSH key"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of server that is asked."""

    name: str
    port: int  # where it usually listens
    processes: frozenset[str]
    weakness: Weakness
    converse: Callable[[], Conversation]


_KINDS = (
    _Kind("Redis", redis.PORT, redis.PROCESSES, redis.WEAKNESS, redis.converse),
    _Kind(
        "PostgreSQL",
        postgresql.PORT,
        postgresql.PROCESSES,
        postgresql.WEAKNESS,
        postgresql.converse,
    ),
    _Kind("MySQL", mysql.PORT, mysql.PROCESSES, mysql.WEAKNESS, mysql.converse),
    _Kind("MongoDB", mongodb.PORT, mongodb.PROCESSES, mongodb.WEAKNESS, mongodb.converse),
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A port to ask. `known`: something listens there, so a note about it tells something."""

    kind: _Kind
    host: str
    port: int
    known: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `vagrant_key`: whether the publicly known key opens the machine; None: it
    could not be tried. `at_loopback`: guests come in at the machine's own loopback."""

    listening: Listening
    dangers: tuple[Danger, ...] = ()
    vagrant_key: bool | None = None
    notes: tuple[str, ...] = ()
    at_loopback: bool = False

    def danger_at(self, protocol: str, port: int) -> Danger | None:
        """The danger at a port, if there is one."""
        for danger in self.dangers:
            if (danger.protocol, danger.port) == (protocol, port):
                return danger
        return None


async def examine(
    machine: Machine,
    listening: Listening,
    reach: MachineReach,
    *,
    loopback: Collection[int] = (),
) -> Report:
    """Ask what may let everybody in, all at once, within EXAMINE_SECONDS.

    Asked is what guests would reach; of what listens on the machine's loopback only that is
    what `loopback` names, unless guests come in there. Does not raise for what the machine does.
    """
    at_loopback = reach.reaches_loopback or bool(machine.address and is_loopback(machine.address))
    wanted = _candidates(listening, loopback, at_loopback=at_loopback)
    asked, key = await _ask_all(machine, reach, wanted[:MAX_ASKED])
    dangers = {each.kind.weakness.at(each.port) for each in asked if asked[each].weak}
    return Report(
        listening,
        tuple(sorted(dangers)),
        key.opens,
        tuple(_clean(note) for note in _notes(wanted, asked, key)),
        at_loopback,
    )


def _candidates(
    listening: Listening, loopback: Collection[int], *, at_loopback: bool
) -> list[_Candidate]:
    """What to ask: by the program's name, else by the usual port (a container's proxy)."""
    if listening.unknown:
        named = [_Candidate(kind, LOOPBACK, kind.port, known=False) for kind in _KINDS]
        return [_Candidate(kind, "", kind.port, known=False) for kind in _KINDS] + [
            each for each in named if each.port in loopback
        ]
    found: dict[tuple[str, int], _Candidate] = {}
    for each in listening.listeners:
        kind = _kind_of(each)
        if kind is None or (each.loopback_only and not at_loopback and each.port not in loopback):
            continue
        host = LOOPBACK if each.port in loopback else ""
        found.setdefault((host, each.port), _Candidate(kind, host, each.port, known=True))
    return list(found.values())


def _kind_of(listener: Listener) -> _Kind | None:
    if listener.protocol != "tcp":
        return None
    for kind in _KINDS:
        if listener.process in kind.processes:
            return kind
    return next((kind for kind in _KINDS if listener.port == kind.port), None)


async def _ask_all(
    machine: Machine, reach: MachineReach, wanted: Collection[_Candidate]
) -> tuple[dict[_Candidate, Verdict], KeyTrial]:
    """What each came to; for want of time it may be missing."""
    asked: dict[_Candidate, Verdict] = {}
    key = KeyTrial(None, f"no answer in {EXAMINE_SECONDS:.0f} s")
    room = asyncio.Semaphore(MAX_PARALLEL)

    async def one(each: _Candidate) -> None:
        async with room:
            asked[each] = await ask(reach, each.host, each.port, each.kind.converse())

    async def try_key() -> None:
        nonlocal key
        key = await try_vagrant_key(machine)

    try:
        async with asyncio.timeout(EXAMINE_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(try_key(), name="vagrant's key")
            for each in wanted:
                group.create_task(one(each), name=f"ask {each.port}")
    except TimeoutError:
        pass  # what is missing is noted
    return asked, key


def _notes(
    wanted: Collection[_Candidate], asked: dict[_Candidate, Verdict], key: KeyTrial
) -> Iterator[str]:
    if key.opens is None:
        yield f"{_KEY} could not be tried: {key.why}"
    for each in wanted:
        if not each.known:
            continue
        where = f"port {each.port} ({each.kind.name})"
        if each not in asked:
            yield f"{where} could not be asked for want of time"
        elif asked[each].note:
            yield f"{where}: {asked[each].note}"


def _clean(text: str) -> str:
    return printable(text)[:MAX_NOTE]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: a port, who listens there, and what that means for guests."""

    protocol: Protocol
    port: int
    process: str
    addresses: tuple[str, ...]
    is_open: bool
    says: str


def rows(report: Report, policy: Policy) -> tuple[Row, ...]:
    """What listens and who reaches it under `policy`, what is open to guests first."""
    addresses: dict[tuple[Protocol, int, str, bool], list[str]] = {}
    for each in report.listening.listeners:
        hidden = each.loopback_only and not report.at_loopback
        key = (each.protocol, each.port, each.process, hidden)
        addresses.setdefault(key, []).append(each.address)
    found = []
    for (protocol, port, process, hidden), where in addresses.items():
        is_open = policy.is_open(protocol, port, loopback_only=hidden)
        says = _says(report, policy, protocol, port, hidden=hidden, is_open=is_open)
        found.append(Row(protocol, port, process, tuple(where), is_open, says))
    return tuple(sorted(found, key=lambda row: (not row.is_open, row.port, row.protocol)))


def _says(
    report: Report, policy: Policy, protocol: str, port: int, *, hidden: bool, is_open: bool
) -> str:
    danger = report.danger_at(protocol, port)
    if is_open:
        return f"open to guests: {danger.title}" if danger else "open to guests"
    if hidden or port in policy.hidden_ports:
        return "loopback only"
    if protocol == "tcp" and port in policy.ssh_ports:
        return "SSH: open with the key" if policy.ssh_shared else "SSH: not shared"
    unfenced = replace(policy, fenced={})
    if unfenced.is_open(protocol, port, loopback_only=False):
        return f"fenced off: {policy.fenced[port]}"
    return "not shared"


def describe(report: Report, policy: Policy) -> Iterator[str]:
    """The report in words, at most MAX_LINES: the dangers, what listens, what is not known."""
    head = [*_describe_dangers(report, policy), *_describe_key(report, policy)]
    notes = [f"Note: {note}" for note in report.notes[:MAX_NOTES_SHOWN]]
    if len(report.notes) > MAX_NOTES_SHOWN:
        notes.append(f"Note: and {len(report.notes) - MAX_NOTES_SHOWN} more")
    if report.listening.unknown:
        head.append(f"What listens on it is not known: {_clean(report.listening.unknown)}")
    yield from head
    yield from _table(rows(report, policy), MAX_LINES - len(head) - len(notes))
    yield from notes


def fences(report: Report, policy: Policy) -> dict[int, str]:
    """The dangerous ports that guests reach unless they are fenced off, for `Policy.fenced`."""
    return {
        each.port: each.title for each in report.dangers if danger_state(each, policy) != "closed"
    }


def danger_state(danger: Danger, policy: Policy) -> Literal["open", "fenced", "closed"]:
    """Whether guests reach it; "closed": for another reason than that it is dangerous."""
    # What listens on the loopback only was asked where guests could reach that.
    unfenced = replace(policy, fenced={})
    if not unfenced.is_open(danger.protocol, danger.port, loopback_only=False):
        return "closed"
    return "fenced" if danger.protocol == "tcp" and danger.port in policy.fenced else "open"


def _describe_dangers(report: Report, policy: Policy) -> Iterator[str]:
    for danger in report.dangers[:MAX_DANGERS_SHOWN]:
        what = f"port {danger.port} is {danger.title}"
        state = danger_state(danger, policy)
        if state == "closed":
            yield f"Closed: {what}, which guests do not reach"
            continue
        yield f"DANGER: {what}, {'open to guests' if state == 'open' else _UNCONFIRMED}"
        yield f"  {danger.why}; {danger.advice}"
    if len(report.dangers) > MAX_DANGERS_SHOWN:
        yield f"and {len(report.dangers) - MAX_DANGERS_SHOWN} more ports like these"


def _describe_key(report: Report, policy: Policy) -> Iterator[str]:
    """Nothing where it could not be tried: a note says so."""
    if report.vagrant_key:
        closed = "guests need the key of --ssh" if policy.ssh_shared else "SSH is not shared"
        yield f"{_KEY} opens it; {closed}"
    elif report.vagrant_key is False:
        yield f"{_KEY} does not open it"


def _table(found: Collection[Row], limit: int) -> Iterator[str]:
    """Aligned columns, at most `limit` lines; what has no room is counted in the last one."""
    shown = list(found)[: limit if len(found) <= limit else limit - 1]
    lines = [
        (
            f"{row.port}/{row.protocol}",
            printable(row.process) or "?",
            _shown_addresses(row.addresses),
            row.says,
        )
        for row in shown
    ]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(3)]
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        yield "  ".join([*cells, line[3]])
    if len(shown) < len(found):
        left = list(found)[len(shown) :]
        yield f"and {len(left)} more, {sum(row.is_open for row in left)} of them open to guests"


def _shown_addresses(addresses: tuple[str, ...]) -> str:
    each = [_EVERY if address in ("0.0.0.0", "::") else address for address in addresses]
    different = list(dict.fromkeys(each))
    more = len(different) - MAX_ADDRESSES_SHOWN
    return ", ".join(different[:MAX_ADDRESSES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def to_json(report: Report, policy: Policy) -> dict[str, object]:
    """The whole report for scripts."""
    return {
        "listening": [
            {
                "protocol": row.protocol,
                "port": row.port,
                "process": row.process,
                "addresses": list(row.addresses),
                "open": row.is_open,
                "text": row.says,
            }
            for row in rows(report, policy)
        ],
        "unknown": report.listening.unknown,
        "dangers": [
            {
                "protocol": each.protocol,
                "port": each.port,
                "title": each.title,
                "why": each.why,
                "advice": each.advice,
                "state": danger_state(each, policy),
            }
            for each in report.dangers
        ],
        "vagrant_key": report.vagrant_key,
        "notes": list(report.notes),
    }
