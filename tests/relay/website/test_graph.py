import pytest

from relay.history.reader import TrafficPoint
from relay.website.graph import BARS, HEIGHT, WIDTH, graph_of, step_for
from relay.website.paging import page_of
from relay.website.words import size, span


def point(at: float, received: int, sent: int) -> TrafficPoint:
    return TrafficPoint(at, received, sent, 1, 1)


@pytest.mark.parametrize("lasted", [0.0, 1.0, 3_599.0, 3_600.0, 8 * 3_600.0, 30 * 86_400.0, 9e8])
def test_all_bars_are_in_the_picture(lasted: float) -> None:
    since, until = 86_400.0 * 20_000 + 17, 86_400.0 * 20_000 + 17 + lasted
    step = step_for(since, until)
    at = since // step * step
    points = []
    while at <= until:
        points.append(point(at, int(at) % 1_000 + 1, 5))
        at += step
    drawn = graph_of(points, since, until, step)
    assert 1 <= len(drawn.bars) <= BARS
    for bar in drawn.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert 0 <= bar.received_y <= bar.sent_y <= HEIGHT
        assert bar.sent_y + bar.sent == pytest.approx(HEIGHT, abs=0.02)
    assert drawn.points[-1] == points[-1]  # the latest is always there
    if lasted < 59 * 86_400:
        assert drawn.received == sum(each.received for each in points)


def test_nothing_is_no_bar() -> None:
    assert not graph_of([], 0.0, 100.0, 60).bars
    assert not graph_of([point(0.0, 0, 0)], 0.0, 100.0, 60).bars


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_720, "1 h 2 min"),
     (36_060, "10 h"), (90_000, "1 d 1 h"), (-3, "0 s")],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (123_456, "123 kB"), (2e15, "2000.0 TB")],
)
def test_sizes(octets: float, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize("wanted", ["", "0", "-1", "x", "٣", "9" * 5_000, "1e3", "3"])
def test_a_page_is_always_one_that_there_is(wanted: str) -> None:
    part = page_of(range(101), wanted, 50)
    assert part.number == (3 if wanted == "3" else 1)
    assert part.pages == 3
    assert page_of([], wanted, 50).number == 1
    assert list(page_of(range(101), "99999999", 50).things) == [100]
