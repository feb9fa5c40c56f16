"""What of all that happened must not have happened. Pure.

Never: other bytes, a clean end of stream too early, a datagram changed or repeated, a stream that
hangs. A stream that is open goes on through every fault, but that of the machine itself: then it
ends with an error. So may one of a visitor of the URL. New streams: at most RECOVERS seconds after
all is there again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.soak.faults import SERVICE, Fault
from tests.soak.records import Record, Result

# Seconds. Who else uses the machine may take more of it than the promise allows for.
RECOVERS = float(os.environ.get("VSHARE_RECOVERS", "2"))
SILENCE = 1.5  # seconds more, where the share has to ask to find out that there is a fault at all
JOINS = "ssh"
# Seconds more for who joins: a share that nobody uses just then asks less often whether its relay
# is there (docs/protocol.md 2.2), and while it cannot be asked itself its code seems wrong.
QUIET_SHARE = 10.0
NO_ECHO = "no echo, but the end of stream"  # of a stream that had a byte to come
LATE = "only after"  # what a violation says that is about time alone
GATEWAY = "curl"
"""A visitor of the URL has a connection to the relay, the relay one to the share: none resumes."""
CANNOT_SAY = ("psql",)
"""Programs whose records do not tell an open that was refused from a stream that broke; their
errors say which."""
NOT_OPENED = ("connection to server at", "could not connect")


@dataclass(slots=True)
class Outcome:
    """What became of the streams at one fault; times in seconds after all was there again."""

    fault: Fault
    open: int = 0
    went_on: int = 0
    ended: int = 0  # with an error that may be
    broken: int = 0  # with one that may not
    first: dict[str, float] = field(default_factory=dict)  # by way: the first new stream
    settled: float = 0.0  # the last new stream that failed or took long


@dataclass(slots=True)
class Verdict:
    """All outcomes, and what was violated."""

    outcomes: list[Outcome]
    violations: list[str]


def judge(
    records: Sequence[Record], faults: Sequence[Fault], recovers: float = RECOVERS
) -> Verdict:
    """Of a whole run. `recovers`: seconds that the first new stream may take."""
    violations: list[str] = []
    outcomes = [Outcome(fault) for fault in faults]
    for each in records:
        if each.text == NO_ECHO and (killed := _killed_meanwhile(each, outcomes)):
            killed.ended += 1  # the kernel said so for a server that was killed: the end is its own
        elif each.result in (Result.WRONG, Result.HUNG):
            violations.append(f"{each.kind} by {each.way}: {each.result}: {each.text}")
        elif each.result is Result.ERROR:
            _judge_error(each, outcomes, violations, recovers)
        if each.repeated:
            violations.append(f"{each.kind} by {each.way}: {each.repeated} datagrams twice")
        for outcome in outcomes:
            if _is_open(each, outcome.fault):
                outcome.open += 1
                lived = each.result is Result.OK or _is_later(each, outcome, outcomes)
                outcome.went_on += lived and outcome.fault.name != SERVICE
    for number, outcome in enumerate(outcomes):
        until = faults[number + 1].began if number + 1 < len(faults) else float("inf")
        _judge_probes(outcome, until, records, violations, recovers)
        _judge_lateness(outcome, recovers, violations)
    return Verdict(outcomes, violations)


def _within(fault: Fault, recovers: float) -> float:
    """Seconds until new streams have to work."""
    return recovers + SILENCE * fault.is_silent


def _quiet(record: Record, outcome: Outcome) -> float:
    return QUIET_SHARE * (outcome.fault.is_silent and record.kind == JOINS)


def _is_open(record: Record, fault: Fault) -> bool:
    if record.kind in ("probe", "udp"):
        return False
    return bool(record.opened) and record.opened < fault.began < record.ended


def _killed_meanwhile(record: Record, outcomes: list[Outcome]) -> Outcome | None:
    """The killing of the server that happened while `record` lasted, if any."""
    for outcome in outcomes:
        fault = outcome.fault
        if fault.name == SERVICE and record.began < fault.returned and record.ended > fault.began:
            return outcome
    return None


def _is_later(record: Record, outcome: Outcome, outcomes: list[Outcome]) -> bool:
    """Whether it ended at a later fault than this one."""
    return any(
        other.fault.began > outcome.fault.began and record.ended > other.fault.began
        for other in outcomes
    )


def _judge_error(
    record: Record, outcomes: list[Outcome], violations: list[str], recovers: float
) -> None:
    before = [each for each in outcomes if each.fault.began < record.ended]
    what = f"{record.kind} by {record.way}: {record.text}"
    if not before:
        violations.append(f"before any fault: {what}")
        return
    opened = bool(record.opened)
    if record.kind in CANNOT_SAY and any(text in record.text for text in NOT_OPENED):
        opened = False
    if record.kind == "probe" and not opened:
        return  # _judge_probes looks at those
    cause = before[-1]
    overlaps = any(
        record.began < each.fault.returned + _within(each.fault, recovers) + _quiet(record, each)
        and record.ended > each.fault.began
        for each in outcomes
    )
    killed = _killed_meanwhile(record, outcomes)
    if killed and opened:
        killed.ended += 1  # a reader that was paused sees it later
        return
    if overlaps and (not opened or _visitor_is_cut_off(record, outcomes)):
        cause.ended += opened
        return
    cause.broken += opened
    violations.append(f"{cause.fault.name}: {what} ({'open' if opened else 'not opened'})")


def _visitor_is_cut_off(record: Record, outcomes: list[Outcome]) -> bool:
    """Whether it was open to a visitor of the URL then."""
    return record.kind == GATEWAY and any(
        record.began < each.fault.returned and record.ended > each.fault.began for each in outcomes
    )


def _judge_probes(
    outcome: Outcome,
    until: float,
    records: Sequence[Record],
    violations: list[str],
    recovers: float,
) -> None:
    """New streams, from this fault to the next."""
    fault = outcome.fault
    within = _within(fault, recovers)
    probes = [each for each in records if each.kind == "probe" and each.began < until]
    late = {each.way: float("inf") for each in probes}
    for each in probes:
        if each.ended < fault.returned:
            continue
        after = each.ended - fault.returned
        if each.result is Result.OK:
            late[each.way] = min(late[each.way], after)
        slow = each.ended - max(each.began, fault.returned) > within
        if each.began < until - within and (each.result is not Result.OK or slow):
            if each.ended < until or each.result is Result.OK:
                outcome.settled = max(outcome.settled, after)
            failed = each.result is not Result.OK and each.ended < until  # not by the next fault
            if each.began > fault.returned + within and failed:
                violations.append(
                    f"{fault.name}: more than {within:g} s later a new stream by {each.way}"
                    f" failed: {each.text}"
                )
    outcome.first = late


def _judge_lateness(outcome: Outcome, recovers: float, violations: list[str]) -> None:
    for way, seconds in outcome.first.items():
        if seconds > _within(outcome.fault, recovers):
            name = outcome.fault.name
            violations.append(f"{name}: a new stream by {way} {LATE} {seconds:.1f} s")
