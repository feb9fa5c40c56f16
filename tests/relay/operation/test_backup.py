"""A relay that is restored from a backup is the one that was."""

from __future__ import annotations

import sqlite3
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounts.book import account_book
from relay.cli import cli
from relay.config import HistoryConfig, RelayConfig
from relay.operation.backup import back_up
from relay.server import Relay
from tests.loops import run
from tests.relay.tiny_share import tiny_share
from tunnel.errors import VshareError
from vshare.refusals import RejectedError

NAME = "quiet-otter-lamp"


def config_of(folder: Path) -> RelayConfig:
    return RelayConfig(state_dir=folder, history=HistoryConfig())


def test_what_was_backed_up_while_it_ran_is_a_whole_relay(tmp_path: Path) -> None:
    before, after, file = tmp_path / "before", tmp_path / "after", tmp_path / "relay.tar"
    key = Ed25519PrivateKey.generate()

    async def lose() -> str:
        async with Relay(config_of(before)) as relay:
            with account_book(before) as book:
                book.create_user("ada", time.time())
            async with tiny_share(relay.address, None, name=NAME, key=key):
                back_up(before, file)
            return relay.fingerprint

    async def restore(fingerprint: str) -> None:
        async with Relay(config_of(after)) as relay:
            assert relay.fingerprint == fingerprint
            async with tiny_share(relay.address, None, name=NAME, key=key):
                pass
            with pytest.raises(RejectedError, match="belongs to somebody else"):
                async with tiny_share(relay.address, None, name=NAME):
                    pass

    fingerprints: list[str] = []

    async def first() -> None:
        fingerprints.append(await lose())

    run(first)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        archive.extractall(after)
    assert {"names.sqlite", "accounts.sqlite", "gateway.key", "relay.key"} <= {
        path.name for path in after.iterdir()
    }
    with account_book(after) as book:
        assert [user.name for user in book.users()] == ["ada"]
    run(lambda: restore(fingerprints[0]))


def test_a_database_that_others_write_is_whole(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "b.tar"
    folder.mkdir()
    database = sqlite3.connect(folder / "x.sqlite")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE t (n)")
    database.execute("INSERT INTO t VALUES (1)")
    database.commit()
    database.execute("INSERT INTO t VALUES (2)")  # by a transaction that has not ended
    assert back_up(folder, file) == ["x.sqlite"]
    database.rollback()
    database.close()
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "out")
    copy = sqlite3.connect(tmp_path / "out" / "x.sqlite")
    assert copy.execute("SELECT n FROM t").fetchall() == [(1,)]
    copy.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "out", "state"]


def test_nothing_is_overwritten_and_failing_leaves_nothing(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "b.tar"
    folder.mkdir()
    with pytest.raises(VshareError, match="nothing in"):
        back_up(folder, file)
    (folder / "gateway.key").write_text("k")
    file.write_text("an earlier one")
    with pytest.raises(VshareError, match="is there already"):
        back_up(folder, file)
    with pytest.raises(VshareError, match="no backup of"):
        back_up(folder, tmp_path / "nowhere" / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "state"]


def test_the_command(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "b.tar"
    folder.mkdir()
    (folder / "gateway.key").write_text("k")
    words = ["backup", str(file), "--state-dir", str(folder), "--json"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    with tarfile.open(file) as archive:
        assert archive.getnames() == ["gateway.key"]
