"""The kept inputs again, a short run of each target, and the fuzzer's own parts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import report
from tests.fuzz.known import KNOWN
from tests.fuzz.lines import Lines
from tests.fuzz.mutator import Mutator
from tests.fuzz.runner import Result, Runner
from tests.fuzz.target import BrokenInvariantError, Target, cuts_of, require, same_however_cut
from tests.fuzz.targets import loop
from tests.fuzz.targets.every import EVERY
from tunnel import alerts

INPUTS = 100  # per target, after the seeds and the kept inputs
each_target = pytest.mark.parametrize("target", EVERY.values(), ids=EVERY.keys())


@pytest.fixture(autouse=True)
def _loop_is_closed() -> Iterator[None]:
    yield
    loop.close()


@each_target
def test_the_kept_inputs_and_a_short_run(target: Target) -> None:
    """Nothing breaks but what is known, and each finding that is known still happens."""
    kept = len(target.seeds) + len(corpus.load(target.name))
    inputs = kept + int(INPUTS * target.share)
    result = Runner(target, "unit", guided=False).run(inputs, None)
    assert result.inputs >= kept
    assert set(result.failures) == set(KNOWN.get(target.name, {})), result.failures


def test_every_corpus_has_its_target() -> None:
    assert {path.name for path in corpus.CORPUS.iterdir() if path.is_dir()} <= EVERY.keys()
    assert KNOWN.keys() <= EVERY.keys()


def _broken(data: bytes) -> None:
    if data[:2] == b"\x16\x03" and len(data) > 5:
        raise KeyError(data)


def _target(**changes: object) -> Target:
    given: dict[str, object] = {
        "name": "broken", "run": _broken, "accepted": (ValueError,), "seeds": (b"\x16\x03\x01",),
        "modules": ("tunnel.alerts",),
    }  # fmt: skip
    return Target(**(given | changes))  # type: ignore[arg-type]  # a table of keywords


def test_a_fault_is_found_made_small_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    result = Runner(_target(), "1").run(2000, None)
    (failure,) = result.failures.values()
    assert failure.signature == "KeyError in tests/fuzz/test_fuzz.py:_broken"
    assert failure.data == b"\x16\x03aaaa"
    assert report({"broken": result}, None) == 1
    assert "1 new, 0 known" in capsys.readouterr().out
    assert corpus.load("broken") == [failure.data]
    monkeypatch.setitem(KNOWN, "broken", {failure.signature: "a test"})
    assert report({"broken": result}, None) == 0


def test_what_is_accepted_or_harmless_is_no_fault() -> None:
    def refuses(data: bytes) -> None:
        raise ValueError(data)

    assert not Runner(_target(run=refuses), "1").run(50, None).failures


def test_an_input_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.runner.MAX_SECONDS", 0.03)

    def hangs(data: bytes) -> None:
        while True:
            pass

    runner = Runner(_target(run=hangs), "1")
    with runner._watch():
        failure = runner.check(b"")
    assert failure is not None
    assert failure.signature == "too slow"


def test_a_run_is_repeatable() -> None:
    def inputs() -> list[bytes]:
        seen: list[bytes] = []
        Runner(_target(run=seen.append), "7").run(100, None)
        return seen

    assert inputs() == inputs()


def test_mutants_are_as_long_as_allowed_and_differ() -> None:
    mutator = Mutator(random.Random(1), (b"word",), 64)
    mutants = {mutator.mutate(b"GET / HTTP/1.1", b"other") for _ in range(1000)}
    assert len(mutants) > 800
    assert max(map(len, mutants)) == 64
    assert any(b"word" in each for each in mutants)


def test_new_lines_are_noticed() -> None:
    lines = Lines(["tunnel.alerts"])
    assert not lines.run(lambda: None)

    def explain(error: Exception) -> bool:
        return lines.run(lambda: print(alerts.explain(error, "frosty-weasel-0857")))

    assert [explain(ValueError()), explain(ValueError()), explain(TimeoutError())] == [
        True,
        False,
        True,
    ]


def test_cuts_are_the_whole_in_pieces() -> None:
    data = bytes(range(50))
    assert all(b"".join(pieces) == data for pieces in cuts_of(data))
    assert [len(pieces) for pieces in cuts_of(data)][-1] == 50
    assert list(cuts_of(b""))


def test_an_outcome_that_depends_on_the_cuts_is_a_fault() -> None:
    with pytest.raises(BrokenInvariantError, match="how it arrives"):
        same_however_cut(b"ab", lambda pieces: len(list(pieces)))
    with pytest.raises(BrokenInvariantError, match="a rule"):
        require(False, "a rule", b"details")


def test_results_of_shards_are_added() -> None:
    one, other = Result("a", inputs=1, slowest=0.1), Result("a", inputs=2, slowest=0.2)
    one.add(other)
    assert (one.inputs, one.slowest) == (3, 0.2)
