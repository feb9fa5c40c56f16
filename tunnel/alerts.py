"""What a TLS failure on the way to a share means, in words (docs/protocol.md 3)."""

from __future__ import annotations

import ssl

from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, VshareError


class ShareNotFoundError(VshareError):
    """The relay knows no share with this guest's route, now."""


class AccessLostError(VshareError):
    """The share no longer takes this guest's certificate."""


def explain(error: Exception, name: str) -> VshareError:
    """The error to show for a connection to share `name` that failed with `error`."""
    if isinstance(error, RefusedError) and error.code is Code.NOT_ALLOWED:
        return AccessLostError(
            f"the share {name!r} does not let this guest in: {error.text}",
            "join again with a code from the sharer",
        )
    if isinstance(error, LostError) and isinstance(error.__cause__, ssl.SSLError):
        error = error.__cause__  # the alert comes after TLS 1.3's handshake, on the client's side
    if isinstance(error, VshareError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return AccessLostError(
            f"whoever answers for {name!r} is not the share that was joined:"
            f" {error.verify_message}",
            "if the sharer started it again, join again with its new code; if not, the relay or"
            " somebody before it is playing the share (nothing was sent to it)",
        )
    if isinstance(error, TimeoutError):
        return LostError(f"the share {name!r} did not answer in time", "try again in a few seconds")
    reason = (error.reason or str(error)) if isinstance(error, ssl.SSLError) else str(error)
    if "UNRECOGNIZED_NAME" in reason:
        return ShareNotFoundError(
            f"the relay has no share named {name!r} any more",
            "it has ended or expired; a new one has a new code: ask the sharer",
        )
    if "ACCESS_DENIED" in reason:
        return LostError(
            f"the relay refuses more connections to {name!r} at the moment", "try again later"
        )
    if "EXPORT_RESTRICTION" in reason:  # that number, 60, means nothing else any more
        return LostError(
            f"the relay moves no more for {name!r} today: what it may have of a day is used up",
            "it goes on at midnight UTC; the sharer can ask whoever runs the relay for more",
        )
    if "INTERNAL_ERROR" in reason:
        return LostError(
            f"the share {name!r} does not answer: its relay has no connection to it at the moment",
            "try again in a while; the sharer's computer may be asleep or without a network",
        )
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return AccessLostError(
            f"the share {name!r} does not take this certificate any more",
            "join again with a code from the sharer",
        )
    return LostError(f"no connection to the share {name!r}: {reason or type(error).__name__}")
