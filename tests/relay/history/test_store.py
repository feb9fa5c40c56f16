import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.history import store as store_module
from relay.history import tables
from relay.history.reader import Wanted, history_reader
from relay.history.rows import Batch, FlowRow, SessionRow, VisitRow, shown
from relay.history.store import Store
from relay.history.tables import MIGRATIONS, open_history

FULL = 200 * 1024  # bytes that a file of the small process may have
LATER = 1e9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path)) as made:
        yield made


def batch(first: int, count: int, at: float) -> Batch:
    """A session that has ended, with as many visits of a request each."""
    numbers = range(first + 1, first + 1 + count)
    return Batch(
        {first: SessionRow(first, f"n-{first}", "T", True, False, at, at + 1, "ended")},
        {n: VisitRow(n, first, "http", "", "192.0.2.1", at, at + 1, 1.0, 10, 5) for n in numbers},
        [(first, n, at, "GET", "/", 200, 10, 5, 0.1) for n in numbers],
        [FlowRow(first, at, 10 * count, 5 * count, count, count)],
    )


def counts(folder: Path) -> list[int]:
    with closing(open_history(folder)) as database:
        return [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("sessions", "visits", "requests", "traffic")
        ]


def test_what_is_old_is_forgotten(tmp_path: Path, store: Store) -> None:
    store.write(batch(1, 3, 1_000.0))
    store.write(batch(10, 3, 2_000.0))
    lasting = batch(20, 1, 500.0)
    lasting.sessions[20] = SessionRow(20, "n-20", "T", True, False, 500.0, None, "")
    store.write(lasting)
    assert counts(tmp_path) == [3, 7, 7, 3]
    assert store.forget(999.0) == 3  # the request, the visit and the traffic of what lasts
    assert store.forget(1_500.0) == 3 + 3 + 1 + 1
    assert counts(tmp_path) == [2, 3, 3, 1]
    assert store.forget(1_500.0) == 0
    with history_reader(tmp_path) as reader:
        assert [each.name for each in reader.sessions()] == ["n-20", "n-10"]


def test_what_is_too_much_is_forgotten(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"sessions": 2, "visits": 4, "requests": 3, "traffic": 1}
    monkeypatch.setattr(store_module, "MOST_ROWS", limits)
    monkeypatch.setattr(store_module, "FORGET_AT_ONCE", 2)
    for number in range(3):
        store.write(batch(1 + number * 10, 2, 1_000.0 * (number + 1)))
    assert counts(tmp_path) == [3, 6, 6, 3]
    rounds = 0
    while store.forget(0.0):
        rounds += 1
    assert rounds == 2
    assert counts(tmp_path) == [2, 4, 3, 1]
    with history_reader(tmp_path) as reader:
        assert [each.name for each in reader.sessions()] == ["n-21", "n-11"]
        assert [each.at for each in reader.traffic(Wanted(), 60)] == [3_000]


def test_a_batch_is_whole_or_nothing(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_TOTALS", "INSERT INTO nowhere SELECT ?1, ?2")
    with pytest.raises(sqlite3.OperationalError):
        store.write(batch(1, 3, 1_000.0))
    assert counts(tmp_path) == [0, 0, 0, 0]


def test_an_older_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(tmp_path)) as store:
        store.write(batch(1, 1, 1_000.0))
    later = (*MIGRATIONS, ("ALTER TABLE visits ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",))
    monkeypatch.setattr(tables, "MIGRATIONS", later)
    with closing(open_history(tmp_path)) as database:
        assert database.execute("SELECT kind, colour FROM visits").fetchall() == [("http", "red")]
        assert database.execute("PRAGMA user_version").fetchone() == (len(later),)


_WRITES_UNTIL_FULL = """
import pathlib, sqlite3, sys
from relay.history.store import Store
from tests.relay.history.test_store import batch
folder, at = pathlib.Path(sys.argv[1]), 1000.0
store = Store(folder)
for number in range(1000):
    try:
        store.write(batch(1 + number * 100, 50, 1000.0))
    except sqlite3.OperationalError as error:
        print(error.sqlite_errorcode & 0xFF, number)
        break
"""


@pytest.mark.programs
def test_a_disk_that_takes_no_more_leaves_a_whole_file(tmp_path: Path) -> None:
    """The kernel refuses to let its files grow, as a full disk does."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))

    done = subprocess.run(
        [sys.executable, "-c", _WRITES_UNTIL_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        preexec_fn=limited,
    )
    code, written = map(int, done.stdout.split())
    assert code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    assert written > 0
    with closing(Store(tmp_path)) as store:
        store.write(batch(10**6, 1, 1_000.0))
    assert counts(tmp_path)[:3] == [written + 1, written * 50 + 1, written * 50 + 1]
    with closing(open_history(tmp_path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"/a/b%20c", "/a/b%20c"),
        (b"/\x1b[31m\r\n\x00", "/\\x1b[31m\\r\\n\\x00"),
        ("/käse".encode(), "/käse"),
        (b"/\xff\xfe", "/\\xff\\xfe"),
        ("/\N{RIGHT-TO-LEFT OVERRIDE}".encode(), "/\\u202e"),
        (b"/" + b"x" * 9, "/" + "x" * 7 + "\N{HORIZONTAL ELLIPSIS}"),
    ],
)
def test_nothing_unprintable_is_kept(data: bytes, text: str) -> None:
    assert shown(data, 8 if b"x" * 9 in data else 100) == text
