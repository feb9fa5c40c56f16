"""A relay with its pages in a thread of its own: Playwright waits in the test's."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounting import Kind, Visit
from relay.accounts.book import Allowance, account_book
from relay.cluster.config import ClusterConfig
from relay.config import HistoryConfig, RelayConfig
from relay.history.reader import Page, Wanted, history_reader
from relay.server import Relay
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

T = TypeVar("T")
STARTS_WITHIN = 20.0  # seconds
DOMAIN, HOST = "shares.localhost", "pages.localhost"


class RunningRelay:
    """`with` it; `url` is where its pages are, `certificate` what it shows there. `cluster`: it is
    a node of that."""

    def __init__(self, folder: Path, cluster: ClusterConfig | None = None) -> None:
        self.folder, self._cluster = folder, cluster
        self.relay: Relay
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._shares: contextlib.AsyncExitStack
        self._visits = contextlib.ExitStack()

    def __enter__(self) -> RunningRelay:
        self._thread.start()
        assert self._ready.wait(STARTS_WITHIN)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        config = RelayConfig(
            domain=DOMAIN,
            pages_host=HOST,
            state_dir=self.folder,
            accounts=True,
            history=HistoryConfig(),
            cluster=self._cluster,
        )
        async with Relay(config) as self.relay, contextlib.AsyncExitStack() as self._shares:
            self._ready.set()
            await self._over.wait()
            self._visits.close()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.relay.port}"

    @property
    def certificate(self) -> Path:
        return self.folder / f"relay-{DOMAIN}.pem"

    def do(self, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` gives, in the relay's thread."""

        async def main() -> T:
            return await act()

        return asyncio.run_coroutine_threadsafe(main(), self._loop).result(STARTS_WITHIN)

    def token(self, user: str = "ada", scope: str = "share pages", note: str = "") -> RelayToken:
        with account_book(self.folder) as book:
            if user not in {each.name for each in book.users()}:
                book.create_user(user, time.time())
            return book.create_token(user, Allowance(scope, note=note), time.time())

    def share(self, token: RelayToken, name: str) -> RelayLink:
        """A share that is connected as those of `vshare up` are, and takes no visitors. When it
        is, the relay knows the tokens that were made before."""

        async def begin() -> RelayLink:
            while True:
                try:
                    return await connect()
                except RejectedError:  # the relay looks for new tokens twice a second
                    await asyncio.sleep(0.05)

        async def connect() -> RelayLink:
            link = RelayLink(
                self.relay.address,
                Ed25519PrivateKey.generate(),
                ShareName(name),
                on_visitor=lambda sock, paired: sock.close(),
                expires_at=time.time() + 7 * 3_600,
                route=secrets.token_hex(16),
                token=token,
            )
            return await self._shares.enter_async_context(link)

        return self.do(begin)

    def visit(self, name: str, kind: Kind, source: str, received: int, sent: int) -> Visit:
        """A visitor of that share, who stays."""

        async def begin() -> Visit:
            share = self.relay.registry.get(ShareName(name))
            assert share is not None
            visit = self.relay.registry.accounting.visit(share, kind, source)
            self._visits.enter_context(visit)
            visit.count(received, sent)
            return visit

        return self.do(begin)

    def session_of(self, name: str) -> int:
        """The number that the history has for it; it is written soon."""
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until:
            with history_reader(self.folder) as reader:
                found = reader.sessions(Wanted(name=name), Page(limit=1))
            if found:
                return found[0].id
            time.sleep(0.05)
        raise AssertionError(f"{name} is in no history")
