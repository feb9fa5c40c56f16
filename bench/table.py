"""The table of a run: a row per figure, a column per system, ratios to the best peer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.results import Result
from bench.units import FIGURES, OURS_ALONE

NOTHING = "-"


def ratio(figure: str, ours: float, peer: float) -> float | None:
    """How many times better ours is (above 1: better), whichever way the figure counts."""
    if ours <= 0 or peer <= 0:  # memory can seem to shrink
        return None
    return ours / peer if FIGURES[figure].higher_is_better else peer / ours


def best(figure: str, peers: Iterable[Result]) -> Result | None:
    """The peer with the best median."""
    sign = -1 if FIGURES[figure].higher_is_better else 1
    return min(peers, key=lambda result: sign * result.median, default=None)


def render(results: Sequence[Result], ours: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Markdown. `groups` gives the peers' names for each kind that ours is compared with."""
    systems = list(dict.fromkeys(result.system for result in results))
    systems.sort(key=lambda name: name != ours)
    known = {(result.figure, result.system): result for result in results}
    shown = [figure for figure in FIGURES if any((figure, name) in known for name in systems)]
    compared = [name for name in shown if name not in OURS_ALONE]
    head = ["figure", "unit", *systems, *(f"vs best {kind}" for kind in groups)]
    rows = [_row(figure, systems, known, ours, groups) for figure in compared]
    alone = [
        [f"`{figure}`", result.unit, _cell(result)]
        for figure in shown
        if figure in OURS_ALONE and (result := known.get((figure, ours)))
    ]
    parts = [_markdown(head, rows)] if rows else []
    parts += [_markdown(["figure", "unit", ours], alone)] if alone else []
    return "\n".join(parts)


def _row(
    figure: str,
    systems: Sequence[str],
    known: Mapping[tuple[str, str], Result],
    ours: str,
    groups: Mapping[str, Sequence[str]],
) -> list[str]:
    cells = [f"`{figure}`", FIGURES[figure].unit]
    cells += [_cell(known.get((figure, name))) for name in systems]
    mine = known.get((figure, ours))
    for names in groups.values():
        peers = [known[figure, name] for name in names if (figure, name) in known]
        peer = best(figure, peers)
        times = ratio(figure, mine.median, peer.median) if mine and peer else None
        cells.append(f"**{times:.2f}** ({peer.system})" if times and peer else NOTHING)
    return cells


def _cell(result: Result | None) -> str:
    if result is None:
        return NOTHING
    if result.min == result.max:
        return _number(result.median)
    return f"{_number(result.median)} ({_number(result.min)} to {_number(result.max)})"


def _number(value: float) -> str:
    """Three digits, thousands with a comma."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
