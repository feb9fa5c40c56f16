"""The options by which `vrelay` is told limits, and how it shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from relay.accounts.limits import FIELDS, NO_LIMIT, Limits, parse_size, size_text
from relay.registry import MAX_SHARES
from tunnel.errors import UsageError

MAX_STREAMS = 1_000_000  # more than a relay has descriptors
_UNLIMITED, _DEFAULT = "none", "default"
_AS_FOR_ALL = -1  # stands for the latter, since None is what was not said

Command = Callable[..., Any]


class LimitType(click.ParamType[int]):
    """A number, `none` or `default`."""

    def __init__(self, parse: Callable[[str], int], metavar: str) -> None:
        self._parse, self.name = parse, metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        if isinstance(value, int):  # as a file has it, or converted before
            if value < _AS_FOR_ALL:
                self.fail("a limit is a number from 1 on, or none", param, ctx)
            return value
        if value == _UNLIMITED:
            return NO_LIMIT
        if value == _DEFAULT:
            return _AS_FOR_ALL
        try:
            return self._parse(value)
        except UsageError as error:
            self.fail(f"{error.text}; {error.hint}", param, ctx)


def _count(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
            raise UsageError(f"not a number from 1 to {most}: {text[:20]!r}", "or say none")
        return int(text)

    return parse


_MANY, _SIZE = LimitType(_count(MAX_STREAMS), "N"), LimitType(parse_size, "SIZE")
OPTIONS: tuple[tuple[str, click.ParamType[int], str], ...] = (
    ("shares", LimitType(_count(MAX_SHARES), "N"), "Shares at once."),
    ("guests", _MANY, "Connections of guests at once; vconnect keeps a few of each guest."),
    ("streams", _MANY, "Connections of visitors at once, of guests and browsers."),
    ("bytes-per-day", _SIZE, "Both ways together, as in 10G; days end at midnight UTC."),
    ("bandwidth", _SIZE, "Bytes a second, both ways together, as in 5M."),
)


def limit_options(command: Command) -> Command:
    """`--shares`, `--guests`, `--streams`, `--bytes-per-day`, `--bandwidth`; see `changed`."""
    for name, kind, text in reversed(OPTIONS):
        said = f"{text} Also none, and default."
        command = click.option(f"--{name}", type=kind, help=said)(command)
    return command


def changed(limits: Limits, said: dict[str, int | None]) -> Limits:
    """`limits` with what the options said; what they did not say stays."""
    news = {name: said[name] for name in FIELDS if said.get(name) is not None}
    return replace(
        limits, **{name: None if value == _AS_FOR_ALL else value for name, value in news.items()}
    )


def limits_text(limits: Limits) -> str:
    """For people; empty where there are none of its own."""
    words = []
    for name, value in zip(FIELDS, limits.values(), strict=True):
        if value is None:
            continue
        what = {"bytes_per_day": "a day", "bandwidth": "a second"}.get(name)
        plain = name.removesuffix("s") if value == 1 else name
        if value == NO_LIMIT:
            words.append(f"any {what or plain}" if what is None else f"any bytes {what}")
        else:
            words.append(f"{size_text(value)} {what}" if what else f"{value} {plain}")
    return ", ".join(words)


def limits_json(limits: Limits) -> dict[str, int | None]:
    """For programs: null is the relay's default, 0 no limit."""
    return dict(zip(FIELDS, limits.values(), strict=True))
