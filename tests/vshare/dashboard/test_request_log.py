"""What is kept of visitors' requests, and how much of it."""

from __future__ import annotations

from tests.vshare.dashboard.small_share import answer_head, head, seen
from vshare.dashboard import request_log
from vshare.dashboard.exchange import MAX_BODY
from vshare.dashboard.request_log import MAX_EXCHANGES, RequestLog


def numbers(log: RequestLog, since: int = 0) -> list[int]:
    return [exchange.number for _, exchange in log.changes(since)]


def test_it_is_empty_while_nobody_looks() -> None:
    log = RequestLog()
    states = [log.is_empty]
    with log.look():
        with log.look():
            states.append(log.is_empty)
        states.append(log.is_empty)
    assert [*states, log.is_empty] == [True, False, False, True]


def test_an_exchange_is_kept_as_it_was_told() -> None:
    log = RequestLog()
    exchange = log.watch("docs", head("/x?y", "POST", Cookie="a=b"))
    exchange.request_body(memoryview(b"ab"))
    exchange.request_body(b"c")
    exchange.answer(answer_head(100))
    exchange.answer(answer_head(200, Content_Type="text/html"))
    exchange.answer_body(b"hello")
    running = exchange.summary()
    assert running.ms is None
    exchange.ended("the machine broke the answer off")
    assert log.find(1) is exchange
    assert exchange.request_head == head("/x?y", "POST", Cookie="a=b")
    assert exchange.answer_head == answer_head(200, Content_Type="text/html")
    assert bytes(exchange.request_content.data) == b"abc"
    told = exchange.summary()
    assert told.ms is not None
    assert (told.number, told.site, told.method, told.target) == (1, "docs", "POST", "/x?y")
    assert (told.status, told.request_size, told.answer_size) == (200, 3, 5)
    assert (told.type, told.error) == ("text/html", "the machine broke the answer off")


def test_the_head_may_be_changed_by_rules_afterwards() -> None:
    asked = head("/x")
    exchange = RequestLog().watch("", asked)
    asked.target = b"/y"
    assert exchange.request_head.target == b"/x"


def test_bodies_are_bounded_and_their_sizes_counted() -> None:
    log = RequestLog()
    exchange = log.watch("", head())
    for _ in range(3):
        exchange.request_body(bytes(MAX_BODY - 1))
        exchange.answer_body(bytes(MAX_BODY - 1))
    assert len(exchange.request_content.data) == len(exchange.answer_content.data) == MAX_BODY
    assert exchange.request_content.size == exchange.answer_content.size == 3 * (MAX_BODY - 1)
    assert not exchange.request_content.is_whole
    assert log.size == exchange.size


def test_the_oldest_make_room() -> None:
    log = RequestLog()
    for _ in range(MAX_EXCHANGES + 3):
        seen(log)
    assert log.oldest == 4
    assert log.find(3) is None
    assert log.find(4) is not None
    assert log.find(MAX_EXCHANGES + 4) is None
    assert numbers(log) == list(range(4, MAX_EXCHANGES + 4))


def test_all_together_have_a_limit() -> None:
    log = RequestLog()
    size = seen(log, body=bytes(MAX_BODY), sent=bytes(MAX_BODY)).size
    fit = request_log.MAX_KEPT // size
    for _ in range(fit + 9):
        seen(log, body=bytes(MAX_BODY), sent=bytes(MAX_BODY))
        assert log.size <= request_log.MAX_KEPT
    assert log.oldest == 11
    assert log.size == fit * size


def test_what_is_not_kept_any_more_keeps_nothing() -> None:
    """Its stream goes on, for hours maybe."""
    log = RequestLog()
    old = log.watch("", head())
    old.answer_body(b"abc")
    for _ in range(MAX_EXCHANGES):
        seen(log)
    size, version = log.size, log.version
    old.answer(answer_head())
    old.answer_body(b"defgh")
    old.request_body(b"ijk")
    old.ended(None)
    assert (log.size, log.version) == (size, version)
    assert not old.answer_content.data
    assert not old.request_content.data
    assert old.answer_content.size == 8
    assert sum(each.size for _, each in log.changes(0)) == log.size


def test_changes_come_once_in_their_order() -> None:
    log = RequestLog()
    one, two, three = (log.watch("", head()) for _ in range(3))
    assert numbers(log) == [1, 2, 3]
    version = log.version
    assert numbers(log, version) == []
    three.answer(answer_head())
    one.answer(answer_head())
    one.ended(None)
    assert numbers(log, version) == [3, 1]
    two.ended(None)
    assert numbers(log, version) == [3, 1, 2]
    assert [v for v, _ in log.changes(version)] == [version + 1, version + 3, version + 4]


def test_the_heads_count() -> None:
    log = RequestLog()
    asked = head(X="x" * 1000)
    exchange = log.watch("", asked)
    exchange.answer(answer_head(103, Link="y" * 5000))
    exchange.answer(answer_head(200, Link="y" * 500))
    assert log.size == len(asked.serialize()) + len(answer_head(200, Link="y" * 500).serialize())
