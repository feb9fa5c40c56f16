"""Tokens that are void wherever they were made: each relay of a cluster keeps what it revoked, and
what it has heard of. Pure.

A revocation is kept as long as its token is heard of, and KEEP longer: a relay that comes back with
data of a time before brings no token back. Times are seconds since the epoch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable

from tunnel.relay_token import ID_FORM

MOST = 10_000  # those heard of last; each is some 20 bytes of what relays tell each other
KEEP = 400 * 86_400.0  # seconds: longer than anybody keeps a backup, or leaves a relay off
REFRESH = 86_400.0  # seconds: how old it may get while its token is heard of
_NOTE = (
    "INSERT INTO revocations (token, at) VALUES (?, ?)"
    " ON CONFLICT (token) DO UPDATE SET at = max(at, excluded.at)"
)
_DROP = (
    "DELETE FROM revocations WHERE token IN"
    " (SELECT token FROM revocations ORDER BY at DESC, token LIMIT -1 OFFSET ?)"
)

Revocation = tuple[str, float]  # a token's ID, and when it was revoked, or heard of after that


def revocations(database: sqlite3.Connection) -> list[Revocation]:
    """Those that are kept, the latest first. Raises sqlite3.Error."""
    return database.execute("SELECT token, at FROM revocations ORDER BY at DESC, token").fetchall()


def keep_revocations(database: sqlite3.Connection, new: Iterable[Revocation], now: float) -> None:
    """Add those, and let go what is too old or too many. A token that is in `database` itself is
    marked there. Raises sqlite3.Error."""
    new = list(new)
    database.executemany(_NOTE, new)
    database.executemany(
        "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
        [(at, token) for token, at in new],
    )
    database.execute("DELETE FROM revocations WHERE at < ?", (now - KEEP,))
    database.execute(_DROP, (MOST,))


def news(
    own: Iterable[Revocation],
    heard: Iterable[Revocation],
    good_elsewhere: Iterable[str],
    good_here: Collection[str],
    now: float,
) -> list[Revocation]:
    """What a relay that has `own` has to add: of what it `heard`, and of its own those whose tokens
    another still takes for good, or this one itself."""
    known = dict(own)
    new = {}
    for token, at in heard:
        at = min(at, now)
        if ID_FORM.fullmatch(token) and at > max(known.get(token, 0.0) + REFRESH / 2, now - KEEP):
            new[token] = known[token] = at
    for token in good_elsewhere:
        if known.get(token, now) < now - REFRESH:
            new[token] = known[token] = now
    new |= {token: known[token] for token in good_here if token in known}
    return list(new.items())
