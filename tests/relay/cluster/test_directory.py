"""What a node knows of all names."""

from __future__ import annotations

from msgspec.structs import replace

from relay.cluster.directory import Directory
from relay.cluster.records import NodeInfo, Record
from tunnel.names import ShareName

HERE, THERE, LATER = (NodeInfo(each, each, "127.0.0.1", 1) for each in ("a", "b", "c"))
OLD, NEW = ShareName("old-name"), ShareName("new-name")
ROUTE = "5e" * 16


def directory() -> Directory:
    found = Directory("a", b"secret")
    found.living([HERE, THERE])
    return found


def record(node: str, version: int, *, route: str = "", before: str = "") -> Record:
    numbers = {"fence": f"1-{version}", "version": f"{version:016}"}
    return replace(Record("aa", 1e12, node=node, route=route, before=before), **numbers)


def test_a_share_is_found_where_it_was_last() -> None:
    found = directory()
    assert found.note(OLD, record("b", 2, route=ROUTE))
    assert found.node_of(OLD) == found.node_of_route(ROUTE) == THERE
    assert not found.note(OLD, record("a", 1, route=ROUTE))  # told late
    assert found.node_of(OLD) == THERE
    found.note(OLD, record("a", 3, route=ROUTE))
    assert found.node_of(OLD) is None  # here
    found.note(OLD, record("c", 4, route=ROUTE))
    assert found.node_of(OLD) is None  # at a node that does not live
    found.living([HERE, THERE, LATER])
    assert found.node_of_route(ROUTE) == LATER
    found.note(OLD, record("", 5, route=ROUTE))
    assert found.node_of_route(ROUTE) is None


def test_a_node_that_was_never_heard_of_is_a_newcomer() -> None:
    found = directory()
    found.note(OLD, record("c", 1, route=ROUTE))
    assert found.is_at_newcomer(OLD)
    assert found.name_of_route(ROUTE) == OLD
    assert not found.is_at_newcomer(NEW)
    found.living([HERE, THERE, LATER])
    assert not found.is_at_newcomer(OLD)
    found.living([HERE, THERE])  # it was killed
    assert not found.is_at_newcomer(OLD)
    found.note(OLD, record("a", 2))
    assert not found.is_at_newcomer(OLD)


def test_nodes_that_were_not_heard_yet_live() -> None:
    found = directory()
    found.note(OLD, record("b", 1))
    found.living([HERE], are_all=False)
    assert found.node_of(OLD) == THERE
    found.living([HERE])
    assert found.node_of(OLD) is None


def test_a_route_leads_to_the_later_of_a_shares_two_names() -> None:
    for order in ((0, 1), (1, 0)):
        found = directory()
        both = ((OLD, record("c", 1, route=ROUTE)), (NEW, record("b", 2, route=ROUTE, before=OLD)))
        for each in order:
            found.note(*both[each])
        assert found.node_of_route(ROUTE) == THERE
        found.note(NEW, record("", 3, route=ROUTE))
        found.note(OLD, record("b", 4, route=ROUTE))  # as Redis tells it again then
        assert found.node_of_route(ROUTE) == THERE


def test_what_nobody_has_a_right_to_is_forgotten() -> None:
    found = directory()
    found.note(OLD, record("b", 1, route=ROUTE))
    found.forget_old(1e12)
    assert found.node_of(OLD) is not None
    found.forget_old(1e12 + 1)
    assert found.node_of_route(ROUTE) is None
    assert not found.records


def test_one_node_answers_for_a_name_that_nobody_has_whoever_asks() -> None:
    names = [ShareName(f"some-name-{number}") for number in range(200)]
    views = []
    for own in "abc":
        found = Directory(own, b"secret")
        found.living([HERE, THERE, LATER])
        views.append([getattr(found.node_for_nobody(name), "id", own) for name in names])
    assert views[0] == views[1] == views[2]
    assert {*views[0]} == {"a", "b", "c"}
    alone = Directory("a", b"secret")
    assert alone.node_for_nobody(OLD) is None
