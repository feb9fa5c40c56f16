"""The cluster's Redis: every question and every change, each one script (relay/cluster/scripts.py).

Whatever goes wrong on the way there, or in Redis itself, is a StoreError: nothing is known then, a
change may have been made or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import redis.asyncio
from redis.exceptions import RedisError

from relay.cluster import scripts
from relay.cluster.config import ClusterConfig, Timing
from relay.cluster.records import (
    Change,
    Lease,
    NodeInfo,
    Record,
    Wish,
    parse_change,
    parse_node,
    parse_record,
    serialize,
)
from relay.names import HELD_AFTER
from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.names import ShareName, parse_name

PREFIX = "vshare:"
ANSWER_WITHIN = 2.0  # seconds; a Redis that needs longer is as good as none
CONNECTIONS = 4  # to Redis, for what the node itself has to say, its beats first of all
REGISTERING = 8  # and for registrations, of which thousands may wait for one
SCANNED = 500  # names read, or said again, at a time: some milliseconds of Redis's time
FORGOTTEN = 200  # names forgotten at a time
MAX_SECRET = 4 * 1024  # bytes of a file with a password or a secret
_HELD = int(HELD_AFTER * 1000)

S = TypeVar("S")
T = TypeVar("T")
log = logging.getLogger(__name__)


class StoreError(VshareError):
    """Redis cannot be asked now."""


class NotGrantedError(VshareError):
    """A name was not got; `code` is what the script said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Pulse:
    """What Redis says at a beat: its epoch and how old that is (seconds), who lives, how often
    each topic's notices have changed."""

    since: str
    age: float
    living: tuple[NodeInfo, ...]
    revisions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Changed:
    """What becomes of a lease, by its fence: `extend` it to `lasts` seconds from now, `end` it, or
    `leave` it (the share is away)."""

    name: str
    fence: str
    what: str
    lasts: float = 0.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a node says again after Redis lost it; `here`: its share is connected to this node."""

    name: ShareName
    record: Record
    here: bool


class Store:
    """One node's connections to Redis. All methods raise StoreError."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        registering: redis.asyncio.Redis,
        timing: Timing,
        prefix: str = PREFIX,
    ) -> None:
        self._client, self._timing, self._prefix = client, timing, prefix
        self._registering = registering
        self._scripts = {
            name: client.register_script(scripts.EPOCH + getattr(scripts, name))
            for name in ("BEAT", "LEAVE", "CLAIM", "CHANGE", "ASSERT", "FORGET", "POST")
        }

    async def _run(self, script: str, *arguments: str | bytes | int) -> object:
        client = self._registering if script == "CLAIM" else self._client
        asked = self._scripts[script](keys=[self._prefix], args=list(arguments), client=client)
        return await _answered(asked)

    async def beat(self, node: NodeInfo) -> Pulse:
        """This node lives."""
        ttl = int(self._timing.ttl * 1000)
        answer = await self._run("BEAT", node.id, serialize(node), ttl, node.home)
        since, age, living, revisions = cast(tuple[bytes, bytes, list[bytes], list[bytes]], answer)
        pairs = zip(revisions[::2], revisions[1::2], strict=True)
        return Pulse(
            since.decode(),
            int(age) / 1000,
            tuple(_legible(living, parse_node)),
            {topic.decode(): count.decode() for topic, count in pairs},
        )

    async def leave(self, node: str) -> None:
        """This node lives no more."""
        await self._run("LEAVE", node)

    async def claim(self, node: str, wish: Wish) -> Lease:
        """The name that a share wishes for, leased to `node`. Raises NotGrantedError also."""
        answer = await self._run(
            "CLAIM",
            node,
            wish.key,
            int(wish.lasts * 1000),
            wish.route,
            int(wish.http),
            int(wish.passthrough),
            str(wish.account),
            wish.token,
            -1 if wish.shares is None else wish.shares,
            _HELD,
            int(self._timing.grace * 1000),
            int(wish.drawn),
            int(wish.by_right),
            *wish.names,
        )
        code, *rest = (part.decode() for part in cast(list[bytes], answer))
        if code != "ok":
            raise NotGrantedError(code)
        try:
            name, record = rest
            return Lease(parse_name(name), parse_record(record.encode()))
        except (ValueError, VshareError) as error:
            raise StoreError(f"Redis gave a lease that is none: {error}") from error

    async def change(self, changes: Sequence[Changed]) -> list[bool]:
        """Whether each was made; False: it is not this node's any more, and nothing has changed."""
        arguments: list[str | int] = []
        for each in changes:
            arguments += [each.name, each.fence, each.what, int(each.lasts * 1000)]
        answer = await self._run("CHANGE", _HELD, *arguments)
        return [part == b"ok" for part in cast(list[bytes], answer)]

    async def say_again(self, node: str, claimed: Sequence[Claimed]) -> list[str]:
        """For each, its new fence if it is `here`; `lost` for a name that is somebody else's."""
        arguments: list[str | bytes] = []
        for each in claimed:
            arguments += [each.name, serialize(each.record), "1" if each.here else "0"]
        answer = await self._run("ASSERT", node, _HELD, *arguments)
        return [part.decode() for part in cast(list[bytes], answer)]

    async def names(self) -> AsyncIterator[list[tuple[ShareName, Record]]]:
        """All of them, some at a time; who changes meanwhile may be there as before or after."""
        cursor = 0
        while True:
            scan = self._client.hscan(f"{self._prefix}names", cursor, count=SCANNED)
            found = await _answered(cast(Awaitable[tuple[int, dict[bytes, bytes]]], scan))
            cursor, part = found
            yield list(_legible(part.items(), _parse_entry))
            if not int(cursor):
                return

    async def forget_old(self) -> None:
        """Drop names that nobody has a right to any more."""
        await self._run("FORGET", FORGOTTEN, int(self._timing.grace * 1000))

    async def post(self, topic: str, home: str, text: bytes) -> None:
        """What the node at `home` has to say to all on `topic`, in place of what it said before."""
        await self._run("POST", topic, home, text)

    async def notices(self, topic: str) -> dict[str, bytes]:
        """What all have said on `topic`, by their homes."""
        found: dict[bytes, bytes] = await _answered(
            cast(
                Awaitable[dict[bytes, bytes]],
                self._client.hgetall(f"{self._prefix}notices:{topic}"),
            )
        )
        return {home.decode(): text for home, text in found.items()}

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Change]]:
        """What is told to all nodes from now on, until the connection is lost: then StoreError."""
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            await _answered(pubsub.subscribe(f"{self._prefix}changes"))
            yield self._told(pubsub)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it open

    async def _told(self, pubsub: redis.asyncio.client.PubSub) -> AsyncIterator[Change]:
        while True:
            message = await _answered(pubsub.get_message(timeout=None), None)
            if message is None:
                continue
            try:
                yield parse_change(message["data"])
            except RemoteProtocolError as error:
                log.warning("Redis told something that is none of ours: %s", error.text)

    async def aclose(self) -> None:
        """End the connections."""
        for client in (self._client, self._registering):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()


def _legible(items: Iterable[S], parse: Callable[[S], T]) -> Iterator[T]:
    """What can be parsed of that, whoever has written the rest."""
    for each in items:
        try:
            yield parse(each)
        except (VshareError, UnicodeError) as error:
            log.warning("Redis has something that is none of ours: %s", error)


def _parse_entry(entry: tuple[bytes, bytes]) -> tuple[ShareName, Record]:
    """A name and its record. Raises VshareError, UnicodeError."""
    name, text = entry
    return parse_name(name.decode()), parse_record(text)


async def _answered(asked: Awaitable[T], within: float | None = ANSWER_WITHIN) -> T:
    """What Redis answers. Raises StoreError.

    redis-py may keep a cancellation to itself, or tell of the connection that it closes then in
    place of it: who asks is cancelled all the same, and ends.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(within):
            return await asked
    except (RedisError, OSError, TimeoutError, RemoteProtocolError) as error:
        raise StoreError(f"Redis cannot be asked: {error or 'no answer in time'}") from error
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def open_store(config: ClusterConfig) -> Store:
    """The store that `config` names; nothing is asked yet. Raises VshareError."""
    options: dict[str, object] = {
        "socket_connect_timeout": ANSWER_WITHIN,
        "timeout": ANSWER_WITHIN,
        "retry": None,
    }
    if config.password_file is not None:
        options["password"] = read_secret(config.password_file)
    if config.url.startswith("rediss://"):
        options["ssl_cert_reqs"], options["ssl_check_hostname"] = "required", True
        options["ssl_ca_certs"] = str(config.ca_file) if config.ca_file else None
    elif config.ca_file is not None:
        raise UsageError("--cluster-ca is for a Redis with TLS", "give --cluster rediss://...")
    try:
        pools = [
            redis.asyncio.BlockingConnectionPool.from_url(
                config.url, max_connections=most, **options
            )
            for most in (CONNECTIONS, REGISTERING)
        ]
        if pools[0].connection_kwargs.get("password") != options.get("password"):
            raise UsageError(
                "the address of Redis has a password in it, which others can see",
                "put it into a file, and give that as --cluster-login",
            )
    except (ValueError, RedisError) as error:
        raise UsageError(
            f"not an address of Redis: {error}", "give --cluster redis://HOST:PORT/0, or rediss://"
        ) from error
    client, registering = map(redis.asyncio.Redis.from_pool, pools)
    return Store(client, registering, config.timing)


def read_secret(path: Path) -> str:
    """The first line of a file that has a secret in it. Raises VshareError."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_SECRET).decode().strip()
    except (OSError, UnicodeError) as error:
        raise VshareError(f"{path} cannot be read: {error}", "see who may read it") from error
    if not text:
        raise VshareError(f"{path} is empty", "put the secret into it")
    return text
