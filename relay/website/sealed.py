"""What a browser keeps for the relay, and can neither read nor change. Pure: entropy is an
argument.

Relays that have one key take each other's. Each text is sealed with a key of its own, so there may
be any number.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE = 32  # bytes
MAX_SEALED = 3_000  # characters: browsers keep cookies of 4,096 bytes
_SALT, _NONCE = 32, 12  # bytes; with a key for each text the nonce may be derived, too


class Seal:
    """`entropy(size)` gives random bytes."""

    def __init__(self, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._key, self._entropy = key, entropy

    def close(self, purpose: str, text: bytes) -> str:
        """`text`, sealed for that purpose and no other: letters, digits, `-` and `_`."""
        salt = self._entropy(_SALT)
        key, nonce = self._derive(purpose, salt)
        return _letters(salt + AESGCM(key).encrypt(nonce, text, None))

    def open(self, purpose: str, sealed: str) -> bytes | None:
        """What `close` was given; None: it never made this."""
        if not sealed or len(sealed) > MAX_SEALED:
            return None
        try:
            text = sealed.encode("ascii")
            data = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
            if _letters(data) != sealed:  # padding, other letters, bits that nothing is in
                return None
            key, nonce = self._derive(purpose, data[:_SALT])
            return AESGCM(key).decrypt(nonce, data[_SALT:], None)
        except (UnicodeError, binascii.Error, ValueError, InvalidTag):
            return None

    def proof(self, purpose: str, text: str) -> str:
        """What goes with `text` for that purpose, and with no other."""
        said = f"vrelay pages proof: {purpose}: {text}".encode("utf-8", "replace")
        digest = hmac.digest(self._key, said, hashlib.sha256)
        return _letters(digest)

    def _derive(self, purpose: str, salt: bytes) -> tuple[bytes, bytes]:
        info = f"vrelay pages seal: {purpose}".encode()
        made = HKDF(hashes.SHA256(), KEY_SIZE + _NONCE, salt=salt, info=info).derive(self._key)
        return made[:KEY_SIZE], made[KEY_SIZE:]


def _letters(data: bytes) -> str:
    """RFC 4648 5, without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
