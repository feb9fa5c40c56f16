"""The table at the end of a soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.soak.judge import Verdict
from tests.soak.records import Record, Result
from tests.soak.watch import Trend

MANY = 40  # kinds of violations that are shown


def lines(records: Sequence[Record], verdict: Verdict, trends: Sequence[Trend]) -> Iterator[str]:
    """All of it, line by line."""
    yield from _streams(records)
    yield ""
    yield from _faults(verdict)
    yield ""
    yield from _memory(trends)
    yield ""
    yield from _violations(verdict.violations)


def _streams(records: Sequence[Record]) -> Iterator[str]:
    yield f"{'what':8} {'way':6} {'number':>7} {'ok':>7} {'error':>6} {'wrong':>6} {'moved':>12}"
    for kind, way in sorted({(each.kind, each.way) for each in records}):
        own = [each for each in records if (each.kind, each.way) == (kind, way)]
        results = Counter(each.result for each in own)
        wrong = results[Result.WRONG] + results[Result.HUNG]
        moved = sum(each.moved for each in own)
        lost = sum(each.lost for each in own)
        yield (
            f"{kind:8} {way:6} {len(own):7} {results[Result.OK]:7} {results[Result.ERROR]:6}"
            f" {wrong:6} {moved:12}" + (f"  ({lost} datagrams lost)" if kind == "udp" else "")
        )


def _faults(verdict: Verdict) -> Iterator[str]:
    yield (
        f"{'fault':32} {'lasted':>7} {'open':>5} {'went on':>8} {'ended':>6} {'broken':>7}"
        f" {'new stream after':>24} {'settled':>8}"
    )
    for each in verdict.outcomes:
        first = ", ".join(f"{way} {seconds:.2f}" for way, seconds in sorted(each.first.items()))
        yield (
            f"{each.fault.name:32} {each.fault.lasted:6.1f}s {each.open:5} {each.went_on:8}"
            f" {each.ended:6} {each.broken:7} {first:>24} {each.settled:7.2f}s"
        )


def _memory(trends: Sequence[Trend]) -> Iterator[str]:
    yield f"{'program':10} {'memory kB, first and last third':>32} {'peak':>8} {'open files':>14}"
    for each in trends:
        memory, files = each.memory, each.files
        yield (
            f"{each.name:10} {memory[0]:15.0f} {memory[1]:16.0f} {each.peak:8}"
            f" {files[0]:6.0f} {files[1]:7.0f}"
        )


def _violations(violations: Sequence[str]) -> Iterator[str]:
    same = Counter(violations)
    for each, times in same.most_common(MANY):
        yield f"VIOLATION: {each}" + (f" ({times} times)" if times > 1 else "")
    if len(same) > MANY:
        yield f"... and {len(same) - MANY} other kinds"
    yield f"{len(violations)} violations" if violations else "nothing was violated"
