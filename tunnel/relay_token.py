"""Relay tokens as people hand them on (docs/protocol.md 4.1): made, checked, hashed. Pure.

`vsr_`, 8 characters that name the token, 52 that are the secret, 7 of checksum: a form that secret
scanners find (`vsr_[a-z2-7]{67}`), and that tells a slip of the hand from a token that is void.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass, field

from tunnel.errors import UsageError

PREFIX = "vsr_"
ID_SIZE = 5  # bytes: 8 characters
SECRET_SIZE = 32  # bytes: 256 bits, 52 characters
MAX_TOKEN = 128  # characters of what is taken for one on the wire: a later form may be longer
_ID, _SECRET, _CHECKSUM = 8, 52, 7  # characters
ID_FORM = re.compile(rf"[a-z2-7]{{{_ID}}}")
_FORM = re.compile(rf"{PREFIX}[a-z2-7]{{{_ID + _SECRET + _CHECKSUM}}}")
HINT = "copy it whole, as `vrelay token create` printed it"


@dataclass(frozen=True, slots=True)
class RelayToken:
    """A token: what it is called, which is no secret, and its text, which is."""

    id: str
    text: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        """What the relay keeps of it. Of 256 random bits a plain hash tells nothing."""
        return hashlib.sha256(self.text.encode()).digest()


def make_token(id_bytes: bytes, secret: bytes) -> RelayToken:
    """The token of ID_SIZE and SECRET_SIZE random bytes."""
    body = PREFIX + _letters(id_bytes) + _letters(secret)
    return RelayToken(_letters(id_bytes), body + _checksum(body))


def parse_token(text: str) -> RelayToken:
    """`text` as a token. Raises UsageError, which shows nothing of it."""
    text = text.strip()
    if not _FORM.fullmatch(text):
        size = len(PREFIX) + _ID + _SECRET + _CHECKSUM
        raise UsageError(
            f"that is no relay token: one begins with {PREFIX} and has {size} characters", HINT
        )
    body, checksum = text[:-_CHECKSUM], text[-_CHECKSUM:]
    if checksum != _checksum(body):
        raise UsageError("a character of that relay token is wrong", HINT)
    return RelayToken(text[len(PREFIX) :][:_ID], text)


def _letters(data: bytes) -> str:
    """RFC 4648 6, in lowercase and without padding."""
    return base64.b32encode(data).decode().rstrip("=").lower()


def _checksum(body: str) -> str:
    return _letters(zlib.crc32(body.encode()).to_bytes(4, "big"))
