"""The container file and what it is made of agree; building it needs an engine and a registry."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from relay.settings import BY_NAME, PREFIX
from relay.settings_rules import METRICS_PORT

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Containerfile").read_text()


def test_all_that_is_installed_is_copied_and_not_ignored() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {
        each.rstrip("*") for each in config["options.packages.find"]["include"].split() if each
    }
    copied = set(re.findall(r"^COPY (\w+) \1$", TEXT, re.MULTILINE))
    assert copied == packages
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".containerignore").read_text(), re.MULTILINE))
    assert packages <= kept
    for name in ("pyproject.toml", "setup.cfg", config["metadata"]["long_description"][6:]):
        assert name in kept
        assert name in TEXT


def test_it_serves_as_a_user_of_its_own_with_settings_that_exist() -> None:
    variables = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", TEXT)) - {f"{PREFIX}NAME"}
    assert variables == {BY_NAME[name].variable for name in ("listen", "metrics")}
    assert TEXT.index("USER vrelay") > TEXT.index("FROM ${PYTHON}\n")
    assert f"127.0.0.1:{METRICS_PORT}/readyz" in TEXT
