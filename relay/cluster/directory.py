"""All names of the cluster and where their shares are, in memory: no visitor waits for Redis.

What is told of each change keeps it as Redis is (relay/cluster/member.py). Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable

from relay.cluster.records import NodeInfo, Record
from tunnel.names import ShareName

NOBODY = "0"  # the account of names that are nobody's


class Directory:
    """As the node `own` knows it. `secret` decides who answers for names that nobody has."""

    def __init__(self, own: str, secret: bytes) -> None:
        self.own, self._secret = own, secret
        self.records: dict[ShareName, Record] = {}
        self.nodes: dict[str, NodeInfo] = {}  # that live, by their IDs
        self._seen: set[str] = set()  # nodes that lived at some time
        self._routes: dict[str, ShareName] = {}
        self._names: dict[str, set[ShareName]] = {}  # by their accounts

    def note(self, name: ShareName, record: Record) -> bool:
        """A record was read, or told; whether it is news."""
        known = self.records.get(name)
        if known is not None and known.version >= record.version:
            return False
        self.records[name] = record
        if known is not None and known.account != record.account:
            self._disown(known.account, name)
        if record.account != NOBODY:
            self._names.setdefault(record.account, set()).add(name)
        if known is not None and known.route != record.route:
            self._unroute(known.route, name)
        if record.route and record.node and not self._is_before_another(name, record):
            self._routes[record.route] = name
        return True

    def _is_before_another(self, name: ShareName, record: Record) -> bool:
        """Whether its route leads to the name that its share has by now."""
        holder = self._routes.get(record.route)
        other = self.records.get(holder) if holder is not None and holder != name else None
        return other is not None and bool(other.node) and other.before == name

    def _unroute(self, route: str, name: ShareName) -> None:
        if self._routes.get(route) == name:
            del self._routes[route]

    def forget_old(self, before: float) -> None:
        """Drop what is of names whose leases ended before that time."""
        for name in [name for name, each in self.records.items() if each.until < before]:
            record = self.records.pop(name)
            self._unroute(record.route, name)
            self._disown(record.account, name)

    def _disown(self, account: str, name: ShareName) -> None:
        names = self._names.get(account, set())
        names.discard(name)
        if not names:
            self._names.pop(account, None)

    def names_of(self, account: str) -> Collection[ShareName]:
        """The names that are that account's, wherever their shares are."""
        return self._names.get(account, ())

    def living(self, nodes: Iterable[NodeInfo], *, are_all: bool = True) -> None:
        """These nodes live; unless they `are_all`, those that did before as well."""
        before = {} if are_all else self.nodes
        self.nodes = {**before, **{node.id: node for node in nodes}}
        self._seen.update(self.nodes)

    def others(self) -> list[NodeInfo]:
        """The nodes that live, but for this one."""
        return [node for node in self.nodes.values() if node.id != self.own]

    def node_of(self, name: ShareName) -> NodeInfo | None:
        """The other node that has the share of that name."""
        record = self.records.get(name)
        if record is None or record.node == self.own:
            return None
        return self.nodes.get(record.node)

    def is_at_newcomer(self, name: ShareName) -> bool:
        """Whether the share of that name is at a node that was not heard of yet: who that is, the
        next beat tells."""
        record = self.records.get(name)
        if record is None or not record.node or record.node == self.own:
            return False
        return record.node not in self._seen

    def name_of_route(self, route: str) -> ShareName | None:
        """The name of the share with that route, wherever it is."""
        return self._routes.get(route)

    def node_of_route(self, route: str) -> NodeInfo | None:
        """The other node that has the share with that route."""
        name = self._routes.get(route)
        return self.node_of(name) if name is not None else None

    def node_for_nobody(self, name: ShareName) -> NodeInfo | None:
        """The other node that answers joins for a name whose share is nowhere; None: this one.

        It is the same one whoever asks, and the names are spread as shares are: so nobody can tell
        by the way of an answer whether a name is shared.
        """

        def weight(node: str) -> bytes:
            return hmac.digest(self._secret, f"{node} {name}".encode(), hashlib.sha256)

        best = max((*self.nodes, self.own), key=weight)
        return self.nodes.get(best) if best != self.own else None
