"""A conversation with a server whose answers are not trusted, step by step. Pure.

A conversation is a generator: it yields a Step (what to send, how much to wait for), is given
exactly that much, and returns a Verdict. It may raise RemoteProtocolError; a Dialogue turns
that, an early end and too long an answer into a verdict, so that no bytes make it raise.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from tunnel.errors import RemoteProtocolError
from vshare.weaknesses.danger import Verdict

# All that a server may say: a list of some hundred databases has room. More is not read.
MAX_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Step:
    """Send `send`, then wait for `count` bytes, or with `count` 0 for a line with its LF."""

    send: bytes = b""
    count: int = 0


Conversation = Generator[Step, bytes, Verdict]


class Dialogue:
    """Drives one conversation. `verdict` is None while it goes on."""

    def __init__(self, conversation: Conversation) -> None:
        self.verdict: Verdict | None = None
        self._conversation = conversation
        self._buffer = bytearray()
        self._received = 0
        self._to_send = bytearray()
        self._step = Step()
        self._advance(None)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """The server said `data`."""
        if self.verdict is not None:
            return
        data = data[: MAX_ANSWER - self._received]
        self._received += len(data)
        self._buffer += data
        while self.verdict is None and (size := self._size()):
            part = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._advance(part)
        if self.verdict is None and self._received >= MAX_ANSWER:
            self._end(Verdict(note="its answer does not end"))

    def receive_eof(self) -> None:
        """The server says nothing more."""
        if self.verdict is None:
            self._end(Verdict(note="it hung up"))

    def data_to_send(self) -> bytes:
        """What to send now; each byte is returned once."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def _size(self) -> int:
        """How many bytes the next step gets; 0: they are not all here."""
        if self._step.count:
            return self._step.count if len(self._buffer) >= self._step.count else 0
        return self._buffer.find(b"\n") + 1

    def _advance(self, part: bytes | None) -> None:
        try:
            self._step = (
                self._conversation.send(part) if part is not None else next(self._conversation)
            )
            if not 0 <= self._step.count <= MAX_ANSWER:
                raise RemoteProtocolError("its answer is too long")
            self._to_send += self._step.send
        except StopIteration as stop:
            self.verdict = stop.value
        except RemoteProtocolError as error:
            self._end(Verdict(note=error.args[0]))

    def _end(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._conversation.close()
