import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.history.reader import Event, HistoryReader, Page, TrafficPoint, Wanted, history_reader
from relay.history.tables import FILE, open_history
from tunnel.errors import VshareError

EVERYTHING = Wanted(
    session=1, name="a", kind="http", search="%_\\", since=0.0, until=9e9, lasting=True, status=2
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_history(tmp_path)) as made:
        yield made


def fill(database: sqlite3.Connection) -> None:
    """Three sessions of two owners: ada's of long ago and of now, under one name; bob's."""
    database.executemany(
        "INSERT INTO sessions (id, name, token, http, passthrough, began_at, ended_at, how)"
        " VALUES (?, ?, ?, 1, 0, ?, ?, ?)",
        [
            (1, "ada-1", "T-ada", 100.0, 200.0, "ended"),
            (2, "bob-1", "T-bob", 150.0, 300.0, "lost"),
            (3, "ada-1", "T-ada", 400.0, None, ""),
        ],
    )
    database.executemany(
        "INSERT INTO visits VALUES (?, ?, ?, '', ?, ?, ?, 1, 10, 20)",
        [
            (1, 1, "join", "192.0.2.1", 110.0, 120.0),
            (2, 1, "http", "192.0.2.1", 115.0, 130.0),
            (3, 2, "connect", "192.0.2.2", 160.0, 170.0),
            (4, 3, "http", "192.0.2.3", 410.0, None),
        ],
    )
    database.executemany(
        "INSERT INTO requests VALUES (?, ?, ?, ?, 'GET', ?, ?, 100, 10, 0.5)",
        [
            (1, 1, 2, 116.0, "/50%_off", 200),
            (2, 1, 2, 117.0, "/50x_off", 404),
            (3, 3, 4, 411.0, "/now", 200),
        ],
    )
    database.executemany(
        "INSERT INTO traffic VALUES (?, ?, 100, 10, 1, 2)", [(1, 1), (1, 2), (2, 2), (3, 7)]
    )


def all_of(reader: HistoryReader, wanted: Wanted) -> list[int]:
    """How many rows of each kind."""
    return [
        len(reader.sessions(wanted)),
        len(reader.visits(wanted)),
        len(reader.requests(wanted)),
        len(reader.traffic(wanted, 60)),
        len(reader.events(wanted)),
    ]


def test_there_is_nothing_where_nothing_is_kept(tmp_path: Path) -> None:
    for tokens in (None, [], ["T"]):
        with history_reader(tmp_path / "none", tokens) as reader:
            assert all_of(reader, EVERYTHING) == all_of(reader, Wanted()) == [0] * 5
            assert reader.session(1) is None
            assert reader.names() == []
    assert not list(tmp_path.iterdir())


def test_it_is_read_while_it_is_written(tmp_path: Path, database: sqlite3.Connection) -> None:
    with history_reader(tmp_path) as reader:
        assert all_of(reader, EVERYTHING) == [0] * 5
        database.execute("BEGIN IMMEDIATE")
        fill(database)
        assert reader.names() == []
        database.execute("COMMIT")
        assert reader.names() == ["ada-1", "bob-1"]
        assert all_of(reader, Wanted()) == [3, 4, 3, 3, 6]


def test_nobody_sees_what_is_others(tmp_path: Path, database: sqlite3.Connection) -> None:
    fill(database)
    with history_reader(tmp_path, ["T-bob", "T-bob2"]) as reader:
        assert all_of(reader, Wanted()) == [1, 1, 0, 1, 2]
        assert reader.names() == ["bob-1"]
        assert reader.session(2) is not None
        for session in (1, 3):
            assert reader.session(session) is None
            assert all_of(reader, Wanted(session=session)) == [0] * 5
        assert all_of(reader, Wanted(name="ada-1")) == [0] * 5
    with history_reader(tmp_path, []) as reader:
        assert all_of(reader, Wanted()) == [0] * 5


def test_what_is_searched_for_is_a_text(tmp_path: Path, database: sqlite3.Connection) -> None:
    fill(database)
    with history_reader(tmp_path) as reader:
        found = {
            text: [each.id for each in reader.requests(Wanted(search=text))]
            for text in ("0%_o", "50", "%", "_", "\\", "GET", "192.0.2.3", "ADA", "' OR 1 --")
        }
        assert found == {
            "0%_o": [1],
            "50": [2, 1],
            "%": [1],
            "_": [2, 1],
            "\\": [],
            "GET": [3, 2, 1],
            "192.0.2.3": [3],
            "ADA": [3, 2, 1],
            "' OR 1 --": [],
        }
        assert [each.id for each in reader.sessions(Wanted(search="t-b"))] == [2]
        assert [each.id for each in reader.visits(Wanted(search=".2.1"))] == [2, 1]


def test_rows_are_narrowed_and_paged(tmp_path: Path, database: sqlite3.Connection) -> None:
    fill(database)
    with history_reader(tmp_path) as reader:
        assert [each.id for each in reader.sessions(Wanted(since=250.0))] == [3, 2]
        assert [each.id for each in reader.sessions(Wanted(until=150.0))] == [1]
        assert [each.id for each in reader.sessions(Wanted(lasting=True))] == [3]
        assert [each.id for each in reader.visits(Wanted(kind="http", lasting=False))] == [2]
        assert [each.path for each in reader.requests(Wanted(status=4))] == ["/50x_off"]
        assert [each.source for each in reader.requests(Wanted(name="ada-1"))] == [
            "192.0.2.3",
            "192.0.2.1",
            "192.0.2.1",
        ]
        first = reader.visits(page=Page(limit=3))
        assert [each.id for each in first] == [4, 3, 2]
        assert [each.id for each in reader.visits(page=Page(first[-1].id, 3))] == [1]


def test_a_graph_and_a_time_line(tmp_path: Path, database: sqlite3.Connection) -> None:
    fill(database)
    with history_reader(tmp_path) as reader:
        assert reader.traffic(Wanted(), 60) == [
            TrafficPoint(60, 100, 10, 1, 2),
            TrafficPoint(120, 200, 20, 2, 4),
            TrafficPoint(420, 100, 10, 1, 2),
        ]
        assert reader.traffic(Wanted(name="ada-1", until=420.0), 180) == [
            TrafficPoint(0, 200, 20, 2, 4)
        ]
        assert reader.events(Wanted(name="ada-1")) == [
            Event(400.0, 3, "ada-1", "began", ""),
            Event(200.0, 1, "ada-1", "ended", "ended"),
            Event(110.0, 1, "ada-1", "join", "192.0.2.1"),
            Event(100.0, 1, "ada-1", "began", ""),
        ]
        assert [each.at for each in reader.events(Wanted(since=110.0, until=200.0))] == [
            150.0,
            110.0,
        ]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(VshareError, match="cannot be read"), history_reader(tmp_path):
        pass
    (tmp_path / FILE).unlink()
    with closing(open_history(tmp_path)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(VshareError, match="later vrelay"), history_reader(tmp_path):
        pass


def test_rows_in_the_order_of_their_times(tmp_path: Path, database: sqlite3.Connection) -> None:
    """Whatever their IDs: page after page has each once, whose tokens they may be."""
    with database:
        for number in range(40):
            at = 100.0 + number * 7 % 5
            database.execute(
                "INSERT INTO sessions (id, name, token, http, passthrough, began_at, ended_at, how)"
                " VALUES (?, 'n', ?, 1, 0, ?, NULL, '')",
                (number, "T-ada" if number % 2 else "T-bob", at),
            )
            database.execute(
                "INSERT INTO visits VALUES (?, ?, 'http', '', '', ?, NULL, 1, 10, 20)",
                (number, number, at),
            )
            database.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, 'GET', '/', 200, 1, 1, 0.5)",
                (number, number, number, at),
            )
    for tokens, expected in ((None, 40), (["T-ada"], 20)):
        with history_reader(tmp_path, tokens) as reader:
            for of in ("sessions", "visits", "requests"):
                found: list[tuple[float, int]] = []
                while True:
                    below = found[-1] if found else None
                    page = getattr(reader, of)(Wanted(), Page(limit=3, by_time=True, below=below))
                    if not page:
                        break
                    field = "at" if of == "requests" else "began_at"
                    found += [(getattr(row, field), row.id) for row in page]
                assert len(found) == expected
                assert found == sorted(set(found), reverse=True)
