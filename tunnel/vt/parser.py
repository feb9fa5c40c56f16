"""What a program writes to its terminal, cut into text, controls and sequences. Pure.

By ECMA-48 and xterm's ctlseqs, for UTF-8: the C1 controls exist in their 7-bit form alone. A
sequence may be cut anywhere; what is kept of it is bounded.
"""

from __future__ import annotations

import codecs
import re
from typing import Protocol

MAX_SEQUENCE = 256  # characters of a sequence that is not complete: longer ones mean nothing
MAX_STRING = 1024  # characters kept of a string (a title); the rest is thrown away

_TOKEN = re.compile(
    r"([^\x00-\x1f\x7f-\x9f]+)"  # 1: text
    r"|\x1b\[([<-?]?)([0-9:;]*)([ -/]*)([@-~])"  # 2 to 5: prefix, parameters, intermediate, final
    r"|\x1b([ -/]{0,2})([0-OQ-WYZ\\`-~])"  # 6 and 7: an escape
    r"|\x1b([\]PX^_])"  # 8: a string begins
    r"|([\x00-\x1a\x1c-\x1f\x7f-\x9f])"  # 9: a control
)
_PARTIAL = re.compile(r"\x1b(?:\[[ -?]*|[ -/]{0,2})\Z")
_REST = re.compile(r"[ -?]*([@-~]?)")  # of a control sequence, and its final byte
_MALFORMED = re.compile(r"\x1b(?:\[[ -?]*[@-~]?)?")
_STRING_END = re.compile(r"[\x07\x18\x1a\x1b]")
_OSC = "]"


class Actions(Protocol):
    """What is done with it."""

    def text(self, text: str) -> None:
        """Characters to be shown."""

    def control(self, char: str) -> None:
        """One of C0, or DEL, or a C1 control, which means nothing."""

    def escape(self, word: str) -> None:
        """ESC, intermediate bytes, and the final one."""

    def csi(self, word: str, parameters: str) -> None:
        """`word`: prefix, intermediate bytes and the final one of a control sequence."""

    def osc(self, text: str) -> None:
        """An operating system command. Other strings mean nothing."""


class Parser:
    """Bytes in, actions out."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._string = ""  # what kind of string is under way
        self._body = ""
        self._is_skipping = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """What came next."""
        text = self._pending + self._decoder.decode(bytes(data))
        self._pending = ""
        at, end = self._skipped(text), len(text)
        while at < end:
            if self._string:
                at = self._in_string(text, at)
                continue
            token = _TOKEN.match(text, at)
            if token is not None:
                at = token.end()
                self._act(token)
            elif _PARTIAL.match(text, at):
                if end - at <= MAX_SEQUENCE:
                    self._pending = text[at:]
                else:
                    self._is_skipping = True
                return
            else:
                wrong = _MALFORMED.match(text, at)
                at = wrong.end() if wrong is not None else at + 1

    def _skipped(self, text: str) -> int:
        """Behind a sequence that was too long to be kept, and whose end has not come before."""
        if not self._is_skipping:
            return 0
        end = 0
        if (rest := _REST.match(text)) is not None:  # it matches anything
            end = rest.end()
            self._is_skipping = end == len(text) and not rest[1]
        return end

    def _act(self, token: re.Match[str]) -> None:
        kind = token.lastindex
        actions = self._actions
        if kind == 1:
            actions.text(token[1])
        elif kind == 5:
            if len(token[3]) <= MAX_SEQUENCE:
                actions.csi(token[2] + token[4] + token[5], token[3])
        elif kind == 9:
            actions.control(token[9])
        elif kind == 7:
            actions.escape(token[6] + token[7])
        else:
            self._string, self._body = token[8], ""

    def _in_string(self, text: str, at: int) -> int:
        """Go on with the string; where it has been read up to."""
        found = _STRING_END.search(text, at)
        stop = found.start() if found is not None else len(text)
        if self._string == _OSC and len(self._body) < MAX_STRING:
            self._body += text[at : min(stop, at + MAX_STRING)]
        if found is None:
            return stop
        if found[0] == "\x1b":
            if stop + 1 == len(text):  # the backslash may be under way
                self._pending = "\x1b"
                return len(text)
            self._end_string(complete=text[stop + 1] == "\\")
            return stop  # ESC \ alone means nothing
        if found[0] == "\x07" and self._string != _OSC:
            return stop + 1  # a part of it
        self._end_string(complete=found[0] == "\x07")
        return stop + 1

    def _end_string(self, *, complete: bool) -> None:
        kind, body = self._string, self._body
        self._string = self._body = ""
        if complete and kind == _OSC:
            self._actions.osc(body[:MAX_STRING])
