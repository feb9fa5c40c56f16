"""Redis (and Valkey, KeyDB) without a password: it answers PING. Pure.

With a password it says NOAUTH, in protected mode DENIED (https://redis.io/docs, RESP).
"""

from __future__ import annotations

from vshare.weaknesses.danger import SOUND, WEAK, Verdict, Weakness
from vshare.weaknesses.dialogue import Conversation, Step

PORT = 6379
PROCESSES = frozenset({"redis-server", "valkey-server", "keydb-server"})
WEAKNESS = Weakness(
    "Redis without a password",
    "a guest can read and change everything in it, and may be able to run programs through it",
    "set requirepass in redis.conf, or bind it to 127.0.0.1",
)
_PING = b"*1\r\n$4\r\nPING\r\n"
# NOPERM: a default user without a password that may do next to nothing.
_SOUND = (b"-NOAUTH", b"-DENIED", b"-NOPERM", b"-WRONGPASS")


def converse() -> Conversation:
    """Ask for a PONG."""
    answer = yield Step(_PING)
    if answer == b"+PONG\r\n":
        return WEAK
    return SOUND if answer.startswith(_SOUND) else Verdict(note="it does not answer as Redis does")
