"""What the program wrote lately."""

from __future__ import annotations

from tunnel.terminal_messages import FROM_SHARE, HEADER_SIZE, MAX_PAYLOAD, MessageType, parse_one
from vshare.terminals.output_log import MAX_KEPT, OutputLog


def test_everybody_gets_what_was_written_since() -> None:
    log = OutputLog()
    log.add(b"one ")
    before = log.end
    log.add(b"two")
    assert [parse_one(each, FROM_SHARE) for each in log.since(0)] == [
        (MessageType.OUTPUT, b"one two")
    ]
    (later,) = log.since(before)
    assert later[HEADER_SIZE:] == b"two"
    assert log.since(before) == [later]
    assert log.since(before)[0] is later  # made once
    assert log.since(log.end) == []
    log.add(b" three")
    assert log.since(before)[0][HEADER_SIZE:] == b"two three"


def test_what_nobody_is_to_get_is_forgotten() -> None:
    log = OutputLog()
    log.add(b"one ")
    log.add(b"two")
    log.forget(4)
    log.forget(2)
    assert (log.has(3), log.has(4)) == (False, True)
    assert log.since(4)[0][HEADER_SIZE:] == b"two"


def test_no_more_is_kept_than_somebody_may_have_under_way() -> None:
    log = OutputLog()
    log.add(b"x" * MAX_KEPT)
    assert log.has(0)
    log.add(b"y")
    assert not log.has(0)
    assert log.since(MAX_KEPT)[0][HEADER_SIZE:] == b"y"
    log.add(b"z" * (MAX_PAYLOAD + 1))
    assert sum(len(each) - HEADER_SIZE for each in log.since(MAX_KEPT + 1)) == MAX_PAYLOAD + 1
