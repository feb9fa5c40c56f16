"""What a relay's log tells of, by name (docs/logging.md): names stay, texts may change."""

from __future__ import annotations

import enum
import logging


class Event(enum.StrEnum):
    """The events, with the fields of each besides `time`, `level`, `logger` and `text`."""

    SERVING = "serving"  # version
    STOPPED = "stopped"
    DRAINING = "draining"
    SHARE_REGISTERED = "share-registered"  # share, token, source
    SHARE_ENDED = "share-ended"  # share, how
    SHARE_REFUSED = "share-refused"  # reason, source
    CHANNEL_BROKEN = "channel-broken"  # source
    CONNECTIONS_TURNED_AWAY = "connections-turned-away"  # reason
    CERTIFICATE_REPLACED = "certificate-replaced"  # ends
    CERTIFICATE_FAULT = "certificate-fault"
    ACME_FAILED = "acme-failed"  # again_in
    NAMES_IN_MEMORY = "names-in-memory"
    NAMES_ON_DISK = "names-on-disk"
    SIGNED_IN = "signed-in"  # token, source
    SIGN_IN_REFUSED = "sign-in-refused"  # source
    TOKEN_MADE = "token-made"  # token, by
    TOKEN_REVOKED = "token-revoked"  # token, by
    BUG = "bug"  # error: a traceback
    # What has no name of its own.
    OTHER = "other"


def tell(
    log: logging.Logger, level: int, event: Event, text: str, /, **fields: str | float | None
) -> None:
    """Log `text`. What `fields` say is in the structured log beside it: no secrets, and an address
    of a visitor's as `source` alone, which may have to be left out."""
    if log.isEnabledFor(level):
        log.log(level, "%s", text, extra={"event": event, "fields": fields})
