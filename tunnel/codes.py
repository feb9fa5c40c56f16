"""The reasons a stream, a flow or a join ends for (docs/protocol.md 8.4)."""

from __future__ import annotations

import enum
import errno


class Code(enum.IntEnum):
    """Wire code of a REFUSED, RESET or FLOW_REFUSED frame, and of a failed join."""

    CLOSED = 1
    CONNECTION_REFUSED = 2
    CONNECTION_RESET = 3
    HOST_UNREACHABLE = 4
    TIMED_OUT = 5
    UNKNOWN_HOST = 6
    NOT_ALLOWED = 7
    EXPIRED = 8
    RETIRED = 9
    UNSUPPORTED = 10
    PROTOCOL_ERROR = 11
    BUSY = 12
    WRONG_CODE = 13
    INTERNAL = 14
    LOST = 15

    @classmethod
    def from_wire(cls, number: int) -> Code:
        """The code for `number`; a number of a newer peer is read as INTERNAL."""
        try:
            return cls(number)
        except ValueError:
            return cls.INTERNAL


_BY_ERRNO = {
    errno.ECONNREFUSED: Code.CONNECTION_REFUSED,
    errno.ECONNRESET: Code.CONNECTION_RESET,
    errno.EPIPE: Code.CONNECTION_RESET,
    errno.ECONNABORTED: Code.CONNECTION_RESET,
    errno.EHOSTUNREACH: Code.HOST_UNREACHABLE,
    errno.ENETUNREACH: Code.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Code.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Code.TIMED_OUT,
    errno.EMFILE: Code.BUSY,
    errno.ENFILE: Code.BUSY,
    errno.ENOBUFS: Code.BUSY,
    errno.ENOMEM: Code.BUSY,
    errno.EADDRNOTAVAIL: Code.BUSY,
}


def code_for_os_error(error: OSError) -> Code:
    """The code that tells the other side what `connect` or `recv` failed with (errno(3))."""
    if isinstance(error, TimeoutError):
        return Code.TIMED_OUT
    return _BY_ERRNO.get(error.errno or 0, Code.INTERNAL)
