"""Which share had proven which own domain, kept for the relay's next start: a restart is nothing
that a domain's visitors should see.

A record in the DNS can go while no relay looks. So only what was proven lately is believed, and it
is looked at again at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from relay.acme import write_private
from tunnel.control import Host, Text

MAX_FILE = 8 * 1024 * 1024  # bytes: 8,192 domains have 2 MiB

log = logging.getLogger(__name__)


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """`name` is the share's that has `host`; times are seconds since the epoch. `payer`: see
    relay.own_domains.desk.Shown."""

    host: Host
    name: Text
    key_hash: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    since: float
    proven_at: float
    payer: Text = ""


_decoder = msgspec.json.Decoder(list[Proof])


class ProofBook:
    """Keeps them in the file at `path`; None: nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> list[Proof]:
        """What was written last; nothing, where that cannot be read."""
        if self._path is None:
            return []
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
            return _decoder.decode(content) if len(content) <= MAX_FILE else []
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("%s cannot be read (%s): own domains are looked up anew", self._path, error)
            return []

    def write(self, proofs: Sequence[Proof]) -> None:
        """These, in place of all. Where that fails, the next start looks all of them up."""
        if self._path is None:
            return
        try:
            write_private(self._path, msgspec.json.encode(proofs))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
