"""The one tree of errors.

VshareError                  anything the user is told in one paragraph
├── UsageError               the command line or a value in it is wrong        (exit 2)
├── ProtocolError
│   ├── RemoteProtocolError  the peer broke the protocol: code, text
│   └── LocalProtocolError   we asked for something that the state does not allow
├── RefusedError             the other side said no: code, text
├── LostError                the connection to the other side is gone
└── (each package adds its own below VshareError)

Texts are lowercase, without a full stop, and name the value. `hint` is what to do next.
Only the `cli` modules print them.
"""

from __future__ import annotations

from tunnel.codes import Code


class VshareError(Exception):
    """An expected failure. `hint` tells the user what to do about it; it may be empty."""

    exit_code = 1

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class UsageError(VshareError):
    """The command line, or a value given on it, cannot be used."""

    exit_code = 2


class ProtocolError(VshareError):
    """The protocol was broken, by them or by us."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what docs/protocol.md does not allow; `code` is what it is answered with."""

    def __init__(self, text: str, code: Code = Code.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the state does not allow: a bug."""


class RefusedError(VshareError):
    """The other side refused a stream, a flow or a join, and said why."""

    def __init__(self, code: Code, text: str, hint: str = "") -> None:
        super().__init__(text, hint)
        self.code = code


class LostError(VshareError):
    """The tunnel's connection to the other side is gone."""
