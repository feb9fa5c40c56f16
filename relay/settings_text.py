"""relay.toml as `vrelay init` writes it: the settings that were chosen, each below what it means.
Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping

from relay.settings import SETTINGS

WIDTH = 96  # characters of a remark
HEAD = """\
# A relay of vshare: `vrelay serve`. Flags and the environment (VRELAY_NAME) count before this file.
# All settings are in docs/relay-settings.md. Afterwards: vrelay check-config
"""


def settings_text(values: Mapping[str, object]) -> str:
    """The file that says `values`, by the settings' names."""
    parts = [HEAD]
    for setting in SETTINGS:
        if setting.name in values:
            remark = textwrap.wrap(setting.help, WIDTH)
            lines = [f"# {line}" for line in remark]
            parts.append("\n".join([*lines, f"{setting.name} = {_value(values[setting.name])}\n"]))
    return "\n".join(parts)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)  # a basic string of TOML's, too
