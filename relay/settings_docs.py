"""`python -m relay.settings_docs > docs/relay-settings.md`: the table of settings, for people."""

from __future__ import annotations

from relay.settings import SETTINGS, Setting
from relay.settings_file import PLACE

_HEAD = f"""\
# Settings of a relay

<!-- Written by `python -m relay.settings_docs`: change relay/settings.py instead. -->

Each can be given as a flag of `vrelay serve` (`--NAME`), as a variable of the environment
(`VRELAY_NAME`, in capitals, `_` for `-`) and as a key of `{PLACE}` (or the file after
`--config`, or the one that `VRELAY_CONFIG` names). Flags count before the environment, and that
before the file. In the file, names of files are relative to its own folder; a setting that may be
given again is a list; an unknown key is refused. `vrelay check-config` says what is wrong with a
file, `vrelay init` writes one.

| setting | value | default | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The document."""
    return _HEAD + "".join(map(_row, SETTINGS))


def _row(setting: Setting) -> str:
    value = "true or false" if setting.is_switch else setting.metavar or _kind(setting)
    value += ", again" if setting.several else ""
    initial = setting.initial
    if isinstance(initial, tuple):
        initial = ", ".join(map(str, initial))
    default = setting.extra or (f"`{initial}`" if initial not in (None, "") else "")
    help_ = setting.help.replace("|", "\\|")
    if setting.off:
        help_ += f" As flags: `{setting.flag}`, `{setting.off}`."
    return f"| `{setting.name}` | {value} | {default} | {help_} |\n"


def _kind(setting: Setting) -> str:
    name = getattr(setting.kind, "name", "text")
    return {"integer range": "number", "integer": "number"}.get(str(name), str(name))


if __name__ == "__main__":
    print(page(), end="")
