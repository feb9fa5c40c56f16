"""relay.toml, and what the environment says: the settings of a relay that no flag gives.

The file is --config FILE, or what VRELAY_CONFIG names, or /etc/vshare/relay.toml where that exists.
Its keys are the names of `relay.settings`, each with a value as TOML has it; files that it names
are found from its own folder.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from relay.accounts.limit_options import LimitType
from relay.settings import BY_NAME, PREFIX, Setting
from tunnel.errors import UsageError

PLACE = Path("/etc/vshare/relay.toml")
CONFIG = "VRELAY_CONFIG"  # names another
MAX_SIZE = 64 * 1024  # bytes: some thousand times what one needs


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be meant, or (`warning`) that is not what one wants. `name` is the
    setting's, empty where there is none; `line` is the file's, 0 where it is not of a line."""

    text: str
    hint: str = ""
    name: str = ""
    line: int = 0
    warning: bool = False


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What a file says: `values` by the settings' keys, and what in it cannot be used."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)  # by the settings' names
    problems: tuple[Problem, ...] = ()

    def place(self, problem: Problem) -> str:
        """Where it is, for people."""
        return f"{self.path}, line {problem.line}" if problem.line else str(self.path)

    def check(self) -> None:
        """Raise UsageError for the first problem."""
        for problem in self.problems:
            raise UsageError(f"{self.place(problem)}: {problem.text}", problem.hint)


def chosen_file(given: Path | None = None) -> Path | None:
    """The file that counts, if there is one. One that is named has to be there."""
    named = given or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    if named is not None:
        return named
    try:
        PLACE.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it is there, and reading it says why it cannot be
    return PLACE


def read_settings(path: Path) -> SettingsFile:
    """The file at `path`. Raises UsageError when there is none that can be read, or it is no TOML;
    whatever else is wrong with it is in `problems`."""
    text = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", "see https://toml.io") from None
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    for name, value in content.items():
        line = lines[name] = _line_of(text, name)
        if name not in BY_NAME:
            problems.append(Problem(f"there is no setting {name!r}", nearest(name), name, line))
            continue
        setting = BY_NAME[name]
        try:
            values[setting.key] = _converted(setting, value, path.parent)
        except click.BadParameter as error:
            problems.append(Problem(f"{name}: {error.message}", setting.help, name, line))
    return SettingsFile(path, values, lines, tuple(problems))


def nearest(name: str) -> str:
    """What somebody may have meant who wrote `name`: a hint."""
    known = difflib.get_close_matches(name.replace("_", "-"), BY_NAME, 1, 0.0)
    return f"the nearest that there is: {known[0]}; all are in docs/relay-settings.md"


def said(name: str) -> Any:
    """What environment or file say of the one setting `name`; None: nothing. For the commands that
    need no other. Raises UsageError."""
    setting = BY_NAME[name]
    text = os.environ.get(setting.variable)
    if text:
        return converted_text(setting, text)
    path = chosen_file()
    if path is None:
        return None
    file = read_settings(path)
    file.check()
    return file.values.get(setting.key)


def unknown_variables() -> Iterator[Problem]:
    """Those of the environment that look like ours and mean nothing. Container engines make some
    of the names of services, so that they are no more than a warning."""
    known = {setting.variable for setting in BY_NAME.values()} | {CONFIG}
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            name = variable.removeprefix(PREFIX).lower().replace("_", "-")
            yield Problem(
                f"{variable} in the environment means nothing", nearest(name), warning=True
            )


def converted_text(setting: Setting, text: str) -> Any:
    """What the environment's `text` is as a value. Raises click.BadParameter."""
    kind = click.BOOL if setting.is_switch else _kind(setting)
    if setting.several:
        return tuple(kind.convert(each, None, None) for each in kind.split_envvar_value(text))
    return kind.convert(text, None, None)


def _converted(setting: Setting, value: object, folder: Path) -> Any:
    """`value` as the command line has it. Raises click.BadParameter."""
    if setting.is_switch:
        if not isinstance(value, bool):
            raise click.BadParameter(f"it is true or false, not {value!r}")
        return value
    values = value if isinstance(value, list) and setting.several else [value]
    found = [_one(setting, each, folder) for each in values]
    return tuple(found) if setting.several else found[0]


def _one(setting: Setting, value: object, folder: Path) -> Any:
    kind = _kind(setting)
    of_numbers = isinstance(kind, click.types.IntParamType | click.types.FloatParamType)
    wanted: tuple[type, ...] = (int, float) if of_numbers else (str,)
    if isinstance(kind, LimitType):  # a number, or a word
        wanted = (int, str)
    if isinstance(value, bool) or not isinstance(value, wanted):
        what = "a number" if of_numbers else "a text in quotes"
        raise click.BadParameter(f"it is {what}, not {value!r}")
    if isinstance(kind, click.Path) and isinstance(value, str):
        value = str(folder / value)
    return kind.convert(value, None, None)


def _kind(setting: Setting) -> click.ParamType[Any]:
    return click.types.convert_type(setting.kind)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "name another with --config FILE, or let this user read it"
        raise UsageError(f"cannot read {path}: {reason}", hint) from None
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path} has more than {MAX_SIZE} bytes", "is it the right file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}", "TOML is") from None


def _line_of(text: str, name: str) -> int:
    """Where the key `name` stands: tomllib tells no lines of what it has read. 0: not found."""
    pattern = re.compile(rf"""^\s*\[*\s*["']?{re.escape(name)}["']?\s*[\].=]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 0
