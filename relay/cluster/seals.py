"""What a node says of itself by way of Redis, proven by the secret that all nodes have. Pure.

Redis can lose what was said, hold it back and repeat it, but say nothing in a node's name: it does
not decide whose tokens are good, or where shares are told to go with theirs.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from relay.cluster.records import NodeInfo
from tunnel.errors import RemoteProtocolError

PROOF = 64  # bytes that what is sealed begins with, and that nothing else does
_STAMP = 20  # digits at most of when something was said
_HIDDEN = 32  # characters, of 4 bits: no two are the same


class Seals:
    """`secret` is the cluster's."""

    def __init__(self, secret: str) -> None:
        said = b"vshare cluster: who said it"
        self._key = hmac.digest(secret.encode(), said, hashlib.sha256)

    def of_node(self, node: NodeInfo) -> NodeInfo:
        """`node` with its proof."""
        proof = self._proof("node", node.id, node.home, node.host, str(node.port), node.public)
        return msgspec.structs.replace(node, proof=proof)

    def is_node(self, node: NodeInfo) -> bool:
        """Whether a node has said that of itself."""
        return hmac.compare_digest(self.of_node(node).proof.encode(), node.proof.encode())

    def seal(self, topic: str, home: str, stamp: int, text: bytes) -> bytes:
        """What the node at `home` says on `topic`; of two the higher `stamp` counts."""
        proof = self._proof("notice", topic, home, str(stamp), text)
        return f"{proof} {stamp} ".encode() + text

    def open(self, topic: str, home: str, sealed: bytes) -> tuple[int, bytes]:
        """Stamp and text. Raises RemoteProtocolError for what that node has not said."""
        proof, _, rest = sealed.partition(b" ")
        stamp, _, text = rest.partition(b" ")
        is_number = stamp.isdigit() and len(stamp) <= _STAMP
        said = self._proof("notice", topic, home, stamp.decode("latin-1"), text)
        if not hmac.compare_digest(proof, said.encode()) or not is_number:
            raise RemoteProtocolError("it was not said by a node")
        return int(stamp), text

    def hide(self, text: str) -> str:
        """What stands for `text` at all nodes, and tells nobody else what that is."""
        return self._proof("hidden", text)[:_HIDDEN]

    def _proof(self, *parts: str | bytes) -> str:
        """Of these, each with its length, so that none can be taken for another."""
        seal = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode("utf-8", "replace") if isinstance(part, str) else part
            seal.update(len(data).to_bytes(8) + data)
        return seal.hexdigest()
