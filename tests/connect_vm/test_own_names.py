from __future__ import annotations

import pytest

from connect_vm.own_names import OwnNames


@pytest.mark.parametrize(
    "host",
    [
        "frosty-weasel-0857",
        "FROSTY-weasel-0857.",
        "frosty-weasel-0857.example.com",
        "web01",
        "172.16.0.2",
        "::ffff:172.16.0.2",
        "fd00:0:0::2",
    ],
)
def test_the_shared_machine_answers_to(host: str) -> None:
    names = OwnNames("frosty-weasel-0857", "web01", "172.16.0.2", "fd00::2")
    assert host in names
    assert names.resolve(host) == ""


@pytest.mark.parametrize(
    "host", ["web01.example.com", "xfrosty-weasel-0857.example.com", "172.16.0.3", "other", "."]
)
def test_other_hosts_are_passed_on_as_they_are(host: str) -> None:
    names = OwnNames("frosty-weasel-0857", "web01", "172.16.0.2")
    assert names.resolve(host) == host


def test_a_share_that_was_renamed_has_both_names() -> None:
    names = OwnNames("frosty-weasel-0857")
    names.add_share("quiet-lynx-0002")
    for host in (
        "frosty-weasel-0857.example.com",
        "quiet-lynx-0002.example.com",
        "quiet-lynx-0002",
    ):
        assert host in names


def test_names_come_and_go() -> None:
    names = OwnNames()
    assert "172.16.0.2" not in names
    names.add("172.16.0.2")
    assert "172.16.0.2" in names
    names.discard("172.16.0.2")
    assert "172.16.0.2" not in names
    assert ".example.com" not in names
