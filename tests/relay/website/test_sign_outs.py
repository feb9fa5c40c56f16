import pytest

from relay.website import sign_outs
from relay.website.sign_outs import LASTS, SignOuts


class Clock:
    def __init__(self) -> None:
        self.now = 100_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_that_was_ended_is_and_no_other() -> None:
    clock, told = Clock(), []
    ended = SignOuts(clock)
    ended.on_change = lambda: told.append(ended.rows())
    ended.end("token", "session")
    ended.end("token", "session")
    assert told == [[("token", "session", clock.now)]]
    assert ended.has_ended("token", "session", clock.now - 9)
    assert not ended.has_ended("token", "another", clock.now - 9)
    assert not ended.has_ended("other", "session", clock.now - 9)
    clock.now += LASTS
    assert ended.rows() == []


def test_what_others_say_counts_and_nothing_undoes_it() -> None:
    clock = Clock()
    one, two = SignOuts(clock), SignOuts(clock)
    one.end("token", "a")
    two.end("token", "b")
    two.hear(one.rows())
    two.hear([])
    two.hear([("token", "c", clock.now + 1e9)])  # another's clock
    assert [two.has_ended("token", each, 1.0) for each in "abcd"] == [True, True, True, False]
    one.hear([("token", "old", clock.now - LASTS - 1)])
    assert not one.has_ended("token", "old", 1.0)
    said = two.rows()
    two.on_change = lambda: pytest.fail("that was no news")
    two.hear(said)


def test_where_there_are_too_many_more_is_ended_and_never_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sign_outs, "MOST_OF_TOKEN", 2)
    monkeypatch.setattr(sign_outs, "MOST", 4)
    clock = Clock()
    ended = SignOuts(clock)
    for session in "abc":
        clock.now += 1
        ended.end("token", session)
    assert all(ended.has_ended("token", each, clock.now) for each in "abcd")
    assert not ended.has_ended("token", "d", clock.now + 1)
    assert not ended.has_ended("other", "d", clock.now)
    ended.end("token", "a")  # covered
    assert len(ended.rows()) == 1
    for token in "vwxyz":
        ended.end(token, "a")
    assert len(ended.rows()) == 1
    assert ended.has_ended("whoever", "a", clock.now)
    assert not ended.has_ended("whoever", "a", clock.now + 1)


def test_nobody_is_known_before_the_others_were_heard() -> None:
    clock = Clock()
    ended = SignOuts(clock)
    ended.not_before = clock.now
    assert ended.has_ended("token", "a", clock.now - 1)
    assert not ended.has_ended("token", "a", clock.now)
