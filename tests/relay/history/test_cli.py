import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay import cli
from relay.history.cli import parse_since
from relay.history.tables import FILE, open_history
from tests.commands import Command
from tests.relay.history.test_reader import fill
from tunnel.errors import UsageError


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vrelay", cli.main, monkeypatch, capfd)


@pytest.fixture
def state(tmp_path: Path) -> str:
    with closing(open_history(tmp_path)) as database:
        fill(database)
        database.execute("UPDATE requests SET path = '/\x1b[2J' WHERE id = 3")  # whoever wrote it
    return str(tmp_path)


def test_tables_for_people(vrelay: Command, state: str) -> None:
    shares = vrelay("history", "--state-dir", state)
    assert (shares.code, shares.err) == (0, "")
    lines = shares.out.splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:7] == [
        "1970-01-01", "00:01:40", "ada-1", "token", "T-ada", "ended", "for",
    ]  # fmt: skip
    assert "1 min 40 s" in lines[2]
    visits = vrelay("history", "ada-1", "--connections", "--state-dir", state).out.splitlines()
    assert [line.split()[3:5] for line in visits] == [
        ["http", "192.0.2.3"],
        ["http", "192.0.2.1"],
        ["join", "192.0.2.1"],
    ]
    assert "lasts" in visits[0]
    requests = vrelay("history", "--requests", "--state-dir", state).out
    assert "\x1b" not in requests
    assert "GET  /50%_off  200  100 B out  10 B in  0.500 s" in requests
    limited = vrelay("history", "--requests", "--limit", "2", "--state-dir", state)
    assert len(limited.out.splitlines()) == 2
    assert "there may be more requests" in limited.err


def test_json_for_programs(vrelay: Command, state: str) -> None:
    found = {
        what: json.loads(vrelay("history", *words, "--json", "--state-dir", state).out)
        for what, *words in (
            ("shares", "--search", "BOB"),
            ("connections", "--connections", "bob-1"),
            ("requests", "--requests", "--since", "1970-01-01T00:06"),
        )
    }
    (share,) = found["shares"]["shares"]
    assert (share["name"], share["how"], share["ended_at"]) == ("bob-1", "lost", 300.0)
    (visit,) = found["connections"]["connections"]
    assert (visit["source"], visit["received"], visit["sent"]) == ("192.0.2.2", 10, 20)
    (request,) = found["requests"]["requests"]
    assert (request["at"], request["status"], request["label"]) == (411.0, 200, "")


def test_nothing_is_said_to_be_there(vrelay: Command, tmp_path: Path) -> None:
    told = vrelay("history", "nobody", "--state-dir", str(tmp_path))
    assert (told.code, told.out) == (0, "")
    assert told.err == "the history has no such shares\n"
    empty = vrelay("history", "--json", "--state-dir", str(tmp_path))
    assert json.loads(empty.out) == {"shares": []}


def test_what_cannot_be_done_is_said(vrelay: Command, tmp_path: Path) -> None:
    vrelay("history", "--since", "soon").check_error(2, "not a time: 'soon'")
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    vrelay("history", "--state-dir", str(tmp_path)).check_error(1, "cannot be read")


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90m", 1e9 - 5400),
        ("2d", 1e9 - 172_800),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC).timestamp()),
        ("2026-03-01T14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC).timestamp()),
        ("2026-03-01T14:30+02:00", datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp()),
    ],
)
def test_since_when(text: str, then: float) -> None:
    assert parse_since(text, 1e9) == then


@pytest.mark.parametrize("text", ["", "x", "1y", "9999999d", "2026-13-01", "-1d", "٣d"])
def test_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        parse_since(text, 1e9)
