from relay.new_names import BURST, CHOSEN_REFILL_SECONDS, REFILL_SECONDS, NewNames


def test_a_source_has_so_many_new_names_and_then_one_a_minute() -> None:
    names = NewNames()
    assert all(names.take("192.0.2.1", 0, 0.0) for _ in range(BURST))
    assert not names.take("192.0.2.1", 0, 0.0)
    assert names.take("192.0.2.2", 0, 0.0)
    assert names.take("192.0.2.1", 0, REFILL_SECONDS)
    assert not names.take("192.0.2.1", 0, REFILL_SECONDS)


def test_a_site_with_many_networks_is_one_source() -> None:
    names = NewNames()
    assert all(names.take(f"2001:db8:0:{each:x}::/64", 0, 0.0) for each in range(BURST))
    assert not names.take("2001:db8:0:ffff::/64", 0, 0.0)


def test_an_account_has_its_own_wherever_its_shares_are() -> None:
    names = NewNames()
    assert all(names.take(f"192.0.2.{each}", 7, 0.0) for each in range(BURST))
    assert not names.take("198.51.100.1", 7, 0.0)
    assert names.take("192.0.2.1", 8, 0.0)


def test_this_host_has_no_limit() -> None:
    names = NewNames()
    assert all(names.take("127.0.0.1", 0, 0.0) for _ in range(2 * BURST))


def test_names_that_were_chosen_are_fewer_in_the_long_run() -> None:
    names = NewNames()
    assert all(names.take("192.0.2.1", 0, 0.0, chosen=True) for _ in range(BURST))
    later = BURST * REFILL_SECONDS
    taken = sum(names.take("192.0.2.1", 0, later, chosen=True) for _ in range(BURST))
    assert taken == int(later / CHOSEN_REFILL_SECONDS)
    assert names.take("192.0.2.1", 0, later)  # of those that are drawn there are enough
    assert names.take("192.0.2.1", 7, later, chosen=True)
    assert names.take("192.0.2.2", 0, later, chosen=True)
