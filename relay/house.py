"""What a relay's operator wants of those who come: accounts, limits, bans, put to work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from relay.accounts.bans import Ban
from relay.accounts.database import FILE, unusable
from relay.accounts.permits import Permits
from relay.accounts.quotas import Quotas
from relay.accounts.rules import Rules
from relay.accounts.watch import LOOK_EVERY, AccountWatch, watched_accounts
from relay.config import RelayConfig
from relay.registry import LocalRegistry, Share
from tunnel.errors import LocalProtocolError, VshareError

log = logging.getLogger(__name__)


class Entrance(Protocol):
    """Where visitors come in."""

    def cut(self, is_banned: Callable[[str], bool]) -> None:
        """End the connections from such addresses."""


class House:
    """`permits`: what shares need; None: nothing. `run` must be running."""

    def __init__(
        self, registry: LocalRegistry, accounts: AccountWatch | None, config: RelayConfig
    ) -> None:
        self._registry, self._accounts = registry, accounts
        self.permits: Permits | None = None
        if accounts is not None and config.accounts:
            self.permits = accounts.permits
        registry.quotas = quotas = Quotas(self.permits, config.limits)
        self.rules = Rules(quotas)
        self._bans_seen = 0
        self._entrances: Sequence[Entrance] = ()
        if accounts is not None:
            self.rules = Rules(quotas, accounts.bans, accounts.reserved)
            accounts.count_for(quotas)

    @property
    def accounts(self) -> AccountWatch | None:
        """What is kept in the state directory; None: nothing is."""
        return self._accounts

    def is_banned(self, address: str) -> bool:
        """Whether nobody is to come from there."""
        return self.ban_of_address(address) is not None

    def ban_of_address(self, address: str) -> Ban | None:
        """What bans who comes from there."""
        if self._accounts is None:
            return None
        return self._accounts.bans.of_address(address, time.time())

    async def run(self, entrances: Sequence[Entrance]) -> None:
        """Until cancelled: what the operator changes, and what the clock does, counts."""
        self._entrances = entrances
        if self._accounts is not None:
            await self._accounts.run(self._registry.end_without, self._look)
        while True:  # nothing is kept, and limits count
            self._registry.quotas.look()
            await asyncio.sleep(LOOK_EVERY)

    def _look(self) -> None:
        if self._accounts is None or self._accounts.bans.version == self._bans_seen:
            return
        self._bans_seen = self._accounts.bans.version
        self._registry.end_banned(self._ban_of)
        for entrance in self._entrances:
            entrance.cut(self.is_banned)

    def _ban_of(self, share: Share) -> Ban | None:
        return self.rules.ban_of(share.address, share.token, share.name, time.time())


@contextlib.contextmanager
def house_of(registry: LocalRegistry, config: RelayConfig) -> Iterator[House]:
    """The operator's, as `config` says. Raises VshareError."""
    with contextlib.ExitStack() as stack:
        accounts = stack.enter_context(_accounts(config))
        try:
            house = House(registry, accounts, config)
        except sqlite3.Error as error:
            assert config.state_dir is not None  # what is read is in it
            raise unusable(config.state_dir, error) from error
        yield house


@contextlib.contextmanager
def _accounts(config: RelayConfig) -> Iterator[AccountWatch | None]:
    """None: nothing is to be had of them. An open relay takes everybody but for those it banned;
    where nobody ever was, it needs no file. Raises VshareError."""
    folder = config.state_dir
    if folder is None:
        if config.accounts:
            raise LocalProtocolError("accounts are in a state directory, and there is none")
        yield None
        return
    with contextlib.ExitStack() as stack:
        watch: AccountWatch | None = None
        try:
            watch = stack.enter_context(watched_accounts(folder))
        except VshareError as error:
            if config.accounts or (folder / FILE).exists():
                raise
            log.warning("%s: nobody can be banned while it runs", error.text)
        yield watch
