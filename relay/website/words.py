"""What the pages say of times, amounts and states. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from relay.accounting import How
from relay.accounts.limits import Limits
from tunnel.control import OwnDomainState

_UNITS = ("B", "kB", "MB", "GB", "TB")


def _time(at: float | None, *, exact: bool = False) -> str:
    """A time since the epoch, in UTC, as the relay's logs have it; to the second, if `exact`."""
    if at is None:
        return "never"
    when = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime(f"%Y-%m-%d %H:%M{':%S' * exact} UTC")
    )


def span(seconds: float) -> str:
    """How long, for people."""
    whole = max(0, int(seconds))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= unit:
            rest = whole % unit
            lower, small = {"d": ("h", 3_600), "h": ("min", 60), "min": ("s", 1)}[name]
            more = f" {rest // small} {lower}" if rest >= small and whole < 10 * unit else ""
            return f"{whole // unit} {name}{more}"
    return f"{whole} s"


def size(octets: float) -> str:
    """How much, for people."""
    amount = float(octets)
    for unit in _UNITS[:-1]:
        if amount < 1000:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} {_UNITS[-1]}"


def _limits(limits: Limits) -> str:
    """Those that are set, for people."""
    words = (
        (limits.shares, "{:,} shares"),
        (limits.guests, "{:,} guests"),
        (limits.streams, "{:,} connections"),
    )
    said = [text.format(limit) for limit, text in words if limit]
    amounts = ((limits.bytes_per_day, "a day"), (limits.bandwidth, "a second"))
    said += [f"{size(limit)} {per}" for limit, per in amounts if limit]
    return ", ".join(said)


_ENDS = {
    How.ENDED: "by its owner",
    How.PAGE: "by its owner, from these pages",
    How.LOST: "its connection broke",
    How.EXPIRED: "its time was over",
    How.REVOKED: "its token was revoked, or over",
    How.KICKED: "by the relay's operator",
    How.MOVED: "it connected again",
    How.RENAMED: "it goes on under another name",
    How.FAULT: "it broke the protocol",
    How.STOPPED: "the relay stopped",
}


def _ended(how: str) -> str:
    """How a share's session ended, for people; a later relay's word as it is."""
    return next((text for each, text in _ENDS.items() if each == how), how)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_DOMAINS = {
    "good": "it leads here",
    "unproven": "its record is not there yet",
    "unanswered": "its DNS says nothing",
    "taken": "another share has it",
    "refused": "it cannot be",
}
_CERTIFICATES = {
    "authority": "with a certificate that browsers know",
    "self-made": "with a certificate that browsers warn of",
    "share": "encrypted up to the sharer",
}


def _domain(state: OwnDomainState) -> str:
    """How it is with an own domain, for people; a later relay's words as they are."""
    words = (_DOMAINS.get(state.state, state.state), _CERTIFICATES.get(state.certificate, ""))
    return ", ".join(word for word in (*words, state.text) if word)


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "time": _time,
    "span": span,
    "size": size,
    "count": _count,
    "limits": _limits,
    "ended": _ended,
    "domain": _domain,
}
