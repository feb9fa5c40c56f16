"""What the pages of relays that are one know of each other (relay/cluster/pages.py)."""

from __future__ import annotations

from typing import Protocol

from relay.website.sign_outs import SignOuts


class Together(Protocol):
    """The other relays' pages."""

    @property
    def key(self) -> bytes:
        """All of them have it, and nobody else (see Seal)."""

    def share_sign_outs(self, sign_outs: SignOuts) -> None:
        """Who is signed out at one is signed out at all."""
