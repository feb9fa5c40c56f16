"""A TCP connection that the machine's SSH server opened for us, as the end of a stream.

A `direct-tcpip` channel (RFC 4254 7.2). It has half-close (EOF) but no reset: an SSH server
whose target was reset sends CLOSE without having got our EOF, which is how it is noticed here.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

import asyncssh

from tunnel.codes import Code
from tunnel.ends import Bytes, End

# Where the peer is paused and resumed. Together with the channel's window (asyncssh's 2 MiB)
# this bounds a stream's memory.
WRITE_HIGH_WATER = 512 * 1024
WRITE_LOW_WATER = 128 * 1024

if TYPE_CHECKING:
    _TCPSession = asyncssh.SSHTCPSession[bytes]
else:
    _TCPSession = asyncssh.SSHTCPSession


class SshEnd(End, _TCPSession):
    """Made by asyncssh's create_connection; reads nothing before it is linked."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._wants_data = False
        self._sent_eof = False
        self._received_eof = False

    # What the channel tells us.

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan
        chan.pause_reading()
        chan.set_write_buffer_limits(WRITE_HIGH_WATER, WRITE_LOW_WATER)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes from the machine."""
        if not self.is_done:
            self.peer.send(data)

    def eof_received(self) -> bool:
        """The machine has sent all; True keeps our direction open."""
        self._received_eof = True
        if not self.is_done:
            self.peer.send_eof()
            self._maybe_close()
        return True

    def pause_writing(self) -> None:
        """The channel's window and buffer are full."""
        self.peer.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        if not self.is_done:
            self.peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone: cleanly, reset by the machine, or with the SSH connection."""
        if self.is_done:
            return
        if exc is None and self._sent_eof:
            if not self._received_eof:  # it came with the CLOSE, while we were paused
                self.peer.send_eof()
            self.closed(None)
            return
        code = Code.CONNECTION_RESET if exc is None else Code.LOST
        self.closed(code)
        self.peer.reset(code)

    # What the peer asks of us.

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self.is_done or self._sent_eof:
            return
        try:
            # asyncssh copies what it is given, of any bytes-like type.
            self._channel.write(cast(bytes, data))
        except OSError:
            return  # the machine has closed the channel: connection_lost follows and tells
        self.bytes_sent += len(data)

    def send_eof(self) -> None:
        """See End.send_eof."""
        if self.is_done or self._sent_eof:
            return
        self._sent_eof = True
        self._channel.write_eof()
        self._maybe_close()

    def reset(self, code: Code) -> None:
        """See End.reset: SSH has no reset, so the channel is closed without an EOF."""
        if self.is_done:
            return
        self.closed(code)
        self._channel.abort()

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._wants_data = False
        if not self.is_done:
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._wants_data = True
        # asyncssh would deliver what it has buffered from within the call.
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._wants_data and not self.is_done:
            self._channel.resume_reading()

    def _maybe_close(self) -> None:
        if self._sent_eof and self._received_eof:
            self._channel.close()  # after what is still queued; connection_lost ends it


_REASONS = (
    (re.compile(r"refused|connect call failed", re.IGNORECASE), Code.CONNECTION_REFUSED),
    (re.compile(r"timed? ?out", re.IGNORECASE), Code.TIMED_OUT),
    (re.compile(r"no route|unreachable", re.IGNORECASE), Code.HOST_UNREACHABLE),
    (
        re.compile(r"not known|unknown host|resol(ve|ution)|nodename|no address", re.IGNORECASE),
        Code.UNKNOWN_HOST,
    ),
)


def code_for_open_error(error: asyncssh.ChannelOpenError) -> Code:
    """What a refused channel means (RFC 4254 5.1: reason codes; the text is the server's own).

    Servers that give no telling text have had their connect refused, nearly always.
    """
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return Code.NOT_ALLOWED
    if error.code == asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE:
        return Code.UNSUPPORTED
    if error.code == asyncssh.OPEN_RESOURCE_SHORTAGE:
        return Code.BUSY
    for pattern, code in _REASONS:
        if pattern.search(error.reason):
            return code
    return Code.CONNECTION_REFUSED
