from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import state
from tunnel.errors import UsageError, VshareError


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "BASE", tmp_path / "labs")
    return tmp_path / "labs"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def dead_process() -> state.Process:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        found = state.process(process.pid)
    return found


def test_a_lab_is_found_again() -> None:
    made = state.create()
    assert state.find(None) == made
    assert state.find(made.id).owner.alive()


def test_two_labs_of_one_process_do_not_meet() -> None:
    first, second = state.create(), state.create()
    assert first.id != second.id
    assert state.find(second.id) == second


def test_of_several_labs_one_has_to_be_named() -> None:
    first, second = state.create(), state.create()
    with pytest.raises(UsageError, match=f"several.*{first.id}.*{second.id}") as caught:
        state.find(None)
    assert "--lab" in caught.value.hint


def test_no_lab_says_how_to_start_one() -> None:
    with pytest.raises(UsageError, match="no lab is up") as caught:
        state.find(None)
    assert "make lab" in caught.value.hint


def test_an_unknown_lab_names_the_known_ones() -> None:
    made = state.create()
    with pytest.raises(UsageError, match=made.id):
        state.find("0")


def test_clean_takes_a_dead_owners_lab_and_kills_its_hosts(
    sleeper: subprocess.Popen[bytes], base: Path
) -> None:
    made = state.create()
    made.owner = dead_process()
    made.hosts["alice"] = state.HostState(state.process(sleeper.pid), "10.21.0.2", "/", {})
    made.save()
    assert state.clean() == [made.id]
    assert sleeper.wait(5) == -9
    assert not base.exists()


def test_clean_leaves_a_living_owners_lab_alone() -> None:
    made = state.create()
    assert state.clean() == []
    assert state.find(made.id)


def test_clean_leaves_a_process_alone_that_took_a_dead_hosts_pid(
    sleeper: subprocess.Popen[bytes],
) -> None:
    made = state.create()
    made.owner = dead_process()
    other = state.Process(sleeper.pid, state.process(sleeper.pid).started - 1)
    made.hosts["alice"] = state.HostState(other, "10.21.0.2", "/", {})
    made.save()
    assert state.clean() == [made.id]
    assert sleeper.poll() is None


def test_clean_takes_a_lab_that_died_before_it_wrote_anything(base: Path) -> None:
    folder = base / f"{dead_process().pid:x}"
    folder.mkdir(parents=True)
    assert state.clean() == [folder.name]
    assert not folder.exists()


def test_a_process_that_is_gone_has_no_start_time() -> None:
    gone = dead_process()
    assert not gone.alive()
    with pytest.raises(VshareError, match=str(gone.pid)):
        state.process(gone.pid)
