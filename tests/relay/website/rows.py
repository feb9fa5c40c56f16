"""A history that was, written straight into its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.history.tables import BUCKET, open_history

BEGAN = 1_700_000_000.0


@contextmanager
def history(folder: Path) -> Iterator[sqlite3.Connection]:
    database = open_history(folder)
    try:
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")
    finally:
        database.close()


def add_session(
    database: sqlite3.Connection,
    number: int,
    name: str,
    token: str,
    *,
    began: float = BEGAN,
    lasts: bool = False,
) -> None:
    ended, how = (None, "") if lasts else (began + 3_600, "ended")
    database.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, 1, 0, ?, ?, ?, 5000000, 70000, 2, 1)",
        (number, name, token, began, ended, how),
    )
    for step in range(60):
        amount = 40_000 * (1 + step * 7 % 11)
        row = (number, int(began // BUCKET) + step, amount, amount // 9, 1, 3)
        database.execute("INSERT INTO traffic VALUES (?, ?, ?, ?, ?, ?)", row)
    visits = (("join", "192.0.2.7"), ("connect", "192.0.2.7"), ("http", "2001:db8::7"))
    for place, (kind, source) in enumerate(visits):
        database.execute(
            "INSERT INTO visits VALUES (?, ?, ?, '', ?, ?, ?, 60, 4000, 300)",
            (number * 100 + place, number, kind, source, began + 60, began + 120),
        )


def add_request(
    database: sqlite3.Connection, number: int, session: int, path: str, status: int = 200
) -> None:
    database.execute(
        "INSERT INTO requests VALUES (?, ?, ?, ?, 'GET', ?, ?, 1234, 200, 0.012)",
        (number, session, session * 100 + 2, BEGAN + number, path, status),
    )
