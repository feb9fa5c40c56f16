"""What has to be true of all that a relay's accounting hears, whatever visitors send."""

from __future__ import annotations

from relay.accounting import How, Request, Session, Visit
from relay.history.rows import shown
from tests.fuzz.target import require
from tunnel.names import ShareName


class Told:
    """A sink, and the registry with the one share that there is."""

    is_over = False  # it is the share, too

    def __init__(self) -> None:
        self.lasting = 0

    def get(self, name: ShareName) -> Told:
        """The share of that name."""
        return self

    def share_began(self, share: Session) -> None:
        """There is but one."""

    def share_ended(self, share: Session, how: How) -> None:
        """It does not end."""

    def visit_began(self, visit: Visit) -> None:
        self.lasting += 1

    def visit_ended(self, visit: Visit) -> None:
        self.lasting -= 1

    def request(self, visit: Visit, request: Request) -> None:
        path = request.path
        kept = (path.startswith(b"/") or path == b"*") and b"?" not in path
        require(kept, "of a target the path is kept", request)
        require(shown(request.path, 99).isprintable(), "a path can be shown", request)
        sizes = min(request.received, request.sent, request.status)
        require(sizes >= 0 and request.status <= 599, "numbers are such", request)
