from __future__ import annotations

import ipaddress

import pytest

from tests.lab import plan


def names(*hosts: str) -> list[str]:
    return [node.name for node in plan.needed(hosts)]


def test_a_host_brings_its_router_and_the_internet() -> None:
    assert names("alice") == ["internet", "alice-nat", "alice"]
    assert names("relay") == ["internet", "relay"]


def test_switches_and_routers_come_before_what_is_plugged_into_them() -> None:
    order = names(*plan.HOSTS, *plan.CLUSTER)
    for node in plan.NODES.values():
        if node.attached_to:
            assert order.index(node.attached_to) < order.index(node.name)


def test_no_two_nodes_share_an_address_and_each_reaches_its_gateway() -> None:
    addresses = [node.address for node in plan.NODES.values()]
    assert len(set(addresses)) == len(addresses)
    for node in plan.NODES.values():
        if node.gateway:
            network = ipaddress.ip_network(f"{node.address}/24", strict=False)
            assert ipaddress.ip_address(node.gateway) in network


def test_the_internet_is_made_of_documentation_addresses_alone() -> None:
    documentation = ipaddress.ip_network("203.0.113.0/24")
    for node in plan.NODES.values():
        if node.attached_to in ("", plan.INTERNET):
            assert ipaddress.ip_address(node.address) in documentation


def test_every_cable_has_both_ends_in_a_namespace() -> None:
    nodes = plan.needed(("alice", "services"))
    pids = {node.name: number for number, node in enumerate(nodes, start=100)}
    lines = plan.link_commands(nodes, pids).splitlines()
    assert len(lines) == 3
    assert all(line.count("netns") == 2 for line in lines)


def test_the_internet_has_no_way_out() -> None:
    internet = plan.NODES[plan.INTERNET]
    assert "default" not in plan.node_commands(internet, plan.needed(("relay",)))


@pytest.mark.parametrize("name", ["alice.test", "relay.test", "services"])
def test_hosts_know_each_other_by_name(name: str) -> None:
    assert name in plan.hosts_file(plan.needed(plan.HOSTS)).split()
