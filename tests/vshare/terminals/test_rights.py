"""Who may type."""

from __future__ import annotations

from tests.shared_terminals import ADA, BOB
from vshare.terminals.identity import SHARER, Identity
from vshare.terminals.rights import Rights

VISITOR = Identity("v", "Eve", read_only=True)


def test_the_terminals_rule_and_the_sharers_word() -> None:
    for read_write in (False, True):
        rights = Rights(read_write=read_write)
        assert rights.may_type(SHARER)
        assert rights.may_type(ADA) == read_write
        rights.decide(ADA, write=not read_write)
        assert rights.may_type(ADA) != read_write
        assert rights.may_type(BOB) == read_write
        assert not rights.may_type(VISITOR)


def test_a_lock_is_for_guests_alone_and_forgets_nothing() -> None:
    rights = Rights()
    rights.decide(ADA, write=True)
    rights.locked = True
    rights.decide(BOB, write=True)
    assert [rights.may_type(who) for who in (SHARER, ADA, BOB)] == [True, False, False]
    rights.locked = False
    assert [rights.may_type(who) for who in (SHARER, ADA, BOB)] == [True, True, True]


def test_who_may_ask_and_how_often() -> None:
    rights = Rights()
    assert not any(rights.may_ask(who) for who in (SHARER, VISITOR))
    assert rights.ask(ADA)
    assert not rights.ask(ADA)
    assert rights.has_asked(ADA)
    rights.decide(ADA, write=False)
    assert not rights.has_asked(ADA)
    assert rights.ask(ADA)
    rights.forget_question(ADA)
    assert not rights.has_asked(ADA)
    rights.decide(ADA, write=True)
    assert not rights.ask(ADA)
