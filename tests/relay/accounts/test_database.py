import os
import sqlite3
import stat
from pathlib import Path

import pytest

from relay.accounts import database
from relay.accounts.database import FILE, MIGRATIONS, open_accounts
from tunnel.errors import VshareError

OTHER = 12_345  # somebody's number


def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    before = os.umask(0)
    try:
        accounts = open_accounts(folder)
    finally:
        os.umask(before)
    accounts.execute("INSERT INTO users (name, created_at) VALUES ('a', 0)")
    files = list(folder.iterdir())
    assert len(files) == 3  # -wal and -shm, too
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert accounts.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    accounts.close()


def test_an_older_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_accounts(tmp_path) as accounts:
        accounts.execute("INSERT INTO users (name, created_at) VALUES ('alice', 0)")
    accounts.close()
    later = (*MIGRATIONS, ("ALTER TABLE users ADD COLUMN mail TEXT NOT NULL DEFAULT 'none'",))
    monkeypatch.setattr(database, "MIGRATIONS", later)
    for _ in range(2):
        accounts = open_accounts(tmp_path)
        assert accounts.execute("SELECT name, mail FROM users").fetchall() == [("alice", "none")]
        assert accounts.execute("PRAGMA user_version").fetchone() == (len(later),)
        accounts.close()
    monkeypatch.undo()
    with pytest.raises(VshareError, match="is of a later vrelay"):
        open_accounts(tmp_path)


def test_half_a_migration_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_accounts(tmp_path).close()
    later = (*MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE TABLE users (a)"))
    monkeypatch.setattr(database, "MIGRATIONS", later)
    with pytest.raises(VshareError, match="cannot be used"):
        open_accounts(tmp_path)
    monkeypatch.undo()
    accounts = open_accounts(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        accounts.execute("SELECT * FROM extra")
    accounts.close()


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(VshareError, match="file is not a database"):
        open_accounts(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(VshareError, match="Not a directory"):
        open_accounts(tmp_path / "file" / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_locks_nobody_out(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    accounts = open_accounts(tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {(OTHER, OTHER)}
    accounts.close()
