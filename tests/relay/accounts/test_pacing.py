import pytest

from relay.accounts.pacing import LEAST_RATE, MOST_AT_ONCE, Budget, Used

RATE = 1_000_000  # bytes a second


def test_one_alone_has_all() -> None:
    budget = Budget()
    assert budget.divide(RATE, 0.5, [Used(RATE // 2, RATE)]) == [RATE]
    (first,) = budget.divide(RATE, 0.5, [Used(0, RATE)])
    assert RATE * 3 / 4 < first <= RATE


def test_those_that_want_more_get_the_same() -> None:
    used = [Used(RATE // 4, RATE / 2), Used(RATE // 4, RATE / 2)]
    assert Budget().divide(RATE, 0.5, used) == [RATE / 2, RATE / 2]


def test_what_is_not_used_is_for_those_that_want_more() -> None:
    quiet = [Used(0, RATE / 10) for _ in range(9)]
    rates = Budget().divide(RATE, 0.5, [Used(RATE // 20, RATE / 10), *quiet])
    assert rates[0] == RATE
    assert 0 < sum(rates[1:]) < MOST_AT_ONCE * RATE
    many = Budget().divide(RATE, 0.5, [Used(0, RATE)] * 1_000)  # that begin at once
    assert sum(many) < (MOST_AT_ONCE + 1) * RATE
    modest = Used(RATE // 20, RATE / 2)  # a tenth of all, and could have had half
    rates = Budget().divide(RATE, 0.5, [Used(RATE // 4, RATE / 2), modest])
    assert rates[0] == pytest.approx(0.9 * RATE)


def test_who_had_too_much_pays_it_back() -> None:
    """Many that were idle begin at once: between two looks they may have more than is due."""
    budget = Budget()
    moved, rates = 0.0, [float(RATE)] * 20
    for _ in range(40):
        used = [Used(int(rate / 2), rate) for rate in rates]
        moved += sum(each.moved for each in used)
        rates = budget.divide(RATE, 0.5, used)
    assert moved == pytest.approx(20 * RATE, rel=0.25)
    assert all(rate >= LEAST_RATE for rate in rates)
