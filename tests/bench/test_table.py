"""The table: which way is better, who is the best peer, what is left out."""

from __future__ import annotations

import pytest

from bench.results import Result
from bench.table import best, ratio, render
from bench.units import FIGURES, OURS_ALONE


def result(figure: str, system: str, median: float, *, spread: float = 0.0) -> Result:
    return Result(figure, system, "", median, median - spread, median + spread, 3)


@pytest.mark.parametrize(
    ("figure", "ours", "peer", "times"),
    [
        ("stream_up", 300.0, 100.0, 3.0),
        ("stream_up", 100.0, 300.0, 1 / 3),
        ("rtt_p50", 100.0, 300.0, 3.0),
        ("rtt_p50", 300.0, 100.0, 1 / 3),
        ("rtt_p50", 300.0, 0.0, None),
        ("rtt_p50", -1.0, 2.0, None),
    ],
)
def test_above_one_is_better_whichever_way_it_counts(
    figure: str, ours: float, peer: float, times: float | None
) -> None:
    assert ratio(figure, ours, peer) == (times if times is None else pytest.approx(times))


def test_the_best_peer_has_most_or_least() -> None:
    for figure, name in (("stream_up", "b"), ("rtt_p50", "a")):
        found = best(figure, [result(figure, "a", 1.0), result(figure, "b", 2.0)])
        assert found is not None
        assert found.system == name
    assert best("stream_up", []) is None


def test_rows_and_ratios() -> None:
    results = [
        result("stream_up", "loopback", 3305.4),
        result("stream_up", "vshare", 300.0, spread=20.0),
        result("stream_up", "ssh", 100.0),
        result("stream_up", "stunnel", 200.0),
        result("udp_pps", "vshare", 5.0),
        result("vm_ram_mb", "vshare", 128.0),
    ]
    text = render(results, "vshare", {"end-to-end": ["ssh", "stunnel"], "public": ["gone"]})
    assert text.splitlines() == [
        "| figure | unit | vshare | loopback | ssh | stunnel | vs best end-to-end"
        " | vs best public |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `stream_up` | MB/s | 300 (280 to 320) | 3,305 | 100 | 200 | **1.50** (stunnel) | - |",
        "| `udp_pps` | 1/s | 5 | - | - | - | - | - |",
        "",
        "| figure | unit | vshare |",
        "| --- | --- | --- |",
        "| `vm_ram_mb` |  | 128 |",
    ]


def test_every_figure_has_a_meaning() -> None:
    assert all(meaning.text for meaning in FIGURES.values())
    assert FIGURES.keys() > OURS_ALONE
