import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from relay import cli_serve, settings_file
from relay.config import RelayConfig
from relay.settings import SETTINGS
from relay.settings_docs import page
from tests.relay.settings_values import values

ROOT = Path(__file__).parent.parent.parent


def test_flags_count_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_file, "PLACE", tmp_path / "none.toml")
    seen: dict[str, Any] = {}
    command = replace_callback(seen)
    file = tmp_path / "relay.toml"
    file.write_text('domain = "file.example"\npublic-port = 1\nopen = true\nlisten = ["[::]:1"]\n')
    environment = {"VRELAY_DOMAIN": "environment.example", "VRELAY_PUBLIC_PORT": "2"}
    environment |= {"VRELAY_OPEN": "false", "VRELAY_CONFIG": str(file)}
    said = ["--domain", "flag.example"]
    outcome = CliRunner().invoke(command, said, env=environment, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert (seen["domain"], seen["public_port"], seen["open"]) == ("flag.example", 2, False)
    assert seen["listen"] == ("[::]:1",)
    CliRunner().invoke(command, ["--config", str(file)], catch_exceptions=False)
    assert (seen["domain"], seen["open"]) == ("file.example", True)
    CliRunner().invoke(command, [], env={"VRELAY_LISTEN": "a:1 b:2"}, catch_exceptions=False)
    assert seen == values(listen=("a:1", "b:2"))


def replace_callback(seen: dict[str, Any]) -> click.Command:
    """`vrelay serve`, which only says what it was told."""

    def callback(as_json: bool, verbose: bool, take_over: bool, **said: Any) -> None:
        seen.clear()
        seen.update(said)

    serve = cli_serve.serve
    return click.Command("serve", params=serve.params, callback=callback)


def test_each_setting_is_one_row_and_names_no_secret_itself() -> None:
    names = [each.name for each in SETTINGS]
    assert len(set(names)) == len(names)
    for each in SETTINGS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", each.name)
        assert each.help.endswith(".")
        assert not re.search(r"password|secret|token$", each.name)
    assert replace(RelayConfig()) == RelayConfig()


def test_the_page_of_settings_is_that_of_the_table() -> None:
    """`python -m relay.settings_docs > docs/relay-settings.md` writes it."""
    assert (ROOT / "docs" / "relay-settings.md").read_text() == page()
