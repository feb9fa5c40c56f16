"""A console whose story goes into the log: where lines are for programs, all of them are."""

from __future__ import annotations

import logging

from tunnel.console import Console

log = logging.getLogger(__name__)


class LoggedConsole(Console):
    """Results stay on stdout; an error that ends the relay is told to people as ever."""

    def step(self, text: str) -> None:
        """See Console."""
        log.info("%s", text)

    def detail(self, text: str) -> None:
        """See Console."""
        log.info("%s", text)

    def warn(self, text: str) -> None:
        """See Console."""
        log.warning("%s", text)
