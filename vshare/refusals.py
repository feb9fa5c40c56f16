"""Why a relay does not take a share, or ended it (docs/protocol.md 4), and what to do then."""

from __future__ import annotations

from tunnel.errors import VshareError

_HINTS = {
    "name-taken": "choose another --name, or leave it out to get a fresh one",
    "name-invalid": "choose another --name",
    "version": "update vshare, or use another relay",
    "unavailable": "try again soon: the relay's own servers do not reach each other",
    "full": "try again later, or use another relay",
    "signature": "check the relay's address and its #fingerprint",
    "token": "ask whoever runs the relay for a token, and store it: vshare login RELAY",
    "banned": "ask whoever runs the relay, or use another one",
    "page": "if it was not you, revoke the token on the relay's pages; vshare up shares again",
    "operator": "ask whoever runs the relay before you share there again",
    "quota": "end another share of that token, or ask whoever runs the relay for more",
}

_ENDED_BY_SOMEBODY = ("page", "operator")
EXIT_ENDED = 3  # nothing failed, and nothing should begin it again: systemd, a script


def hint_for(code: str) -> str:
    """What to do about a code of the relay's; empty where nothing is known."""
    return _HINTS.get(code, "")


class RejectedError(VshareError):
    """The relay does not take this share; `code` as in docs/protocol.md 4."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"the relay refused the share: {text}", hint_for(code))
        self.code = code


class RelayEndedError(VshareError):
    """The relay has ended the share."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(
            f"the relay ended the share: {text}", hint_for(code) or "start it again with vshare up"
        )
        if code in _ENDED_BY_SOMEBODY:
            self.exit_code = EXIT_ENDED
