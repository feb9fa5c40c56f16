"""What other terminals ask a running share about its guest page (vshare/requests.py). Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tunnel.requests import Request, Result

MAX_PASSCODE = 256  # characters that are looked at; fewer make a passcode


class GuestPage(Request, frozen=True, tag="guest-page"):
    """What the page is: PageState."""


class ChangePage(Request, frozen=True, tag="change-page"):
    """Change it, then what it is: PageState.

    `passcode` is the new one, "" one that is drawn, None leaves it. `keep`: who is in by the old
    one stays. `is_open` opens or closes the page, None leaves that.
    """

    passcode: Annotated[str, msgspec.Meta(max_length=MAX_PASSCODE)] | None = None
    keep: bool = False
    is_open: bool | None = None

    def __repr__(self) -> str:
        return f"ChangePage(passcode=..., keep={self.keep}, is_open={self.is_open})"


class PageState(Result, frozen=True):
    """`here` visitors have it open, of `visitors` who are in; `out` were put out by this."""

    url: str
    passcode: str
    is_open: bool
    here: int
    visitors: int
    out: int = 0

    def __repr__(self) -> str:
        return f"PageState(url={self.url!r}, passcode=...)"
