"""Finds out which connections are dead, soon and without taking a slow one for a dead one.

A way that breaks in silence (another network, a NAT that forgot, a relay without power) tells
nobody. So quiet connections are pinged, and one that does not answer is *in doubt*: a new one is
dialled. When that comes through, whatever is still silent was dead, and is ended. When it does
not, the way itself is down, and nothing is gained by ending anything: TCP may yet go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tunnel.connection import Connection

TICK = 1.0  # seconds between looks
PING_EVERY = 10.0  # seconds of silence; NATs forget after 30 and more
PATIENCE = 3.0  # seconds that an answer may take before the way is tried anew
PATIENCE_AFTER_CHANGE = 1.0  # seconds; the network changed, so most likely they are dead
SILENCE_ENDS = 35.0  # seconds without a byte although pings were sent
SLEPT = 4.0  # seconds: a look that comes this late means that we were stopped, or the machine slept


@dataclass(frozen=True, slots=True)
class _Question:
    """A PING without an answer. `heard_at` is compared for being another: the loop's clock has
    milliseconds, in which a PONG may well come."""

    heard_at: float
    fine_until: float


class Liveness:
    """Looks after `connections`, whose set it is given at each call."""

    def __init__(self, now: float) -> None:
        self._asked: dict[Connection, _Question] = {}
        self._looked_at = now

    def look(self, connections: Iterable[Connection], now: float) -> bool:
        """Ping what is quiet, end what was silent for long; whether any is in doubt."""
        if now - self._looked_at > SLEPT:
            self.suspect(connections, now)
        self._looked_at = now
        for connection in list(connections):
            if connection.is_paused:
                self._asked.pop(connection, None)
            elif self._answered(connection):
                if now - connection.heard_at >= PING_EVERY:
                    self._ask(connection, now, PATIENCE)
            elif now - connection.heard_at > SILENCE_ENDS:
                connection.abort("the share was silent")
        self._asked = {each: asked for each, asked in self._asked.items() if not each.is_lost}
        return any(now >= asked.fine_until for asked in self._asked.values())

    def suspect(self, connections: Iterable[Connection], now: float) -> None:
        """The network is another one, or we have slept: ask all of them at once. Those whose
        address this host has lost need not be asked."""
        for connection in list(connections):
            if connection.is_stranded:
                connection.abort("this host's address has changed")
            elif not connection.is_paused and not connection.is_lost:
                self._ask(connection, now, PATIENCE_AFTER_CHANGE)

    def came_through(self, began: float) -> None:
        """A connection whose dialling `began` then is there: end what was asked before, should
        have answered by then, and is silent still."""
        for connection, asked in list(self._asked.items()):
            if asked.fine_until <= began and not self._answered(connection):
                connection.abort("it was silent while a new connection came through")

    def _ask(self, connection: Connection, now: float, patience: float) -> None:
        self._asked[connection] = _Question(connection.heard_at, now + patience)
        connection.ping()

    def _answered(self, connection: Connection) -> bool:
        """Whether nothing is waited for; forgets what was."""
        asked = self._asked.get(connection)
        if asked is None:
            return True
        if connection.heard_at == asked.heard_at:
            return False
        del self._asked[connection]
        return True
