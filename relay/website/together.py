"""What the pages of relays that are one know of each other (relay/cluster/pages.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.website.sign_outs import SignOuts


class Together(Protocol):
    """The other relays' pages."""

    @property
    def key(self) -> bytes:
        """All of them have it, and nobody else (see Seal)."""

    def share_sign_outs(self, sign_outs: SignOuts) -> None:
        """Who is signed out at one is signed out at all."""

    def answer_tokens(self, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """`answer(question)` is what this relay's book says (relay/website/token_asking.py)."""

    def is_elsewhere(self, account: int) -> bool:
        """Whether another relay keeps that account."""

    async def ask_home(self, account: int, question: bytes) -> bytes | None:
        """What the relay answers that keeps the account; None: it is away."""

    async def ask_others(self, question: bytes) -> list[bytes | None]:
        """What each of the others answers; None: nothing."""
