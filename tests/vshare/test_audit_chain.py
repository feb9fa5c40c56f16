from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vshare.audit import read_lines
from vshare.audit_chain import (
    MAX_FIELDS,
    MAX_LINE,
    MAX_TEXT,
    START,
    BadLineError,
    Entry,
    digest,
    entries,
    parse,
    serialize,
    verify,
)
from vshare.news import Value

STREAM: Mapping[str, Value] = {
    "guest": "bob", "protocol": "tcp", "host": "web", "port": 80, "bytes_in": 12, "bytes_out": 34,
    "seconds": 0.25, "code": "",
}  # fmt: skip
TEXTS = st.text(max_size=20)
FIELDS = st.dictionaries(
    TEXTS, st.one_of(TEXTS, st.integers(-(2**60), 2**60), st.booleans(), st.none(), st.floats())
)


def chain(*events: Mapping[str, Value]) -> list[bytes]:
    lines: list[bytes] = []
    for number, fields in enumerate(events):
        prev = digest(lines[-1]) if lines else START
        lines.append(serialize(Entry(number, 1000.5 + number, "stream", fields, prev)))
    return lines


def split(content: bytes) -> list[bytes]:
    return list(read_lines(io.BytesIO(content)))


LINES = chain({"guest": "ann"}, STREAM, {"guest": "bob"}, STREAM, STREAM)
HEAD = digest(LINES[-1])
CONTENT = b"".join(LINES)


def test_a_line_is_json_that_anybody_can_check() -> None:
    first, second = (json.loads(line) for line in LINES[:2])
    assert first["prev"] == START
    assert second == {"n": 1, "time": 1001.5, "event": "stream", "prev": digest(LINES[0]), **STREAM}
    assert parse(LINES[1]) == Entry(1, 1001.5, "stream", STREAM, digest(LINES[0]))


@given(st.lists(FIELDS, max_size=6))
def test_what_is_written_is_whole(events: list[dict[str, Value]]) -> None:
    lines = chain(*events)
    head = digest(lines[-1]) if lines else START
    verdict = verify(lines, head)
    assert (verdict.lines, verdict.head, verdict.problem) == (len(lines), head, "")
    assert verdict.following == 0
    assert split(b"".join(lines)) == lines
    assert not any(isinstance(entry, BadLineError) for entry in entries(lines))


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255))
def test_an_edit_of_any_byte_is_found(at: int, byte: int) -> None:
    """Without a head, wherever a line follows; with it, everywhere."""
    edited = CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :]
    if edited == CONTENT:
        return
    verdict = verify(split(edited), HEAD)
    assert verdict.following is None
    touched = CONTENT[:at].count(b"\n")
    if touched < len(LINES) - 1:
        assert verdict.problem
        assert verdict.lines in (touched, touched + 1)


@given(st.data())
def test_every_way_to_rearrange_lines_is_found(data: st.DataObject) -> None:
    order = data.draw(st.lists(st.sampled_from(range(len(LINES))), max_size=8))
    verdict = verify([LINES[number] for number in order], HEAD)
    whole = order == list(range(len(LINES)))
    assert (verdict.following == 0 and not verdict.problem) == whole
    if order != list(range(len(order))):
        assert verdict.problem
        assert order[: verdict.lines] == list(range(verdict.lines))


@given(st.integers(1, len(LINES) - 2))
def test_a_deleted_a_doubled_and_a_swapped_line(at: int) -> None:
    swapped = [*LINES]
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    for lines in (
        LINES[:at] + LINES[at + 1 :],
        LINES[:at] + LINES[at - 1 : at] + LINES[at:],
        swapped,
    ):
        verdict = verify(lines)
        assert verdict.lines == at
        assert "taken out, put in or moved" in verdict.problem


def test_a_line_put_in_under_the_right_number_is_found() -> None:
    forged = serialize(Entry(2, 1002.5, "stream", STREAM, digest(LINES[1])))
    verdict = verify([*LINES[:2], forged, *LINES[3:]])
    assert verdict.lines == 3
    assert "does not continue" in verdict.problem


@given(st.integers(0, len(LINES) - 1))
def test_a_cut_tail_misses_the_head(kept: int) -> None:
    verdict = verify(LINES[:kept])
    assert not verdict.problem  # a shorter log is a log
    assert verify(LINES[:kept], HEAD).following is None


@given(st.integers(0, len(LINES) - 1))
def test_an_earlier_head_is_found_and_counts_what_follows(at: int) -> None:
    head = digest(LINES[at])
    for wanted in (head, head.upper(), head[:32]):
        assert verify(LINES, wanted).following == len(LINES) - 1 - at


@given(st.integers(0, len(CONTENT)))
def test_a_torn_last_line_is_unfinished(kept: int) -> None:
    verdict = verify(split(CONTENT[:kept]))
    assert verdict.lines == CONTENT[:kept].count(b"\n")
    torn = kept and not CONTENT[:kept].endswith(b"\n")
    assert ("unfinished" in verdict.problem) == bool(torn)


def test_it_is_read_line_by_line() -> None:
    """A log of any size is checked in the memory of a line."""
    taken = 0

    def lazily() -> Iterator[bytes]:
        nonlocal taken
        for line in LINES:
            taken += 1
            yield line.replace(b"tcp", b"udp") if taken == 2 else line

    assert verify(lazily()).lines == 2
    assert taken == 3


@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(content: bytes) -> None:
    verdict = verify(split(content))
    assert verdict.lines == 0
    assert bool(verdict.problem) == bool(content)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b"[" * 16_000 + b"\n",
        b'{"n":' * 3_000 + b"\n",
        b'{"n":0,"time":"x","event":"x","prev":"x"}\n',
        b'{"n":0,"time":1,"event":1,"prev":"x"}\n',
        b'{"n":0,"time":1,"event":"x","prev":null}\n',
        b'{"n":0,"time":1,"event":"x","prev":"x","more":[1]}\n',
        b'{"n":0,"time":1,"event":"\xff","prev":"x"}\n',
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(BadLineError, match="not a line of an audit log"):
        parse(line)


def test_a_long_line_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(BadLineError, match="longer than"):
        parse(b"[" * MAX_LINE + b"\n")


def test_another_log_is_told_from_this_one() -> None:
    other = serialize(Entry(0, 1.0, "started", {}, "0" * 64))
    assert "starts another log" in verify([other]).problem


@given(
    st.integers(1, 40),
    st.sampled_from(["x", "\0", "\x1b", "\x9b", "ä", "\U0001f600", "\ud800", '"']),
)
def test_hostile_texts_stay_within_a_line(fields: int, char: str) -> None:
    entry = Entry(0, 1.0, char * 5000, {f"f{i}": char * 5000 for i in range(fields)}, START)
    line = serialize(entry)
    assert len(line) <= MAX_LINE
    assert line.isascii()
    found = parse(line)
    assert len(found.fields) == min(fields, MAX_FIELDS)
    assert all(len(str(value)) <= MAX_TEXT for value in found.fields.values())


def test_fields_do_not_forge_the_chain() -> None:
    forged: dict[str, Value] = {"n": 7, "prev": "x", "event": "ended", "time": 0, "guest": "bob"}
    entry = parse(serialize(Entry(0, 1.0, "joined", forged, START)))
    assert entry == Entry(0, 1.0, "joined", {"guest": "bob"}, START)


def test_a_line_has_no_byte_that_a_terminal_could_take_for_an_order() -> None:
    """Whichever of its two encoders made it."""
    for text in ("\x7f", "\x1b[2J", "\x9b2J", "caf\u00e9", "\ud800"):
        line = serialize(Entry(0, 0.0, "stream", {"host": text}, START))
        assert all(32 <= byte < 127 for byte in line[:-1]), line
        assert parse(line).fields["host"] == text.encode(errors="replace").decode()
