"""docs/operations.md and the example of alerts: what they name exists, and what exists is there."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from relay import cli as relay_cli
from relay.certificate import load_identity
from relay.certificate_files import ShownIdentity
from relay.control import Control, Urls
from relay.limits import Admission, budget_for
from relay.names import NameBook
from relay.operation.metrics import Metrics
from relay.operation.sources import Sources
from relay.registry import LocalRegistry
from relay.settings import BY_NAME, SETTINGS
from tests.test_docs import ROOT, commands, tables

TEXT = (ROOT / "docs" / "operations.md").read_text()
ALERTS = (ROOT / "docs" / "prometheus-alerts.yml").read_text()
_METRIC = re.compile(r"\b(?:vrelay|process)_[a-z_]+")
_ENDINGS = re.compile(r"(?:_total|_bucket|_count|_sum|_created)$")


def exported() -> set[str]:
    """The names of all metrics of a relay, that of one in a cluster among them."""
    everything: Any = Everything()
    with NameBook(None) as names:
        registry = LocalRegistry(names)
        sources = Sources(
            registry,
            Admission(budget_for(1_000)),
            ShownIdentity(load_identity(None, None, None, "localhost")),
            Control(registry, names, Urls("localhost", 443), b""),
            [],
            names,
            acme=everything,
            history=everything,
            cluster=everything,
        )
        return {_ENDINGS.sub("", each.name) for each in Metrics(sources).registry.collect()}


class Everything:
    """The parts that only some relays have."""

    left_out = 0
    has_store = True
    outcomes = {"granted": 1}  # noqa: RUF012

    @property
    def member(self) -> Everything:
        return self

    directory = member

    def others(self) -> list[object]:
        return []


def test_the_metrics_are_those_of_the_table() -> None:
    there = exported()
    rows = {
        _ENDINGS.sub("", name)
        for head, rows in tables(TEXT)
        if head[0] == "metric"
        for row in rows
        for name in _METRIC.findall(row[0])
    }
    assert {name for name in rows if name.startswith("vrelay")} == {
        name for name in there if name.startswith("vrelay")
    }
    assert rows <= there
    named = {_ENDINGS.sub("", name) for name in _METRIC.findall(re.sub(r'job="\w+"', "", ALERTS))}
    assert len(named) > 8
    assert named <= there


def test_every_alert_says_what_to_do() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS))
    assert alerts == set(re.findall(r"^\| `(Relay\w+)` \|", TEXT, re.MULTILINE))


def test_commands_and_options_exist() -> None:
    known = {
        option
        for command in commands(relay_cli.cli)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    code = "\n".join(
        block or word for block, word in re.findall(r"```(.*?)```|`([^`\n]+)`", TEXT, re.S)
    )
    lines = re.findall(r"^(?:\$ |# )?(?:sudo -u vrelay )?vrelay ([a-z-]+)(.*)$", code, re.MULTILINE)
    assert len(lines) > 8
    for command, rest in lines:
        assert command in relay_cli.cli.commands, command
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest):
            assert option in known, option


def test_the_example_of_a_configuration_is_one() -> None:
    files = re.findall(r"```toml\n(.*?)```", TEXT, re.S)
    assert files
    for text in files:
        assert tomllib.loads(text).keys() <= BY_NAME.keys()
    assert len(SETTINGS) > 5
