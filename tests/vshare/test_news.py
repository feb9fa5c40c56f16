from __future__ import annotations

import logging

import pytest

from vshare.news import News, Newsroom


def test_everybody_is_told_in_order_until_they_leave() -> None:
    room, told = Newsroom(), list[str]()
    leave = room.subscribe(lambda news: told.append(f"first {news.kind}"))
    room.subscribe(lambda news: told.append(f"second {news.kind}"))
    room.tell("joined", guest="bob")
    leave()
    room.tell("left", guest="bob")
    assert told == ["first joined", "second joined", "second left"]


def test_what_is_told() -> None:
    room, told = Newsroom(), list[News]()
    room.subscribe(told.append)
    room.tell("join-failed", "somebody tried", warning=True, address="192.0.2.1")
    assert told == [News("join-failed", "somebody tried", {"address": "192.0.2.1"}, True)]


def test_one_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    room, told = Newsroom(), list[str]()

    def fail(news: News) -> None:
        raise BrokenPipeError

    room.subscribe(fail)
    room.subscribe(lambda news: told.append(news.kind))
    with caplog.at_level(logging.ERROR):
        room.tell("joined", guest="bob")
    assert told == ["joined"]
    assert "could not be told of joined" in caplog.text
