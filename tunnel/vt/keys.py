"""What is typed, and in it the escapes, which ssh(1) has too: Enter, ~, a letter. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

_TILDE = ord("~")
_ENTER = b"\r\n"


class EscapeKeys:
    """`commands` are the letters that mean something; `~~` is a tilde."""

    def __init__(self, commands: Collection[str]) -> None:
        self._commands = {ord(letter): letter for letter in commands}
        self._is_at_start = True
        self._has_tilde = False

    def receive_data(self, data: bytes) -> Iterator[bytes | str]:
        """In order: bytes to be sent, letters of commands."""
        out = bytearray()
        for byte in data:
            if self._has_tilde:
                self._has_tilde = False
                if byte in self._commands:
                    if out:
                        yield bytes(out)
                        out.clear()
                    yield self._commands[byte]
                    self._is_at_start = True
                    continue
                out.append(_TILDE)
                if byte == _TILDE:
                    self._is_at_start = False
                    continue
            elif byte == _TILDE and self._is_at_start:
                self._has_tilde = True
                continue
            out.append(byte)
            self._is_at_start = byte in _ENTER
        if out:
            yield bytes(out)
