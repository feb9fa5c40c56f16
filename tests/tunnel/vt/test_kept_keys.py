from __future__ import annotations

from tunnel.vt.kept_keys import MAX_KEPT, NOT_ALL, THROWN_AWAY, UNSURE, KeptKeys


def up() -> KeptKeys:
    keys = KeptKeys()
    assert keys.back(may_type=True) == (b"", [])
    return keys


def test_what_is_typed_meanwhile_is_sent_in_its_order() -> None:
    keys = up()
    assert keys.typed(b"a") == b"a"
    keys.heard()
    keys.lost()
    assert keys.typed(b"b") + keys.typed(b"c") == b""
    assert keys.back(may_type=True) == (b"bc", [])
    assert keys.typed(b"d") == b"d"


def test_what_nobody_has_answered_may_be_lost_and_is_not_sent_twice() -> None:
    keys = up()
    keys.typed(b"a")
    keys.lost()
    keys.heard()  # of before
    keys.typed(b"b")
    assert keys.back(may_type=True) == (b"b", [UNSURE])
    keys.lost()  # before a word: so `b` may be
    assert keys.back(may_type=True) == (b"", [UNSURE])
    keys.lost()
    assert keys.back(may_type=True) == (b"", [])


def test_no_more_than_so_much_and_nothing_behind_a_gap() -> None:
    keys = up()
    keys.lost()
    keys.typed(b"x" * MAX_KEPT)
    keys.typed(b"y")
    assert keys.back(may_type=True) == (b"x" * MAX_KEPT, [NOT_ALL])
    keys.heard()
    keys.lost()
    keys.typed(b"y" * (MAX_KEPT + 1))
    keys.typed(b"z")
    assert keys.back(may_type=True) == (b"", [NOT_ALL])
    keys.lost()
    keys.typed(b"again")
    assert keys.back(may_type=True) == (b"again", [])


def test_who_may_not_type_any_more_is_told() -> None:
    keys = up()
    keys.lost()
    keys.typed(b"rm")
    assert keys.back(may_type=False) == (b"", [THROWN_AWAY])
    keys.lost()
    assert keys.back(may_type=True) == (b"", [])
