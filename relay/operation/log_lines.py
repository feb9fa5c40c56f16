"""Log records as lines: JSON, or text for people. Nothing in one can end it or move a cursor."""

from __future__ import annotations

import datetime
import json
import logging
import re

from relay.operation.events import Event
from tunnel.console import printable

MAX_TEXT = 2_000  # characters of a text, and of a field
MAX_TRACE = 8_000  # of a traceback: its end says most

# Tokens are never logged on purpose; a dependency's message that quotes one is no exception.
_TOKEN = re.compile(r"vsr_\w{20,}")
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w)"
    r"|(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"
    r"|(?:[0-9a-fA-F]{1,4}:)*(?:[0-9a-fA-F]{1,4})?::[0-9a-fA-F:.]*)"
)


class Lines(logging.Formatter):
    """`hide_sources`: no address of anybody is in a line."""

    def __init__(self, *, hide_sources: bool) -> None:
        super().__init__()
        self._hides = hide_sources

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return self._line(record, self._facts(record))

    def _facts(self, record: logging.LogRecord) -> dict[str, str | float]:
        """The fields, those that every record has first."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        event = Event.BUG if record.exc_info else getattr(record, "event", Event.OTHER)
        facts: dict[str, str | float] = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "event": str(event),
            "logger": record.name,
            "text": self._clean(record.getMessage(), MAX_TEXT),
        }
        for name, value in getattr(record, "fields", {}).items():
            if value is None or value == "" or (name == "source" and self._hides):
                continue
            facts[name] = self._clean(value, MAX_TEXT) if isinstance(value, str) else value
        if left_out := getattr(record, "left_out", 0):
            facts["left_out"] = left_out
        if record.exc_info:
            facts["error"] = self._clean(self.formatException(record.exc_info)[-MAX_TRACE:])
        return facts

    def _clean(self, text: str, most: int = MAX_TRACE) -> str:
        text = _TOKEN.sub("vsr_...", text[:most])
        return _ADDRESS.sub("[address]", text) if self._hides else text

    def _line(self, record: logging.LogRecord, facts: dict[str, str | float]) -> str:
        raise NotImplementedError


class JsonLines(Lines):
    """One object for each record, ASCII throughout."""

    def _line(self, record: logging.LogRecord, facts: dict[str, str | float]) -> str:
        return json.dumps(facts)


class TextLines(Lines):
    """time level event: text field=value; tracebacks below, indented."""

    def _line(self, record: logging.LogRecord, facts: dict[str, str | float]) -> str:
        error = str(facts.pop("error", ""))
        first = [facts.pop(name) for name in ("time", "level", "event", "logger", "text")]
        more = "".join(f" {name}={_quoted(value)}" for name, value in facts.items())
        line = printable(f"{first[0]} {first[1]} {first[2]}: {first[4]}{more}")
        return "\n    ".join((line, *(printable(each) for each in error.splitlines())))


def _quoted(value: str | float) -> str:
    text = str(value)
    return json.dumps(text) if not text or re.search(r'[\s"=]', text) else text
