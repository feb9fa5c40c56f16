from pathlib import Path

from relay.names import HELD_AFTER, NameBook
from tunnel.names import ShareName

NAME = ShareName("my-own-name")
DAY = 86_400.0


def test_a_name_belongs_to_its_key_until_a_week_after_its_lease(tmp_path: Path) -> None:
    path = tmp_path / "state" / "names.sqlite"
    with NameBook(path) as names:
        assert names.claim(NAME, b"one", 0.0, DAY)
        assert names.claim(NAME, b"one", 10.0, DAY)
        assert not names.claim(NAME, b"two", 10.0, DAY)
    with NameBook(path) as names:
        assert not names.claim(NAME, b"two", DAY + HELD_AFTER - 1, 9 * DAY)
        assert names.claim(NAME, b"two", DAY + HELD_AFTER + 1, 9 * DAY)
        assert not names.claim(NAME, b"one", 8 * DAY, 9 * DAY)


def test_an_ended_lease_shortens_and_never_prolongs() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, 100 * DAY)
        names.end_lease(NAME, DAY)
        names.end_lease(NAME, 50 * DAY)
        assert not names.claim(NAME, b"two", 2 * DAY, 9 * DAY)
        assert names.claim(NAME, b"two", DAY + HELD_AFTER + 1, 9 * DAY)


def test_a_lease_lasts_until_its_time_or_its_end() -> None:
    with NameBook(None) as names:
        assert not names.is_leased(NAME, 0.0)
        names.claim(NAME, b"one", 0.0, DAY)
        assert names.is_leased(NAME, DAY - 1)
        assert not names.is_leased(NAME, DAY)
        names.end_lease(NAME, 10.0)
        assert not names.is_leased(NAME, 10.0)


def test_drawn_names_are_free_and_old_ones_forgotten() -> None:
    with NameBook(None) as names:
        first = names.draw(b"one", 0.0, DAY, lambda n: 0)
        assert first is not None
        assert names.draw(b"two", 0.0, DAY, lambda n: 0) is None
        names.forget_old(30 * DAY)
        assert names.draw(b"two", 30 * DAY, 31 * DAY, lambda n: 0) == first
