"""Log lines: whole, clean, bounded, and nobody waits for who reads them."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from pathlib import Path

import pytest

from relay.operation import logs
from relay.operation.events import Event, tell
from relay.operation.log_lines import JsonLines, TextLines
from relay.operation.logs import BURST, log_to
from tests.test_docs import LOGGING, tables

log = logging.getLogger("relay.test")
WAIT = 10.0  # seconds
TOKEN = f"vsr_{'a' * 67}"


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_one_object() -> None:
    stream = io.StringIO()
    with log_to("json", stream=stream):
        fields = {"share": "quiet-otter", "source": "203.0.113.7", "token": ""}
        tell(log, logging.INFO, Event.SHARE_REGISTERED, "share quiet-otter registered", **fields)
        log.debug("not told")
        log.warning("a dependency's\nline \x1b[31m %s", TOKEN)
        try:
            raise ValueError("inside")
        except ValueError:
            log.exception("this is a bug")
    first, second, third = lines_of(stream)
    time = first.pop("time")
    assert isinstance(time, str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert first == {
        "level": "info",
        "event": "share-registered",
        "logger": "relay.test",
        "text": "share quiet-otter registered",
        "share": "quiet-otter",
        "source": "203.0.113.7",
    }
    assert (second["event"], second["level"]) == ("other", "warning")
    assert TOKEN not in stream.getvalue()
    assert third["event"] == "bug"
    assert "ValueError: inside" in str(third["error"])
    assert stream.getvalue().isascii()


def test_text_for_people_has_no_control_characters() -> None:
    stream = io.StringIO()
    with log_to("text", stream=stream):
        fields: dict[str, str] = {"reason": 'of "two"\nlines'}
        tell(log, logging.INFO, Event.SHARE_REFUSED, "refused\n\x1b[2J\x9b2J", **fields)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(
        'info share-refused: refused\ufffd\ufffd[2J\ufffd2J reason="of \\"two\\"\\nlines"'
    )


@pytest.mark.parametrize("lines", [JsonLines, TextLines])
def test_addresses_are_left_out_where_that_is_asked(
    lines: type[JsonLines] | type[TextLines],
) -> None:
    text = "a join from '203.0.113.7' and 2001:db8::5, ::1 failed at 12:30:05 in 1.2.3"
    record = logging.LogRecord("relay", logging.INFO, "", 0, text, None, None)
    record.fields = {"source": "203.0.113.7", "reason": "x"}
    line = lines(hide_sources=True).format(record)
    assert not re.search(r"203\.0|db8|source", line)
    assert "'[address]' and [address], [address] failed at 12:30:05 in 1.2.3" in line
    assert "203.0.113.7" in lines(hide_sources=False).format(record)


def test_what_strangers_cause_without_end_is_cut_short_and_counted() -> None:
    stream = io.StringIO()
    with log_to("json", stream=stream) as pace:
        for _ in range(3 * BURST):
            tell(log, logging.INFO, Event.SHARE_REFUSED, "refused", reason="token")
        tell(log, logging.INFO, Event.SHARE_ENDED, "another kind has its own measure")
    found = lines_of(stream)
    assert BURST <= len(found) < 2 * BURST
    assert pace.left_out >= BURST
    assert found[-1]["event"] == "share-ended"


class Stuck(io.StringIO):
    """Nobody reads, until somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()

    def write(self, text: str) -> int:
        assert self.is_read.wait(WAIT)
        return super().write(text)


def test_nobody_waits_for_a_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_QUEUED", 8)
    stream = Stuck()
    with log_to("json", stream=stream):
        for number in range(30):
            log.info("%s", number)
        stream.is_read.set()
    told = lines_of(stream)
    assert [line["text"] for line in told[:1]] == ["0"]
    left_out = [int(str(line["left_out"])) for line in told if "nobody read" in str(line["text"])]
    assert left_out
    assert len(told) - len(left_out) + sum(left_out) == 30


def test_every_event_is_documented() -> None:
    rows = {
        event: set(re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)", "", row[1])))
        for head, rows in tables(LOGGING.read_text())
        if head == ["relay's event", "fields", "when"]
        for row in rows
        for event in re.findall(r"`([a-z-]+)`", row[0])
    }
    assert rows.keys() == {str(event) for event in Event}
    source = Path("relay/operation/events.py").read_text()
    for name, fields in re.findall(r'= "([a-z-]+)"(?:  # ([a-z_, ]+)(?::.*)?)?$', source, re.M):
        assert set(re.findall(r"[a-z_]+", fields)) == rows[name], name
