from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mutations.copy import ROOT, Copy, copy_source, sources
from tests.mutations.every import EVERY
from tests.mutations.mutation import Mutation, StaleError, mutated, read
from tests.mutations.runner import Outcome, Verdict, judge

NAMES = [mutation.name for mutation in EVERY]


@pytest.mark.parametrize("mutation", EVERY, ids=NAMES)
def test_the_table_fits_the_source(mutation: Mutation) -> None:
    """Part of every run: who changes a defence is told at once that its mutation is stale."""
    assert mutated(mutation, read(ROOT, mutation)) != read(ROOT, mutation)
    for test in mutation.tests:
        file, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / file).read_text()


def test_names_are_unlike() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_stale_mutations_are_told() -> None:
    def mutation(old: str, new: str) -> Mutation:
        return Mutation("m", "f.py", old, new, ())

    assert mutated(mutation("a", "b"), "a = 1\n") == "b = 1\n"
    for old, new, source in (("a", "b", "x = 1"), ("a", "b", "a = a"), ("a", "(", "a = 1")):
        with pytest.raises(StaleError):
            mutated(mutation(old, new), source)
    with pytest.raises(StaleError):
        read(Path("/nonexistent"), mutation("a", "b"))


@pytest.mark.mutation
@pytest.mark.parametrize("name", NAMES)
def test_a_defence_that_is_missing_is_missed(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert outcome.verdict is Verdict.CAUGHT, outcome.text


@pytest.mark.mutation
def test_what_a_copy_says(tmp_path: Path) -> None:
    """Each verdict once: one that is caught, one that nobody misses, tests that are not there."""
    copy_source(sources(ROOT), ROOT, tmp_path)
    test = "tests/vshare/test_guests.py::test_only_listed_certificates"
    file, old = "vshare/guests.py", "if guest is None or guest.role is not peer.role:"
    caught = Mutation("caught", file, old, "if guest is None:", (test,))
    survived = Mutation("survived", file, old, f"{old}  # as it was", (test,))
    missing = Mutation("missing", file, old, "if guest is None:", (f"{test}_not",))

    with Copy(tmp_path) as copy:
        verdicts = [judge(copy, each).verdict for each in (caught, survived, missing)]
    assert verdicts == [Verdict.CAUGHT, Verdict.SURVIVED, Verdict.STALE]
    assert (tmp_path / file).read_text() == (ROOT / file).read_text()


@pytest.mark.mutation
def test_the_original_is_not_what_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the copy's own packages, Python finds those that are installed."""
    copy_source([name for name in sources(ROOT) if name.startswith("tests")], ROOT, tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    with Copy(tmp_path) as copy:
        status, text = copy.run(["tests/vshare/test_guests.py"])
    assert "not the copy" in text
    assert status not in (0, 1)
