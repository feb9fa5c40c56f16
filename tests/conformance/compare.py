"""In what two records of a case differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from tests.conformance.application import Request
from tests.conformance.case import Step
from tests.conformance.run import Record
from tests.conformance.visitor import Got

# Said by a hop to its neighbour, or the same for all, or looked at apart (as framing).
_NOT_COMPARED = frozenset(
    (
        b"date",
        b"server",
        b"connection",
        b"keep-alive",
        b"x-case",
        b"content-length",
        b"transfer-encoding",
    )
)


@dataclass(frozen=True)
class Difference:
    """`aspect`: answers, ending, framing, fields, body, trailers; with `sent `, of requests."""

    case: str
    aspect: str
    theirs: str
    ours: str


def differences(theirs: Record, ours: Record) -> list[Difference]:
    """All; where the answers differ, these alone: the rest follows from it."""
    one, other = _aspects(theirs), _aspects(ours)
    if one["answers"] != other["answers"]:
        name = theirs.case.name
        return [Difference(name, "answers", _story(one, theirs), _story(other, ours))]
    found = []
    for aspect in one:
        if one[aspect] != other[aspect]:
            left, right = _differing(one[aspect], other[aspect])
            found.append(Difference(theirs.case.name, aspect, left, right))
    return found


def _story(aspects: dict[str, list[str]], record: Record) -> str:
    said = ", ".join(aspects["answers"]) or "no answer"
    if Step.FIN in record.case.steps:  # what was sent on before that was noticed is chance
        return f"{said}; closed"
    sent = "" if _requests(record) else "; nothing sent on"
    return f"{said}; {aspects['ending'][0]}{sent}"


def _differing(one: list[str], other: list[str]) -> tuple[str, str]:
    """The members of each that the other has not, or all of both if that is nothing."""
    left = [each for each in one if each not in other]
    right = [each for each in other if each not in one]
    if not left and not right:
        left, right = one, other
    return ", ".join(left) or "-", ", ".join(right) or "-"


def _aspects(record: Record) -> dict[str, list[str]]:
    whole = [each for each in record.outcome.answers if each.whole or each.own]
    finals = [each for each in whole if each.status >= "2" or each.status in ("0.9", "101")]
    ending = record.outcome.ending
    if ending == "closed" and len(finals) < record.case.count and _requests(record):
        ending = "broken off"
    theirs = [each for each in whole if not each.own]
    requests = _requests(record)
    return {
        "answers": [_status(each) for each in whole],
        "ending": [ending],
        "framing": [each.framing.lower() for each in theirs],
        "fields": sorted(chain(*(_fields(each.fields, record) for each in theirs))),
        "body": [_text(each.body, record) for each in theirs],
        "trailers": [_text(each.trailers, record) for each in theirs if each.trailers],
        "sent requests": [_text(each.line, record) for each in requests],
        "sent framing": [each.framing.lower() for each in requests],
        "sent fields": sorted(chain(*(_fields(each.fields, record) for each in requests))),
        "sent body": [_text(each.body, record) for each in requests],
        "sent trailers": [_text(each.trailers, record) for each in requests if each.trailers],
    }


def _requests(record: Record) -> list[Request]:
    """The whole ones; one that was tried again on another connection counts once."""
    whole = [each for each in record.seen if each.whole]
    if len(whole) > record.case.count:
        whole = [each for at, each in enumerate(whole) if not at or each.line != whole[at - 1].line]
    return whole


def _status(got: Got) -> str:
    return f"own {got.status}" if got.own and got.status != "0.9" else got.status


def _fields(fields: list[tuple[bytes, bytes]], record: Record) -> list[str]:
    kept = [each for each in fields if each[0].lower() not in _NOT_COMPARED]
    return [f"{_text(name.lower(), record)}: {_text(value, record)}" for name, value in kept]


def _text(data: bytes, record: Record) -> str:
    host = record.host
    for each in (host, host.lower(), host.upper()):
        data = data.replace(each, b"HOST")
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text if len(text) < 90 else f"{text[:60]}... ({len(data):,} bytes)"
