from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vshare.weaknesses.servers import Converse, hear, hear_to_the_end
from tests.vshare.weaknesses.test_mongodb import EVERY_TYPE, reply
from tests.vshare.weaknesses.test_mysql import GREETING, OK_AFTER_SWITCH, SWITCH
from vshare.weaknesses import mongodb, mysql, postgresql, redis
from vshare.weaknesses.danger import SOUND, WEAK
from vshare.weaknesses.dialogue import MAX_ANSWER, Conversation, Dialogue, Step

ALL = (redis.converse, postgresql.converse, mysql.converse, mongodb.converse)
REAL = {
    redis.converse: b"+PONG\r\n",
    postgresql.converse: b"R\0\0\0\x08\0\0\0\0",
    mysql.converse: GREETING + SWITCH + OK_AFTER_SWITCH,
    mongodb.converse: reply(EVERY_TYPE),
}
each = pytest.mark.parametrize("converse", ALL, ids=["redis", "postgresql", "mysql", "mongodb"])


@each
@given(data=st.binary(max_size=300))
def test_no_bytes_make_it_raise(converse: Converse, data: bytes) -> None:
    verdict = hear_to_the_end(converse, data)
    assert hear(converse, data, 1) == hear(converse, data)
    assert hear(converse, data) in (verdict, None)


@each
@given(data=st.data())
def test_nothing_close_to_a_real_answer_makes_it_raise(
    converse: Converse, data: st.DataObject
) -> None:
    answer = bytearray(REAL[converse])
    for _ in range(data.draw(st.integers(1, 3))):
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    verdict = hear_to_the_end(converse, bytes(answer))
    assert hear(converse, bytes(answer), 1) in (verdict, None)


@each
def test_real_answers_whole_and_cut_short(converse: Converse) -> None:
    answer = REAL[converse]
    assert hear(converse, answer) == hear(converse, answer, 1) == WEAK
    for size in range(len(answer)):
        assert hear(converse, answer[:size]) is None
        verdict = hear_to_the_end(converse, answer[:size])
        assert not verdict.weak
        assert verdict.note


@each
def test_no_answer_is_endless(converse: Converse) -> None:
    verdict = hear(converse, b"\x01" * (2 * MAX_ANSWER))
    assert verdict is not None
    assert not verdict.weak


def test_only_so_much_is_kept() -> None:
    def patient() -> Conversation:
        yield Step()
        raise AssertionError

    dialogue = Dialogue(patient())
    for _ in range(3):
        dialogue.receive_data(b"x" * (MAX_ANSWER - 1))
    assert dialogue.verdict is not None
    assert "does not end" in dialogue.verdict.note


def test_what_comes_in_one_piece_is_cut_there_as_well() -> None:
    answer = b"-NOAUTH" + b"x" * MAX_ANSWER + b"\r\n"
    assert hear(redis.converse, answer) == hear(redis.converse, answer, 1024) != SOUND


def test_a_step_cannot_want_more_than_that() -> None:
    def greedy() -> Conversation:
        (size,) = struct.unpack(">I", (yield Step(count=4)))
        yield Step(count=size)
        raise AssertionError

    verdict = hear(greedy, struct.pack(">I", MAX_ANSWER + 1))
    assert verdict is not None
    assert "too long" in verdict.note


def test_what_is_sent_is_sent_once() -> None:
    def polite() -> Conversation:
        yield Step(b"hello", 2)
        yield Step(b"again", 1)
        raise AssertionError

    dialogue = Dialogue(polite())
    assert dialogue.data_to_send() == b"hello"
    assert dialogue.data_to_send() == b""
    dialogue.receive_data(b"1")
    assert dialogue.data_to_send() == b""
    dialogue.receive_data(b"2")
    assert dialogue.data_to_send() == b"again"
