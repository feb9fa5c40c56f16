"""What follows from the findings, and what to tell who runs the network. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunnel.address import RelayAddress
from tunnel.doctor.finding import Finding, State
from tunnel.proxy import Proxy
from tunnel.proxy_connect import authority


@dataclass(frozen=True, slots=True)
class Verdict:
    """`well`: nothing failed. `tell`: a paragraph for the administrator; it may be empty."""

    well: bool
    text: str
    tell: str = ""


def judge(
    findings: Sequence[Finding], relay: RelayAddress | None, proxy: Proxy | None = None
) -> Verdict:
    """The verdict over all that was found."""
    failed = [each for each in findings if each.state is State.FAILED]
    warnings = sum(each.state is State.WARNING for each in findings)
    if not failed:
        text = "all is well" if relay else "all is well, as far as can be seen without a relay"
        if warnings:
            text += f", with {warnings} warning{'' if warnings == 1 else 's'}"
        return Verdict(True, text)
    text = f"not well: {', '.join(dict.fromkeys(each.name for each in failed))}"
    asks = list(dict.fromkeys(each.ask for each in failed if each.ask))
    if not asks or relay is None:
        return Verdict(False, text)
    return Verdict(False, text, _paragraph(asks, relay, proxy))


def _paragraph(asks: list[str], relay: RelayAddress, proxy: Proxy | None) -> str:
    place = authority(relay.host, relay.port)
    way = f" through the proxy {proxy.host}:{proxy.port}" if proxy else ""
    wishes = "; ".join(asks)
    return (
        f"this host needs outgoing connections to {place}{way}: TCP, inside it TLS 1.3 that is not"
        f" opened on the way (certificates of its own, ALPN http/1.1, vshare/1, vshare-join/1 and"
        f" vshare-park/1), some of it WebSocket; they stay open for hours. What is in the way:"
        f" {wishes}."
    )
