"""What nodes say of themselves."""

from __future__ import annotations

import msgspec
import pytest

from relay.cluster.records import NodeInfo
from relay.cluster.seals import Seals
from tunnel.errors import RemoteProtocolError

OURS, THEIRS = Seals("a" * 64), Seals("b" * 64)
NODE = NodeInfo("id", "home", "127.0.0.1", 1, "relay.example:443")


def test_a_node_is_known_by_the_clusters_secret() -> None:
    node = OURS.of_node(NODE)
    assert OURS.is_node(node)
    assert not OURS.is_node(NODE)
    assert not OURS.is_node(THEIRS.of_node(NODE))


@pytest.mark.parametrize("field", ["id", "home", "host", "public"])
def test_nothing_of_a_node_can_be_changed(field: str) -> None:
    node = msgspec.structs.replace(OURS.of_node(NODE), **{field: "another"})
    assert not OURS.is_node(node)
    assert not OURS.is_node(msgspec.structs.replace(OURS.of_node(NODE), port=2))


def test_a_notice_is_its_nodes_on_its_topic() -> None:
    sealed = OURS.seal("accounts", "home", 7, b"some text")
    assert OURS.open("accounts", "home", sealed) == (7, b"some text")
    changed = (sealed.replace(b"some", b"none"), sealed.replace(b" 7 ", b" 8 "), b"", b"  ", b"[]")
    for each in changed:
        with pytest.raises(RemoteProtocolError):
            OURS.open("accounts", "home", each)
    for seals, topic, home in (
        (OURS, "others", "home"),
        (OURS, "accounts", "another"),
        (THEIRS, "accounts", "home"),
    ):
        with pytest.raises(RemoteProtocolError):
            seals.open(topic, home, sealed)
