"""The own domains of this relay's shares: asked for, looked up, held, let go."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.certificate import ServerIdentity
from relay.own_domains.claims import Claim, Holder, State
from relay.own_domains.proofs import Proof, ProofBook
from relay.own_domains.rules import own_domain
from relay.registry import LocalRegistry, Share
from relay.routes import Site
from relay.source_buckets import SourceBuckets
from tunnel.control import OwnDomains, OwnDomainState, OwnDomainStates
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_name

MAX_CLAIMS = 8_192  # domains that are asked for or held: each costs 2 KiB, and look-ups
MAX_OF_TOKEN = 32  # that the shares of one token ask for together
NEW_AT_ONCE = 32  # that one token, or without tokens one source, asks for anew
NEW_REFILL_SECONDS = 60.0  # for one more: each costs somebody's DNS servers some queries
LOOKS_AT_ONCE = 16  # under way: 9 s each at worst
HOUSE_EVERY = 5.0  # seconds between looks at which shares have gone
SAVE_EVERY = 60.0  # seconds between writes of nothing but when domains were proven last
# Seconds for which a proof is believed by the relay's next start: one that was looked at an hour
# ago, and an hour without a relay.
REMEMBERED = 7200.0

log = logging.getLogger(__name__)


class Texts(Protocol):
    """The DNS (relay/own_domains/lookup.py)."""

    async def texts(self, name: str) -> frozenset[str]:
        """The TXT records at `name`. Raises VshareError where that is not known."""


class Shown(Protocol):
    """The certificates of own domains (relay/own_domains/certificates.py)."""

    def want(self, host: OwnDomain, payer: str) -> None:
        """A share has `host`, and browsers' TLS ends at the relay. May be said again. `payer`: whom
        an order counts for (as in Holders); empty: not known, or nobody."""

    def drop(self, host: OwnDomain) -> None:
        """It is so no more."""

    def identity(self, host: str) -> ServerIdentity | None:
        """The authority's, if there is one."""

    def is_covered(self, host: str) -> bool:
        """Whether what all sites are shown is good there."""

    def fault(self, host: str) -> str:
        """Why there is none, for people."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A share that has a domain at another relay of the cluster, `since` (seconds, the epoch's)."""

    name: ShareName
    key_hash: bytes
    since: float


@dataclass(slots=True)
class _Asked:
    """What one share asks for, and what it was told last."""

    hosts: list[str]
    faults: dict[str, str] = field(default_factory=dict)  # of those that are refused
    told: list[OwnDomainState] = field(default_factory=list)
    settled: bool = False  # all of them were begun with


class OwnDomainDesk:
    """`run` must be running. `relays` are the relay's own names, which nobody else gets. What is
    proven is kept in `book`; `restore` takes up what an earlier relay has kept there."""

    def __init__(
        self,
        registry: LocalRegistry,
        dns: Texts,
        shown: Shown,
        relays: Sequence[str],
        *,
        book: ProofBook | None = None,
    ) -> None:
        self._book = book or ProofBook(None)
        self._kept: dict[str, bytes] = {}  # whose key has which host, as it is in the book, or soon
        self._save_at = math.inf  # loop time
        self._registry, self._dns, self._shown = registry, dns, shown
        self._relays = tuple(relays)
        self._claims: dict[str, Claim] = {}
        self._asked: dict[Share, _Asked] = {}
        self._new = SourceBuckets(NEW_AT_ONCE, NEW_REFILL_SECONDS)
        self._due: list[tuple[float, int, Claim]] = []  # a heap: when to ask the DNS about what
        self._when: dict[Claim, float] = {}  # what else is in it of a claim is stale
        self._order = itertools.count()  # breaks ties
        self._wake = asyncio.Event()
        self._looking = 0
        self.on_change: Callable[[], None] = lambda: None  # somebody has what he had not, or lost
        self.elsewhere: Callable[[str], Elsewhere | None] = lambda host: None

    def restore(self) -> None:
        """Who had which domain a moment ago has it still, until the DNS, which is asked at once,
        says something else."""
        now, today = asyncio.get_running_loop().time(), time.time()
        for proof in self._book.read()[:MAX_CLAIMS]:
            age = today - proof.proven_at
            if not 0 <= age < REMEMBERED:
                continue
            try:
                host = own_domain(proof.host, self._relays)
            except UsageError:  # the relay has other names by now
                continue
            since = now - (today - proof.since)
            claim = self._claims[host] = Claim(host, now)
            name = ShareName(proof.name)
            claim.holder = Holder(name, proof.key_hash, since, now - age, payer=proof.payer)
            self._look_at(claim, now)
            self._changed(claim)

    # -- for those who bring visitors

    def find(self, host: str) -> Site | None:
        """The site that `host` (as from `strip_port`) stands for, if a share has it."""
        claim = self._claims.get(host)
        if claim is None or claim.holder is None:
            other = self.elsewhere(host)
            return Site(other.name) if other is not None else None
        holder = claim.holder
        share = self._registry.get(holder.name)
        if share is not None and share.key_hash != holder.key_hash:
            return None  # the name is another's by now, and the domain is not
        return Site(holder.name)

    def identity(self, host: str) -> ServerIdentity | None:
        """What browsers are shown at `host`, if it is not what the relay's own sites have."""
        return self._shown.identity(host) if host in self._claims else None

    # -- for control channels

    def ask(self, share: Share, request: OwnDomains, source: str) -> None:
        """`share` wants these, and none that it asked for before. It is told how they are, now and
        later."""
        asked = self._asked.setdefault(share, _Asked([]))
        wanted = list(dict.fromkeys(request.hosts))
        for host in set(asked.hosts) - set(wanted) - asked.faults.keys():
            self._leave(self._claims[host], share, gives_up=True)
        kept = set(asked.hosts) - asked.faults.keys()
        asked.hosts, asked.faults, asked.settled = wanted, {}, False
        for host in wanted:
            if host not in kept:
                try:
                    self._begin(share, own_domain(host, self._relays), source)
                except UsageError as error:
                    asked.faults[host] = error.text
        asked.told, asked.settled = [], True
        if wanted:
            self._tell(share)
        else:
            del self._asked[share]

    def states_of(self, share: Share) -> list[OwnDomainState]:
        """How it is with each domain that `share` asks for, in its order."""
        asked = self._asked.get(share)
        return [self._state(share, host, asked) for host in asked.hosts] if asked else []

    def certificate_changed(self, host: OwnDomain) -> None:
        """There is another certificate, or another reason for none."""
        claim = self._claims.get(host)
        if claim is not None:
            self._tell_all(claim)

    def _begin(self, share: Share, host: OwnDomain, source: str) -> None:
        """Raises UsageError for what cannot be."""
        if not share.http:
            raise UsageError("the share has no public URL, and so none there")
        now = asyncio.get_running_loop().time()
        claim = self._claims.get(host)
        is_back = claim is not None and claim.is_known(share.key_hash)
        if not is_back:
            self._check_limits(share, source, now, is_new=claim is None)
        if claim is None:
            claim = self._claims[host] = Claim(host, now)
        claim.ask(share, now)
        self._changed(claim)
        if not is_back:
            self._look_at(claim, now)

    def _check_limits(self, share: Share, source: str, now: float, *, is_new: bool) -> None:
        if is_new and self._is_full(now):
            raise UsageError("this relay has as many own domains as it can take")
        if share.token:
            others = self._registry.shares_of(share.token) & self._asked.keys()
            known = {host for each in others for host in self._asked[each].hosts}
            if len(known) > MAX_OF_TOKEN:
                raise UsageError(f"a token is for {MAX_OF_TOKEN} own domains at once")
        if not self._new.take(share.token or source, now):
            raise UsageError("there were too many new own domains lately")

    def _is_full(self, now: float) -> bool:
        """Whether there may be no more domains, those of shares that have gone aside."""
        if len(self._claims) >= MAX_CLAIMS:
            self._keep_house(now)
        return len(self._claims) >= MAX_CLAIMS

    def _leave(self, claim: Claim, share: Share, *, gives_up: bool) -> None:
        claim.leave(share, gives_up=gives_up)
        self._changed(claim)

    def _changed(self, claim: Claim) -> None:
        """See to the certificate, and to who asks."""
        holder = claim.holder
        if holder is not None and not self._registry.passes_through(holder.name):
            self._shown.want(claim.host, self._payer(holder))
        else:
            self._shown.drop(claim.host)
        has = holder.key_hash if holder is not None else b""
        if self._kept.get(claim.host, b"") != has:
            self._kept[claim.host] = has
            self._save_within(HOUSE_EVERY)
        if claim.is_over:
            self._kept.pop(claim.host, None)
            self._claims.pop(claim.host, None)
            self._when.pop(claim, None)
        self._tell_all(claim)
        self.on_change()

    def _payer(self, holder: Holder) -> str:
        """Its account, or without accounts where it comes from."""
        share = self._registry.get(holder.name)
        if share is not None and share.holders:
            holder.payer = share.holders[-1]
        return holder.payer

    def _tell_all(self, claim: Claim) -> None:
        for asker in list(claim.asking):
            if isinstance(asker, Share):
                self._tell(asker)

    def _tell(self, share: Share) -> None:
        asked = self._asked.get(share)
        if asked is None or not asked.settled:
            return
        claims = [self._claims[host] for host in asked.hosts if host not in asked.faults]
        if not all(claim.is_of(share.key_hash) or claim.was_looked_at for claim in claims):
            return  # soon
        states = self.states_of(share)
        if states != asked.told:
            asked.told = states
            share.send(OwnDomainStates(states))

    def _state(self, share: Share, host: str, asked: _Asked) -> OwnDomainState:
        if host in asked.faults:
            return OwnDomainState(host, State.REFUSED.value, text=asked.faults[host])
        state = self._claims[host].state_of(share)
        if state is not State.GOOD:
            return OwnDomainState(host, state.value)
        if share.passthrough:
            return OwnDomainState(host, state.value, "share")
        if self._shown.is_covered(host) or self._shown.identity(host) is not None:
            return OwnDomainState(host, state.value, "authority")
        return OwnDomainState(host, state.value, "self-made", self._shown.fault(host))

    # -- the DNS

    async def run(self) -> None:
        """Run until cancelled: ask the DNS again and again, forget shares that have gone."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            house_at = loop.time() + HOUSE_EVERY
            while True:
                now = loop.time()
                if now >= house_at:
                    self._keep_house(now)
                    house_at = now + HOUSE_EVERY
                    if now >= self._save_at:
                        self._save_at = math.inf
                        await self._save()
                while self._looking < LOOKS_AT_ONCE and (claim := self._next_due(now)):
                    self._looking += 1
                    group.create_task(self._look(claim), name=f"DNS for {claim.host}")
                self._wake.clear()
                until = house_at
                if self._due and self._looking < LOOKS_AT_ONCE:
                    until = min(until, self._due[0][0])
                try:
                    async with asyncio.timeout_at(until):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _save(self) -> None:
        if self._registry.is_handed_over:  # what another process knows by now is better
            return
        proofs = [
            Proof(
                host,
                holder.name,
                holder.key_hash,
                epoch_of(holder.since),
                epoch_of(holder.proven_at),
                holder.payer,
            )
            for host, holder in self.holders()
        ]
        await asyncio.to_thread(self._book.write, proofs)

    def _save_within(self, seconds: float) -> None:
        self._save_at = min(self._save_at, asyncio.get_running_loop().time() + seconds)

    def _look_at(self, claim: Claim, when: float) -> None:
        self._when[claim] = when
        heapq.heappush(self._due, (when, next(self._order), claim))
        self._wake.set()

    def _next_due(self, now: float) -> Claim | None:
        while self._due and self._due[0][0] <= now:
            when, _, claim = heapq.heappop(self._due)
            if self._when.get(claim) == when:
                return claim
        return None

    async def _look(self, claim: Claim) -> None:
        loop = asyncio.get_running_loop()
        had = claim.holder and claim.holder.name
        try:
            texts = await self._dns.texts(challenge_name(claim.host))
        except VshareError as error:
            log.info("%s", error.text)
            claim.unanswered(loop.time())
        except Exception:
            log.exception("the DNS could not be asked for %s: this is a bug", claim.host)
            claim.unanswered(loop.time())
        else:
            claim.answered(texts, loop.time())
            self._yield(claim)
        finally:
            self._looking -= 1
            self._wake.set()
        has = claim.holder and claim.holder.name
        if had != has:
            log.info("the domain %s is %s", claim.host, f"for share {has}" if has else "let go")
        if claim.holder is not None:
            self._save_within(SAVE_EVERY)
        if claim in self._when:  # else it was forgotten meanwhile
            self._look_at(claim, loop.time() + claim.again_in(loop.time()))
            self._changed(claim)

    def _yield(self, claim: Claim) -> None:
        other = self.elsewhere(claim.host)
        if other is not None and claim.holder is not None:
            since = epoch_of(claim.holder.since)
            claim.yield_to(other.key_hash, is_earlier=other.since < since)

    def holders(self) -> list[tuple[OwnDomain, Holder]]:
        """Who has what here."""
        return [(each.host, each.holder) for each in self._claims.values() if each.holder]

    def look_again(self, hosts: Iterable[str]) -> None:
        """Something is new about these: ask the DNS now."""
        now = asyncio.get_running_loop().time()
        for host in hosts:
            if host in self._claims:
                self._look_at(self._claims[host], now)

    def _keep_house(self, now: float) -> None:
        for share in [each for each in self._asked if each.is_over]:
            asked = self._asked.pop(share)
            for host in set(asked.hosts) - asked.faults.keys():
                self._leave(self._claims[host], share, gives_up=False)
        for claim in list(self._claims.values()):
            if claim.holder is not None and not self._is_lasting(claim):
                claim.release()
                self._changed(claim)
                if claim.asking:
                    self._look_at(claim, now)

    def _is_lasting(self, claim: Claim) -> bool:
        """Whether its holder is there, or may come back; or else has a page that says it ended."""
        name = claim.holder.name if claim.holder is not None else None
        if name is None or self.find(claim.host) is None:
            return False
        ended = not claim.asking and self._registry.is_site_gone(name)
        return self._registry.is_site(name) or ended


def epoch_of(since: float) -> float:
    """A time of the loop's clock as seconds since the epoch."""
    return time.time() - asyncio.get_running_loop().time() + since
