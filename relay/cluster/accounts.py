"""Tokens, bans and reserved names of one node, good at all of them (docs/protocol.md 4.3).

Each node's accounts stay in its own SQLite, where its operator changes them, and are posted whole
whenever they change. A token is known by its hash alone, as it is in the file. Redis carries them
sealed (relay/cluster/seals.py): what it made up itself, or says again after it was changed, is not
heard.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import msgspec

from relay.accounts.watch import Accounts, AccountWatch
from relay.cluster.member import Member
from relay.cluster.records import everywhere
from relay.cluster.seals import PROOF
from tunnel.errors import RemoteProtocolError

TOPIC = "accounts"
MAX_NOTICE = 16 * 1024 * 1024  # bytes of one node's: some 50,000 tokens

log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Accounts)


class SharedAccounts:
    """Posts what `watch` reads, and gives it what the others have posted."""

    def __init__(self, member: Member, watch: AccountWatch) -> None:
        self._member, self._watch, self._home = member, watch, member.info.home
        self._stamps: dict[str, int] = {}  # the highest of each node's, by their homes
        # What each said last: a Redis that has lost it ends nobody's shares.
        self._known: dict[str, Accounts] = {}
        # What is there still is not read again: 50,000 tokens take a quarter of a second.
        self._proofs: dict[str, bytes] = {}
        member.listen(TOPIC, self._heard)
        watch.on_change = self._changed
        self._changed(watch.own)

    def _changed(self, own: Accounts) -> None:
        permits = [
            replace(permit, account=everywhere(permit.account, self._home))
            for permit in own.permits
        ]
        names = [(name, everywhere(account, self._home)) for name, account in own.names]
        said = Accounts(permits, own.bans, names, own.revoked)
        stamp = max(time.time_ns(), self._stamps.get(self._home, 0) + 1)
        self._stamps[self._home] = stamp
        text = msgspec.json.encode(said)
        self._member.post(TOPIC, self._member.seals.seal(TOPIC, self._home, stamp, text))

    def _heard(self, notices: dict[str, bytes]) -> None:
        for home, sealed in notices.items():
            if home == self._home or self._proofs.get(home) == sealed[:PROOF]:
                continue
            accounts = self._parse(home, sealed)
            if accounts is not None:
                self._known[home], self._proofs[home] = accounts, sealed[:PROOF]
        self._watch.hear(list(self._known.values()))
        before = self._stamps[self._home]
        self._open(self._home, notices.get(self._home, b""))
        if self._stamps[self._home] > before:  # the clock was later when this node ran last
            self._changed(self._watch.own)

    def _open(self, home: str, sealed: bytes) -> bytes | None:
        try:
            stamp, text = self._member.seals.open(TOPIC, home, sealed)
        except RemoteProtocolError:
            return None
        if stamp < self._stamps.get(home, 0):
            return None
        self._stamps[home] = stamp
        return text

    def _parse(self, home: str, sealed: bytes) -> Accounts | None:
        if len(sealed) > MAX_NOTICE:
            log.warning("the accounts of node %s are too many", home)
            return None
        text = self._open(home, sealed)
        if text is None:
            log.warning("the accounts of node %s are not what it said last", home)
            return None
        try:
            return _decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("the accounts of node %s cannot be read: %s", home, error)
            return None
