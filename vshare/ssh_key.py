"""The key of `--ssh`: made anew for each share, and encrypted with the password of two people.

The password leaves neither this process nor the guest's: it is compared by SPAKE2
(tunnel/key_handover.py), and a guest that proves it gets the key in OpenSSH's format, encrypted
with that same password (openssh-key-v1, bcrypt).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tunnel.errors import UsageError

MIN_PASSWORD = 8  # characters; whoever holds the file later can try passwords at leisure
MAX_PASSWORD = 256  # characters; more is a file pasted by mistake
# bcrypt_pbkdf's work, 0.35 s each for the sharer, the guest and who tries passwords on the file;
# ssh-keygen's own default is 16 or 24, by its version.
KDF_ROUNDS = 32
# What stands in authorized_keys, and in a shell script: letters that need no quoting.
_COMMENT = re.compile(r"[A-Za-z0-9@._-]{1,100}")


@dataclass(frozen=True, slots=True)
class SshKey:
    """A key pair. `private` is a file in OpenSSH's format, `public` a line of authorized_keys."""

    private: bytes = field(repr=False)
    public: str
    fingerprint: str  # SHA256:..., as `ssh-keygen -l` says it

    @property
    def blob(self) -> str:
        """What tells this key from every other: the second word of `public`."""
        return self.public.split(" ")[1]


def make_key(comment: str, password: str | None) -> SshKey:
    """A new Ed25519 key; without a password its private half is not encrypted.

    Takes about 0.4 s of CPU. `comment` is letters, digits and @._- alone. Raises UsageError for
    a password that `check_password` refuses.
    """
    if not _COMMENT.fullmatch(comment):
        raise ValueError(f"not a comment: {comment!r}")
    if password is not None:
        check_password(password)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, _encryption(password))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    digest = hashlib.sha256(base64.b64decode(public.split(" ")[1])).digest()
    fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    return SshKey(private, f"{public} {comment}", fingerprint)


def check_password(text: str) -> None:
    """Raise UsageError for a password that is too short or too long; it is not shown."""
    if len(text) < MIN_PASSWORD:
        raise UsageError(
            f"the password has fewer than {MIN_PASSWORD} characters",
            f"choose one of {MIN_PASSWORD} characters or more",
        )
    if len(text) > MAX_PASSWORD:
        raise UsageError(
            f"the password has more than {MAX_PASSWORD} characters", "choose a shorter one"
        )


def _encryption(password: str | None) -> KeySerializationEncryption:
    if password is None:
        return NoEncryption()
    builder = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(KDF_ROUNDS)
    return builder.build(password.encode())
