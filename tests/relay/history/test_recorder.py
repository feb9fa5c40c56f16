"""From what happens to what is read of it, through the thread that writes."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.accounting import Accounting, How, Kind, Request
from relay.config import HistoryConfig
from relay.history import recorder, writer
from relay.history.reader import HistoryReader, Wanted, history_reader
from relay.history.recorder import Recorder, recording
from relay.history.rows import Batch
from relay.history.store import BROKEN, Store
from relay.history.tables import FILE, open_history
from tests.loops import run, until
from tunnel.names import ShareName

DAYS = 30


@dataclass(eq=False)
class Share:
    """See relay.accounting.Session."""

    name: ShareName
    token: str = "T"
    ends_at: float = 0.0
    http: bool = True
    passthrough: bool = False
    is_over: bool = False


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "WRITE_EVERY", 0.01)
    monkeypatch.setattr(writer, "RETRY_EVERY", 0.02)


def share(name: str = "frosty-weasel-0857") -> Share:
    return Share(ShareName(name))


def request(path: bytes = b"/", status: int = 200, size: int = 100) -> Request:
    return Request(b"GET", path, status, size, 10, 0.25)


@contextmanager
def reading(folder: Path) -> Iterator[Callable[[], HistoryReader]]:
    """A reader as of now, each time it is asked for: of whatever file there is by then."""
    readers = []

    def look() -> HistoryReader:
        readers.append(history_reader(folder))
        return readers[-1].__enter__()

    try:
        yield look
    finally:
        for each in readers:
            each.__exit__(None, None, None)


def test_what_happens_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path, HistoryConfig()), reading(tmp_path) as look:
            one = share()
            accounting.share_began(one)
            with accounting.visit(one, Kind.HTTP, "192.0.2.1", "admin") as visit:
                visit.request(request(b"/a\x1b[31m\xff", 404))
                visit.request(request(size=50))
                await until(lambda: len(look().requests()) == 2)
                (lasting,) = look().visits(Wanted(lasting=True))
                assert (lasting.received, lasting.sent) == (0, 0) or lasting.received == 150
            with accounting.visit(one, Kind.CONNECT, "192.0.2.2") as visit:
                visit.measure(lambda: (7, 3))
            accounting.share_ended(one, How.EXPIRED)
        with history_reader(tmp_path) as reader:
            (session,) = reader.sessions()
            assert (session.name, session.token, session.http) == (one.name, "T", True)
            assert (session.how, session.ended_at is not None) == ("expired", True)
            assert (session.received, session.sent) == (157, 23)
            assert (session.visits, session.requests) == (2, 2)
            later, earlier = reader.visits()
            assert (earlier.kind, earlier.label, earlier.source) == ("http", "admin", "192.0.2.1")
            assert (earlier.received, earlier.sent) == (150, 20)
            assert (later.kind, later.received, later.sent) == ("connect", 7, 3)
            assert later.ended_at is not None
            second, first = reader.requests()
            assert (first.path, first.status, first.method) == ("/a\\x1b[31m\\xff", 404, "GET")
            assert (second.received, second.sent, second.seconds) == (50, 10, 0.25)
            assert second.source == "192.0.2.1"
            graph = reader.traffic(Wanted(session=session.id), 60)
            assert sum(each.received for each in graph) == 157
            assert sum(each.visits for each in graph) == 2
            assert [each.what for each in reader.events(Wanted())] == ["ended", "began"]

    run(main)


def test_bytes_of_what_lasts_are_seen(tmp_path: Path) -> None:
    async def main() -> None:
        accounting = Accounting()
        with (
            recording(accounting, tmp_path, HistoryConfig(sources=False)) as it,
            reading(tmp_path) as look,
        ):
            one = share()
            accounting.share_began(one)
            moved = (1_000, 1)
            with accounting.visit(one, Kind.CONNECT, "192.0.2.2") as visit:
                visit.measure(lambda: moved)
                assert it is not None
                await it.look()
                await until(lambda: [each.received for each in look().visits()] == [1_000])
                assert look().visits()[0].source == ""
                moved = (2_500, 2)
            accounting.share_ended(one, How.ENDED)
        with history_reader(tmp_path) as reader:
            (session,) = reader.sessions()
            assert (session.received, session.sent, session.visits) == (2_500, 2, 1)

    run(main)


def test_ids_go_on_and_what_a_killed_relay_left_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(2):
            accounting = Accounting()
            with recording(accounting, tmp_path, HistoryConfig()):
                accounting.share_began(share())
                accounting.visit(one := share("b"), Kind.JOIN, "x").__enter__()
                assert one  # of a share that is not there: left out
        with history_reader(tmp_path) as reader:
            later, earlier = reader.sessions()
            assert later.id > earlier.id
            assert (later.ended_at, later.how) == (None, "")
            assert earlier.how == "stopped"
            assert earlier.ended_at is not None
            assert earlier.ended_at >= earlier.began_at
            assert not reader.visits()

    run(main)


def test_a_full_disk_costs_rows_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own limit of pages: it says the same as of a full disk."""
    limits = [20]
    monkeypatch.setattr(recorder, "MAX_ROWS", 100)
    opening = open_history

    def opened(folder: Path) -> sqlite3.Connection:
        database = opening(folder)
        database.execute(f"PRAGMA max_page_count = {limits[0]}")
        return database

    monkeypatch.setattr("relay.history.store.open_history", opened)

    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path, HistoryConfig()), reading(tmp_path) as look:
            one, other = share(), share("red-otter-0001")
            accounting.share_began(one)
            accounting.share_began(other)
            visits = [accounting.visit(one, Kind.HTTP, f"192.0.2.{n}") for n in range(3)]
            for visit in visits:
                visit.__enter__()
            await until(lambda: len(look().visits()) == 3)
            while "cannot be written" not in caplog.text:
                visits[0].request(request(b"/" + b"x" * 500))
                await asyncio.sleep(0.001)
            for _ in range(200):
                visits[0].request(request(b"/full"))
            visits[1].__exit__()
            accounting.share_ended(other, How.REVOKED)
            await until(lambda: "were left out" in caplog.text)
            limits[0] = 10_000
            await until(lambda: "is written again" in caplog.text)
            while not look().requests(Wanted(search="/again")):  # what waits is taken first
                visits[0].request(request(b"/again"))
                await asyncio.sleep(0.01)
            lasting = [each.source for each in look().visits(Wanted(lasting=True))]
            assert lasting == ["192.0.2.2", "192.0.2.0"]
            assert [each.name for each in look().sessions(Wanted(lasting=True))] == [one.name]
            ended = look().sessions(Wanted(lasting=False))
            assert [(each.name, each.how) for each in ended] == [(other.name, "revoked")]
            for visit in (visits[0], visits[2]):
                visit.__exit__()
        assert caplog.text.count("cannot be written") == 1

    with caplog.at_level(logging.WARNING):
        run(main)


def test_a_broken_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)

    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path, HistoryConfig()):
            one = share()
            accounting.share_began(one)
            await until(lambda: "was broken" in caplog.text)
            with reading(tmp_path) as look:
                await until(lambda: [each.name for each in look().sessions()] == [one.name])
            accounting.share_ended(one, How.ENDED)
        with history_reader(tmp_path) as reader:
            assert [each.how for each in reader.sessions()] == ["ended"]
        assert (tmp_path / BROKEN).read_bytes().startswith(b"this is no database")

    run(main)


def test_a_file_that_breaks_meanwhile_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite may notice late: as long as it needs no page of the disk's, all is well for it."""
    writing = Store.write

    def notices(store: Store, batch: Batch) -> None:
        monkeypatch.setattr(Store, "write", writing)
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path, HistoryConfig()), reading(tmp_path) as look:
            one = share()
            accounting.share_began(one)
            await until(lambda: len(look().sessions()) == 1)
            monkeypatch.setattr(Store, "write", notices)
            with accounting.visit(one, Kind.HTTP, "192.0.2.1") as visit:
                visit.request(request())
                await until(lambda: "was broken" in caplog.text)
                visit.request(request(b"/anew"))
                with reading(tmp_path) as again:
                    await until(lambda: any(r.path == "/anew" for r in again().requests()))
                    await until(lambda: [s.name for s in again().sessions()] == [one.name])

    run(main)


def test_no_place_to_write_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()

    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path / "file", HistoryConfig()):
            accounting.share_began(share())
            await until(lambda: "cannot be written" in caplog.text)

    run(main)
    assert "the last 1 rows" in caplog.text


@pytest.mark.parametrize("fault", [ValueError("ours"), sqlite3.ProgrammingError("ours")])
def test_a_fault_costs_its_batch(
    fault: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writing = Store.write

    def fails(store: Store, batch: Batch) -> None:
        monkeypatch.setattr(Store, "write", writing)
        raise fault

    if isinstance(fault, sqlite3.Error):
        fault.sqlite_errorcode = sqlite3.SQLITE_MISMATCH

    async def main() -> None:
        accounting = Accounting()
        with recording(accounting, tmp_path, HistoryConfig()), reading(tmp_path) as look:
            one = share()
            accounting.share_began(one)
            await until(lambda: len(look().sessions()) == 1)
            with accounting.visit(one, Kind.HTTP, "192.0.2.1") as visit:
                monkeypatch.setattr(Store, "write", fails)
                visit.request(request(b"/lost"))
                await until(lambda: "were left out" in caplog.text)
                visit.request(request(b"/next"))
                await until(lambda: [each.path for each in look().requests()] == ["/next"])

    run(main)


def test_the_recorder_is_quiet_when_nothing_happens(tmp_path: Path) -> None:
    async def main() -> None:
        it = Recorder(writer.Writer(tmp_path, DAYS))
        await it.look()
        it.close()

    run(main)
    with history_reader(tmp_path) as reader:
        assert not reader.sessions()


def test_two_write_while_one_takes_over_from_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        before, after = Accounting(), Accounting()
        with reading(tmp_path) as look:
            with recording(before, tmp_path, HistoryConfig()):
                before.share_began(one := share("before"))
                await until(lambda: len(look().sessions()) == 1)
                with recording(after, tmp_path, HistoryConfig()):
                    after.share_began(other := share("after"))
                    await until(lambda: len(look().sessions()) == 2)
                    before.share_began(share("still"))
                    await until(lambda: len(look().sessions()) == 3)
                    for accounting, each in ((before, one), (after, other)):
                        with accounting.visit(each, Kind.HTTP, each.name) as visit:
                            visit.request(request())
                    await until(lambda: len(look().requests()) == 2)
                    before.share_ended(one, How.STOPPED)
            visits = look().visits()
            assert sorted((each.name, each.source) for each in visits) == [
                ("after", "after"),
                ("before", "before"),
            ]
            assert all(each.ended_at for each in visits)
            found = {each.name: each.how for each in look().sessions()}
            assert found == {"before": "stopped", "after": "", "still": ""}

    run(main)
