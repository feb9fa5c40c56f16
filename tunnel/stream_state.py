"""The state of the one stream that a connection carries at a time (docs/protocol.md 8.1). Pure.

Both sides use the same table: it is symmetric but for who sends OPEN. RESET stands for
REFUSED as well. A pair that is missing from the table is a protocol error of whoever
caused it. The states between two streams are one: IDLE.

Why a late RESET is harmless: a side may send RESET after its own EOF, to say that it will not
read on. If the other side's EOF crosses it, both are done and the RESET arrives at an idle
connection, or during a later stream, whose number differs: no stream under way is touched. (What
is kept of an ended one, to be resumed, is forgotten: docs/protocol.md 8.2.) Nothing else can be
late: a side that is not done yet keeps the other from going idle.
"""

from __future__ import annotations

import enum
from typing import Final

from tunnel.errors import LocalProtocolError, RemoteProtocolError


class State(enum.Enum):
    """Where the current stream is."""

    IDLE = "idle"
    OPEN = "open"
    LOCAL_DONE = "local-done"  # we sent EOF, they still send
    REMOTE_DONE = "remote-done"  # they sent EOF, we still send
    RESETTING = "resetting"  # we sent RESET; what comes is thrown away until they are done

    __hash__ = object.__hash__  # they are compared by identity; Enum hashes the name, in Python


class Input(enum.Enum):
    """What happens to a stream."""

    SEND_OPEN = "send OPEN"
    SEND_DATA = "send DATA"
    SEND_EOF = "send EOF"
    SEND_RESET = "send RESET"
    RECEIVE_OPEN = "receive OPEN"
    RECEIVE_DATA = "receive DATA"
    RECEIVE_EOF = "receive EOF"
    RECEIVE_RESET = "receive RESET"

    __hash__ = object.__hash__


S, I = State, Input  # noqa: E741  # the table is read as a whole, so it is kept narrow
TRANSITIONS: dict[tuple[State, Input], State] = {
    (S.IDLE, I.SEND_OPEN): S.OPEN,
    (S.IDLE, I.RECEIVE_OPEN): S.OPEN,
    (S.OPEN, I.SEND_DATA): S.OPEN,
    (S.OPEN, I.RECEIVE_DATA): S.OPEN,
    (S.OPEN, I.SEND_EOF): S.LOCAL_DONE,
    (S.OPEN, I.RECEIVE_EOF): S.REMOTE_DONE,
    (S.OPEN, I.SEND_RESET): S.RESETTING,
    (S.OPEN, I.RECEIVE_RESET): S.IDLE,
    (S.LOCAL_DONE, I.RECEIVE_DATA): S.LOCAL_DONE,
    (S.LOCAL_DONE, I.RECEIVE_EOF): S.IDLE,
    (S.LOCAL_DONE, I.SEND_RESET): S.RESETTING,
    (S.LOCAL_DONE, I.RECEIVE_RESET): S.IDLE,
    (S.REMOTE_DONE, I.SEND_DATA): S.REMOTE_DONE,
    (S.REMOTE_DONE, I.SEND_EOF): S.IDLE,
    (S.REMOTE_DONE, I.SEND_RESET): S.IDLE,
    (S.REMOTE_DONE, I.RECEIVE_RESET): S.IDLE,
    (S.RESETTING, I.RECEIVE_DATA): S.RESETTING,
    (S.RESETTING, I.RECEIVE_EOF): S.IDLE,
    (S.RESETTING, I.RECEIVE_RESET): S.IDLE,
}

# A RESET received in these states is answered by one of ours: we were not done yet.
ANSWERED = frozenset({State.OPEN, State.REMOTE_DONE})

# DATA leaves the state as it is. In these it may be sent, and counts when it is received.
_SENDING = frozenset(state for state in State if (state, Input.SEND_DATA) in TRANSITIONS)
_RECEIVING = frozenset(
    state
    for state in State
    if (state, Input.RECEIVE_DATA) in TRANSITIONS and state is not State.RESETTING
)

MAX_STREAM = 2**32 - 1

# Before Python 3.12 an enumeration's members are slow to get at, and each frame asks for these.
_IDLE: Final = State.IDLE
_SEND_OPEN: Final = Input.SEND_OPEN
_RECEIVE_OPEN: Final = Input.RECEIVE_OPEN
_RECEIVE_DATA: Final = Input.RECEIVE_DATA
_RECEIVE_RESET: Final = Input.RECEIVE_RESET


class StreamState:
    """The current stream's number and state. Numbers rise by one with each OPEN."""

    def __init__(self) -> None:
        self.number = 0
        self.state = State.IDLE

    @property
    def is_idle(self) -> bool:
        """Whether the next OPEN may come."""
        return self.state is _IDLE

    @property
    def may_send_data(self) -> bool:
        """Whether our side may send DATA now, for which nothing else is to be done here."""
        return self.state in _SENDING

    def allows(self, step: Input) -> bool:
        """Whether our side may do `step` now."""
        return (self.state, step) in TRANSITIONS

    def send(self, step: Input) -> None:
        """Our side does `step`. Raises LocalProtocolError where the table has no such pair."""
        new = TRANSITIONS.get((self.state, step))
        if new is None:
            raise LocalProtocolError(f"cannot {step.value} while {self.state.value}")
        if step is _SEND_OPEN:
            if self.number >= MAX_STREAM:
                raise LocalProtocolError("this connection has used up its stream numbers")
            self.number += 1
        self.state = new

    def receive_data(self, number: int) -> bool:
        """`receive` for DATA, which nearly always counts."""
        if number == self.number and self.state in _RECEIVING:
            return True
        return self.receive(_RECEIVE_DATA, number)

    def receive(self, step: Input, number: int) -> bool:
        """They did `step` on stream `number`. True if it counts, False if it is thrown away.

        Raises RemoteProtocolError for what the table or the numbering does not allow.
        """
        if step is _RECEIVE_OPEN:
            if number != self.number + 1:
                raise RemoteProtocolError(f"OPEN of stream {number} after {self.number}")
        elif step is _RECEIVE_RESET and self._is_late(number):
            return False
        elif number != self.number:
            raise RemoteProtocolError(f"{step.value} on stream {number}, current is {self.number}")
        new = TRANSITIONS.get((self.state, step))
        if new is None:
            raise RemoteProtocolError(f"{step.value} while {self.state.value}")
        discarded = step is _RECEIVE_DATA and self.state is State.RESETTING
        if step is _RECEIVE_OPEN:
            self.number = number
        self.state = new
        return not discarded

    def _is_late(self, number: int) -> bool:
        """Whether stream `number` was under way here once and is not any more."""
        return 0 < number < self.number or (0 < number == self.number and self.is_idle)
