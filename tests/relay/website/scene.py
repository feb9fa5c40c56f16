"""The pages of a relay, in this process: accounts on disk, shares that nobody serves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path

from relay.accounts.book import Allowance, account_book
from relay.accounts.limits import Limits
from relay.accounts.watch import watched_accounts
from relay.control import Urls
from relay.ends import Owned
from relay.names import NameBook
from relay.registry import LocalRegistry, Share
from relay.website.app import Parts, make_website
from tests.loops import run
from tests.relay.website.browser import FAR, Browser
from tunnel.control import Ended, FromRelay, OwnDomainState
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken

HOST = "pages.example"


class Line:
    """A share's end of the control channel."""

    def __init__(self, registry: LocalRegistry) -> None:
        self._registry = registry
        self.said: list[FromRelay] = []
        self.share: Share

    def deliver(self, message: FromRelay) -> None:
        self.said.append(message)

    def hang_up(self) -> None:
        self._registry.remove(self.share)

    def ended(self) -> str:
        """The code of its end; empty: it has not ended."""
        return next((each.code for each in self.said if isinstance(each, Ended)), "")


class Others:
    """Shares at the other relays of a cluster."""

    def __init__(self) -> None:
        self.known: dict[ShareName, Owned] = {}
        self.ended: list[tuple[str, bool]] = []

    def shares(self) -> list[Owned]:
        return list(self.known.values())

    def find(self, name: ShareName) -> Owned | None:
        return self.known.get(name)

    def end(self, name: ShareName, *, by_operator: bool) -> None:
        self.ended.append((name, by_operator))


class Scene:
    """`token(user)` makes one, `share(token, name)` a share with it, `browser()` who looks."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._watch = stack.enter_context(watched_accounts(folder))
        self.permits = self._watch.permits
        self.registry = LocalRegistry(stack.enter_context(NameBook(None)))
        self.domains: dict[ShareName, list[OwnDomainState]] = {}
        self.others = Others()
        parts = Parts(
            self.registry,
            self.permits,
            Urls("shares.example", 7443),
            folder,
            end_lease=lambda share: self.leases_ended.append(share.name),
            defaults=Limits(shares=5, bandwidth=0),
            states_of=lambda share: self.domains.get(share.name, []),
            elsewhere=self.others,
        )
        self.leases_ended: list[str] = []
        self.app = make_website(HOST, parts)

    def token(self, user: str = "ada", scope: str = "share pages", **more: object) -> RelayToken:
        with account_book(self.folder) as book:
            if user not in {each.name for each in book.users()}:
                book.create_user(user, 1.0)
            made = book.create_token(user, Allowance(scope, **more), time.time())  # type: ignore[arg-type]  # a table of keywords
        self.look()
        return made

    def revoke(self, token: RelayToken) -> None:
        with account_book(self.folder) as book:
            book.revoke_token(token.id, time.time())
        self.look()

    def look(self) -> None:
        """What the relay does twice a second."""
        self._watch.load()
        self.registry.end_without(lambda token: self.permits.is_good(token, time.time()))

    def share(self, token: RelayToken, name: str, *, http: bool = True) -> Line:
        line = Line(self.registry)
        line.share = Share(
            ShareName(name), name.encode(), http, time.time() + 3600, lambda *_: None, name, line,
            token=token.id,
        )  # fmt: skip
        assert self.registry.add(line.share)
        return line

    def browser(self, address: str = FAR) -> Browser:
        return Browser(self.app, address)

    async def signed_in(self, token: RelayToken) -> Browser:
        browser = self.browser()
        assert (await browser.sign_in(token.text)).status == 303
        await browser.get("/tokens")
        return browser


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(folder, stack)


def act(folder: Path, main: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    """Run `main` with a scene in `folder`."""

    async def inside() -> None:
        with scene(folder) as made:
            await main(made)

    run(inside, asyncio.new_event_loop)
