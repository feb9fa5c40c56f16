"""Tokens, bans and reserved names of one node, good at all of them (docs/protocol.md 4.2).

Each node's accounts stay in its own SQLite, where its operator changes them, and are posted whole
whenever they change. A token is known by its hash alone, as it is in the file.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec

from relay.accounts.watch import Accounts, AccountWatch
from relay.cluster.member import Member
from relay.cluster.records import everywhere

TOPIC = "accounts"
MAX_NOTICE = 16 * 1024 * 1024  # bytes of one node's: some 50,000 tokens

log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Accounts)


class SharedAccounts:
    """Posts what `watch` reads, and gives it what the others have posted."""

    def __init__(self, member: Member, watch: AccountWatch) -> None:
        self._member, self._watch, self._home = member, watch, member.info.home
        member.listen(TOPIC, self._heard)
        watch.on_change = self._changed
        self._changed(watch.own)

    def _changed(self, own: Accounts) -> None:
        permits = [
            replace(permit, account=everywhere(permit.account, self._home))
            for permit in own.permits
        ]
        names = [(name, everywhere(account, self._home)) for name, account in own.names]
        said = Accounts(permits, own.bans, names)
        self._member.post(TOPIC, msgspec.json.encode(said))

    def _heard(self, notices: dict[str, bytes]) -> None:
        others = [self._parse(home, text) for home, text in notices.items() if home != self._home]
        self._watch.hear([each for each in others if each is not None])

    def _parse(self, home: str, text: bytes) -> Accounts | None:
        if len(text) <= MAX_NOTICE:
            try:
                return _decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                log.warning("the accounts of node %s cannot be read: %s", home, error)
                return None
        log.warning("the accounts of node %s are too many", home)
        return None
