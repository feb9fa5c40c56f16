"""One relay as a node of a cluster: what it holds, what the others hold (docs/protocol.md 4.3).

A lease lasts as long as its node's beats are heard. A node that Redis does not hear goes on with
the shares that it has, as long as nobody else could be given their names: see `_may_stay`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import msgspec

from relay.accounting import How
from relay.cluster.config import Timing
from relay.cluster.directory import Directory
from relay.cluster.node_port import NodeDialler
from relay.cluster.questions import Questions
from relay.cluster.records import Change, Lease, NodeInfo, Record, Wish, at, everywhere
from relay.cluster.seals import Seals
from relay.cluster.store import Changed, Claimed, NotGrantedError, Pulse, Store, StoreError
from relay.names import HELD_AFTER, NameBook, NameRow
from relay.registry import LocalRegistry, Share
from tunnel.names import ShareName

RETRY_CLAIM = 0.2  # seconds; for a node's first beat, or the end of a grace time
CLAIM_WITHIN = 12.0  # seconds; the share waits 15 for its answer
SYNC_EVERY = 60.0  # seconds between readings of all names, should a change have been missed
# Seconds before a lease ends: by then all nodes have noticed that Redis is away (a beat, and the
# time for its answer), and there is time for theirs.
LOOK_BEFORE = 1.5
LOOK_EVERY = 0.5  # seconds
SAID_AT_ONCE = 200  # names said again in one step of Redis's
ANSWER_WITHIN = 1.4  # seconds for other nodes to say whether Redis hears them
TOPIC = "store"  # of that question
YES, NO = b"\1", b"\0"
FORGET_EVERY = 3600.0  # seconds; names are held for days

log = logging.getLogger(__name__)

T = TypeVar("T")
Heard = Callable[[dict[str, bytes]], None]


class Member:
    """`run` does the work. `info` is what the node says of itself."""

    def __init__(
        self,
        store: Store,
        registry: LocalRegistry,
        names: NameBook,
        directory: Directory,
        dialler: NodeDialler,
        *,
        timing: Timing,
        seals: Seals,
    ) -> None:
        self._store, self._registry, self._names = store, registry, names
        self.seals = seals
        self.directory, self._dialler, self._timing = directory, dialler, timing
        self.info: NodeInfo
        self._fences: dict[Share, str] = {}  # of the shares that are, or were until lately, here
        self._pending: dict[Share, str] = {}  # what Redis is to be told of them
        self._since_here = self._since_all = ""  # the epochs in which it was said what there is
        self._reaches = False  # whether Redis heard the last beat
        self.is_unheard = False  # whether it did not; neither, before the first one
        self._lease_ends = 0.0  # loop time
        self._is_split = False
        self._is_synced = False
        self._poke = asyncio.Event()  # there is something to do: do not wait for the next beat
        self._topics: dict[str, Heard] = {}
        self._revisions: dict[str, str] = {}
        self._posts: dict[str, bytes] = {}  # what this node has to say, by topic
        self._unposted: set[str] = set()
        self.questions = Questions()
        self.questions.answer(TOPIC, self._whether_heard)

    # -- what others of this relay ask

    @property
    def has_store(self) -> bool:
        """Whether Redis hears this node."""
        return self._reaches

    @property
    def is_ready(self) -> bool:
        """Whether shares can register here, and visitors find them all."""
        return self._reaches and self._is_synced and not self._is_split

    async def claim(self, wish: Wish) -> Lease:
        """A lease of the name that is wished for. Raises NotGrantedError, StoreError.

        A connection that has been idle may have ended unnoticed: so Redis is asked again, while it
        hears this node. To be granted the same wish twice is to be granted it once.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + CLAIM_WITHIN
        while True:
            try:
                account = everywhere(wish.account, self.info.home)
                everybodys = replace(wish, account=account)
                lease = await self._store.claim(self.info.id, everybodys)
            except NotGrantedError as error:
                if error.code not in ("grace", "stale") or loop.time() > ends:
                    raise
            except StoreError:
                if self.is_unheard or loop.time() > ends:
                    raise
            else:
                self._note(lease.name, lease.record)
                return lease
            await asyncio.sleep(RETRY_CLAIM)

    def holds(self, share: Share, lease: Lease) -> None:
        """`share` is registered here by `lease`."""
        self._fences[share] = lease.record.fence
        now = self.directory.records[lease.name]
        if share.is_over:
            self.left(share)
        elif now.fence != lease.record.fence:  # somebody else was faster than we could say so
            self._evict(share)

    def fence_of(self, share: Share) -> str | None:
        """The number of the lease by which it is here."""
        return self._fences.get(share)

    def extended(self, share: Share) -> None:
        """Its lease is to end at another time."""
        self._tell(share, "extend")

    def ended(self, share: Share) -> None:
        """Its owner has ended it."""
        self._tell(share, "end")

    def left(self, share: Share) -> None:
        """Its session is over."""
        if self._pending.get(share) != "end":
            self._tell(share, "leave")

    def _tell(self, share: Share, what: str) -> None:
        if share in self._fences:
            self._pending[share] = what
            self._poke.set()

    async def give_back(self, lease: Lease) -> None:
        """It is not used after all."""
        with contextlib.suppress(StoreError):
            await self._store.change([Changed(lease.name, lease.record.fence, "leave")])

    def listen(self, topic: str, heard: Heard) -> None:
        """`heard(notices)` is called with what each node (by its home) says on `topic`, when that
        was read, and whenever it changes."""
        self._topics[topic] = heard

    def post(self, topic: str, text: bytes) -> None:
        """Let all nodes hear `text` on `topic`, in place of what this one said before."""
        if self._posts.get(topic) != text:
            self._posts[topic] = text
            self._unposted.add(topic)
            self._poke.set()

    async def ask_all(
        self, nodes: Iterable[NodeInfo], topic: str, question: bytes, within: float
    ) -> list[tuple[NodeInfo, bytes | None]]:
        """See NodeDialler."""
        return await self._dialler.ask_all(nodes, topic, question, within)

    # -- at work

    async def run(self) -> None:
        """Until cancelled; then the node leaves the cluster."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(), name="beat")
                group.create_task(self._mind_lease(), name="lease")
                group.create_task(self._follow(), name="changes")
                group.create_task(self._sync_often(), name="all names")
        finally:
            with contextlib.suppress(StoreError):
                await self._flush()
                await self._store.leave(self.info.id)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._poke.clear()
            sent_at = loop.time()
            try:
                pulse = await self._store.beat(self.seals.of_node(self.info))
                self._heard(sent_at, pulse)
                await self._say_again(pulse)
                await self._flush()
                await self._post()
                await self._read_notices(pulse)
            except StoreError as error:
                self._missed(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.beat):
                    if not self._reaches:
                        await asyncio.sleep(self._timing.beat)
                    await self._poke.wait()

    def _heard(self, sent_at: float, pulse: Pulse) -> None:
        if not self._reaches:
            log.warning("Redis hears this node: shares can register")
        self._reaches, self.is_unheard, self._is_split = True, False, False
        self._lease_ends = sent_at + self._timing.ttl
        are_all = pulse.age >= self._timing.ttl  # before, Redis has not heard everybody yet
        living = (each for each in pulse.living if self.seals.is_node(each))
        self.directory.living(living, are_all=are_all)

    def _missed(self, error: StoreError) -> None:
        if self._reaches:
            log.warning("%s: no share can register until it answers", error.text)
        self._reaches, self.is_unheard = False, True

    async def _mind_lease(self) -> None:
        """Before its lease ends a node knows whether it may keep what it has."""
        loop = asyncio.get_running_loop()
        while True:
            ends = self._lease_ends
            await asyncio.sleep(max(LOOK_EVERY, ends - LOOK_BEFORE - loop.time()))
            if self._lease_ends != ends or not self._fences:
                continue
            may_stay = await self._may_stay()
            await asyncio.sleep(max(0.0, ends - loop.time()))
            if self._lease_ends == ends and not may_stay:
                self._give_up()

    async def _whether_heard(self, question: bytes) -> bytes:
        return YES if self._reaches else NO

    async def _may_stay(self) -> bool:
        """Whether this node, which Redis does not hear, keeps its shares.

        While nobody can write to Redis nobody is given a name. So it does if most nodes (those that
        were known last, itself counted) say that Redis does not hear them, and none that it does.
        Else somebody may be given what is here.
        """
        others = self.directory.others()
        asked = await self._dialler.ask_all(others, TOPIC, b"", ANSWER_WITHIN)
        answers = [answer for _, answer in asked]
        return YES not in answers and 2 * (1 + answers.count(NO)) > 1 + len(others)

    def _give_up(self) -> None:
        shares = self._registry.shares()
        if shares:
            log.warning("this node is cut off: its %d shares are to go to others", len(shares))
        self._is_split = True
        for share in shares:
            share.finish(How.LOST)

    async def _say_again(self, pulse: Pulse) -> None:
        """Redis is another one than it was, or has lost something: what is here comes first, and
        what is nowhere after all nodes had time to say what they have."""
        if not self._since_here:
            await self._sync()
        if pulse.since != self._since_here:
            for part in _parts(self._said_here()):
                claimed = [each for _, each in part]
                fences = await self._store.say_again(self.info.id, claimed)
                for (share, each), fence in zip(part, fences, strict=False):
                    if fence == "lost":
                        log.warning("the name %s is another node's now", each.name)
                        self._evict(share)
                    elif share in self._fences:
                        self._fences[share] = fence
            self._since_here = pulse.since
        if pulse.since != self._since_all and pulse.age >= self._timing.grace / 2:
            for rest in _parts(list(self._known_elsewhere())):
                await self._store.say_again(self.info.id, rest)
            self._since_all = pulse.since

    def _said_here(self) -> list[tuple[Share, Claimed]]:
        found = []
        for share, fence in self._fences.items():
            record = self.directory.records.get(share.name)
            if not share.is_over and record is not None and self._pending.get(share) is None:
                claimed = Claimed(
                    share.name, msgspec.structs.replace(record, fence=fence), here=True
                )
                found.append((share, claimed))
        return found

    def _known_elsewhere(self) -> Iterator[Claimed]:
        for name, record in self.directory.records.items():
            if record.node not in self.directory.nodes:
                yield Claimed(name, record, here=False)
        for row in self._names.rows():
            if row.name not in self.directory.records:
                yield Claimed(row.name, self._record_of(row), here=False)

    async def _flush(self) -> None:
        """Tell Redis what became of shares."""
        for part in _parts(list(self._pending.items())):
            changes = [
                Changed(share.name, fence, what, max(0.0, share.ends_at - _now()))
                for share, what in part
                if (fence := self._fences.get(share)) is not None  # else Redis was told it has gone
            ]
            await self._store.change(changes)
            for share, what in part:
                if self._pending.get(share) == what:
                    del self._pending[share]
                if what != "extend":
                    self._fences.pop(share, None)

    async def _post(self) -> None:
        for topic in list(self._unposted):
            await self._store.post(topic, self.info.home, self._posts[topic])
            self._unposted.discard(topic)

    async def _read_notices(self, pulse: Pulse) -> None:
        for topic, heard in self._topics.items():
            revision = f"{pulse.since} {pulse.revisions.get(topic, '')}"
            if self._revisions.get(topic) == revision:
                continue
            notices = await self._store.notices(topic)
            if topic in self._posts and notices.get(self.info.home) != self._posts[topic]:
                self._unposted.add(topic)  # Redis has lost it
                self._poke.set()
            heard(notices)
            self._revisions[topic] = revision

    # -- what the others do

    async def _follow(self) -> None:
        while True:
            try:
                async with self._store.changes() as changes:
                    await self._sync()
                    self._is_synced = True
                    async for change in changes:
                        self._told(change)
            except StoreError:
                self._is_synced = False
                await asyncio.sleep(self._timing.beat)

    async def _sync_often(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(SYNC_EVERY)
            rounds += 1
            with contextlib.suppress(StoreError):
                await self._sync()
                if rounds % int(FORGET_EVERY / SYNC_EVERY) == 0:
                    await self._store.forget_old()
                    self.directory.forget_old((_now() - HELD_AFTER) * 1000)

    async def _sync(self) -> None:
        async for part in self._store.names():
            for name, record in part:
                self._note(name, record)

    def _told(self, change: Change) -> None:
        if change.topic:
            self._poke.set()
        elif change.record is not None:
            self._note(ShareName(change.name), change.record)

    def _note(self, name: ShareName, record: Record) -> None:
        if not self.directory.note(name, record):
            return
        self._names.adopt(self._row_of(name, record))
        share = self._registry.get(name)
        if share is None or share not in self._fences or not record.node:
            return
        if record.node != self.info.id and record.fence != self._fences[share]:
            self._evict(share)

    def _row_of(self, name: ShareName, record: Record) -> NameRow:
        return NameRow(
            name,
            bytes.fromhex(record.key),
            record.until / 1000,
            record.route,
            record.http,
            record.passthrough,
            record.public_until / 1000,
            at(int(record.account), self.info.home),
        )

    def _record_of(self, row: NameRow) -> Record:
        """Of what this relay knew before it was a node."""
        return Record(
            row.key_hash.hex(),
            row.lease_until * 1000,
            str(everywhere(row.account, self.info.home)),
            row.route,
            row.http,
            row.passthrough,
            row.public_until * 1000,
        )

    def _evict(self, share: Share) -> None:
        share.end("evicted", "the same share connected again")


def _parts(items: list[T]) -> Iterator[list[T]]:
    for first in range(0, len(items), SAID_AT_ONCE):
        yield items[first : first + SAID_AT_ONCE]


def _now() -> float:
    return time.time()
