"""Tells the sharer that somebody guesses the password or passcode of the URL. Pure.

Once of each source: a person who mistypes is no news, and one who goes on is none any more.
"""

from __future__ import annotations

from collections import OrderedDict

from vshare.news import Newsroom

TOLD_AFTER = 5  # wrong tries of a source; it has 10 at once
MAX_TOLD = 100  # sources of one share; each is a line on the screen, and a post to the webhook
MANY = 100  # wrong tries of sources that were not told of
MAX_SOURCES = 2_048  # counted; the longest unheard of is forgotten


class Guessing:
    """Counts wrong tries, which are limited elsewhere (vshare.web.tries)."""

    def __init__(self, newsroom: Newsroom) -> None:
        self._newsroom = newsroom
        self._wrong: OrderedDict[str, int] = OrderedDict()
        self._told: set[str] = set()
        self._scattered = 0

    def right(self, source: str) -> None:
        """It knew it: what went before were mistakes."""
        self._wrong.pop(source, None)

    def wrong(self, source: str) -> None:
        """It did not; `source` is as from `source_of`."""
        if source in self._told:
            return
        count = self._wrong.pop(source, 0) + 1
        if count >= TOLD_AFTER and len(self._told) < MAX_TOLD:
            self._told.add(source)
            self._tell(f"{source or 'an unknown address'} (the relay's word)", source, count)
            return
        self._wrong[source] = count
        if len(self._wrong) > MAX_SOURCES:
            self._wrong.popitem(last=False)
        self._scattered += 1
        if self._scattered == MANY:
            self._tell("many addresses", "", MANY)

    def _tell(self, whence: str, source: str, failures: int) -> None:
        self._newsroom.tell(
            "url-guessing",
            f"Somebody guesses what visitors of the URL need to know, from {whence}:"
            f" {failures} wrong tries. Tries are limited; --allow and --deny keep addresses out.",
            warning=True,
            address=source,
            failures=failures,
        )
