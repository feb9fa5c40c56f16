import pytest

from relay.accounts.limits import NO_LIMIT, Limits, is_reached, parse_size, size_text
from tunnel.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        ("10k", 10_000),
        ("5M", 5_000_000),
        ("1.5GB", 1_500_000_000),
        ("2t", 2 * 10**12),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "5X", "1e9", "9" * 16, "9999999T", "1.55G", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_sizes_are_shown_with_a_unit() -> None:
    shown = [size_text(size) for size in (0, 999, 1_000, 1_500_000, 10**10, 2 * 10**12)]
    assert shown == ["0 B", "999 B", "1 kB", "1.5 MB", "10 GB", "2 TB"]


def test_what_is_not_said_is_as_for_all_and_none_is_none() -> None:
    own = Limits(shares=2, streams=NO_LIMIT)
    all_of_them = Limits(shares=5, streams=10, bandwidth=1_000)
    assert own.or_else(all_of_them) == Limits(shares=2, streams=NO_LIMIT, bandwidth=1_000)
    assert is_reached(2, 2)
    assert not is_reached(2, 1)
    assert not is_reached(NO_LIMIT, 10**9)
    assert not is_reached(None, 10**9)
