"""Visitors whose share is at another node: they are spliced on to it (docs/protocol.md 4.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from relay.cluster.directory import Directory
from relay.cluster.node_port import NodeDialler
from relay.cluster.records import NodeInfo
from relay.front import ACCESS_DENIED, Answer, Visitor, refuse
from relay.limits import Admission
from relay.registry import LocalRegistry
from relay.routes import Answerer
from relay.source_buckets import SourceBuckets
from tunnel import splice
from tunnel.errors import VshareError
from tunnel.source import source_of

JOINS = 60  # of one source at once: three nodes' worth of what each answers (relay/join_limits.py)
JOIN_REFILL_SECONDS = 1.0  # for one more
MOVES_WITHIN = 3.0  # seconds a visitor waits for a share whose node has gone to be at another
LOOK_EVERY = 0.05  # seconds

log = logging.getLogger(__name__)


class Elsewhere:
    """Stands between a relay's front and those who answer there."""

    def __init__(
        self,
        registry: LocalRegistry,
        directory: Directory,
        dialler: NodeDialler,
        admission: Admission,
    ) -> None:
        self._registry, self._directory = registry, directory
        self._dialler, self._admission = dialler, admission
        self._joins = SourceBuckets(JOINS, JOIN_REFILL_SECONDS)
        self.carried = 0  # visitors brought to other nodes, so far

    def around(self, answers: Mapping[Answerer, Answer]) -> dict[Answerer, Answer]:
        """`answers`, for visitors of shares that are here; who comes for others is carried on."""
        theirs = {each: self._answer(answers[each]) for each in answers if each in _FOR_SHARES}
        return {**answers, **theirs}

    def _answer(self, here: Answer) -> Answer:
        async def answer(visitor: Visitor) -> None:
            node = self._find(visitor)
            if node is not None and not self._may_go(visitor):
                refuse(visitor, ACCESS_DENIED)
                return
            ends = asyncio.get_running_loop().time() + MOVES_WITHIN
            if node is None and self._is_at_newcomer(visitor):
                node = await self._find_next(visitor, None, ends)
            while node is not None:
                if await self._carry(visitor, node):
                    return
                node = await self._find_next(visitor, node, ends)
            await here(visitor)

        return answer

    def _is_at_newcomer(self, visitor: Visitor) -> bool:
        """Whether its share is at a node that nobody has told of yet, as after an upgrade."""
        route, name = visitor.route, visitor.route.name
        if route.answerer is Answerer.SHARE:
            name = self._directory.name_of_route(route.share_route)
        if not name or self._registry.get(name) is not None:
            return False
        return self._directory.is_at_newcomer(name)

    async def _find_next(
        self, visitor: Visitor, gone: NodeInfo | None, ends: float
    ) -> NodeInfo | None:
        """Where the share of node `gone`, which was killed or ended, is next; None: here, or
        nowhere until `ends` (loop time)."""
        loop = asyncio.get_running_loop()
        while visitor.route.answerer is not Answerer.JOIN and loop.time() < ends:
            node = self._find(visitor)
            if node is not None and (gone is None or node.id != gone.id):
                return node
            if self._is_here(visitor):
                return None
            await asyncio.sleep(LOOK_EVERY)
        return None

    def _is_here(self, visitor: Visitor) -> bool:
        """Whether its share is, and has said what there is to see."""
        route = visitor.route
        if route.answerer is Answerer.SHARE:
            return self._registry.get_by_route(route.share_route) is not None
        share = self._registry.get(route.name) if route.name else None
        if share is None:
            return False
        return share.published is not None or share.passthrough or not share.http

    def _may_go(self, visitor: Visitor) -> bool:
        """Joins cost two nodes a handshake before anybody limits them."""
        if visitor.route.answerer is not Answerer.JOIN:
            return True
        now = asyncio.get_running_loop().time()
        return self._joins.take(source_of(visitor.address), now)

    def _find(self, visitor: Visitor) -> NodeInfo | None:
        """The node to which the visitor is to be brought; None: it is answered here."""
        route, registry, directory = visitor.route, self._registry, self._directory
        if route.answerer is Answerer.SHARE:
            if registry.get_by_route(route.share_route) is not None:
                return None
            return directory.node_of_route(route.share_route)
        if not route.name or registry.get(route.name) is not None:
            return None
        node = directory.node_of(route.name)
        if node is None and route.answerer is Answerer.JOIN:
            return directory.node_for_nobody(route.name)
        return node

    async def _carry(self, visitor: Visitor, node: NodeInfo) -> bool:
        """Whether the visitor was brought there; then it is served to its end."""
        with self._admission.another():
            try:
                port = visitor.sock.getpeername()[1]
                sock = await self._dialler.carry(node, visitor.address, port)
            except (VshareError, OSError) as error:
                log.info("a visitor could not be brought to node %s: %s", node.id, error)
                return False
            self.carried += 1  # from here on nobody else can serve it
            totals = await splice.splice_sockets(visitor.sock, sock)
        log.debug("%s, by way of node %s: %s", visitor.address, node.id, totals)
        return True


_FOR_SHARES = (Answerer.SHARE, Answerer.JOIN, Answerer.GATEWAY)
