"""Keeps SSH closed on whatever port it listens: a server that greets as SSH does is cut off.

An SSH server says "SSH-2.0-..." before anything else (RFC 4253 4.2). Which ports they listen
on is not always known (a machine without SSH access of ours, another user's process, a server
that started later), so the machine's first bytes decide; after them the guard steps aside.
"""

from __future__ import annotations

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.frames import FrameType
from tunnel.resumable_end import ResumableEnd
from tunnel.stream_end import StreamEnd

GREETING = b"SSH-"
TEXT = "SSH is not shared on this port; the sharer can share the machine's with --ssh"


class SshGuard(End):
    """Stands for `end` towards `machine`, until it has seen how the machine begins."""

    def __init__(self, end: StreamEnd | ResumableEnd, machine: End) -> None:
        super().__init__()
        self.peer = end.peer
        self._end = end
        self._machine = machine
        self._begin = bytearray()  # at most one read, and only while it could be a greeting
        self._refused = False
        self.done_with(end)

    def link(self, peer: End) -> None:
        """See End.link: what the guest sends goes to the machine without a stop here."""
        self._end.link(peer)

    def send(self, data: Bytes) -> None:
        """See End.send: the machine's first bytes."""
        if self._refused:
            return
        self._begin += data
        head = bytes(self._begin[: len(GREETING)])
        if head == GREETING:
            self._refused = True
            self._end.terminate(Code.NOT_ALLOWED, TEXT, FrameType.RESET)
            self._machine.reset(Code.NOT_ALLOWED)  # it has no peer that would
        elif not GREETING.startswith(head):
            self._step_aside()

    def send_eof(self) -> None:
        """See End.send_eof."""
        if not self._refused:
            self._step_aside()
            self._end.send_eof()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._end.reset(code)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._end.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._end.resume_reading()

    def _step_aside(self) -> None:
        self._machine.peer = self._end
        if self._begin:
            begin, self._begin = self._begin, bytearray()
            self._end.send(begin)
