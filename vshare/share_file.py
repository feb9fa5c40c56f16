"""`vshare.toml`: what `vshare up` shares here and how, so that nobody has to say it each time.

It stands beside the Vagrantfile, or where there is none in the working directory, and has one
table, `[up]`, whose keys are the command's long options without their dashes, and `machine`. What
the command line says counts before it. Secrets do not belong in it, only paths of files.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName, parse_name
from vshare.find_vagrant import find_root

FILE = "vshare.toml"
TABLE = "up"
WITHOUT = "--no-config"
MAX_SIZE = 64 * 1024  # bytes: some thousand times what one needs
# They say how one run goes, not what is shared.
NOT_REMEMBERED = frozenset({"as_json", "verbose", "detach", "no_config", "save", "help"})
# Of each of these the command line says one, and then the file's others do not count.
ALTERNATIVES = (("machines", "domains", "targets"), ("relay", "lan"))
MAX_SAID = 100  # characters of an option's value, as it is shown
ROOT = 0
# What may be the value of the key `name`; whether it is, TOML says.
_NAME = re.compile(r"""name["']?\s*=\s*("[^"\n]*"|'[^'\n]*')""")


def find_share_file(directory: Path | None = None) -> Path | None:
    """The file that counts for `directory` (the working directory), if there is one.

    Raises UsageError for one that another user could have put there.
    """
    folder = directory or Path.cwd()
    places = [folder]
    try:
        places.append(find_root(folder))
    except VshareError:
        pass  # no Vagrantfile: then it may be here alone
    for place in places:
        path = place / FILE
        if not path.is_file():
            continue
        if path.stat().st_uid not in (os.getuid(), ROOT):
            raise UsageError(
                f"{path} belongs to another user",
                f"look at what it shares, then make it yours, or add {WITHOUT}",
            )
        return path
    return None


def name_in(path: Path) -> ShareName | None:
    """What the file calls the share, if it does. Raises UsageError."""
    table = _parsed(path, _read(path)).get(TABLE)
    name = table.get("name") if isinstance(table, dict) else None
    return parse_name(name) if isinstance(name, str) else None


def rename_in(path: Path, before: ShareName, name: ShareName) -> bool:
    """Where the file calls the share `before`, let it say `name`, and leave all else in it as it
    is; whether it was so. Raises UsageError: it has to be done by hand."""
    if name_in(path) != before:
        return False
    text = _read(path)
    content = tomllib.loads(text)
    wanted = {**content, TABLE: {**content[TABLE], "name": name}}
    for match in _NAME.finditer(text):
        changed = f'{text[: match.start(1)]}"{name}"{text[match.end(1) :]}'
        if _maybe_parsed(changed) == wanted:
            _replace(path.resolve(), changed)
            return True
    raise UsageError(f"{path} was not understood well enough", f'write name = "{name}" into it')


def _maybe_parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _replace(path: Path, text: str) -> None:
    """In one step, by a file of the same owner and mode. Raises UsageError."""
    try:
        was = path.stat()
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as private:
            new = Path(private) / path.name
            new.write_text(text, encoding="utf-8", newline="")
            new.chmod(was.st_mode & 0o7777)
            if (was.st_uid, was.st_gid) != (new.stat().st_uid, new.stat().st_gid):
                os.chown(new, was.st_uid, was.st_gid)
            new.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write {path}: {reason}", "write the name into it") from error


class RememberedCommand(click.Command):
    """A command whose options may be in `vshare.toml`. The file that was read is in
    `context.meta[FILE]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command.parse_args."""
        path = None if WITHOUT in args else find_share_file()
        if path is not None:
            values = read_share_file(path, self.params, ctx)
            said, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for alternatives in ALTERNATIVES:
                if any(_is_said(said.get(name)) for name in alternatives):
                    for name in alternatives:
                        values.pop(name, None)
            ctx.default_map = values
            ctx.meta[FILE] = path
        return super().parse_args(ctx, args)


def said_in_file(context: click.Context) -> str:
    """What counts of the file, in a line: somebody else may have written it, and nothing of it is
    to go unsaid."""
    said = []
    for key, param in keys(context.command.params).items():
        if context.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT_MAP:
            value = (context.default_map or {})[str(param.name)]
            if key == "notify":  # a secret, but for where it leads
                value = urlsplit(context.params["notify"]).hostname
            text = ", ".join(value) if isinstance(value, list) else str(value)
            shown = f"{text[:MAX_SAID]}..." if len(text) > MAX_SAID else text
            said.append(key if value is True else f"{key} = {shown}")
    return "; ".join(said) or "nothing that counts"


def _is_said(value: object) -> bool:
    """Whether a parser has found something; what it has not found, versions of click differ in."""
    return isinstance(value, str | bool | list | tuple) and bool(value)


def read_share_file(
    path: Path, params: Sequence[click.Parameter], context: click.Context
) -> dict[str, Any]:
    """What it says, by the names of the command's parameters. Raises UsageError."""
    text = _read(path)
    content = _parsed(path, text)
    for name in content:
        if name != TABLE:
            raise UsageError(
                f"{_place(path, text, name)}: there is no {name!r}",
                f"all that is shared stands below a line that says [{TABLE}]",
            )
    table = content.get(TABLE, {})
    if not isinstance(table, dict):
        raise UsageError(f"{_place(path, text, TABLE)}: it is a table", f"write [{TABLE}]")
    known = keys(params)
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise UsageError(
                f"{_place(path, text, key)}: there is no option {key!r}",
                "its keys are the options of `vshare up --help`, without dashes before them",
            )
        param = known[key]
        try:
            found[str(param.name)] = _checked(key, value, param, path.parent, context)
        except (UsageError, click.UsageError) as error:
            said = error.text if isinstance(error, UsageError) else error.message
            hint = error.hint if isinstance(error, UsageError) else ""
            raise UsageError(
                f"{_place(path, text, key)}: {said}", hint or "see `vshare up --help`"
            ) from error
    return found


def _parsed(path: Path, text: str) -> dict[str, Any]:
    """Raises UsageError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", "see https://toml.io") from None


def keys(params: Sequence[click.Parameter]) -> Mapping[str, click.Parameter]:
    """The keys that a file may have."""
    known: dict[str, click.Parameter] = {}
    for param in params:
        if param.name in NOT_REMEMBERED or param.name is None:
            continue
        if isinstance(param, click.Argument):
            known["machine"] = param
        else:
            known[max(param.opts, key=len).removeprefix("--")] = param
    return known


def _checked(
    key: str, value: object, param: click.Parameter, folder: Path, context: click.Context
) -> Any:
    """`value` as the command line has it, its files relative to the file's folder."""
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{key} is true or false, not {value!r}", f"write {key} = true")
        return value
    several = param.multiple if isinstance(param, click.Option) else param.nargs == -1
    values = value if isinstance(value, list) and several else [value]
    if any(isinstance(each, bool) or not isinstance(each, str | int) for each in values):
        raise UsageError(f"{key} cannot be {value!r}", "it is a text in quotes, or a number")
    texts = [str(each) for each in values]
    if isinstance(param.type, click.Path):
        texts = [str(folder / text) for text in texts]
    if key == "token-file":
        _no_token()
    if key == "notify":
        texts = [_notify_file(text, folder) for text in texts]
    for text in texts:
        param.type.convert(text, param, context)
    return texts if several else texts[0]


def _no_token() -> None:
    """A token is sent to the relay, and who wrote the file may have named that, too."""
    raise UsageError(
        "a relay's token is not taken from here, since the relay may be named here as well",
        "`vshare login` keeps it for that relay alone",
    )


def _notify_file(text: str, folder: Path) -> str:
    """Such URLs are secrets, and this file is often published with the Vagrantfile."""
    if not text.startswith("@"):
        raise UsageError(
            "notify is a secret, which does not belong in here",
            'put the URL into a file and write notify = "@FILE"',
        )
    return f"@{folder / text[1:]}"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read {path}: {reason}", f"or leave it aside: {WITHOUT}") from None
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path} has more than {MAX_SIZE} bytes", f"or leave it aside: {WITHOUT}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}", "TOML is") from None


def _place(path: Path, text: str, key: str) -> str:
    """The file, and the line where `key` stands: tomllib tells no lines of what it has read."""
    pattern = re.compile(rf"""^\s*\[*\s*["']?{re.escape(key)}["']?\s*[\].=]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return f"{path}, line {number}"
    return str(path)
